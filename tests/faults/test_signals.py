"""Row 10 of what may happen to a sweep: notice to end, and a parent that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LONG = (
    "run", "baseline", "--preset", "smoke", "--seeds", "2", "--loader", "torch",
    "--set", "schedule.epochs=400", "--set", "data.per_class=64",
)  # fmt: skip


def begun(folder: Path, photos: Path, *options: str) -> subprocess.Popen[str]:
    """A sweep in a process of its own, once it trains."""
    places = {
        "REPRO_DATA_DIR": photos,
        "REPRO_RESULTS_DIR": folder / "results",
        "REPRO_REPORTS_DIR": folder / "reports",
    }
    environment = os.environ | {name: str(path) for name, path in places.items()}
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", *LONG, *options], stdout=log, stderr=subprocess.STDOUT, text=True,
        env=environment, cwd=folder,
    )  # fmt: skip
    log.close()
    while not list(folder.glob("results/runs/*/seed-*/checkpoint.pt")):
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    return process


def children_of(process: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True).stdout
    return [int(line) for line in listed.split()]


@pytest.mark.parametrize(("signum", "jobs", "code"), [(signal.SIGTERM, "2", 143), (signal.SIGHUP, "1", 129)])
def test_notice_saves_the_run_and_ends_in_one_line(
    tmp_path: Path, photos: Path, signum: signal.Signals, jobs: str, code: int
) -> None:
    process = begun(tmp_path, photos, "--jobs", jobs)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/runs/*/seed-*/checkpoint.pt")}
    process.send_signal(signum)
    assert process.wait(30) == code
    log = (tmp_path / "log").read_text()
    assert log.rstrip().endswith("stopped; the same line goes on where it was")
    assert "Traceback" not in log
    assert not list(tmp_path.glob("results/runs/*/seed-*/failed.json")), "a run that is stopped has not failed"
    assert any(path.stat().st_mtime_ns > then for path, then in before.items()), "saved at its next step"


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path, photos: Path) -> None:
    process = begun(tmp_path, photos, "--jobs", "2")
    children = children_of(process)
    assert len(children) >= 2
    process.kill()
    process.wait(10)
    ended = time.monotonic() + 10
    while any(Path(f"/proc/{child}/cmdline").exists() and _lives(child) for child in children):
        assert time.monotonic() < ended, "children live on"
        time.sleep(0.05)
    assert not list(tmp_path.glob("results/runs/*/seed-*/failed.json"))


def _lives(child: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{child}/stat").read_text()
    except OSError:
        return False
