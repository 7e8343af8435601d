"""Trackers of experiments: what TensorBoard, Weights & Biases and MLflow are told of a run while it goes on.

    repro run NAME --track wandb

The numbers are those of metrics.jsonl, an epoch a step, and at the end the errors of each view. On a resumed run no
epoch is told twice. A tracker cannot change the run: one that fails is told of once, and the run goes on without it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config.keys import flatten
from repro.planning.plan import Run
from repro.records import Epoch, RunRecord
from repro.store import run_directory
from repro.suggest import did_you_mean, one_line, shortened
from repro.training.events import EpochDone, Event, Failed, Finished, Listener, Started, Warned

PROJECT = "repro"  # what wandb calls a project and MLflow an experiment


@dataclass(frozen=True)
class Sink:
    """An open tracker of one run. `tell` gets each whole epoch in order, at first those before a resumed run goes on;
    `end` the record, None where the run failed or was stopped."""

    tell: Callable[[Sequence[Epoch]], None]
    end: Callable[[RunRecord | None], None]


def check(names: Sequence[str]) -> None:
    """Raises ValueError, one line, for a tracker that is not known or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"--track {name}: no such tracker{did_you_mean(name, TRACKERS)}")
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"--track {name}: is not installed; run: pip install 'alexnet-repro[{name}]'")


@contextmanager
def tracked(names: Sequence[str], run: Run, results: Path, emit: Listener) -> Iterator[Listener]:
    """`emit`, and every tracker of `names` with it, from the first epoch of this process on."""
    sinks: dict[str, Sink] = {}
    lost: set[str] = set()

    def attempt(name: str, do: Callable[[], None]) -> None:
        if name in lost:
            return
        try:
            do()
        except Exception as error:  # a network, a disk, a server: none of them is the run's
            lost.add(name)
            reason = shortened(one_line(error))
            emit(Warned(run.name, f"{name} is told nothing more of it: {reason}"))

    def start(name: str, done: Sequence[Epoch]) -> None:
        sinks[name] = TRACKERS[name](run, results)
        sinks[name].tell(done)

    def end(record: RunRecord | None) -> None:
        while sinks:
            name, sink = sinks.popitem()
            attempt(name, lambda sink=sink: sink.end(record))  # type: ignore[misc]

    def listen(event: Event) -> None:
        emit(event)
        match event:
            case Started(done=done):
                for name in names:
                    attempt(name, lambda name=name: start(name, done))  # type: ignore[misc]
            case EpochDone(metrics=epoch):
                for name, sink in sinks.items():
                    attempt(name, lambda sink=sink: sink.tell([epoch]))  # type: ignore[misc]
            case Finished(record=record):
                end(record)
            case Failed():
                end(None)

    try:
        yield listen if names else emit
    finally:
        end(None)


def numbers(epoch: Epoch) -> dict[str, float]:
    """What a tracker is told of an epoch: name -> finite number, as in metrics.jsonl."""
    return {name: value for name, value in epoch.numbers.items() if name != "epoch" and value is not None}


def errors(record: RunRecord) -> dict[str, float]:
    """What a tracker is told at the end: `center/top1_error` -> percent."""
    return {
        f"{view}/{name}": value
        for view, found in record.errors.items()
        for name, value in (("top1_error", found.top1_error), ("top5_error", found.top5_error))
        if value is not None
    }


def _label(run: Run) -> str:
    return f"{run.used_by[0] if run.used_by else run.digest} seed {run.seed}"


def tensorboard(run: Run, results: Path) -> Sink:
    """Event files in `tensorboard/` of the run's folder: written anew when a run is resumed."""
    from torch.utils.tensorboard import SummaryWriter

    folder = run_directory(results, run.digest, run.seed) / "tensorboard"
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()
    writer = SummaryWriter(str(folder))

    def tell(epochs: Sequence[Epoch]) -> None:
        for epoch in epochs:
            for name, value in numbers(epoch).items():
                writer.add_scalar(name, value, epoch.epoch)
        writer.flush()

    def end(record: RunRecord | None) -> None:
        for name, value in errors(record).items() if record else ():
            writer.add_scalar(name, value, record.epochs if record else None)
        writer.close()

    return Sink(tell, end)


def wandb(run: Run, results: Path) -> Sink:
    """Offline, in `wandb/` of the run's folder, which `wandb sync` sends; with WANDB_MODE=online at once.

    Offline a resumed run is written anew; online it goes on in the run of the same id after the last epoch there."""
    import wandb as package

    mode: Any = os.environ.get("WANDB_MODE", "offline")
    folder = run_directory(results, run.digest, run.seed)
    if mode == "offline":
        for path in (folder / "wandb").glob("offline-run-*"):
            shutil.rmtree(path)
    found = package.init(
        project=PROJECT,
        id=f"{run.digest}-{run.seed}",
        name=_label(run),
        group=run.digest,
        config={**flatten(run.config), "seed": run.seed, "arms": list(run.used_by)},
        dir=folder,
        mode=mode,
        resume=None if mode == "offline" else "allow",
        reinit="create_new",
        settings=package.Settings(silent=True, console="off"),
    )
    first = found.step

    def tell(epochs: Sequence[Epoch]) -> None:
        for epoch in epochs:
            if epoch.epoch >= first:
                found.log(numbers(epoch), step=epoch.epoch, commit=True)

    def end(record: RunRecord | None) -> None:
        if record:
            found.summary.update(errors(record))
        found.finish(exit_code=0 if record else 1)

    return Sink(tell, end)


def mlflow(run: Run, results: Path) -> Sink:
    """The server of MLFLOW_TRACKING_URI, else files in `mlruns/` of the results. A resumed run goes on in the run that
    has its name as the tag `repro.run`, with what that lacks."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it wants a database, also for one run
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or (results / "mlruns").absolute().as_uri())
    experiment = _experiment_of_mlflow(client)
    before = client.search_runs([experiment], f"tags.`repro.run` = '{run.name}'", max_results=1)
    if before:
        identity = before[0].info.run_id
        client.update_run(identity, "RUNNING")
    else:
        tags = {"repro.run": run.name, "repro.arms": ", ".join(run.used_by)}
        identity = client.create_run(experiment, run_name=_label(run), tags=tags).info.run_id
        params = [Param(name, str(value)) for name, value in {**flatten(run.config), "seed": run.seed}.items()]
        for first in range(0, len(params), 100):  # at most so many at once
            client.log_batch(identity, params=params[first : first + 100])
    told: dict[str, set[int]] = {}

    def log(values: dict[str, float], step: int) -> None:
        for name in values.keys() - told.keys():
            history = client.get_metric_history(identity, name) if before else ()
            told[name] = {metric.step for metric in history}
        new = {name: value for name, value in values.items() if step not in told[name]}
        now = int(time.time() * 1000)
        client.log_batch(identity, metrics=[Metric(name, value, now, step) for name, value in new.items()])
        for name in new:
            told[name].add(step)

    def tell(epochs: Sequence[Epoch]) -> None:
        for epoch in epochs:
            log(numbers(epoch), epoch.epoch)

    def end(record: RunRecord | None) -> None:
        if record:
            log(errors(record), record.epochs)
        client.set_terminated(identity, "FINISHED" if record else "FAILED")

    return Sink(tell, end)


def _experiment_of_mlflow(client: Any) -> str:
    found = client.get_experiment_by_name(PROJECT)
    if found is None:
        with suppress(Exception):  # another run has made it since
            return str(client.create_experiment(PROJECT))
        found = client.get_experiment_by_name(PROJECT)
    return str(found.experiment_id)


TRACKERS: dict[str, Callable[[Run, Path], Sink]] = {  # by the name of the package and of the extra
    "tensorboard": tensorboard,
    "wandb": wandb,
    "mlflow": mlflow,
}
