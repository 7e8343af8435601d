"""The exact state of a run on disk: from it training goes on bitwise as if it had never stopped."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch

from repro.config.config import Config
from repro.network.model import Network
from repro.network.towers import TwoTowers
from repro.records import Epoch
from repro.store import write_atomically
from repro.training.optim import Optimizer, PlateauState

FILE = "checkpoint.pt"


@dataclass
class Position:
    """How far a run is. Sums are over the images of the epoch under way.

    No random state is kept: order, crops, noise and dropout are functions of (seed, epoch, image) and (seed, step).
    """

    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches of the epoch under way
    step: int = 0  # batches in all
    pictures: int = 0
    loss_sum: float = 0.0  # nats
    error_sum: float = 0.0  # images whose first guess was wrong
    seconds: float = 0.0  # of training in the epoch under way
    history: list[Epoch] = field(default_factory=list)  # the whole epochs
    plateau: PlateauState = field(default_factory=PlateauState)
    ended: bool = False  # the schedule's end, its target or a divergence was reached


@dataclass
class Training:
    """A run under way: what training changes, and what it goes by."""

    name: str  # of the run, in events
    config: Config
    seed: int
    model: Network | TwoTowers
    optimizer: Optimizer
    device: torch.device  # where the classes live
    position: Position = field(default_factory=Position)


def save(path: Path, training: Training) -> None:
    """Write the state in one move, so that a crash leaves the one before."""
    buffer = io.BytesIO()
    state = {
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "position": msgspec.to_builtins(training.position),
    }
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, training: Training) -> None:
    """Put the stored state into `training`, whatever the placement of its network.

    Raises ValueError where the file is damaged or of another network.
    """
    state = read(path)
    try:
        training.model.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.position = msgspec.convert(state["position"], Position)
    except (KeyError, RuntimeError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: does not fit this network ({error}); delete it to start again") from None


def read(path: Path) -> dict[str, Any]:
    """The stored values on the CPU. Raises ValueError where the file is missing or damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and OS errors all mean the same here
        raise ValueError(f"{path}: cannot be read ({type(error).__name__}); delete it to start again") from None
    assert isinstance(state, dict)
    return state
