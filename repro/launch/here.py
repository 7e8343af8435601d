"""Does jobs one after another in this process."""

from __future__ import annotations

from collections.abc import Sequence

from repro.plan.plan import Run
from repro.training.events import Event, Failed, Listener
from repro.training.execute import Machine, execute


def here(jobs: Sequence[Run], machine: Machine, emit: Listener) -> list[Failed]:
    failures: list[Failed] = []

    def listen(event: Event) -> None:
        if isinstance(event, Failed):
            failures.append(event)
        emit(event)

    for job in jobs:
        try:
            execute(job, machine, listen)
        except Exception as error:  # noted and emitted where it is known what it was; the next job goes on
            if not failures or failures[-1].run != job.name:
                listen(Failed(job.name, str(error)))
    return failures
