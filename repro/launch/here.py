"""A worker: does runs that nobody is at, one after another in this process, until none is left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from repro import store
from repro.training import notice
from repro.training.claim import BusyError, Claim, LostError
from repro.training.events import Elsewhere, Event, Failed, Listener
from repro.training.execute import Job, Machine, execute, is_done


def here(jobs: Sequence[Job], machine: Machine, emit: Listener) -> list[Failed]:
    """Do the jobs, in their order, which others may be doing too: on this machine or on any that sees the results.

    Runs that others are at come last: they may be done by then, or their holder may have died, and its lease run out.
    One that fails does not stop the others; one that failed in another process since is not tried once more. Returns
    the failures, which were emitted too.
    """
    failures: list[Failed] = []

    def listen(event: Event) -> None:
        if isinstance(event, Failed):
            failures.append(event)
        emit(event)

    left = {job.name: job for job in jobs}
    failed_before = {job.name: _failed_at(job, machine) for job in jobs}
    claims: dict[str, Claim] = {}  # of runs that others are at: kept, for each measures how long it saw no sign of life
    while left:
        waiting = True
        for name, job in list(left.items()):
            notice.check()
            if is_done(job, machine.results):
                listen(Elsewhere(name, done=True))
            elif _failed_at(job, machine) != failed_before[name]:
                listen(Failed(name, store.failure(machine.results, job.digest, job.seed) or "", elsewhere=True))
            else:
                place = store.run_directory(machine.results, job.digest, job.seed)
                claim = claims.setdefault(name, Claim(place, machine.lease))
                try:
                    execute(job, machine, listen, claim=claim)
                except BusyError:
                    continue
                except LostError:
                    listen(Elsewhere(name, done=False))
                    continue
                except Exception as error:  # noted and emitted where it is known what it was; the next job goes on
                    if not failures or failures[-1].run != name:
                        listen(Failed(name, str(error)))
                waiting = False
            claims.pop(name, None)
            del left[name]
        if left and waiting:
            time.sleep(min(1.0, machine.lease / 10))
    return failures


def _failed_at(job: Job, machine: Machine) -> int | None:
    """When the last attempt failed, by the disk's own clock; None where it did not."""
    try:
        return (store.run_directory(machine.results, job.digest, job.seed) / "failed.json").stat().st_mtime_ns
    except OSError:
        return None
