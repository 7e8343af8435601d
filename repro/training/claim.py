"""Who is at a run: a lease beside it, which runs out when its holder no longer shows a sign of life.

A lock of the operating system is neither seen on every shared disk nor let go by a process that hangs. A lease is a
file that its holder touches; whoever finds it untouched for as long as it lasts, by the own clock, takes it over. The
holder that it was taken from may wake up: it looks before each write and every few steps, and ends its run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

FILE = "claim.lock"
SECONDS = 60.0  # a lease; network disks may show a touched file half a minute late
NOTE = "claim.json"  # there while a process is at the run, and after one that was killed
DEATHS = 3  # of processes at one run that got no further: the next would die too
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
            raise BusyError(f"{self._path.parent}: another process is at this run; wait for it, or end it") from None
        except LeaseSettingsMismatch:
            raise BusyError(
                f"{self._path.parent}: another process is at this run, with a lease of another length; give both one"
            ) from None
        self._looked = time.monotonic()
        try:
            yield
        except LostError:
            raise
        except BaseException:
            self._forget()
            raise
        else:
            self._forget()
        finally:
            self._lease.release()  # leaves the file of who took it over

    def begin(self, state: Path) -> None:
        """Note that this process is at the run. Raises ValueError where DEATHS before it were killed there and `state`,
        the file of what they had reached, did not change: they died of the run itself, say for want of memory."""
        reached = state.stat().st_mtime_ns if state.is_file() else 0
        note, dead = self._path.with_name(NOTE), 0
        if note.is_file():
            try:
                before = json.loads(note.read_text())
                dead = 1 + (before["dead"] if before["reached"] == reached else 0)
            except (ValueError, LookupError, TypeError):  # killed while it wrote
                dead = 1
        if dead >= DEATHS:
            raise ValueError(f"{dead} processes were killed at this run and got no further; has it enough memory?")
        note.write_text(json.dumps({"dead": dead, "reached": reached}))

    def _forget(self) -> None:
        with suppress(LostError, OSError):
            self.check()
            self._path.with_name(NOTE).unlink()

    def check(self) -> None:
        """Raises LostError where the run is no longer this process's. To be called before each write."""
        token = self._lease.token
        for look in range(LOOKS):
            try:
                if token and f"token={token}\n" in self._path.read_text():
                    self._looked = time.monotonic()
                    return
            except OSError:
                pass
            if look + 1 < LOOKS:
                time.sleep(min(0.05, self._seconds / 100))
        raise LostError(f"{self._path.parent}: another process took this run over; this one was stopped for too long")

    def check_now_and_then(self) -> None:
        """`check`, at most ten times in the length of a lease: for every step of a run."""
        if time.monotonic() - self._looked > self._seconds / 10:
            self.check()
