"""Runs as tasks of Ray: what is said without it, and a cluster of three nodes that loses one."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import test_workers
from conftest import QUICK, Repro

from repro import store
from repro.launch import launch
from repro.launch import ray as ray_launcher
from repro.training.claim import FILE, SECONDS
from repro.training.events import EpochDone, Event, Finished, Started, Warned
from repro.training.execute import Machine

SWEEP = ("lrn-ablation", "--preset", "smoke", "--seeds", "1", *QUICK)
EPOCHS = 60
with_ray = pytest.mark.skipif(not find_spec("ray"), reason="Ray is not here: pip install 'alexnet-repro[ray]'")


def test_without_ray_one_line_says_what_to_install(
    repro: Repro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.launch.ray.find_spec", lambda name: None)
    expected = "error: --launcher ray needs the extra: pip install 'alexnet-repro[ray]'\n"
    assert repro("run", *SWEEP, "--launcher", "ray") == (2, "", expected)
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--launcher", "ray", "--address", "ray://there:10001"), "is neither HOST:PORT"),
        (("--launcher", "ray", "--address", "there"), "is neither HOST:PORT"),
        (("--launcher", "ray", "--address", ""), "is neither HOST:PORT"),
        (("--launcher", "ray", "--script"), "--script: is for --launcher slurm only"),
        (("--launcher", "here", "--address", "auto"), "--address: is for --launcher ray only"),
        (("--address", "auto"), "--address: is for --launcher ray only"),
    ],
)
def test_what_a_cluster_needs_is_said_in_one_line(
    repro: Repro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr("repro.launch.ray.find_spec", lambda name: name)
    code, out, err = repro("run", *SWEEP, *words)
    assert (code, out) == (2, "") and expected in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_an_address_where_nothing_answers_is_said_at_once(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.launch.ray.find_spec", lambda name: name)
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        code, out, err = repro("run", *SWEEP, "--launcher", "ray", "--address", address)
    assert (code, out) == (2, "") and err.startswith(f"error: --address {address}: no cluster answers there")


@pytest.mark.parametrize(
    ("devices", "there", "gpus", "as_a_task_sees_them"),
    [
        ((), 0, 0, ()),
        ((), 8, 1, ()),
        (("cpu", "cpu"), 8, 0, ("cpu", "cpu")),
        (("cuda:3",), 8, 1, ("cuda:0",)),
        (("cuda:5", "cuda:2"), 8, 2, ("cuda:0", "cuda:1")),
        (("cuda:1", "cuda:1"), 8, 1, ("cuda:0", "cuda:0")),
        (("cuda", "cpu"), 8, 1, ("cuda:0", "cpu")),
    ],
)
def test_a_task_has_the_gpus_of_its_devices_and_finds_them_first(
    devices: tuple[str, ...], there: float, gpus: int, as_a_task_sees_them: tuple[str, ...]
) -> None:
    assert ray_launcher._gpus(devices, there) == gpus
    assert ray_launcher._renamed(devices) == as_a_task_sees_them


def test_what_a_cluster_has_is_said_in_words() -> None:
    has = {"CPU": 12.0, "GPU": 1.0, "memory": 1e9, "node:10.0.0.1": 1.0, "node:10.0.0.2": 1.0,
           "node:__internal_head__": 1.0}  # fmt: skip
    assert ray_launcher._said(has) == "2 nodes, 12 CPUs, 1 GPU"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of three nodes with a CPU each, here."""
    for name, value in ray_launcher.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    path = [str(Path(store.__file__).parents[1]), str(Path(__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    from ray.cluster_utils import Cluster

    each = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": ray_launcher.STORE_BYTES}
    made = Cluster(initialize_head=True, head_node_args={**each, "include_dashboard": False})
    try:
        for _ in range(2):
            made.add_node(**each)
        yield made
    finally:
        made.shutdown()


def node_of(cluster: Any, folder: Path) -> Any:
    """The node whose process is at a run; None where it has ended."""
    try:
        (number,) = re.findall(r"pid=(\d+)\n", (folder / FILE).read_text())
        parent = int(re.findall(r"PPid:\s*(\d+)", Path(f"/proc/{number}/status").read_text())[0])
    except (OSError, ValueError):
        return None
    return next((one for one in cluster.list_all_nodes() if one.all_processes["raylet"][0].process.pid == parent), None)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a dozen processes begin, and import torch, where other tests run too
@with_ray
def test_each_run_finishes_once_where_a_node_is_lost_and_another_process_is_at_a_run(
    cluster: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of the lost node goes on elsewhere, from its checkpoint; the other process's begins when that is gone."""
    monkeypatch.setattr(test_workers, "LEASE", SECONDS)
    *free, held = runs = [test_workers.small(photos, seed, EPOCHS) for seed in range(4)]
    folders = {run.name: store.run_directory(tmp_path, run.digest, run.seed) for run in runs}
    folders[held.name].mkdir(parents=True)
    events: list[Event] = []
    lost: list[str] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochDone) and not lost:
            node = node_of(cluster, folders[event.run])
            if node not in (None, cluster.head_node):
                lost.append(event.run)
                cluster.remove_node(node, allow_graceful=False)
        if isinstance(event, Finished):
            process.kill()
            process.wait()

    with test_workers.holder(folders[held.name]) as process:
        (folders[held.name] / "run.json").unlink()
        machine = Machine(tmp_path, photos, loader="torch", address=cluster.address)
        assert launch(runs, machine, at_once=1, emit=listen, launcher="ray") == []
    starts = Counter(event.run for event in events if isinstance(event, Started))
    assert len(lost) == 1 and starts == {run.name: 1 + (run.name in lost) for run in runs}
    ends = [event.run for event in events if isinstance(event, Finished)]
    assert sorted(ends) == sorted(run.name for run in runs)
    first, second = (event for event in events if isinstance(event, Started) and event.run in lost)
    assert (first.epoch, first.batch) == (0, 0) and 1 <= second.epoch < EPOCHS, "it went on from its checkpoint"
    assert any(isinstance(event, Warned) and event.run in lost and "was lost" in event.text for event in events)
    (of_held,) = (at for at, one in enumerate(events) if isinstance(one, Started) and one.run == held.name)
    assert any(isinstance(event, Finished) for event in events[:of_held]), "others were done meanwhile"
    (run,) = (run for run in free if run.name in lost)
    alone = tmp_path / "alone"
    assert launch([run], Machine(alone, photos, loader="torch"), at_once=1, emit=lambda event: None) == []
    here, there = (store.read_metrics(place, run.digest, run.seed) for place in (alone, tmp_path))
    assert [one.train_loss for one in there] == [one.train_loss for one in here] and len(here) == EPOCHS
    assert not list(tmp_path.glob("runs/*/*/failed.json"))
