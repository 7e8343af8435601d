"""Notice to end: SIGTERM, SIGHUP and Ctrl-C. A run that trains is saved at its next step, then everything ends.

Schedulers, `timeout` and a closed terminal send them. A second notice does not wait for a step.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The process is to end. Not an Exception: a run that is stopped has not failed."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _State:
    training = False
    asked: int | None = None


def _hear(signum: int, _: FrameType | None) -> None:
    if _State.training and _State.asked is None:
        _State.asked = signum
    else:
        raise Stopped(signum)


@contextmanager
def heard(*, ignored: tuple[int, ...] = ()) -> Iterator[None]:
    """Hear notices in this process until the end of the block; those of `ignored` mean nothing here."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN if signum in ignored else _hear)
    _State.asked = None
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def at_steps() -> Iterator[None]:
    """While a run trains, a notice waits for `asked`."""
    before, _State.training = _State.training, True
    try:
        yield
    finally:
        _State.training = before


def asked() -> int | None:
    """The signal that asked to end at the next step, or None."""
    return _State.asked


def die_with_parent() -> None:
    """Linux ends this process when its parent ends, however that does."""
    import ctypes

    pr_set_pdeathsig = 1  # prctl(2)
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
