"""What a run tells while it goes on, and who listens. A listener cannot change the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro import store


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on after `epoch` whole epochs and `batch` batches."""

    run: str
    epochs: int
    batches: int  # of an epoch
    epoch: int
    batch: int
    done: Sequence[dict[str, Any]] = ()  # the metrics of the whole epochs so far


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
    """One line of metrics.jsonl; errors in percent, seconds of training alone."""

    run: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Evaluating:
    """The final evaluation of one view, or of the training images, begins."""

    run: str
    view: str


@dataclass(frozen=True)
class Finished:
    """The record is written."""

    run: str
    record: dict[str, Any] = field(repr=False)


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


Event = Started | Stepped | EpochDone | Evaluating | Finished | Failed | Elsewhere
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
        if isinstance(event, Started):
            store.write_atomically(path, "".join(json.dumps(metrics) + "\n" for metrics in event.done))
        elif isinstance(event, EpochDone):
            store.append(path, json.dumps(event.metrics))

    return listen


def tensorboard(directory: Path) -> Listener:
    """Writes the same numbers for TensorBoard (extra `track`). Raises ValueError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("--tensorboard needs the extra: pip install 'alexnet-repro[track]'") from None
    writer = SummaryWriter(str(directory))

    def listen(event: Event) -> None:
        if isinstance(event, EpochDone):
            for name, value in event.metrics.items():
                if name != "epoch" and isinstance(value, (int, float)):
                    writer.add_scalar(name, value, event.metrics["epoch"])
            writer.flush()
        elif isinstance(event, (Finished, Failed)):
            writer.close()

    return listen
