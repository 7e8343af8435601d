"""What a launcher is to `repro run`: how it does runs, and what has to be there before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from repro.extensions import load
from repro.planning.plan import Run
from repro.training.events import Failed, Listener
from repro.training.execute import Machine


def _nothing(_: Machine) -> None:
    """A launcher that needs nothing."""


@dataclass(frozen=True)
class Launcher:
    """How `repro run --launcher NAME` does runs. A function alone, as most are, is one that needs nothing."""

    launch: Callable[[Sequence[Run], Machine, Listener], Sequence[Failed]]  # returns the failures, emitted too
    check: Callable[[Machine], None] = _nothing  # raises ValueError where it cannot be used from here; starts nothing
    script: Callable[[Machine], str] | None = None  # for --script: what it would hand to a scheduler
    takes_address: bool = False  # of a cluster, from --address


def launcher(name: str) -> Launcher:
    """The launcher of that name. Raises ValueError where there is none, or it does not load."""
    found = load("repro.launchers", name)
    return found if isinstance(found, Launcher) else Launcher(found)
