"""What trackers are told: each epoch once, also when a run was stopped and goes on; and that none can hurt a run."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro import store
from repro.config.config import digest
from repro.config.keys import flatten, override
from repro.config.presets import preset
from repro.data.manifest import find
from repro.planning.plan import Run
from repro.records import Epoch, Errors, Images, RunRecord
from repro.training import trackers
from repro.training.events import EpochDone, Event, Finished, Started, Warned
from repro.training.execute import Machine, execute
from repro.training.trackers import TRACKERS, Sink, tracked
from tests.conftest import QUICK, Repro

Told = dict[str, list[tuple[int, float]]]  # name -> (step, value), as the tracker's own files have them
NAMES = [pytest.param(name, marks=pytest.mark.slow) for name in TRACKERS]


def read_tensorboard(results: Path, run: Run) -> Told:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = store.run_directory(results, run.digest, run.seed) / "tensorboard"
    found = EventAccumulator(str(folder), purge_orphaned_data=False)
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def read_wandb(results: Path, run: Run) -> Told:
    """The one offline run: records in the log format of LevelDB, 7 bytes of header, blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    folder = store.run_directory(results, run.digest, run.seed)
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    content, at, whole = file.read_bytes(), 7, b""
    told: Told = {}
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            record = Record.FromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                for item in record.history.item:
                    name = item.key or "/".join(item.nested_key)
                    told.setdefault(name, []).append((record.history.step.num, json.loads(item.value_json)))
            if record.WhichOneof("record_type") == "summary":
                for item in record.summary.update:
                    name = item.key or "/".join(item.nested_key)
                    if name.startswith("center/"):
                        told[name] = [(2, json.loads(item.value_json))]
    return told


def read_mlflow(results: Path, run: Run) -> Told:
    from mlflow.tracking import MlflowClient

    client = MlflowClient((results / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("repro")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED" and found.data.tags["repro.run"] == run.name
    assert found.data.params["optim.batch_size"] == str(flatten(run.config)["optim.batch_size"])
    history = {name: client.get_metric_history(found.info.run_id, name) for name in found.data.metrics}
    return {name: [(one.step, one.value) for one in of] for name, of in history.items()}


READERS: dict[str, Callable[[Path, Run], Told]] = {
    "tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow,
}  # fmt: skip


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def made_up_run() -> Run:
    config = preset("smoke")
    return Run(config, 3, digest(config, "made-up"), ("center",), used_by=("lrn-ablation/with-lrn",))


def epoch(number: int) -> Epoch:
    return Epoch(epoch=number, train_loss=2.0 / number, train_error=50.0 - number, learning_rate=0.01, seconds=1.0)


def record_of(run: Run) -> RunRecord:
    return RunRecord(
        digest=run.digest, seed=run.seed, config=run.config.model_dump(mode="json"), data=Images("photos", "made-up"),
        epochs=2, epochs_to_target=None, censored=False, seconds=2.0, images_per_second=1.0, diverged=False,
        train_error=1.0, held_out=None, errors={"center": Errors(40.5, 10.25)}, provenance={}, placement="cpu",
    )  # fmt: skip


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_tells_each_epoch_once(name: str, tmp_path: Path) -> None:
    """It had told of epoch 2 when it was stopped, before the checkpoint of epoch 2 was there."""
    pytest.importorskip(name)
    run, heard = made_up_run(), list[Event]()
    with tracked([name], run, tmp_path, heard.append) as listen:
        listen(Started(run.name, 2, 4, 0, 0))
        listen(EpochDone(run.name, epoch(1)))
        listen(EpochDone(run.name, epoch(2)))
    with tracked([name], run, tmp_path, heard.append) as listen:
        listen(Started(run.name, 2, 4, 1, 0, (epoch(1),)))
        listen(EpochDone(run.name, epoch(2)))
        listen(Finished(run.name, record_of(run)))
    assert not [event for event in heard if isinstance(event, Warned)]
    told = READERS[name](tmp_path, run)
    assert told["train_loss"] == [(1, 2.0), (2, 1.0)]
    assert told["train_error"] == [(1, 49.0), (2, 48.0)]
    assert told["center/top1_error"] == [(2, 40.5)] and told["center/top5_error"] == [(2, 10.25)]


def test_a_tracker_that_fails_is_told_of_once_and_the_run_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: Run, results: Path) -> Sink:
        def tell(epochs: object) -> None:
            raise ConnectionError("the server is gone")

        return Sink(tell, tell)

    monkeypatch.setitem(TRACKERS, "broken", broken)
    quick = {"data.per_class": 6, "data.test_per_class": 3, "schedule.epochs": 2, "eval.views": ["center"]}
    config = override(preset("smoke"), quick)
    manifest = find(config.data, photos)
    assert manifest
    run, heard = Run(config, 0, digest(config, manifest.digest), ("center",)), list[Any]()
    record = execute(run, Machine(tmp_path, photos, loader="torch", track=("broken",)), heard.append)
    assert record.epochs == 2 and [type(event) for event in heard][-1] is Finished
    (warned,) = [event for event in heard if isinstance(event, Warned)]
    assert warned.text == "broken is told nothing more of it: ConnectionError: the server is gone"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tensorbord", "--track tensorbord: no such tracker; did you mean 'tensorboard'?"),
        ("wandb", "--track wandb: is not installed; run: pip install 'alexnet-repro[wandb]'"),
    ],
)
def test_a_tracker_that_is_not_there_is_one_line_before_anything(
    name: str, says: str, repro: Repro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda package: None)
    code, out, err = repro("run", "ten-view", "--preset", "smoke", "--track", name)
    assert (code, out, err) == (2, "", f"error: {says}\n") and not (tmp_path / "results").exists()


@pytest.mark.usefixtures("offline")
def test_a_sweep_tells_its_trackers(repro: Repro, tmp_path: Path) -> None:
    asked = ("ten-view", "--preset", "smoke", "--seeds", "1", "--untuned", *QUICK)
    code, _, err = repro("run", *asked, "--track", "tensorboard")
    assert code == 0, err
    ((digest_of_run, seed),) = [one.key for one in store.finished_runs(tmp_path / "results")[0]]
    run = Run(preset("smoke"), seed, digest_of_run, ())
    (told,) = read_tensorboard(tmp_path / "results", run)["train_loss"]
    (epoch,) = store.read_metrics(tmp_path / "results", digest_of_run, seed)
    assert told == (1, pytest.approx(epoch.train_loss))


def test_no_tracker_is_imported_unless_it_is_asked_for() -> None:
    code = (
        "import repro.training.execute, sys; print([n for n in ('wandb', 'mlflow', 'tensorboard') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
