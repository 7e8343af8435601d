"""From a source to a prepared set: both splits, mean image, covariance, manifest.

Holds a few images at a time, however many there are; uses all cores; goes on where it was interrupted; and does
nothing when the set is there already.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import cast

import numpy as np
from filelock import FileLock, Timeout

from repro.data import known
from repro.data import manifest as manifests
from repro.data.load.augment import eigen, epoch_order
from repro.data.manifest import Manifest
from repro.data.prepare.convert import FILTER_NAME, Form, quiet
from repro.data.prepare.files import Listing, amount, listing
from repro.data.prepare.progress import OnProgress
from repro.data.prepare.sources import Source, SourceSplit, called, first_few
from repro.data.prepare.split_writer import merged, write_split
from repro.data.prepare.verify import content_digest, hash_file
from repro.store import write_atomically
from repro.suggest import did_you_mean

LARGEST_SIZE = 8192  # pixels a side: an image takes 200 MB


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
    progress: OnProgress = lambda _: None,
    announce: Callable[[int, list[StorageCost]], None] = lambda _, __: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Prepare set `name` in `directory`; returns its manifest, at once when it is prepared already.

    size is the side of the stored square (None: the set's usual one). resize "short-crop" brings the short side to it
    and crops the center (section 2), "warp" squashes both sides (F29). classes and per_class make a class-balanced
    subset, the same one for the same seed, called e.g. `imagenet-10x100`. allow_bad is the largest number of
    unreadable images that is accepted; None: 0.1%. announce is called once before any image is written, with
    the number of images and what each storage would cost. tell hears what the caller waits for.
    Errors: ValueError, one line, for a source that cannot be read, too many unreadable images, a directory that
    cannot be written, and for a set that is prepared already, but not from `source` as it is now or with more images
    left out.
    """
    row = known.row(name)
    size = size or row.size
    form = Form(size, resize, storage, quality)
    check_options(form)
    check_name(name)
    check_unused(name, source, classes, per_class, seed)
    named = manifests.subset_name(name, classes, per_class, seed)
    target = directory / manifests.folder(named, size, resize, storage, quality)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with alone(target, tell):
            done, found = manifests.load(target), None
            if source is not None:
                if not source.exists():
                    raise ValueError(f"--source {source}: there is no such file or folder")
                found = listing(source, leave_out=directory)
            if done:
                check_same(done, target, name, found, allow_bad)
                if found and found.seal != done.seal:
                    tell(f"{done.source} is already prepared; --source {source} was not read")
                return done
            if found is None and row.fetch:
                found = listing(resolve_name(row.fetch)(directory / "downloads"))
            begin(target, found.seal if found else name)
            origin = open_source(name, found, unfinished(target) / "unpacked", progress)
            if classes or per_class:
                origin = subset(origin, classes, per_class, seed)
            if len(origin.classes) < 2:
                raise ValueError(f"{origin.origin} has one class; a network needs two or more to tell apart")
            count = len(origin.train.names) + len(origin.test.names)
            announce(count, storage_costs(count, size))
            check_space(target, count, form)
            return write(target, named, origin, form, allow_bad, found.seal if found else "", progress)
    except OSError as error:
        raise ValueError(
            f"{error.filename or target}: {error.strerror or error}; what is written already is kept"
        ) from None


@contextmanager
def alone(target: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """One process at a time prepares a set; another one waits, says so, and then finds it done."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"waiting for another process that prepares {target}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def begin(target: Path, seal: str) -> None:
    """Start anew where the set in the making was begun from other files."""
    path = seal_of(target)
    if not path.is_file() or path.read_text("utf-8", "replace") != seal:
        if unfinished(target).exists():
            shutil.rmtree(unfinished(target))
        write_atomically(path, seal)


def seal_of(target: Path) -> Path:
    """Where it is noted what the set in the making is made from."""
    return target.with_name(f".{target.name}.seal")


def unfinished(target: Path) -> Path:
    """The folder that is `target` in the making."""
    return target.with_name(target.name + ".part")


def write(
    target: Path,
    named: str,
    origin: Source,
    form: Form,
    allow_bad: int | None,
    seal: str,
    progress: OnProgress,
) -> Manifest:
    """Write both splits, the mean image and the manifest beside `target`, then give the folder its name."""
    work = unfinished(target)
    work.mkdir(exist_ok=True)
    with quiet():
        train, test = (
            write_split(work, split_name, split, len(origin.classes), form, allow_bad, progress)
            for split_name, split in (("train", origin.train), ("test", origin.test))
        )
    untested = [entry["name"] for entry, count in zip(origin.classes, test.per_class, strict=True) if not count]
    notes = [f"no test images of {len(untested)} classes: {first_few(untested)}"] if untested else []
    with open(work / "mean.npy", "wb") as file:
        np.save(file, (train.sums / train.count).astype(np.float32))
        file.flush()
        os.fsync(file.fileno())
    channels = train.sums.sum(axis=(0, 1)) / train.pixel_count
    covariance = train.products / train.pixel_count - np.outer(channels, channels)
    values, vectors = eigen(covariance)
    files = {file: hash_file(work / file, progress) for file in manifests.FILES}
    result = Manifest(
        name=target.name,
        source=named,
        origin=origin.origin,
        size=form.size,
        resize=form.resize,
        resize_filter=FILTER_NAME,
        storage=form.storage,
        quality=form.quality,
        classes=origin.classes,
        train_count=train.count,
        test_count=test.count,
        train_per_class=train.per_class,
        test_per_class=test.per_class,
        covariance=covariance.tolist(),
        eigenvalues=values.tolist(),
        eigenvectors=vectors.tolist(),
        digest=content_digest(files, origin.classes),
        files=files,
        bad=train.bad + test.bad,
        converted=merged(train.converted, test.converted),
        notes=[*origin.notes, *notes],
        packages={package: version(package) for package in ("pillow", "numpy")},
        seal=seal,
    )
    manifests.save(result, work)
    for left in (*work.glob("*.state*"), *work.glob("*.journal"), work / "unpacked"):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    if target.exists():  # a folder without a manifest: of no use
        shutil.rmtree(target)
    work.rename(target)
    seal_of(target).unlink(missing_ok=True)
    return result


@dataclass(frozen=True)
class StorageCost:
    """What a storage takes on disk for a set, in bytes."""

    storage: str
    quality: int | None
    bytes: int


# Bytes a pixel of 256x256 images as `convert_image` writes them; measured on 100 full-size ImageNet photographs.
BYTES_A_PIXEL = {("raw", None): 3.0, ("png", None): 1.76, ("jpeg", 95): 0.48, ("jpeg", 90): 0.34, ("jpeg", 85): 0.27}


def storage_costs(count: int, size: int) -> list[StorageCost]:
    """The choices for `count` images of `size` pixels a side; png and jpeg are estimates from photographs."""
    return [
        StorageCost(storage, quality, round(count * size * size * rate))
        for (storage, quality), rate in BYTES_A_PIXEL.items()
    ]


def check_space(target: Path, count: int, form: Form) -> None:
    """Raises ValueError when the disk cannot hold the rest of the set; what an earlier attempt wrote is counted."""
    measured = (1, 50, 85, 90, 95, 100), (0.03, 0.14, 0.27, 0.34, 0.48, 0.91)  # of the same 100 photographs
    rate = BYTES_A_PIXEL[form.storage, None] if form.quality is None else float(np.interp(form.quality, *measured))
    needed, free = int(count * form.size**2 * rate), shutil.disk_usage(target.parent).free
    # blocks of 512 bytes, not st_size: that counts the hole in front of the images, too
    written = sum(path.stat().st_blocks * 512 for path in unfinished(target).glob("*.beton"))
    if needed - written > free:
        already = f" and {amount(written)} are written" if written else ""
        raise ValueError(
            f"{target.parent} has {amount(free)} free; {count:,} {form.storage} images take {amount(needed)}"
            f"{already}; choose another --data-dir, a smaller --size, or --storage jpeg --quality 95"
        )


def check_options(form: Form) -> None:
    """Raises ValueError for a choice that does not exist or a quality where none belongs."""
    if not 8 <= form.size <= LARGEST_SIZE:
        raise ValueError(
            f"--size {form.size}: the stored square has at least 8 pixels a side, {LARGEST_SIZE:,} at most"
        )
    if form.resize not in ("short-crop", "warp"):
        raise ValueError(f"--resize {form.resize}: choose short-crop or warp")
    if form.storage not in ("raw", "jpeg", "png"):
        raise ValueError(f"--storage {form.storage}: choose raw, jpeg or png")
    if (form.storage == "jpeg") != (form.quality is not None):
        raise ValueError("--quality: give it exactly when --storage is jpeg, for example --storage jpeg --quality 95")


def check_name(name: str) -> None:
    """Raises ValueError for a name that is no plain folder's (it could lead out of the data directory), or a subset's:
    a whole set under that would be taken for the subset."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"the name {name!r} cannot be a folder's here; choose one of letters, digits, '_', '-' and '.' that begins "
            "with a letter or a digit"
        )
    whole, options = manifests.taken_apart(name)
    if options:
        raise ValueError(f"{name} is what a subset is called; run: repro data prepare {whole}{options}")


def check_unused(name: str, source: Path | None, classes: int | None, per_class: int | None, seed: int) -> None:
    """Raises ValueError for an option that this set has no use for: passed over, it would seem to have been heard."""
    if known.row(name).shipped and source is not None:
        raise ValueError(f"--source {source}: {name} ship with their packages; leave it out, or choose another name")
    if seed and not classes and not per_class:
        raise ValueError(f"--seed {seed}: it chooses a subset; give --classes or --per-class with it, or leave it out")


def check_same(done: Manifest, target: Path, name: str, found: Listing | None, allow_bad: int | None) -> None:
    """Raises ValueError when the set that is prepared already is not the one that is asked for."""
    if found is not None and not known.row(name).official:
        other = called(found.source) != done.origin
        if other or (done.seal and found.seal != done.seal):
            then = "" if other else " as it was then (its files had other names, sizes or times)"
            raise ValueError(
                f"{done.source} is already prepared, from {done.origin}{then}; --source {found.source} was not read: "
                f"delete the folder {target} or choose another name"
            )
    training = sum(entry["file"].startswith("train/") for entry in done.bad)
    left_out = max(training, len(done.bad) - training)  # --allow-bad is for each split
    if allow_bad is not None and left_out > allow_bad:
        raise ValueError(
            f"{done.source} is already prepared, with {left_out} unreadable images of one split left out, and "
            f"--allow-bad {allow_bad}: delete the folder {target} to read them again"
        )


def open_source(name: str, found: Listing | None, scratch: Path, progress: OnProgress) -> Source:
    """The images of set `name`. Raises ValueError when they cannot be found."""
    row = known.row(name)
    if row.shipped:
        return cast(Source, resolve_name(row.read)())
    if found is None:
        hint = did_you_mean(name, known.names(), most=0) if row is known.OWN else ""
        raise ValueError(f"data {name} needs --source: {row.wanted}{hint}")
    return cast(Source, resolve_name(row.read)(name, found, scratch, progress))


def subset(whole: Source, classes: int | None, per_class: int | None, seed: int) -> Source:
    """A class-balanced part: `classes` classes, `per_class` training images of each, and every test image."""
    if classes and classes > len(whole.classes):
        raise ValueError(f"--classes {classes}: there are only {len(whole.classes)}")
    every = np.arange(len(whole.classes), dtype=np.int64)
    kept = sorted(epoch_order(seed, 0, every)[: classes or len(every)].tolist())

    def part(split: SourceSplit, limit: int | None, epoch: int) -> SourceSplit:
        order = epoch_order(seed, epoch, np.arange(len(split.labels), dtype=np.int64))
        labels = np.asarray(split.labels)
        chosen: list[int] = []
        for label in kept:
            of_class = order[labels[order] == label]
            if limit and len(of_class) < limit:
                raise ValueError(
                    f"--per-class {limit}: class {whole.classes[label]['name']} has only {len(of_class)} images"
                )
            chosen += of_class[:limit].tolist()
        chosen.sort()
        new = {label: position for position, label in enumerate(kept)}
        return SourceSplit(
            [split.names[i] for i in chosen],
            [new[split.labels[i]] for i in chosen],
            lambda number: split.read(chosen[number]),
        )

    named = [whole.classes[label] for label in kept]
    return Source(whole.origin, named, part(whole.train, per_class, 1), part(whole.test, None, 2), whole.notes)
