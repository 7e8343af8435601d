"""Several processes at the same runs: who is at one, who takes it over, and how a process is asked to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from repro import store
from repro.training import notice
from repro.training.claim import DEATHS, NOTE, BusyError, Claim
from tests.conftest import QUICK

LEASE = 1.0
HOLDER = """
import sys, time
from pathlib import Path
from repro import store
from repro.training.claim import Claim, LostError
folder = Path(sys.argv[1])
claim = Claim(folder, float(sys.argv[2]))
with claim.held(), store.guarded(claim.check):
    claim.begin(folder / "checkpoint.pt")
    print("held", flush=True)
    sys.stdin.readline()
    for write in (
        lambda: claim.check_now_and_then(),
        lambda: store.write_json(folder / "run.json", "holder"),
        lambda: store.append(folder / "metrics.jsonl", "holder"),
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
        time.sleep(0.05)


def test_a_stopped_holder_is_taken_over_when_its_lease_runs_out_and_then_writes_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdin and process.stdout
        claim = Claim(tmp_path, LEASE)
        time.sleep(1.5 * LEASE)  # it lives, so its lease does not run out
        with pytest.raises(BusyError), claim.held():
            pass
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        while True:
            try:
                with claim.held(), store.guarded(claim.check):
                    assert LEASE / 2 < time.monotonic() - began < LEASE + 1
                    store.write_json(tmp_path / "run.json", "successor")
                    store.append(tmp_path / "metrics.jsonl", "successor")
                    process.send_signal(signal.SIGCONT)
                    process.stdin.write("\n")
                    process.stdin.flush()
                    assert [process.stdout.readline() for _ in range(3)] == ["lost\n"] * 3
                    assert process.wait(10) == 0
                    claim.check()  # what the other let go was not this one's
                break
            except BusyError:
                time.sleep(0.02)
    assert json.loads((tmp_path / "run.json").read_text()) == "successor"
    assert (tmp_path / "metrics.jsonl").read_text() == "successor\n"
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*"))


def test_a_killed_holder_is_taken_over_at_once_on_its_own_machine_until_too_many_got_no_further(
    tmp_path: Path,
) -> None:
    for dead in range(DEATHS):
        with holder(tmp_path) as process:
            process.kill()
            process.wait()
        assert json.loads((tmp_path / NOTE).read_text())["dead"] == dead
    claim, state = Claim(tmp_path, LEASE), tmp_path / "checkpoint.pt"
    with pytest.raises(ValueError, match="3 processes were killed at this run and got no further"), claim.held():
        claim.begin(state)
    with claim.held():
        claim.begin(state)  # tried again on purpose, it counts anew
        (tmp_path / NOTE).write_text(json.dumps({"dead": DEATHS, "reached": 0}))
        state.touch()
        claim.begin(state)  # and so does a run that got further
    assert not (tmp_path / NOTE).exists()


def test_leases_of_two_lengths_at_one_run_are_refused(tmp_path: Path) -> None:
    with (
        Claim(tmp_path, 5).held(),
        pytest.raises(BusyError, match="lease of another length"),
        Claim(tmp_path, 6).held(),
    ):
        pass


def test_notice_waits_for_the_step_and_cuts_what_comes_between(tmp_path: Path) -> None:
    done = []
    with notice.taken():
        with pytest.raises(notice.Ended) as ended, notice.saving(lambda: done.append("saved")):
            for item in notice.steps([1, 2]):
                signal.raise_signal(signal.SIGTERM)
                done.append(item)
        assert done == [1, "saved"] and ended.value.number == signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)  # a second one does not cut what the first one saves
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(notice.Ended):  # but a second Ctrl-C does
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(notice.Ended), notice.taken():
        signal.raise_signal(signal.SIGHUP)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with notice.taken():
        signal.raise_signal(signal.SIGHUP)  # as under nohup
    signal.signal(signal.SIGHUP, before)


def command(*words: str, epochs: int) -> list[str]:
    """A sweep of four runs at smoke, two arms that each try two rates first."""
    quick = [word.replace("epochs=1", f"epochs={epochs}") for word in QUICK]
    return [sys.executable, "-m", "repro", words[0], "lrn-ablation", "--preset", "smoke", "--seeds", "1", *quick,
            *words[1:]]  # fmt: skip


@pytest.fixture
def place(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_DATA_DIR", str(photos))
    monkeypatch.setenv("PYTHONPATH", str(Path(store.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "runs"


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_a_sweep_ended_by_a_signal_leaves_checkpoints_one_line_and_no_child(place: Path) -> None:
    """SIGTERM and SIGHUP as from a scheduler and a closed terminal; SIGKILL of the parent leaves its children alone."""
    epochs = 0
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
        with subprocess.Popen(
            command("run", "--jobs", "2", epochs=500), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout and process.stderr
            seen: set[str] = set()
            while len(seen) < 2:  # both children are at a run
                line = process.stdout.readline()
                assert line, process.stderr.read()
                seen |= {line.partition(":")[0]} if ": epoch " in line else set()
            children = [
                int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            ]
            process.send_signal(number)
            process.stdout.close()
            said = process.stderr.read()  # to the end of the last that holds it: the children
            code = process.wait()
        until(lambda: not any(map(alive, children)), 10)  # noqa: B023
        if number == signal.SIGKILL:
            assert not said
        else:
            assert code == 128 + number and said == "stopped; the same line goes on where it was\n"
        assert len(list(place.glob("*/*/checkpoint.pt"))) == 2
        assert not [path.name for path in place.glob("*/*/*") if path.name.startswith(("failed", "claim", "."))]
        done = sum(len(path.read_text().splitlines()) for path in place.glob("*/*/metrics.jsonl"))
        assert done > epochs, "each sweep goes on where the one before ended"
        epochs = done


@pytest.mark.slow
def test_workers_share_a_sweep_and_one_that_is_killed_loses_nothing(place: Path) -> None:
    with (
        subprocess.Popen(command("run", epochs=1), stderr=subprocess.PIPE, text=True) as whole,
        subprocess.Popen(command("work", epochs=1), stdout=subprocess.PIPE, text=True) as worker,
        subprocess.Popen(command("work", epochs=1)) as killed,
    ):
        claims = lambda: [path for path in place.glob("*/*/claim.lock") if f"pid={killed.pid}\n" in read(path)]  # noqa: E731
        until(claims)
        killed.kill()
        assert whole.stderr and worker.stdout
        assert whole.wait() == 0, whole.stderr.read()
        assert worker.wait() == 0, worker.stdout.read()
    records = list(place.glob("*/seed-*/run.json"))
    assert len(records) == len(list(place.glob("*/seed-*"))) >= 4
    for record in records:
        epochs = [json.loads(line)["epoch"] for line in (record.parent / "metrics.jsonl").read_text().splitlines()]
        assert epochs == [1], "each run was done once"
    assert (place.parents[1] / "reports" / "lrn-ablation.md").is_file()


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
