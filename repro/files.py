"""Files that survive crashes and crowds: written whole or not at all, read within bounds, one writer at a time."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from repro.suggest import shortened

if TYPE_CHECKING:
    import numpy as np

LARGEST = 16 << 20  # bytes: a record has 5 kB, the setting of a search some 20 kB, the metrics of 1,000 epochs 300 kB
LARGEST_ARRAY = 1 << 30  # bytes: the probabilities of 50,000 images and 1,000 classes are 100 MB
TEMPORARY = ".*.tmp"  # what `write_atomically` leaves where it is killed
FULL = (errno.ENOSPC, errno.EDQUOT)
_may_write: ContextVar[Callable[[], None]] = ContextVar("_may_write", default=lambda: None)


@contextmanager
def guarded(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each write or removal of the block; it raises where the writer has lost the right to."""
    before = _may_write.set(check)
    try:
        yield
    finally:
        _may_write.reset(before)


def append(path: Path, line: str) -> None:
    """Add a line at the end of a file."""
    _may_write.get()()
    with path.open("a") as file:
        file.write(f"{line}\n")


def remove(path: Path) -> None:
    """Delete a file, if it is there."""
    _may_write.get()()
    path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str, *, kept: Path | None = None) -> None:
    """Write a file so that it is there whole or not at all, after a power cut too; `kept` becomes the one that it
    replaces. Raises OSError that names the file, and the free space where that is the reason."""
    data = content.encode() if isinstance(content, str) else content
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # CIFS and exFAT refuse it
            os.chmod(temporary, 0o644)
        _may_write.get()()
        if kept:
            with suppress(FileNotFoundError):
                os.replace(path, kept)
        os.replace(temporary, path)
        flush_directory(path.parent)
    except OSError as error:
        _remove(temporary)
        raise named(error, path, len(data)) from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(temporary: str) -> None:
    with suppress(OSError):
        if temporary:
            os.unlink(temporary)


def named(error: OSError, path: Path, wanted: int = 0) -> OSError:
    """The error with the file that it is about; where the disk is full, with what is free and what was `wanted`."""
    reason = error.strerror or str(error)
    if error.errno in FULL:
        with suppress(OSError):
            free = amount(shutil.disk_usage(path.parent).free)
            reason = f"{reason} ({free} free{f', {amount(wanted)} wanted' if wanted else ''})"
    return type(error)(error.errno, reason, str(path))


def amount(count: float) -> str:
    """`"1.2 GB"`, `"35.0 MB"`, `"12.3 kB"`: three digits at least, however few bytes there are."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


def flush_directory(folder: Path) -> None:
    """Make a rename in a folder last through a power cut, where the file system can."""
    with suppress(OSError):  # NFS and CIFS may refuse to
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Delete what killed writers left in a folder; for whoever holds the folder's lock."""
    for path in folder.glob(TEMPORARY):
        with suppress(OSError):
            path.unlink()


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Wait until no other process writes in a folder, and sweep it."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        sweep(folder)
        yield


def sha256(path: Path) -> str:
    """The hash of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path | str) -> bytes:
    """A file that should be small. Raises ValueError for one of more than LARGEST bytes, OSError for one that cannot be
    read."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if (size := os.fstat(handle).st_size) > LARGEST:
            raise ValueError(f"{amount(size)}, more than {amount(LARGEST)}")
        parts = []
        while part := os.read(handle, size + 1):  # which may grow
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of plain numbers in an npz file. Raises ValueError for anything else; no more memory is taken than the
    archive says, and that is bounded."""
    import numpy as np
    from numpy.lib import format as npy

    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name in names:
                member = archive.getinfo(f"{name}.npy")
                if member.file_size > LARGEST_ARRAY:
                    raise ValueError(f"{name} takes {amount(member.file_size)}, more than {amount(LARGEST_ARRAY)}")
                content = archive.read(member)  # its checksum is compared
                stream = io.BytesIO(content)
                header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
                shape, by_column, kind = header[npy.read_magic(stream)](stream)
                if kind.kind not in "iufb" or math.prod(shape) * kind.itemsize != len(content) - stream.tell():
                    raise ValueError(f"{name} holds no numbers, or other than it says")
                array = np.frombuffer(content, kind, offset=stream.tell())
                found[name] = array.reshape(shape, order="F" if by_column else "C")
            return found
    except Exception as error:  # zip, key, header and OS errors all mean the same here
        raise ValueError(f"{type(error).__name__}: {shortened(' '.join(str(error).split()))}") from None


def names_in(folder: Path | str) -> list[str]:
    """What stands in a folder, sorted; nothing where it is not there or no folder. Raises OSError for one that may not
    be read, which `Path.glob` passes over in silence."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def listed(folder: Path, *patterns: str) -> list[Path]:
    """What matches `patterns`, one a level, below a folder, sorted; nothing where it is not there. Raises OSError for a
    folder that may not be read."""
    first, *rest = patterns
    found = [folder / name for name in names_in(folder) if Path(name).match(first)]
    return [below for one in found for below in listed(one, *rest)] if rest else found
