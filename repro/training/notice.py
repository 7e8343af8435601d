"""Notice to end: a signal asks a run to write its checkpoint after the step that it is at, and to end.

SIGTERM comes from schedulers, `timeout` and a parent that ends, SIGHUP from a closed terminal, SIGINT from Ctrl-C.
Signals come to a process as a whole, so this is the one state of the package that is not handed around.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h

Item = TypeVar("Item")
_given: list[int] = []
_patient = [0]  # how many `until_a_step` are under way


class Ended(KeyboardInterrupt):
    """This process was asked to end. No failure of a run, so no Exception."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def taken() -> Iterator[None]:
    """Turn the signals into `Ended`: at the next step inside of `until_a_step`, at once elsewhere, and at once for a
    second Ctrl-C. What ignores a signal (`nohup`) goes on ignoring it. For the main thread."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _given.clear()
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _hear)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _given.clear()


@contextmanager
def until_a_step() -> Iterator[None]:
    """Code that is not to be cut in between: notice that is given meanwhile ends it at its end."""
    _patient[0] += 1
    try:
        yield
    finally:
        _patient[0] -= 1
    check()


def steps(items: Iterable[Item]) -> Generator[Item]:
    """The items; what is done with each is not cut in between, waiting for the next one is. To be closed."""
    for item in items:
        with until_a_step():
            yield item


@contextmanager
def saving(save: Callable[[], None]) -> Iterator[None]:
    """Call `save` where notice ends the block."""
    try:
        yield
    except Ended:
        save()
        raise


def check() -> None:
    """Raises Ended where notice was given."""
    if _given:
        raise Ended(_given[0])


def die_with_parent(parent: int) -> None:
    """Have the kernel send this process SIGTERM when its parent, of process id `parent`, ends however it may. Linux
    only; elsewhere the end of the pipe to the parent tells it at the next step."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before this line
            raise Ended(signal.SIGHUP)


def _hear(number: int, frame: FrameType | None) -> None:
    first, impatient = not _given, number == signal.SIGINT and number in _given
    _given.append(number)
    if impatient or (first and not _patient[0]):  # a second SIGTERM does not cut what the first one has saved
        raise Ended(_given[0])
