"""Does the jobs of a plan: one worker here, or several at once in child processes."""

from __future__ import annotations

from collections.abc import Sequence

from repro.launch.children import in_children
from repro.launch.here import here
from repro.training.events import Failed, Listener
from repro.training.execute import Job, Machine


def launch(jobs: Sequence[Job], machine: Machine, *, at_once: int, emit: Listener) -> list[Failed]:
    """Do every job; one that fails does not stop the others. Returns the failures, which were emitted too."""
    if at_once == 1 or len(jobs) == 1:
        return here(jobs, machine, emit)
    return in_children(jobs, machine, min(at_once, len(jobs)), emit)
