"""Runs of a sweep that another process is at: looked at now and then, until they are done, failed, or free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from repro import store
from repro.planning.plan import Run
from repro.training.claim import Claim
from repro.training.events import Elsewhere, Event, Failed
from repro.training.execute import Machine, finished


class Waiting:
    """Keeps the claim of each run: that measures how long its holder has shown no sign of life."""

    def __init__(self, runs: Sequence[Run], machine: Machine) -> None:
        self._machine = machine
        self._failed_before = {run.name: failed_at(run, machine.results) for run in runs}
        self._busy: dict[str, tuple[Run, Claim]] = {}

    @property
    def seconds(self) -> float:
        """Between two looks."""
        return min(1.0, self._machine.lease / 10)

    def __bool__(self) -> bool:
        return bool(self._busy)

    def add(self, run: Run) -> None:
        """A run that another process is at."""
        folder = store.run_directory(self._machine.results, run.digest, run.seed)
        self._busy[run.name] = run, Claim(folder, self._machine.lease)

    def look(self) -> Iterator[Event | Run]:
        """Runs that nobody is at any more, to be tried again, and events of those that another process has ended."""
        for name, (run, claim) in list(self._busy.items()):
            if not claim.is_free():
                continue
            del self._busy[name]
            if finished(run, self._machine.results):
                yield Elsewhere(name, done=True)
            elif failed_at(run, self._machine.results) != self._failed_before[name]:
                reason = store.failure(self._machine.results, run.digest, run.seed)
                yield Failed(name, reason or "in another process", elsewhere=True)
            else:
                yield run


def failed_at(run: Run, results: Path) -> int | None:
    """When the last attempt failed, by the clock of the disk; None where it did not."""
    path = store.run_directory(results, run.digest, run.seed) / "failed.json"
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
