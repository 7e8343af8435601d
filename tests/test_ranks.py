"""A run that several processes share has the numbers of one process, and ends when one of them does."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Repro
from torch.distributed import PrefixStore, TCPStore

from repro import store
from repro.config.config import Config, digest
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import Batch, Loader, make_loader, open_data
from repro.machine import notice
from repro.machine.share import Share, share
from repro.network.model import build
from repro.network.towers import place
from repro.planning.plan import Run
from repro.training import checkpoint
from repro.training.checkpoint import Training
from repro.training.crew import RankError, together
from repro.training.events import Event, Started, Stepped
from repro.training.execute import Machine, devices_of_rank, execute
from repro.training.optim import make_optimizer
from repro.training.ranks import ALONE, Ranks, meet, part
from repro.training.train import Loaders, train

SMALL = {"data.per_class": 6, "data.test_per_class": 3, "optim.batch_size": 16, "schedule.epochs": 2}
# 48 images: 16 + 16 + 16; 15 + 15 + 15 + 3, shares of 7 and 8, 1 and 2; 47 + 1, of which rank 0 has none
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "normalization and dropout": ({}, ("cpu",)),
    "two towers in each rank": ({}, ("cpu", "cpu")),
    "uneven batches": ({"optim.batch_size": 15}, ("cpu",)),
    "an empty share": ({"optim.batch_size": 47}, ("cpu", "cpu")),
    "locally connected, inverted dropout": (
        {"optim.batch_size": 47, "model.layers.conv3.kind": "local", "model.dropout.inverted": True}, ("cpu",),
    ),
}  # fmt: skip


class Doubled:
    """A loader whose images are float64."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def size(self, batch: int) -> int:
        return self.loader.size(batch)

    def epoch(self, *given: Any, **how: Any) -> Iterator[Batch]:
        return (batch._replace(image=batch.image.double()) for batch in self.loader.epoch(*given, **how))

    def views(self, view: Any) -> Iterator[Batch]:
        return (batch._replace(image=batch.image.double()) for batch in self.loader.views(view))


def trained(case: str, photos: Path, ranks: Ranks) -> tuple[dict[str, torch.Tensor], list[tuple[Any, ...]]]:
    """Weights in float64 after a run, and the numbers of each epoch."""
    changes, devices = CASES[case]
    config = override(preset("smoke"), SMALL | changes)
    prepared = open_data(config.data, photos)
    model = place(build(config, 0).double(), devices)
    training = Training("run", config, 0, model, make_optimizer(model, config), torch.device("cpu"))
    loaders: list[Any] = [
        Doubled(make_loader(prepared, config, split, seed=0, kind="torch", rank=ranks.rank, world=ranks.world))
        for split in ("train", "test", "held_out")
    ]
    train(training, Loaders(*loaders), emit=lambda event: None, save=lambda: None, ranks=ranks)
    numbers = [(one.train_loss, one.train_error, one.test_top1_error) for one in training.position.history]
    return model.state_dict(), numbers


def rank_of_two(rank: int, port: int, photos: Path, out: Path) -> None:
    """A process that trains every case as one of two ranks."""
    torch.set_num_threads(1)
    shared = TCPStore("127.0.0.1", port, is_master=rank == 0, wait_for_workers=False)
    for case in CASES:
        weights, numbers = trained(case, photos, meet(PrefixStore(case, shared), rank, 2, 60, cuda=False))
        torch.save([weights, numbers], out / f"{case} {rank}")
        part()
        shared.set(f"{case} {rank}", "")
        shared.wait([f"{case} {1 - rank}"])


@pytest.fixture(scope="module")
def pairs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What two ranks have after each case."""
    out = tmp_path_factory.mktemp("pairs")
    context = multiprocessing.get_context("spawn")
    port = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False).port  # free again once it is dropped
    processes = [context.Process(target=rank_of_two, args=(rank, port, photos, out)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)  # seconds on an idle machine
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    return {case: [torch.load(out / f"{case} {rank}") for rank in (0, 1)] for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_have_the_weights_and_numbers_of_one_process(
    case: str, photos: Path, pairs: dict[str, list[Any]]
) -> None:
    weights, numbers = trained(case, photos, ALONE)
    start = build(override(preset("smoke"), SMALL | CASES[case][0]), 0).double().state_dict()
    for shared_weights, shared_numbers in pairs[case]:
        for name, expected in weights.items():
            assert (shared_weights[name] - expected).abs().max() < 1e-12, name
        assert [number[1:] for number in shared_numbers] == [number[1:] for number in numbers]
        assert [number[0] for number in shared_numbers] == pytest.approx([number[0] for number in numbers], rel=1e-12)
    assert (weights["fc8.weight"] - start["fc8.weight"]).abs().max() > 1e-6, "what did not move proves nothing"
    assert all(torch.equal(pairs[case][0][0][name], pairs[case][1][0][name]) for name in weights)


def small(photos: Path, **changes: Any) -> Run:
    config: Config = override(preset("smoke"), SMALL | {"optim.batch_size": 15, "eval.views": ["center"]} | changes)
    return Run(config, 0, digest(config, open_data(config.data, photos).manifest.digest), ("center", "ten"))


def quiet(event: Event) -> None:
    """Nobody listens."""


def test_a_shared_run_leaves_the_record_and_each_prediction_once(photos: Path, tmp_path: Path) -> None:
    one = small(photos)
    alone, shared = (Machine(tmp_path / str(ranks), photos, loader="torch", ranks=ranks) for ranks in (1, 2))
    expected, record = execute(one, alone, quiet), execute(one, shared, quiet)
    assert record.placement == "cpu in each of 2 ranks"
    assert (record.errors, record.train_error) == (expected.errors, expected.train_error)
    a, b = (store.read_predictions(each.results, one.digest, 0, "ten") for each in (alone, shared))
    np.testing.assert_array_equal(a["index"], b["index"])
    np.testing.assert_array_equal(a["label"], b["label"])
    np.testing.assert_allclose(a["probability"], b["probability"], rtol=1e-3, atol=1e-4)  # stored in float16
    lines, shared_lines = (store.read_metrics(each.results, one.digest, 0) for each in (alone, shared))
    assert [line.train_loss for line in shared_lines] == pytest.approx([line.train_loss for line in lines], rel=1e-5)
    names = {path.name for path in store.run_directory(shared.results, one.digest, 0).iterdir()}
    assert names == {path.name for path in store.run_directory(alone.results, one.digest, 0).iterdir()}
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (signal.SIGKILL, "rank 1 of 2: its process ended with exit code -9; run again to go on"),
        (signal.SIGSTOP, "rank 1 of 2 is gone, or hangs"),
    ],
)
def test_a_rank_that_dies_or_hangs_ends_the_run_by_name_and_the_run_goes_on_where_it_was_saved(
    sent: signal.Signals, reason: str, photos: Path, tmp_path: Path
) -> None:
    one = small(photos, **{"schedule.epochs": 3})
    machine = Machine(tmp_path, photos, loader="torch", ranks=2, patience=5.0)
    struck: list[float] = []

    def strike(event: Event) -> None:
        if isinstance(event, Stepped) and event.epoch == 1 and not struck:
            (process,) = multiprocessing.active_children()
            assert process.pid
            os.kill(process.pid, sent)
            struck.append(time.monotonic())

    with pytest.raises(RankError) as failed:
        execute(one, machine, strike)
    assert reason in str(failed.value)
    assert time.monotonic() - struck[0] < 60
    assert reason in (store.failure(tmp_path, one.digest, 0) or "")
    assert not multiprocessing.active_children()
    started: list[Event] = []
    if sent == signal.SIGKILL:  # once is enough
        record = execute(one, replace(machine, ranks=1), lambda event: started.append(event))
        assert record.epochs == 3
        first = next(event for event in started if isinstance(event, Started))
        assert (first.epoch, first.batch) == (1, 0), "the end of the first epoch was saved"


def failing(run: Run, machine: Machine, rank: int, join: Callable[[], Ranks]) -> None:
    """In place of `follow`."""
    join()
    raise ValueError("made up")


def test_an_error_of_another_rank_is_told_with_its_reason(photos: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path, photos, ranks=2)
    with (
        pytest.raises(RankError, match=r"^rank 1 of 2: ValueError: made up$"),
        together(small(photos), machine, failing) as ranks,
    ):
        ranks.total([1.0])


def test_a_notice_to_one_rank_saves_the_run_at_that_step_and_ends_all(photos: Path, tmp_path: Path) -> None:
    one = small(photos)

    def ask(event: Event) -> None:
        if isinstance(event, Stepped) and (event.epoch, event.batch) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    with notice.heard(), pytest.raises(notice.Stopped):
        execute(one, Machine(tmp_path, photos, loader="torch", ranks=2), ask)
    path = store.run_directory(tmp_path, one.digest, 0) / checkpoint.FILE
    assert checkpoint.read(path, one.name)["position"]["step"] == 4 + 2
    assert not multiprocessing.active_children() and store.failure(tmp_path, one.digest, 0) is None


def rank_processes(launcher: int) -> dict[int, int]:
    """Rank -> process number of those that a torchrun started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            variables = dict(line.split("=", 1) for line in (path / "environ").read_text().split("\0") if "=" in line)
            if parent == launcher and "RANK" in variables:
                found[int(variables["RANK"])] = int(path.name)
    return found


def test_torchrun_starts_a_run_again_where_it_was_saved_when_a_rank_is_killed(photos: Path, tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1",
        "-m", "repro", "work", "baseline", "--preset", "smoke", "--seeds", "1", "--untuned", "--loader", "torch",
        "--results-dir", str(tmp_path / "results"), "--data-dir", str(photos),
        *(word for key, value in (SMALL | {"schedule.epochs": 12, "eval.every": 12}).items()
          for word in ("--set", f"{key}={value}")),
    ]  # fmt: skip
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, cwd=tmp_path)
    try:
        lines: list[str] = []
        while len(lines) < 3:  # epochs
            assert process.poll() is None, (tmp_path / "output").read_text()
            time.sleep(0.05)
            lines = [
                line
                for path in tmp_path.glob("results/runs/*/seed-0/metrics.jsonl")
                for line in path.read_text().splitlines()
            ]
        os.kill(rank_processes(process.pid)[1], signal.SIGKILL)
        assert process.wait(600) == 0, (tmp_path / "output").read_text()
    finally:
        process.kill()
    said = (tmp_path / "output").read_text()
    assert "rank 1 of 2 is gone, or hangs" in said
    assert said.count("epoch 1/12") == 1 and said.count("epoch 12/12") == 1
    (path,) = tmp_path.glob("results/runs/*/seed-0/metrics.jsonl")
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == list(range(1, 13))
    assert path.with_name("run.json").is_file()


@pytest.mark.parametrize(
    ("words", "variables", "expected"),
    [
        (["--devices", "0"], {}, "--devices 0: give a number of processes from 1 on"),
        (["--devices", "2", "--jobs", "2"], {}, "--jobs 2: 2 processes share each run, one after another"),
        (["--devices", "2", "--graph"], {}, "--graph: 2 processes share each run"),
        (["--devices", "2"], {"RANK": "0", "WORLD_SIZE": "2"}, "--devices 2: torchrun says that 2 processes share"),
        (["--jobs", "3"], {"RANK": "0", "WORLD_SIZE": "2"}, "--jobs 3: 2 processes share each run"),
    ],
)
def test_options_that_do_not_go_with_ranks_are_refused_in_one_line(
    words: list[str], variables: dict[str, str], expected: str, repro: Repro, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("repro.training.crew.leading", nullcontext)  # there is no torchrun to tell that it ends
    code, out, err = repro("run", "baseline", "--preset", "smoke", *words)
    assert (code, out) == (2, "") and err.startswith(f"error: {expected}") and err.count("\n") == 1


def test_more_ranks_than_cuda_devices_are_refused_in_one_line(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    code, _, err = repro("run", "baseline", "--preset", "smoke", "--devices", "2")
    assert code == 2 and err == "error: --devices 2: this machine has 1 CUDA device(s); give at most so many\n"


def test_a_rank_has_the_cuda_device_of_its_number_on_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(Path(), Path(), ranks=4)
    assert devices_of_rank(machine, 3) == ("cpu",)
    assert devices_of_rank(replace(machine, devices=("cpu", "cpu")), 3) == ("cpu", "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [devices_of_rank(machine, rank) for rank in range(4)] == [(f"cuda:{rank}",) for rank in range(4)]
    with pytest.raises(ValueError, match="cuda:0: each rank takes the CUDA device of its number"):
        devices_of_rank(replace(machine, devices=("cuda:0",)))
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)  # the second of two machines
    assert devices_of_rank(machine, 3) == ("cuda:1",)


def test_batch_normalization_is_refused_over_ranks(photos: Path, tmp_path: Path) -> None:
    one = small(photos, **{"model.norm": {"kind": "batch"}})
    with pytest.raises(ValueError, match=r"model\.norm\.kind batch: its statistics are those of a whole batch"):
        execute(one, Machine(tmp_path, photos, loader="torch", ranks=2), quiet)


def test_a_run_over_ranks_is_done_alone_with_the_cores_shared_out() -> None:
    assert share(16, 0.2, 9, 1e9, fitting=9, asked=None, ranks=4) == Share(1, 4, "one run at once over 4 ranks")
    assert share(16, 0.2, 9, 1e3, fitting=9, ranks=4).threads == 1, "a small net gains nothing from a second thread"
