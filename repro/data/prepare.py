"""From a source to a prepared set: read, resize, write `.beton`, mean image, covariance, manifest.

Streams, so memory does not grow with the number of pictures; uses all cores; goes on where it was interrupted; and does
nothing when the set is there already.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from repro.data import manifest as manifests
from repro.data import sources
from repro.data.augment import eigen, epoch_order
from repro.data.beton import Writer
from repro.data.manifest import SOURCES, Manifest

FILTER = Image.Resampling.BICUBIC  # one named filter, antialiased when it shrinks
FILTER_NAME = "Pillow bicubic, antialiased"
BLOCK = 1 << 26  # files are hashed in blocks of 64 MiB, so that all cores help and a damaged place can be named
SHUFFLE_SEED = 2012  # the stored order is the same for everybody
UNREADABLE = 0.001  # more than this share of unreadable pictures is an error

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Progress:
    """`stage` is what is being done, `done` of `total` pictures (or bytes, when hashing) are."""

    stage: str
    done: int
    total: int


Listener = Callable[[Progress], None]


def prepare(
    name: str,
    *,
    source: Path | None = None,
    directory: Path,
    size: int | None = None,
    resize: str = "short-crop",
    storage: str = "raw",
    quality: int | None = None,
    classes: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
    allow_bad: int | None = None,
    progress: Listener = lambda _: None,
) -> Manifest:
    """Prepare set `name` in `directory`; returns its manifest, at once when it is prepared already.

    size is the side of the stored square (None: the set's usual one). resize "short-crop" brings the short side to it and
    crops the center (section 2), "warp" squashes both sides (F29). classes and per_class make a class-balanced subset,
    the same one for the same seed, called e.g. `imagenet-10x100`. allow_bad is the largest number of unreadable
    pictures that is accepted; None: 0.1%.
    Errors: ValueError, one line, for a source that cannot be read or too many unreadable pictures.
    """
    size = size or SOURCES.get(name, 256)
    check_storage(storage, quality)
    called = subset_name(name, classes, per_class, seed)
    target = directory / manifests.folder(called, size, resize, storage, quality)
    done = manifests.load(target)
    if done:
        return done
    origin = open_source(name, source, directory / "downloads")
    if classes or per_class:
        origin = subset(origin, classes, per_class, seed)
    work = target.with_name(target.name + ".part")
    work.mkdir(parents=True, exist_ok=True)
    writers = {}
    for split_name, split in (("train", origin.train), ("test", origin.test)):
        writers[split_name] = write_split(
            work, split_name, split, len(origin.classes), size, resize, storage, quality, allow_bad, progress
        )
    train, test = writers["train"], writers["test"]
    count = max(train.pixel_count, 1)
    mean = (train.sums / max(train.count, 1)).astype(np.float32)
    np.save(work / "mean.npy", mean)
    channel = train.channel_sums / count
    covariance = train.products / count - np.outer(channel, channel)
    values, vectors = eigen(covariance)
    files = {file: hash_file(work / file, progress) for file in manifests.FILES}
    content = {"files": files, "classes": origin.classes}
    result = Manifest(
        name=target.name,
        source=called,
        origin=origin.origin,
        size=size,
        resize=resize,
        resize_filter=FILTER_NAME,
        storage=storage,
        quality=quality,
        classes=origin.classes,
        train_count=train.count,
        test_count=test.count,
        train_per_class=train.per_class,
        test_per_class=test.per_class,
        covariance=covariance.tolist(),
        eigenvalues=values.tolist(),
        eigenvectors=vectors.tolist(),
        digest=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        files=files,
        bad=train.bad + test.bad,
        converted=train.converted + test.converted,
        notes=list(origin.notes),
        packages={package: version(package) for package in ("pillow", "numpy")},
    )
    manifests.save(result, work)
    for left in work.glob("*.state*"):
        left.unlink()
    if target.exists():  # a folder without a manifest: of no use
        shutil.rmtree(target)
    work.rename(target)
    return result


def check_storage(storage: str, quality: int | None) -> None:
    """Raises ValueError for a storage that does not exist or a quality where none belongs."""
    if storage not in ("raw", "jpeg", "png"):
        raise ValueError(f"--storage {storage}: choose raw, jpeg or png")
    if (storage == "jpeg") != (quality is not None):
        raise ValueError("--quality: give it exactly when --storage is jpeg, for example --storage jpeg --quality 95")


def open_source(name: str, source: Path | None, downloads: Path) -> sources.Source:
    """The pictures of set `name`. Raises ValueError when they cannot be found."""
    if source is not None and not source.exists():
        raise ValueError(f"--source {source}: there is no such file or folder")
    if name == "photos":
        return sources.photos()
    if name == "cifar10":
        return sources.cifar10(source, downloads)
    return sources.class_folders(name, source, downloads)


def subset_name(name: str, classes: int | None, per_class: int | None, seed: int) -> str:
    """`imagenet-10x100` for 10 classes with 100 training pictures each; other seeds than 0 are named."""
    if not classes and not per_class:
        return name
    return f"{name}-{classes or 'all'}x{per_class or 'all'}" + (f"-seed{seed}" if seed else "")


def subset(whole: sources.Source, classes: int | None, per_class: int | None, seed: int) -> sources.Source:
    """A class-balanced part: `classes` classes, `per_class` training pictures of each and every test picture of them."""
    if classes and classes > len(whole.classes):
        raise ValueError(f"--classes {classes}: there are only {len(whole.classes)}")
    every = np.arange(len(whole.classes), dtype=np.int64)
    kept = sorted(epoch_order(seed, 0, every)[: classes or len(every)].tolist())

    def part(split: sources.Split, limit: int | None, epoch: int) -> sources.Split:
        order = epoch_order(seed, epoch, np.arange(len(split.labels), dtype=np.int64))
        labels = np.asarray(split.labels)
        chosen: list[int] = []
        for label in kept:
            of_class = order[labels[order] == label]
            if limit and len(of_class) < limit:
                raise ValueError(f"--per-class {limit}: class {whole.classes[label]['name']} has only {len(of_class)} pictures")
            chosen += of_class[:limit].tolist()
        chosen.sort()
        new = {label: position for position, label in enumerate(kept)}
        return sources.Split(
            [split.names[i] for i in chosen], [new[split.labels[i]] for i in chosen], lambda number: split.read(chosen[number])
        )

    named = [whole.classes[label] for label in kept]
    return sources.Source(whole.origin, named, part(whole.train, per_class, 1), part(whole.test, None, 2), whole.notes)


class SplitWriter:
    """One split on its way to disk: the writer, and sums that give mean and covariance. All sums are exact integers."""

    def __init__(self, work: Path, name: str, total: int, classes: int, size: int, storage: str) -> None:
        self.writer = Writer(work / f"{name}.beton", storage, size, total)
        self.state = work / f"{name}.state"
        self.next = 0  # position in the stored order
        self.sums = np.zeros((size, size, 3), np.int64)
        self.products = np.zeros((3, 3), np.int64)
        self.per_class = [0] * classes
        self.bad: list[dict[str, str]] = []
        self.converted: list[dict[str, str]] = []
        self.finished = False

    @property
    def count(self) -> int:
        return self.writer.count

    @property
    def pixel_count(self) -> int:
        return self.writer.count * self.writer.size**2

    @property
    def channel_sums(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.sums.sum(axis=(0, 1)))

    def add(self, picture: Picture, label: int) -> None:
        """Append one picture that was read well."""
        self.writer.append(picture.encoded, label)
        self.sums += picture.pixels
        self.products += picture.products
        self.per_class[label] += 1

    def save(self) -> None:
        """Bring everything to the disk, so that `load` can go on from here."""
        end, count = (0, self.count) if self.finished else self.writer.checkpoint()
        part = self.state.with_suffix(".state-part.npz")
        plain = {
            "end": end, "count": count, "next": self.next, "per_class": self.per_class, "bad": self.bad,
            "converted": self.converted, "finished": self.finished,
        }  # fmt: skip
        np.savez(part, sums=self.sums, products=self.products, plain=np.array(json.dumps(plain)))
        os.replace(part, self.state)

    def load(self) -> None:
        """Go on from the last `save`, if there was one."""
        if not self.state.exists():
            return
        with np.load(self.state) as saved:
            self.sums, self.products = saved["sums"], saved["products"]
            plain = json.loads(str(saved["plain"]))
        self.next, self.per_class = plain["next"], plain["per_class"]
        self.bad, self.converted, self.finished = plain["bad"], plain["converted"], plain["finished"]
        if self.finished:
            self.writer.count = plain["count"]
        else:
            self.writer.resume(plain["end"], plain["count"])


@dataclass(frozen=True)
class Picture:
    """A picture as it will be stored; `converted` says what was unusual about it."""

    pixels: Pixels
    encoded: bytes | Pixels
    products: npt.NDArray[np.int64]
    converted: str


def write_split(
    work: Path,
    name: str,
    split: sources.Split,
    classes: int,
    size: int,
    resize: str,
    storage: str,
    quality: int | None,
    allow_bad: int | None,
    progress: Listener,
) -> SplitWriter:
    """Read, convert and append every picture of a split in its stored order."""
    total = len(split.names)
    out = SplitWriter(work, name, total, classes, size, storage)
    try:
        out.load()
        if out.finished:
            return out
        order = epoch_order(SHUFFLE_SEED, 0 if name == "train" else 1, np.arange(total, dtype=np.int64))
        limit = allow_bad if allow_bad is not None else int(UNREADABLE * total)
        save_every = max(1, min(4096, (1 << 28) // (size * size * 3)))

        def convert(number: int) -> Picture:
            return convert_picture(split.read(number), size, resize, storage, quality)

        for number, future in in_order(convert, order[out.next :].tolist()):
            try:
                picture = future.result()
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                out.bad.append({"file": split.names[number], "reason": one_line(error)})
            else:
                out.add(picture, split.labels[number])
                if picture.converted:
                    out.converted.append({"file": split.names[number], "reason": picture.converted})
            out.next += 1
            progress(Progress(name, out.next, total))
            if out.next % save_every == 0 and out.next < total:
                out.save()
        if len(out.bad) > limit:
            out.save()
            shown = "; ".join(f"{entry['file']}: {entry['reason']}" for entry in out.bad[:3])
            raise ValueError(
                f"{len(out.bad)} of {total} {name} pictures cannot be read, and {limit} may be ({shown}"
                f"{'; ...' if len(out.bad) > 3 else ''}); mend them, or accept them with --allow-bad {len(out.bad)}"
            )
        out.writer.finish()
        out.finished = True
        out.save()
        return out
    finally:
        out.writer.close()


def in_order(work: Callable[[int], Picture], numbers: list[int]) -> Iterator[tuple[int, Future[Picture]]]:
    """Results in the order of `numbers`, computed by all cores a few ahead. Pillow and numpy let go of the GIL."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[tuple[int, Future[Picture]]] = []
        coming = iter(numbers)
        try:
            for number in coming:
                waiting.append((number, pool.submit(work, number)))
                if len(waiting) > 4 * threads:
                    yield waiting.pop(0)
            yield from waiting
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def one_line(error: BaseException) -> str:
    """The error in words, without addresses of objects in memory."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "no image format that Pillow knows" if "cannot identify image file" in text else text


def convert_picture(content: bytes | Pixels, size: int, resize: str, storage: str, quality: int | None) -> Picture:
    """Decode, bring to RGB, resize and encode one picture. Raises OSError or ValueError when it cannot be read."""
    converted = ""
    if isinstance(content, bytes):
        if not content:
            raise ValueError("the file is empty")
        image, converted = decode(content)
    else:
        image = Image.fromarray(content)
    image = to_square(image, size, resize)
    pixels = np.asarray(image)
    encoded: bytes | Pixels = pixels
    if storage != "raw":
        file = io.BytesIO()
        if storage == "jpeg":
            image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
        else:
            image.save(file, "PNG", compress_level=6)
        encoded = file.getvalue()
    flat = pixels.reshape(-1, 3).astype(np.float64)  # products below 2**53, so the sums are exact
    return Picture(pixels, encoded, (flat.T @ flat).astype(np.int64), converted)


def decode(content: bytes) -> tuple[Image.Image, str]:
    """An encoded file as RGB, and what was unusual about it."""
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        unusual = [] if opened.format == "JPEG" else [f"{opened.format} file"]
        if opened.mode != "RGB":
            unusual.append({"L": "gray", "CMYK": "CMYK"}.get(opened.mode, f"mode {opened.mode}"))
        return opened.convert("RGB"), ", ".join(unusual)


def to_square(image: Image.Image, size: int, resize: str) -> Image.Image:
    """(size, size): short side to `size` and the center cropped, or both sides warped."""
    if resize == "warp":
        return image if image.size == (size, size) else image.resize((size, size), FILTER)
    width, height = image.size
    short = min(width, height)
    if short != size:
        width, height = max(size, round(width * size / short)), max(size, round(height * size / short))
        image = image.resize((width, height), FILTER)
    left, top = (width - size) // 2, (height - size) // 2
    return image if (width, height) == (size, size) else image.crop((left, top, left + size, top + size))


def hash_file(path: Path, progress: Listener = lambda _: None) -> dict[str, Any]:
    """{"bytes", "sha256": one for each block of 64 MiB}."""
    total = path.stat().st_size

    def block(start: int) -> str:
        with open(path, "rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read(BLOCK)).hexdigest()

    hashes = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, found in enumerate(pool.map(block, range(0, max(total, 1), BLOCK))):
            hashes.append(found)
            progress(Progress(f"hash {path.name}", min((number + 1) * BLOCK, total), total))
    return {"bytes": total, "sha256": hashes}
