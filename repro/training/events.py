"""What a run tells while it goes on, and who listens. A listener cannot change the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro import files
from repro.records import Epoch, RunRecord


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on after `epoch` whole epochs and `batch` batches."""

    run: str
    epochs: int
    batches: int  # of an epoch
    epoch: int
    batch: int
    done: Sequence[Epoch] = ()  # the whole epochs so far


@dataclass(frozen=True)
class Stepped:
    """One batch was trained on. `loss` is its mean cross-entropy in nats, read now and then, else None."""

    run: str
    epoch: int
    batch: int
    images: int
    loss: float | None


@dataclass(frozen=True)
class EpochDone:
    """One line of metrics.jsonl."""

    run: str
    metrics: Epoch


@dataclass(frozen=True)
class Evaluating:
    """The final evaluation of one view, or of the training images, begins."""

    run: str
    view: str


@dataclass(frozen=True)
class Finished:
    """The record is written."""

    run: str
    record: RunRecord = field(repr=False)


@dataclass(frozen=True)
class Failed:
    """The run stopped with an error; what it had learned so far stays in its checkpoint."""

    run: str
    reason: str
    elsewhere: bool = False  # in another process, which noted it


@dataclass(frozen=True)
class Elsewhere:
    """Another process has done the run; or, not `done`, it took the run over that this one was at."""

    run: str
    done: bool


@dataclass(frozen=True)
class Warned:
    """Something that the run goes on with, and that its reader should know."""

    run: str
    text: str


Event = Started | Stepped | EpochDone | Evaluating | Finished | Failed | Elsewhere | Warned
Listener = Callable[[Event], None]


def to_all(listeners: Iterable[Listener]) -> Listener:
    """One listener that hands every event to each of `listeners`."""
    together = tuple(listeners)

    def emit(event: Event) -> None:
        for listener in together:
            listener(event)

    return emit


def metrics_file(path: Path) -> Listener:
    """Writes metrics.jsonl: a line an epoch. On a resumed run the lines after the checkpoint are written again."""

    def listen(event: Event) -> None:
        match event:
            case Started(done=done):
                files.write_atomically(path, "".join(json.dumps(epoch.numbers) + "\n" for epoch in done))
            case EpochDone(metrics=epoch):
                files.append(path, json.dumps(epoch.numbers))

    return listen
