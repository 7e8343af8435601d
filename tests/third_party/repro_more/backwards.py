"""`repro run --launcher backwards`: the last run first. A real one would hand the runs to a queue."""

from collections.abc import Sequence

from repro.launch.here import here
from repro.planning.plan import Run
from repro.training.events import Failed, Listener
from repro.training.execute import Machine


def launch(runs: Sequence[Run], machine: Machine, emit: Listener) -> Sequence[Failed]:
    return here(runs[::-1], machine, emit)
