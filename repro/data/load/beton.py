"""FFCV's `.beton` file format, version 2, written and read with numpy alone.

One file serves both loaders: FFCV 1.0.2 reads it natively, and the torch loader maps it without FFCV installed. Unlike
FFCV's writer this one streams (constant memory), resumes after an interruption, and gives the same bytes every time.

    header | field descriptors | one metadata record an image | zeros up to a page | pages of pixels | allocation table

Images do not cross a page. Layout after ffcv/types.py, ffcv/writer.py and ffcv/memory_allocator.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from repro.data.prepare.files import error_in_words

VERSION = 2
HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ],
    align=True,
)
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
FIELD = np.dtype([("type_id", "<u1"), ("name", ("<u1", 16)), ("arguments", ("<u1", (1024,)))], align=True)
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])  # RGBImageField
BYTES = np.dtype([("ptr", "<u8"), ("size", "<u8")])  # BytesField
INT_FIELD, IMAGE_FIELD, BYTES_FIELD = 1, 2, 3
MODES = {"jpeg": 0, "raw": 1}  # of RGBImageField
SMALL_PAGE, PAGE = 1 << 21, 1 << 23  # FFCV's smallest and its usual page; the usual one wastes space in small sets
SMALL = 1 << 28
SLACK = 1 << 16  # bytes that a PNG or JPEG of noise may take more than its pixels


def record_type(storage: str) -> np.dtype[Any]:
    """Metadata of one image: the image (or, for png, FFCV's plain bytes) and the label."""
    return np.dtype([("", BYTES if storage == "png" else IMAGE), ("", "<i8")], align=True)


def field_descriptors(storage: str) -> bytes:
    """What FFCV reads names and types of the fields from."""
    fields = np.zeros(2, FIELD)
    named = (("image", BYTES_FIELD if storage == "png" else IMAGE_FIELD), ("label", INT_FIELD))
    for position, (name, type_id) in enumerate(named):
        fields[position]["type_id"] = type_id
        fields[position]["name"][: len(name)] = np.frombuffer(name.encode(), np.uint8)
    return fields.tobytes()


class Writer:
    """Appends encoded images to `path`; `checkpoint` and `resume` carry it over an interruption."""

    def __init__(self, path: Path, storage: str, size: int, capacity: int) -> None:
        self.path, self.storage, self.size = path, storage, size
        self.record = record_type(storage)
        self.page_size = SMALL_PAGE if capacity * size * size * 3 <= SMALL else PAGE
        while self.page_size < size * size * 3 + (0 if storage == "raw" else SLACK):  # an image does not cross pages
            self.page_size *= 2
        self.metadata_start = HEADER.itemsize + 2 * FIELD.itemsize
        end = self.metadata_start + capacity * self.record.itemsize
        self.data_start = -(-end // self.page_size) * self.page_size
        self.end = self.data_start
        self.metadata = np.zeros(capacity, self.record)
        self.allocations = np.zeros(capacity, ALLOCATION)
        self.count = 0
        self.file: BinaryIO = path.open("r+b" if path.exists() else "w+b")

    def restart(self) -> None:
        """Drop what an earlier attempt left in the file."""
        self.file.truncate(0)
        self.path.with_suffix(".journal").unlink(missing_ok=True)

    def holds(self, end: int, count: int, finished: bool) -> bool:
        """Whether a state that was saved is still on the disk: somebody may have deleted the file, or its journal."""
        if self.path.stat().st_size < max(end, 1):
            return False
        journal, each = self.path.with_suffix(".journal"), self.record.itemsize + ALLOCATION.itemsize
        return finished or (journal.exists() and journal.stat().st_size >= count * each)

    def resume(self, end: int, count: int) -> None:
        """Go back to a state that was saved; what was written after it is cut off."""
        self.file.flush()
        self.file.truncate(end)
        read = np.fromfile(self.path.with_suffix(".journal"), np.uint8)
        each = self.record.itemsize + ALLOCATION.itemsize
        rows = read[: count * each].reshape(count, each)
        self.metadata[:count] = np.ascontiguousarray(rows[:, : self.record.itemsize]).view(self.record)[:, 0]
        self.allocations[:count] = np.ascontiguousarray(rows[:, self.record.itemsize :]).view(ALLOCATION)[:, 0]
        os.truncate(self.path.with_suffix(".journal"), count * each)
        self.end, self.count = end, count

    def append(self, encoded: bytes | npt.NDArray[np.uint8], label: int) -> None:
        """One image: raw pixels, or a JPEG or PNG file."""
        length = len(encoded) if isinstance(encoded, bytes) else encoded.nbytes
        room = self.page_size - (self.end - self.data_start) % self.page_size
        if length > self.page_size:
            raise ValueError(f"an image of {length} bytes is larger than a page of {self.page_size}")
        pointer = self.end if length <= room else self.end + room
        self.file.seek(pointer)
        self.file.write(encoded if isinstance(encoded, bytes) else np.ascontiguousarray(encoded).data)
        record = self.metadata[self.count]
        if self.storage == "png":
            record["f0"] = (pointer, length)
        else:
            record["f0"] = (MODES[self.storage], self.size, self.size, pointer)
        record["f1"] = label
        self.allocations[self.count] = (self.count, pointer, length)
        self.end, self.count = pointer + length, self.count + 1

    def checkpoint(self) -> tuple[int, int]:
        """Bring everything to the disk; returns (end, count), which `resume` takes back."""
        self.file.flush()
        os.fsync(self.file.fileno())
        journal = self.path.with_suffix(".journal")
        each = self.record.itemsize + ALLOCATION.itemsize
        with open(journal, "r+b" if journal.exists() else "wb") as file:
            done = min(file.seek(0, os.SEEK_END) // each, self.count)
            file.seek(done * each)
            new = slice(done, self.count)
            rows = np.empty((self.count - done, each), np.uint8)
            rows[:, : self.record.itemsize] = self.metadata[new].view(np.uint8).reshape(-1, self.record.itemsize)
            rows[:, self.record.itemsize :] = self.allocations[new].view(np.uint8).reshape(-1, ALLOCATION.itemsize)
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())
        return self.end, self.count

    def finish(self) -> None:
        """Write allocation table, metadata and, last, the header; bring everything to the disk."""
        pages = -(-(self.end - self.data_start) // self.page_size)
        table = self.data_start + pages * self.page_size
        self.file.truncate(table)
        self.file.seek(table)
        self.file.write(self.allocations[: self.count].tobytes())
        self.file.seek(HEADER.itemsize)
        self.file.write(field_descriptors(self.storage))
        self.file.write(self.metadata[: self.count].tobytes())
        header = np.zeros(1, HEADER)
        header[0] = (VERSION, 2, self.page_size, self.count, table)
        self.file.flush()
        self.file.seek(0)
        self.file.write(header.tobytes())
        self.file.flush()
        os.fsync(self.file.fileno())
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        self.file.close()


@dataclass(frozen=True)
class Beton:
    """A mapped `.beton` file: where image `i` lies, and its label."""

    path: Path
    storage: str
    mapped: npt.NDArray[np.uint8]  # the whole file, read-only
    pointers: npt.NDArray[np.int64]  # (N,) byte offsets
    lengths: npt.NDArray[np.int64]  # (N,) bytes
    labels: npt.NDArray[np.int64]  # (N,)
    classes: Sequence[str] = ()  # their names, in label order

    def encoded(self, index: int) -> npt.NDArray[np.uint8]:
        """The stored bytes of image `index`: raw pixels, or a JPEG or PNG file."""
        start = self.pointers[index]
        return self.mapped[start : start + self.lengths[index]]

    def damaged(self, index: int, error: BaseException) -> ValueError:
        """The error of image `index`, which cannot be decoded, for people."""
        label = int(self.labels[index])
        of = f"class {self.classes[label]}" if label < len(self.classes) else f"label {label}"
        what = f"stored image {index}, of {of}, is damaged ({error_in_words(error)})"
        return ValueError(f"{self.path}: {what}; delete its folder and prepare the set again")


def open_beton(path: Path, storage: str, side: int | None = None, classes: Sequence[str] = ()) -> Beton:
    """Map a file that `Writer` wrote, of images with `side` pixels a side and labels of these classes.

    Raises ValueError when it is not one: every number that a loader follows is checked, so that none leads astray.
    """
    try:
        return _checked(path, storage, side, classes)
    except UnfitError as error:
        raise ValueError(f"{path} is no whole .beton file: {error}; delete its folder and prepare it again") from None
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; delete its folder and prepare it again") from None


class UnfitError(Exception):
    """What is wrong with a file."""


def _checked(path: Path, storage: str, side: int | None, classes: Sequence[str]) -> Beton:
    def want(fits: bool | np.bool, what: str) -> None:
        if not fits:
            raise UnfitError(f"its {what}")

    metadata_start = HEADER.itemsize + 2 * FIELD.itemsize
    want(path.stat().st_size >= metadata_start, "header is cut")
    mapped = np.asarray(np.memmap(path, np.uint8, mode="r"))  # a plain array: slices of a memmap are slow
    version, fields, page, count, table = (int(value) for value in mapped[: HEADER.itemsize].view(HEADER)[0])
    want((version, fields) == (VERSION, 2), "header is another one's")
    want(page >= SMALL_PAGE and page & (page - 1) == 0, "page size is none")
    want(mapped[HEADER.itemsize : metadata_start].tobytes() == field_descriptors(storage), "fields are others")
    record = record_type(storage)
    metadata_end = metadata_start + count * record.itemsize
    data_start = -(-metadata_end // page) * page
    want(data_start <= table and table + count * ALLOCATION.itemsize == mapped.size, "length is not what it says")
    metadata = np.array(mapped[metadata_start:metadata_end]).view(record)
    allocations = np.array(mapped[table:]).view(ALLOCATION)
    image = metadata["f0"]
    stored = image["ptr" if storage == "png" else "data_ptr"]
    want(bool((allocations["ptr"] == stored).all()), "tables differ")
    want(bool((allocations["sample_id"] == np.arange(count)).all()), "images are out of order")
    want(bool((stored >= data_start).all() and (stored < table).all()), "images lie outside of it")
    want(bool((allocations["size"] <= page).all() and (allocations["size"] > 0).all()), "images have no size")
    pointers, lengths = stored.astype(np.int64), allocations["size"].astype(np.int64)
    want(bool((pointers // page == (pointers + lengths - 1) // page).all()), "images cross a page")
    if storage == "png":
        want(bool((image["size"] == allocations["size"]).all()), "sizes differ")
    else:
        sides = {*image["width"].tolist(), *image["height"].tolist()}
        want(len(sides) <= 1 and (side is None or sides <= {side}), "images have another size")
        want(bool((image["mode"] == MODES[storage]).all()), f"images are not stored as {storage}")
    if storage == "raw" and count:
        want(bool((lengths == sides.pop() ** 2 * 3).all()), "images have another size")
    labels = metadata["f1"].astype(np.int64)
    want(bool((labels >= 0).all() and (not classes or (labels < len(classes)).all())), "labels are of no class")
    return Beton(path, storage, mapped, pointers, lengths, labels, classes)
