"""Who is at a run: a lease beside it, which runs out when its holder shows no sign of life.

A lock of the operating system is neither seen on every shared disk nor let go by a process that hangs. A lease is a
file that its holder touches. Whoever sees it untouched for as long as it lasts, by the own clock, takes it over. That
of a process that is dead on the same machine is taken over at once. The holder that it was taken from may wake up: it
looks before each write and every few steps, and ends its run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

FILE = "claim.lock"
SECONDS = 60.0  # a lease; network disks may show a touched file half a minute late
LOOKS = 3  # at a lease that is gone: who looks whether it is stale moves it aside for a moment


class BusyError(ValueError):
    """Another process is at the run."""


class LostError(Exception):
    """The lease of a run ran out, and another process took it over or removed it."""


class Claim:
    """A run that this process may be at. The same object has to ask again: a lease is stale when this one saw no sign
    of life for its whole length."""

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self._path, self._seconds = folder / FILE, seconds
        self._lease = SoftFileLease(self._path, lease_duration=seconds, poll_interval=min(1.0, seconds / 10))
        self._looked = 0.0

    @contextmanager
    def held(self, *, wait: bool = False) -> Iterator[None]:
        """Be at the run, or `wait` until nobody else is. Raises BusyError where another process is at it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lease.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise BusyError(f"{self._path.parent}: another process is at this run") from None
        except LeaseSettingsMismatch:
            raise BusyError(
                f"{self._path.parent}: another process is at this run, with a lease of another length; give both one"
            ) from None
        self._looked = time.monotonic()
        try:
            yield
        finally:
            self._lease.release()  # leaves the file of who took it over

    def is_free(self) -> bool:
        """Whether nobody is at the run, or whoever was shows no sign of life any more."""
        with suppress(BusyError), self.held():
            return True
        return False

    def check(self) -> None:
        """Raises LostError where the run is no longer this process's. To be called before each write."""
        token = self._lease.token
        for look in range(LOOKS):
            with suppress(OSError):
                if token and f"token={token}\n" in self._path.read_text():
                    self._looked = time.monotonic()
                    return
            if look + 1 < LOOKS:
                time.sleep(min(0.05, self._seconds / 100))
        raise LostError(f"{self._path.parent}: another process took this run over; this one was stopped for too long")

    def check_now_and_then(self) -> None:
        """`check`, at most ten times in the length of a lease: for every step of a run."""
        if time.monotonic() - self._looked > self._seconds / 10:
            self.check()
