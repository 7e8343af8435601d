"""What the finished runs of results/ say that a plan and its bill ask for, kept in one file, so that ten thousand runs
are planned without reading ten thousand records.

`results/.index` is never the truth. Of each record, and of each file that was once found to be what its record says, it
has the size and the times. Where one of them is another now, the file is read again; where the index is damaged, or of
another version, everything is. `repro verify` does not look at it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from repro import files, store
from repro.records import NewerError, RunRecord

FILE = ".index"
VERSION = 1
# seconds: of a file that was changed so recently, another change might leave size and times as they are
RECENT = 2.0

Wrong = TypeVar("Wrong")
Stamp = tuple[int, int, int]  # size, and the times of the last changes to content and to the entry, ns


class Entry(msgspec.Struct, array_like=True):
    """A finished run: what its record says, as long as that has this stamp."""

    stamp: Stamp
    epochs: int  # 0: it was not trained here
    images_per_second: float
    machine: str
    threads: int
    placement: str
    whole: dict[str, Stamp]  # files that were found to be what the record says


class _Content(msgspec.Struct, array_like=True):
    version: int
    entries: dict[str, dict[int, Entry]]  # by digest and seed


_READER = msgspec.msgpack.Decoder(_Content)
_open: dict[str, Index] = {}


def of(results: Path) -> Index:
    """The index of a results folder; the same one in all of a process."""
    place = os.path.abspath(results)
    if place not in _open:
        _open[place] = Index(results)
    return _open[place]


class Index:
    """Entries by digest and seed; each is compared with the disk whenever it is asked for."""

    def __init__(self, results: Path) -> None:
        self._results, self._runs = results, os.path.join(os.path.abspath(results), "runs")
        self._entries = _read(results)
        self._new = False  # whether something was learned that the file does not have

    def entry(self, digest: str, seed: int) -> Entry | None:
        """What is known of a run; None where its record is not there or damaged. Raises NewerError."""
        of_digest = self._entries.get(digest)
        known = of_digest.get(seed) if of_digest else None
        now = _stamp(f"{self._runs}/{digest}/seed-{seed}/run.json")
        if known and known.stamp == now:
            return known
        found = None
        if now:
            try:
                found = _entry(store.read_run(self._results, digest, seed), now)
            except NewerError:
                raise
            except ValueError:
                pass
        if found is None:
            if known:
                del self._entries[digest][seed]
                self._new = True
            return None
        self._entries.setdefault(digest, {})[seed] = found
        self._new = True
        return found

    def entries(self) -> Iterator[tuple[str, int, Entry]]:
        """Digest, seed and entry of every finished run. Raises OSError for a folder that may not be read."""
        for digest, seeds in store.run_folders(self._results):
            for seed in seeds:
                with suppress(NewerError):
                    if found := self.entry(digest, seed):
                        yield digest, seed, found

    def unread(self, digest: str, seed: int, views: Iterable[str], artifacts: Iterable[str]) -> dict[str, str]:
        """`store.unread` of a finished run; a file that was looked at, and has not changed since, is not read again."""
        entry = self.entry(digest, seed)
        assert entry is not None, "only finished runs are in the index"
        left = {view: f"predictions-{view}.npz" for view in views}
        left |= {artifact: "kernels.npy" if artifact == "kernels" else f"{artifact}.npz" for artifact in artifacts}
        folder = f"{self._runs}/{digest}/seed-{seed}"
        stamps = {what: _stamp(f"{folder}/{name}") for what, name in left.items()}
        left = {
            what: name for what, name in left.items() if not (there := stamps[what]) or there != entry.whole.get(name)
        }
        if not left:
            return {}
        record = store.read_run(self._results, digest, seed)
        found = store.unread(
            self._results, digest, seed,
            [view for view in views if view in left], [artifact for artifact in artifacts if artifact in left], record,
        )  # fmt: skip
        for what, name in left.items():
            if what not in found and (there := stamps[what]) and _settled(there):
                entry.whole[name] = there
                self._new = True
        return found

    def checked(self, record: RunRecord, name: str, check: Callable[[], Wrong | None]) -> Wrong | None:
        """What `check` finds wrong with a file of a finished run. One that was whole, and has not changed since, is not
        looked at."""
        entry, there = self.entry(*record.key), _stamp(f"{self._runs}/{record.digest}/seed-{record.seed}/{name}")
        if entry is None or there is None:
            return check()
        if entry.whole.get(name) == there:
            return None
        wrong = check()
        if wrong is None and _settled(there):
            entry.whole[name] = there
            self._new = True
        return wrong

    def save(self) -> None:
        """Write down what was learned, beside what others wrote meanwhile; nothing where the folder may not be written.
        Of two processes that save at once one may lose what it learned, and learns it again."""
        if not self._new or not os.path.isdir(self._runs):
            return
        others = _read(self._results)
        for digest, seeds in others.items():
            for seed, entry in seeds.items():
                self._entries.setdefault(digest, {}).setdefault(seed, entry)
        with suppress(OSError):
            files.write_atomically(self._results / FILE, msgspec.msgpack.encode(_Content(VERSION, self._entries)))
        self._new = False


def _read(results: Path) -> dict[str, dict[int, Entry]]:
    with suppress(OSError, msgspec.DecodeError):  # not there, damaged, or of another version
        content = _READER.decode((results / FILE).read_bytes())
        if content.version == VERSION:
            return content.entries
    return {}


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _settled(stamp: Stamp) -> bool:
    return max(stamp[1:]) < (time.time() - RECENT) * 1e9


def _entry(record: RunRecord, stamp: Stamp) -> Entry:
    return Entry(
        stamp if _settled(stamp) else (-1, 0, 0), record.epochs, record.images_per_second, record.machine,
        record.threads, record.placement, {},
    )  # fmt: skip
