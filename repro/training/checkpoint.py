"""The exact state of a run on disk: from it training goes on bitwise as if it had never stopped.

A file ends with the SHA-256 of all before it, and says whose run it is. The one before is kept until a run is finished.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch

from repro import store
from repro.config.config import Config
from repro.files import write_atomically
from repro.network.model import Network
from repro.network.towers import TwoTowers
from repro.records import Epoch
from repro.suggest import shortened
from repro.training.optim import Optimizer, PlateauState
from repro.training.ranks import Ranks

FILE = store.CHECKPOINT
HASH = hashlib.sha256().digest_size


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
    """Write the state in one move and keep the file before, so that a crash or damage leaves one of them."""
    write_atomically(path, content_of(training), kept=before(path))


def content_of(training: Training) -> bytes:
    """What is in the file: the state, then its hash."""
    buffer = io.BytesIO()
    state = {
        "run": training.name,
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "position": msgspec.to_builtins(training.position),
    }
    torch.save(state, buffer)
    buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
    return buffer.getvalue()


def load(path: Path, training: Training) -> str | None:
    """Put the stored state into `training`, whatever the placement of its network; without a file nothing changes.

    Where the file is damaged or of another run, the one before is used, and what is returned names both. Raises
    ValueError, in one line that names each, where neither can be used.
    """
    wrong = []
    for file in (path, before(path)):
        if not file.is_file():
            continue
        try:
            put(read(file, training.name), training, str(file))
        except ValueError as error:
            wrong.append(str(error))
            continue
        at = f"epoch {training.position.epoch}, batch {training.position.batch}"
        return f"{'; '.join(wrong) or f'{path}: is not there'}; going on from {file}, {at}" if file != path else None
    if wrong:
        raise ValueError(f"{'; '.join(wrong)}; delete {'it' if len(wrong) == 1 else 'them'} to start again")
    return None


def put(state: dict[str, Any], training: Training, name: str) -> None:
    """Put the values of a state into `training`. Raises ValueError, which begins with `name`, where it
    does not fit."""
    try:
        training.model.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.position = msgspec.convert(state["position"], Position)
    except Exception as error:  # wrong kinds of values, names and shapes raise whatever they meet first
        reason = shortened(" ".join(str(error).split()))
        raise ValueError(f"{name}: does not fit this network ({type(error).__name__}: {reason})") from None


def read(path: Path, run: str) -> dict[str, Any]:
    """The stored values on the CPU. Raises ValueError where the file is missing, damaged, or of another run."""
    try:
        state, whole = unpacked(path.read_bytes())
    except Exception as error:  # zip, pickle and OS errors all mean the same here
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not isinstance(state, dict) or whole != ("run" in state):
        raise ValueError(f"{path}: cannot be read (damaged at its end)")
    if state.get("run", run) != run:
        raise ValueError(f"{path}: is of run {shortened(str(state['run']))}, not of {run}")
    return state


def start_alike(training: Training, ranks: Ranks) -> None:
    """Put the state of rank 0 into `training` of the other ranks."""
    if ranks.world > 1:
        content = ranks.agreed(b"" if ranks.rank else content_of(training))
        if ranks.rank:
            put(unpacked(content)[0], training, "the state of rank 0")


def unpacked(content: bytes) -> tuple[Any, bool]:
    """The values of what `content_of` made, on the CPU, and whether it has a hash. Raises where it is damaged."""
    view = memoryview(content)
    whole = hashlib.sha256(view[:-HASH]).digest() == view[-HASH:]
    stored = io.BytesIO(view[:-HASH] if whole else view)
    if not whole:  # older files have no hash, but a sum of each part, which torch passes over
        with zipfile.ZipFile(stored) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        stored.seek(0)
    return torch.load(stored, map_location="cpu", weights_only=True), whole


def before(path: Path) -> Path:
    """Where the file before this one is kept."""
    return path.with_name(f"{path.stem}-before{path.suffix}")
