"""The exact state of a run on disk: from it training goes on bitwise as if it had never stopped."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

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
    history: list[dict[str, Any]] = field(default_factory=list)  # metrics of the whole epochs
    plateau: PlateauState = field(default_factory=PlateauState)
    ended: bool = False  # the schedule's end, its target or a divergence was reached


def save(path: Path, model: nn.Module, optimizer: Optimizer, position: Position) -> None:
    """Write the state in one move, so that a crash leaves the one before."""
    buffer = io.BytesIO()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "position": asdict(position)}
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, model: nn.Module, optimizer: Optimizer) -> Position:
    """Put the stored state into `model` and `optimizer`, whatever their placement, and return the position.

    Raises ValueError where the file is damaged or of another network.
    """
    state = read(path)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        values = state["position"]
        return Position(**{**values, "plateau": PlateauState(**values["plateau"])})
    except (KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: does not fit this network ({error}); delete it to start again") from None


def read(path: Path) -> dict[str, Any]:
    """The stored values on the CPU. Raises ValueError where the file is missing or damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and OS errors all mean the same here
        raise ValueError(f"{path}: cannot be read ({type(error).__name__}); delete it to start again") from None
    assert isinstance(state, dict)
    return state
