"""A worker: does runs that nobody is at, one after another in this process, until none is left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Literal

from repro.launch.waiting import Waiting
from repro.planning.plan import Run
from repro.training.claim import BusyError, LostError
from repro.training.events import Elsewhere, Event, Failed, Listener
from repro.training.execute import Machine, execute


def here(jobs: Sequence[Run], machine: Machine, emit: Listener) -> list[Failed]:
    """Do the jobs, in their order, which others may be doing too: on this machine, or on any that sees the results.

    Runs that others are at come last: by then they are done, or their holder has died and its lease has run out. One
    that fails does not stop the others; one that has failed in another process since is not tried again. Returns the
    failures, which were emitted too.
    """
    failures: list[Failed] = []

    def listen(event: Event) -> None:
        if isinstance(event, Failed):
            failures.append(event)
        emit(event)

    left, waiting = deque(jobs), Waiting(jobs, machine)
    while left or waiting:
        if not left:
            for found in waiting.look():
                if isinstance(found, Run):
                    left.append(found)
                else:
                    listen(found)
            if not left and waiting:
                time.sleep(waiting.seconds)
            continue
        job = left.popleft()
        if attempt(job, machine, listen) == "busy":
            waiting.add(job)
    return failures


def attempt(job: Run, machine: Machine, emit: Listener) -> Literal["ended", "busy"]:
    """Do a run, unless another process is at it or takes it over; a failure is emitted, not raised."""
    told = False

    def listen(event: Event) -> None:
        nonlocal told
        told = told or isinstance(event, Failed)
        emit(event)

    try:
        execute(job, machine, listen)
    except BusyError:
        return "busy"
    except LostError:
        emit(Elsewhere(job.name, done=False))
        return "busy"
    except BrokenPipeError:  # who listened is gone, which is no failure of the run
        raise
    except Exception as error:
        if not told:  # where it was noted it was emitted too
            emit(Failed(job.name, str(error)))
    return "ended"
