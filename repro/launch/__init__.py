"""Does the jobs of a plan: one worker here, several at once in child processes, or a launcher's elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from repro.launch.children import in_children
from repro.launch.here import here
from repro.launch.launcher import launcher as find
from repro.planning.plan import Run
from repro.training.events import Failed, Listener
from repro.training.execute import Machine


def launch(
    jobs: Sequence[Run], machine: Machine, *, at_once: int, emit: Listener, launcher: str | None = None
) -> Sequence[Failed]:
    """Do every job that no other process does, by the `launcher` that is named; return when all are done. One that
    fails does not stop the others. Returns the failures, which were emitted too."""
    if launcher:
        return find(launcher).launch(jobs, machine, emit)
    if at_once == 1 or len(jobs) == 1:
        return here(jobs, machine, emit)
    return in_children(jobs, machine, min(at_once, len(jobs)), emit)
