"""Several processes at the same runs: who is at one, who takes it over, and what they share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import QUICK

from repro import files, store
from repro.config.config import digest
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import open_data
from repro.launch import launch
from repro.machine.share import share
from repro.planning.plan import Run
from repro.training.claim import FILE, BusyError, Claim
from repro.training.events import Elsewhere, Event, Failed, Started
from repro.training.execute import Machine, execute

LEASE = 1.0
HOLDER = """
import sys
from pathlib import Path
from repro import files, store
from repro.training.claim import Claim, LostError
folder = Path(sys.argv[1])
(folder / "run.json").write_text("before")
claim = Claim(folder, float(sys.argv[2]))
with claim.held(), files.guarded(claim.check):
    print("held", flush=True)
    sys.stdin.readline()
    for write in (
        lambda: claim.check_now_and_then(),
        lambda: store.write_json(folder / "run.json", "holder"),
        lambda: files.append(folder / "metrics.jsonl", "holder"),
        lambda: files.remove(folder / "run.json"),
    ):
        try:
            write()
            print("wrote", flush=True)
        except LostError:
            print("lost", flush=True)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is at the run; at a line on its standard input it tries to write what a run writes."""
    words = [sys.executable, "-c", HOLDER, str(folder), str(LEASE)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_stopped_holder_is_taken_over_when_its_lease_runs_out_and_then_writes_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdin and process.stdout
        claim = Claim(tmp_path, LEASE)
        end = time.monotonic() + 2 * LEASE
        while time.monotonic() < end:  # it lives, so its lease does not run out
            assert not claim.is_free()
            time.sleep(0.1)
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        until(claim.is_free)
        assert time.monotonic() - began > LEASE / 2
        with claim.held(), files.guarded(claim.check):
            store.write_json(tmp_path / "run.json", "successor")
            files.append(tmp_path / "metrics.jsonl", "successor")
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            assert [process.stdout.readline() for _ in range(4)] == ["lost\n"] * 4
            assert process.wait(10) == 0
            claim.check()  # what the other let go was not this one's
    assert json.loads((tmp_path / "run.json").read_text()) == "successor"
    assert (tmp_path / "metrics.jsonl").read_text() == "successor\n"
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*"))


def test_a_killed_holder_is_taken_over_at_once_on_its_own_machine(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert not Claim(tmp_path, LEASE).is_free()
        process.kill()
        process.wait()
        began = time.monotonic()
        assert Claim(tmp_path, LEASE).is_free() or Claim(tmp_path, LEASE).is_free()
        assert time.monotonic() - began < LEASE / 2


def test_leases_of_two_lengths_at_one_run_are_refused(tmp_path: Path) -> None:
    short = Claim(tmp_path, 6)
    with holder(tmp_path), pytest.raises(BusyError, match="lease of another length"), short.held():
        pass


def small(photos: Path, seed: int, epochs: int = 1) -> Run:
    """A run of a second."""
    changes = {"data.per_class": 6, "data.test_per_class": 3, "optim.batch_size": 16, "schedule.epochs": epochs}
    config = override(preset("smoke"), changes)
    return Run(config, seed, digest(config, open_data(config.data, photos).manifest.digest), ("center",))


@pytest.mark.parametrize("at_once", [1, 2])
def test_runs_that_others_are_at_come_last_and_are_taken_over_when_they_are_left(
    photos: Path, tmp_path: Path, at_once: int
) -> None:
    runs = [small(photos, seed) for seed in range(3)]
    machine = Machine(tmp_path, photos, loader="torch", lease=LEASE)
    folder = store.run_directory(tmp_path, runs[0].digest, 0)
    folder.mkdir(parents=True)
    events: list[Event] = []
    with holder(folder) as process:

        def listen(event: Event) -> None:
            events.append(event)
            if sum(store.is_finished(tmp_path, run.digest, run.seed) for run in runs) == 2:
                process.kill()
                process.wait()

        (folder / "run.json").unlink()
        assert launch(runs, machine, at_once=at_once, emit=listen) == []
    assert all(store.is_finished(tmp_path, run.digest, run.seed) for run in runs)
    assert max(at for at, event in enumerate(events) if event.run == runs[0].name) == len(events) - 1


TRAINER = """
import sys
from pathlib import Path
from repro.launch.here import attempt
from repro.training.execute import Machine
import test_workers
photos, results = map(Path, sys.argv[1:])
machine = Machine(results, photos, loader="torch", lease=test_workers.LEASE)
print(attempt(test_workers.small(photos, 0, epochs=60), machine, lambda event: None), flush=True)
"""


def test_a_run_that_is_stopped_in_training_and_wakes_after_another_ended_it_changes_nothing(
    photos: Path, tmp_path: Path
) -> None:
    run = small(photos, 0, epochs=60)
    folder = store.run_directory(tmp_path, run.digest, 0)
    words = [sys.executable, "-c", TRAINER, str(photos), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": f"{Path(store.__file__).parents[1]}:{Path(__file__).parent}"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        until((folder / "checkpoint-before.pt").exists)
        process.send_signal(signal.SIGSTOP)
        before = len((folder / "metrics.jsonl").read_text().splitlines())
        assert 1 <= before < 60, "it is in the middle of training"
        events: list[Event] = []
        assert (
            launch([run], Machine(tmp_path, photos, loader="torch", lease=LEASE), at_once=1, emit=events.append) == []
        )
        (began,) = (event for event in events if isinstance(event, Started))
        assert began.epoch >= 1, "it went on from the checkpoint"
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert {"run.json", "metrics.jsonl", "checkpoint.pt", "kernels.npy", "predictions-center.npz"} <= {*left}
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=60)[0] == "busy\n" and process.returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == left
    assert len(left["metrics.jsonl"].splitlines()) == 60


def test_what_another_process_did_since_the_plan_is_not_done_again(photos: Path, tmp_path: Path) -> None:
    """Nor is its checkpoint asked for, which may be on another machine."""
    run, machine = small(photos, 0), Machine(tmp_path, photos, loader="torch")
    execute(run, machine, lambda event: None)
    folder = store.run_directory(tmp_path, run.digest, 0)
    (folder / "checkpoint.pt").unlink()
    events: list[Event] = []
    assert launch([run], machine, at_once=1, emit=events.append) == []
    assert events == [Elsewhere(run.name, done=True)]
    assert not (folder / "failed.json").exists()


def test_a_run_that_failed_in_another_process_is_not_tried_again(photos: Path, tmp_path: Path) -> None:
    run, machine = small(photos, 0), Machine(tmp_path, photos, loader="torch", lease=LEASE)
    folder = store.run_directory(tmp_path, run.digest, 0)
    folder.mkdir(parents=True)
    with holder(folder) as process:
        (folder / "run.json").unlink()

        def fail() -> None:
            time.sleep(1)
            store.write_json(folder / "failed.json", {"reason": "no memory"})
            process.kill()

        other = threading.Thread(target=fail)
        other.start()
        events: list[Event] = []
        failed = launch([run], machine, at_once=1, emit=events.append)
        other.join()
    assert failed == events == [Failed(run.name, "no memory", elsewhere=True)]


def command(*words: str) -> list[str]:
    """A sweep at smoke: arms that each try two rates first."""
    return [sys.executable, "-m", "repro", words[0], "lrn-ablation", "--preset", "smoke", "--seeds", "1", *QUICK,
            *words[1:]]  # fmt: skip


@pytest.fixture
def place(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_DATA_DIR", str(photos))
    monkeypatch.setenv("PYTHONPATH", str(Path(store.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "runs"


def held_by(process: subprocess.Popen[str], place: Path) -> bool:
    def read(path: Path) -> str:
        try:
            return path.read_text()
        except OSError:
            return ""

    return any(f"pid={process.pid}\n" in read(path) for path in place.glob(f"*/*/{FILE}"))


def each_was_done_once(place: Path) -> bool:
    records = list(place.glob("*/seed-*/run.json"))
    assert len(records) == len(list(place.glob("*/seed-*"))) >= 4
    for record in records:
        lines = (record.parent / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1]
    return not list(place.glob("*/*/failed.json"))


@pytest.mark.slow
def test_two_sweeps_of_the_same_runs_share_them(place: Path) -> None:
    both = [
        subprocess.Popen(command("run", "--jobs", "1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n\n".join(said)
    assert each_was_done_once(place)
    assert "done by another process" in "".join(said)
    trained = [sum(": epoch 1/1" in line for line in text.splitlines()) for text in said]
    assert sum(trained) == len(list(place.glob("*/seed-*"))) and min(trained) >= 1, trained


@pytest.mark.slow
def test_workers_share_a_sweep_and_one_that_is_killed_loses_nothing(place: Path) -> None:
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    workers = [subprocess.Popen(command("work", "--jobs", "1"), **quiet) for _ in range(3)]  # type: ignore[call-overload]
    until(lambda: held_by(workers[0], place) or workers[0].poll() is not None)
    workers[0].kill()
    said = [process.communicate()[0] for process in workers]
    assert [process.returncode for process in workers] == [-signal.SIGKILL, 0, 0], "\n\n".join(said)
    assert each_was_done_once(place)
    assert not (place.parents[1] / "reports").exists()


NOTES = """
import sys
from pathlib import Path
from repro.planning import asked
from repro.records import Setting
results, who, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
every = {f"{one}-{number}" for one in "ab" for number in range(times)}
for number in range(times):
    asked.note(results, Setting("two", "smoke", {}, 3, {f"{who}-{number}": "0" * 12}), None, declared=every)
"""


def test_two_processes_that_note_one_setting_lose_nothing_of_each_other(tmp_path: Path) -> None:
    times = 40
    both = [subprocess.Popen([sys.executable, "-c", NOTES, str(tmp_path), who, str(times)]) for who in ("a", "b")]
    assert [process.wait() for process in both] == [0, 0]
    (setting,), damaged = store.read_settings(tmp_path)
    assert damaged == [] and {*setting.arms} == {f"{who}-{number}" for who in "ab" for number in range(times)}


@pytest.mark.parametrize(
    ("cores", "busy", "runs", "work", "fitting", "devices", "asked", "expected"),
    [
        (8, 0, 30, 1e9, 30, 0, None, (8, 1)),  # as many runs as cores
        (8, 7, 30, 1e6, 30, 0, None, (8, 1)),  # a thread each also where cores are busy: none waits for another
        (8, 0, 3, 1e9, 3, 0, None, (3, 1)),
        (8, 0, 30, 1e9, 2, 0, None, (2, 1)),  # no more than memory holds
        (8, 0, 30, 1e9, 0, 0, None, (1, 8)),
        (8, 0, 1, 1e9, 1, 0, None, (1, 8)),  # threads where one run is left, its net is large and cores are idle
        (8, 6.2, 1, 1e9, 1, 0, None, (1, 2)),
        (8, 8, 1, 1e9, 1, 0, None, (1, 1)),
        (8, 0, 1, 1e6, 1, 0, None, (1, 1)),
        (8, 0, 30, 1e9, 1, 0, 4, (4, 1)),  # what --jobs says
        (64, 0, 30, 1e9, 30, 4, None, (4, 1)),  # a CUDA device each
    ],
)
def test_the_machine_is_shared_out(
    cores: int, busy: float, runs: int, work: float, fitting: int, devices: int, asked: int | None,
    expected: tuple[int, int],
) -> None:  # fmt: skip
    found = share(cores, busy, runs, work, fitting=fitting, devices=devices, asked=asked)
    assert (found.at_once, found.threads) == expected, found.reason
