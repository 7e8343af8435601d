"""What lies in a source: one table of kinds, one filter, one walk through folders and archives, and one guard around
whatever reads a file that came from elsewhere.

No member of an archive is ever written under a name that it chose: members are read where they lie.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

IMAGES = ("jpeg", "jpg", "jpe", "jfif", "png", "webp", "avif", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "pnm")
ARCHIVES = ("tar", "tgz", "tar.gz", "txz", "tar.xz", "tbz2", "tar.bz2", "zip", "parquet")
ASIDE = (  # what stands beside images and is no loss
    "md5", "sha1", "sha256", "sha512", "asc", "sig", "aria2", "torrent", "url", "txt", "md", "rst", "html", "htm",
    "pdf", "csv", "tsv", "json", "jsonl", "yaml", "yml", "xml", "mat", "npy", "py", "sh", "ipynb", "db", "ini", "log",
)  # fmt: skip
LABELS = (  # whole names: what publishers put beside images
    "val_annotations.txt", "loc_val_solution.csv", "loc_synset_mapping.txt", "synset_words.txt", "classes.tsv",
    "meta.mat", TRUTH := "validation_ground_truth.txt",
)  # fmt: skip
KINDS = {
    **dict.fromkeys(IMAGES, "image"), **dict.fromkeys(ARCHIVES, "archive"), **dict.fromkeys(ASIDE, "aside"),
    **dict.fromkeys(LABELS, "labels"),
}  # fmt: skip
OTHER_TASK = re.compile(r"(?:train|devkit)_t3")  # the dogs of ILSVRC-2012's third task
HIDDEN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")  # besides a dot in front
MOST_LINKS = 8  # links to folders inside links to folders
LARGEST = 1 << 28  # bytes of one image or label file; a larger one is not read
SWOLLEN, SWOLLEN_FROM = 100, 1 << 26  # from 64 MiB on, what unpacks to so many times its size is no archive of images
COPY = 1 << 22  # bytes at a time
BLOCK = 512  # of a tar
PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open, b"BZh": bz2.open}  # by first bytes
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # what a place to write to answers, not a source


class SourceError(ValueError):
    """A source that cannot be read: which file, what is wrong, how to mend it; in one line."""


@contextmanager
def reading(what: object, mend: str = "fetch it again") -> Iterator[None]:
    """The guard around a reader of foreign files, which may raise anything: it comes out as one `SourceError`.

    A full disk goes through, for it is no fault of the source, and so does what a guard further in has named.
    """
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        raise SourceError(f"{shown(str(what))} cannot be read: {error_in_words(error)}; {mend}") from None


def error_in_words(error: BaseException) -> str:
    """The error in words, without addresses of objects in memory."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = shown(" ".join(str(error).split()))
    if not text or isinstance(error, LookupError | AttributeError | TypeError | AssertionError):
        text = f"{type(error).__name__} {text}".rstrip()
    return "no image format that Pillow knows" if "cannot identify image file" in text else text


def shown(name: str) -> str:
    """A file's name for people and JSON, also when it is no valid text."""
    return name.encode("utf-8", "backslashreplace").decode()


def amount(count: float) -> str:
    """Bytes for people: `1.2 GB`, `35.0 MB`, `3.1 kB`."""
    unit, name = next((pair for pair in ((1e9, "GB"), (1e6, "MB")) if count >= pair[0]), (1e3, "kB"))
    return f"{count / unit:.1f} {name}"


def kind(name: str) -> str:
    """`image`, `archive`, `labels` or `aside`; empty for an ending that is not known."""
    file = name.lower().rsplit("/", 1)[-1]
    if OTHER_TASK.search(file):
        return "aside"
    *_, before, last = ("", *file.split("."))
    whole = TRUTH if file.endswith(TRUTH) else file
    return KINDS.get(whole) or KINDS.get(f"{before}.{last}") or KINDS.get(last, "")


def stem(archive: str) -> str:
    """An archive's path without its ending: the folder that it would be."""
    ending = max((each for each in ARCHIVES if archive.lower().endswith(f".{each}")), key=len, default="")
    return archive[: -len(ending) - 1] if ending else archive


def hidden(name: str) -> bool:
    """Whether a part of the path is one that file managers and tools keep for themselves: the one filter of folders,
    tars and zips."""
    return any(part.startswith(".") or part in HIDDEN for part in name.split("/"))


def cleaned(name: str) -> str:
    """The name of an archive's member as a plain path: without `.`, `..` and a slash in front."""
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


@dataclass(frozen=True, slots=True)
class File:
    """A file of a source: on disk, or a stretch of an archive. A folder's name ends with a slash."""

    name: str  # path below the source, or below the root of its archive
    place: Path  # what is on disk
    length: int
    start: int = 0
    archive: str = ""  # the archive's path below the source
    inside: Callable[[], bytes] | None = None  # reads a member of a zip

    @property
    def where(self) -> str:
        """The place, and in an archive the name: for people."""
        return shown(f"{self.place}: {self.name}" if self.archive else str(self.place))

    def read(self) -> bytes:
        """The content. Raises ValueError for more than `LARGEST` bytes, and whatever disks and zips raise."""
        if self.length > LARGEST:
            raise ValueError(f"{amount(self.length)} are more than an image takes")
        if self.inside:
            return self.inside()
        with open(self.place, "rb") as file:
            file.seek(self.start)
            return file.read(self.length)


class Losses:
    """What a source holds and gives no image for: how many of each kind, and one of them."""

    def __init__(self) -> None:
        self.kinds: dict[str, tuple[int, str]] = {}

    def add(self, what: str, name: str) -> None:
        """Count one file, of the kind `what`: words that follow a number."""
        count, first = self.kinds.get(what, (0, shown(name)))
        self.kinds[what] = count + 1, first

    def notes(self) -> list[str]:
        """A line for each kind."""
        return [f"not read: {count:,} {what} ({first})" for what, (count, first) in sorted(self.kinds.items())]


@dataclass(frozen=True)
class Listing:
    """What is on disk below a source; `seal` changes with name, size or time of any file that a set can depend on."""

    source: Path
    files: list[File]  # and folders, but no archives
    archives: list[File]  # a source that is a file is taken for one whatever its ending
    losses: Losses
    seal: str


def listing(source: Path, leave_out: Path | None = None) -> Listing:
    """Walk through a source on disk: links are followed, hidden parts and the folder `leave_out` are passed over.

    Raises SourceError for a folder that may not be read.
    """
    losses, seal = Losses(), hashlib.sha256()
    found: list[File] = []
    archives: list[File] = []
    for name, path, facts in _walk(source, losses, leave_out):
        if stat.S_ISDIR(facts.st_mode):
            found.append(File(f"{name}/", path, 0))
            continue
        what = kind(name)
        (archives if what == "archive" or path == source else found).append(File(name, path, facts.st_size))
        if what != "aside" and "devkit" not in name:  # a development kit is published, and does not change
            seal.update(os.fsencode(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n"))
    return Listing(source, found, archives, losses, seal.hexdigest())


def _walk(source: Path, losses: Losses, leave_out: Path | None) -> Iterator[tuple[str, Path, os.stat_result]]:
    """(path below the source, path, facts) of its folders and regular files. The folders that a link is in end it."""
    with reading(source, "give a folder or file that you may read"):
        facts = source.stat()
    if not stat.S_ISDIR(facts.st_mode):
        yield source.name, source, facts
        return
    left_out = _identity(leave_out.stat()) if leave_out and leave_out.exists() else None
    waiting: list[Folder] = [("", source, (_identity(facts),), 0)]
    while waiting:
        above, folder, within, links = waiting.pop()
        inner: list[Folder] = []
        with (
            reading(folder, "give yourself the right to read it, or take it out of the source"),
            os.scandir(folder) as all_,
        ):
            entries = sorted(all_, key=lambda entry: entry.name)
            for entry in entries:
                name, linked = above + entry.name, entry.is_symlink()
                if hidden(entry.name):
                    continue
                try:
                    facts = os.stat(entry.path)
                except OSError:
                    if not linked:
                        raise
                    losses.add("links that lead nowhere", name)
                    continue
                here = _identity(facts)
                if stat.S_ISREG(facts.st_mode):
                    yield name, Path(entry.path), facts
                elif not stat.S_ISDIR(facts.st_mode):
                    losses.add("entries that are neither files nor folders", name)
                elif linked and (here in within or links == MOST_LINKS):
                    losses.add("links that lead back to a folder that they are in", name)
                elif here != left_out:
                    yield name, Path(entry.path), facts
                    inner.append((f"{name}/", Path(entry.path), (*within, here), links + linked))
        waiting += reversed(inner)


Folder = tuple[str, Path, tuple[tuple[int, int], ...], int]  # name, path, the folders that it is in, links on its way


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def members(archive: File, scratch: Path, losses: Losses) -> Iterator[File]:
    """The files and folders of an archive: a tar, packed or not, with the tars in it; a zip; or a Parquet table.

    What cannot be sought is unpacked once into `scratch`. Raises SourceError for a damaged archive, one that is cut,
    and one that holds anything behind its last member.
    """
    with reading(archive.place, "fetch it again, or unpack it and give the folder"):
        if zipfile.is_zipfile(archive.place) and _first_bytes(archive.place).startswith(b"PK"):
            yield from _zip(archive, losses)
        else:
            plain = _plain(archive, scratch)
            try:
                yield from _tar(plain, archive, losses, 0, plain.stat().st_size, "")
            except tarfile.TarError as error:
                raise ValueError(f"it is no whole tar, zip or Parquet table ({error})") from None


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)


def _zip(archive: File, losses: Losses) -> Iterator[File]:
    whole = zipfile.ZipFile(archive.place)  # stays open: its members are read through it, by all threads
    for info in whole.infolist():
        name = cleaned(info.filename.replace("\\", "/"))
        if hidden(name):
            continue
        if info.is_dir():
            yield File(f"{name}/", archive.place, 0, archive=archive.name)
        elif info.flag_bits & 1:
            raise ValueError(f"{name} is encrypted")
        elif stat.S_ISLNK(info.external_attr >> 16):
            losses.add("links in archives", f"{archive.name}: {name}")
        elif kind(name) == "archive":
            losses.add("archives in a zip; unpack it", f"{archive.name}: {name}")
        else:
            inside = partial(whole.read, info)
            yield File(name, archive.place, info.file_size, archive=archive.name, inside=inside)


def _tar(place: Path, archive: File, losses: Losses, start: int, end: int, above: str) -> Iterator[File]:
    """The members of a tar that fills the bytes from `start` to `end` of a file."""
    with open(place, "rb") as file:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else a million members stay in memory
                name = above + cleaned(member.name)
                if member.isreg() and member.offset_data + member.size > end:
                    raise ValueError(f"it is cut inside {name}")
                if hidden(name):
                    continue
                if member.isdir():
                    yield File(f"{name}/", place, 0, archive=archive.name)
                elif not member.isreg() or member.issparse():
                    what = "links in archives" if member.issym() or member.islnk() else "special files in archives"
                    losses.add(what, f"{archive.name}: {name}")
                elif name.lower().endswith(".tar") and not above:  # as in ILSVRC's: one tar a class
                    first, last = member.offset_data, member.offset_data + member.size
                    with reading(f"{archive.place}: {name}"):
                        yield from _tar(place, archive, losses, first, last, f"{name[:-4]}/")
                elif kind(name) == "archive":
                    losses.add("archives in archives; unpack the outer one", f"{archive.name}: {name}")
                else:
                    yield File(name, place, member.size, member.offset_data, archive.name)
            check_end(file, tar.offset, end)


def check_end(file: IO[bytes], start: int, end: int) -> None:
    """Raises ValueError unless a block of zeros, and nothing but zeros, follows the last member of a tar: tarfile takes
    a damaged header for the end, and a file that is cut between two members for a whole one."""
    if end - start < BLOCK:
        raise ValueError("it is cut: its end mark is missing")
    file.seek(start)
    for place in range(start, end, COPY):
        if file.read(min(COPY, end - place)).strip(b"\0"):
            raise ValueError(f"it is damaged: what follows byte {start:,} is no member")


def _plain(archive: File, scratch: Path) -> Path:
    """A tar that can be sought: `archive` itself, or its unpacked copy in `scratch`, made once."""
    head = _first_bytes(archive.place)
    if head.lstrip().startswith(b"<"):
        raise ValueError("it is a web page, no archive")
    opened = next((opens for first, opens in PACKED.items() if head.startswith(first)), None)
    if not opened and not head.startswith(b"PAR1"):
        return archive.place
    plain = scratch / f"{hashlib.sha256(os.fsencode(archive.name)).hexdigest()[:8]}.tar"
    if plain.exists():
        return plain
    scratch.mkdir(parents=True, exist_ok=True)
    part = plain.with_suffix(".part")
    try:
        with open(part, "wb") as out:
            bounded = Bounded(out, archive)
            if opened:
                with opened(archive.place) as packed:
                    shutil.copyfileobj(packed, bounded, COPY)
            else:
                _write_parquet(archive.place, bounded)
            out.flush()
            os.fsync(out.fileno())
        part.replace(plain)
    finally:
        part.unlink(missing_ok=True)
    return plain


class Bounded:
    """A file for what is unpacked of an archive: it stops what would fill the disk, or swells as no images do."""

    def __init__(self, out: IO[bytes], archive: File) -> None:
        self.out, self.archive, self.place = out, archive, Path(out.name).parent
        self.most = max(SWOLLEN_FROM, SWOLLEN * archive.length)
        self.looked = -COPY

    def write(self, content: bytes) -> int:
        """Append. Raises ValueError where the bounds are reached."""
        done = self.out.tell() + len(content)
        if done > self.most:
            raise ValueError(f"it swells from {amount(self.archive.length)} to more than {amount(self.most)}")
        if done >= self.looked + COPY:
            self.looked, usage = done, shutil.disk_usage(self.place)
            if usage.free < min(usage.total // 50, 1 << 30):
                raise SourceError(
                    f"{self.archive.place} does not fit unpacked into {self.place}, where {amount(usage.free)} are "
                    "left; choose another --data-dir"
                )
        return self.out.write(content)

    def tell(self) -> int:
        """Bytes so far."""
        return self.out.tell()


def _write_parquet(path: Path, out: Any) -> None:
    """A hub's table of images as a tar: LABEL/ROW.ENDING in the order of the rows, and classes.tsv with the names that
    the schema gives. A row without label or image bytes becomes a member without a folder, or an empty one."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise SourceError(
            f"{path} is a Parquet table, which needs the extra: pip install 'alexnet-repro[arrow]'"
        ) from None

    table = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
    columns = table.schema_arrow.names
    image = next((name for name in ("image", "img") if name in columns), None)
    label = next((name for name in ("label", "labels", "fine_label") if name in columns), None)
    if image is None or label is None:
        raise ValueError(f"it wants the columns image (or img) and label, and has {', '.join(columns)}")
    about = json.loads((table.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
    names = about.get("info", {}).get("features", {}).get(label, {}).get("names", [])

    def add(name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))

    with tarfile.open(fileobj=out, mode="w") as tar:
        lines = ["wnid\tname", *(f"{number:05d}\t{' '.join(str(name).split())}" for number, name in enumerate(names))]
        add("classes.tsv", "\n".join(lines).encode())
        row = 0
        for batch in table.iter_batches(64, columns=[image, label]):
            tar.members.clear()  # type: ignore[attr-defined]
            values = batch.to_pydict()
            for stored, found in zip(values[image], values[label], strict=True):
                content = (stored.get("bytes") if isinstance(stored, dict) else stored) or b""
                known = isinstance(found, str) or (isinstance(found, int) and found >= 0)
                folder = f"{found:05d}/" if isinstance(found, int) else f"{found}/"
                ending = "png" if content.startswith(b"\x89PNG") else "jpg"
                add(f"{folder if known else ''}{path.stem}-{row:07d}.{ending}", content)
                row += 1
    if row != table.metadata.num_rows:
        raise ValueError(f"it holds {row:,} rows of {table.metadata.num_rows:,}")
