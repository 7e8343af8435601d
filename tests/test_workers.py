"""Several processes at the same runs: who is at one, who takes it over, and how a process is asked to end."""

from __future__ import annotations

import json
import os
import shlex
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
from repro.training.claim import DEATHS, NOTE, BusyError, Claim, LostError
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
    with Claim(tmp_path, 5).held(), pytest.raises(BusyError, match="lease of another length"), Claim(tmp_path, 6).held():
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
