"""From a source to a prepared set: read, resize, write `.beton`, mean image, covariance, manifest.

Streams, so memory does not grow with the number of pictures; uses all cores; goes on where it was interrupted; and does
nothing when the set is there already.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from PIL import Image, ImageOps

from repro.data import manifest as manifests
from repro.data.augment import eigen, epoch_order
from repro.data.beton import Writer
from repro.data.cifar import cifar10
from repro.data.folders import check_archives, class_folders
from repro.data.manifest import SOURCES, Manifest
from repro.data.photos import photos
from repro.data.sources import Pixels, Source, Split
from repro.store import write_atomically

FILTER = Image.Resampling.BICUBIC  # one named filter, antialiased when it shrinks
FILTER_NAME = "Pillow bicubic, antialiased"
BLOCK = 1 << 26  # files are hashed in blocks of 64 MiB, so that all cores help and a damaged place can be named
SHUFFLE_SEED = 2012  # the stored order is the same for everybody
UNREADABLE = 0.001  # more than this share of unreadable pictures is an error
SAVE_BYTES = 1 << 28  # of pixels between two savings of the state
EXAMPLES = 20  # files named for each kind of conversion; unreadable ones are all named
FORMATS = {"jpg": ("JPEG", "MPO"), "jpeg": ("JPEG", "MPO"), "tif": ("TIFF",)}  # Pillow's names; others are the ending
ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True)
class Progress:
    """`stage` is what is being done, `done` of `total` pictures (or bytes, when hashing) are."""

    stage: str
    done: int
    total: int


Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class Form:
    """How pictures are stored: side in pixels, short-crop or warp, raw, png or jpeg and its quality."""

    size: int
    resize: str
    storage: str
    quality: int | None


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
    announce: Callable[[int, list[Cost]], None] = lambda _, __: None,
) -> Manifest:
    """Prepare set `name` in `directory`; returns its manifest, at once when it is prepared already.

    size is the side of the stored square (None: the set's usual one). resize "short-crop" brings the short side to it
    and crops the center (section 2), "warp" squashes both sides (F29). classes and per_class make a class-balanced
    subset, the same one for the same seed, called e.g. `imagenet-10x100`. allow_bad is the largest number of
    unreadable pictures that is accepted; None: 0.1%. announce is called once before anything is written, with the
    number of pictures and what each storage would cost.
    Errors: ValueError, one line, for a source that cannot be read, too many unreadable pictures, or a directory that
    cannot be written.
    """
    size = size or SOURCES.get(name, 256)
    form = Form(size, resize, storage, quality)
    check_options(form)
    called = subset_name(name, classes, per_class, seed)
    target = directory / manifests.folder(called, size, resize, storage, quality)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):  # another process waits, and then finds it done
            done = manifests.load(target)
            if done:
                return done
            origin = open_source(name, source, directory / "downloads", unfinished(target) / "unpacked", progress)
            if classes or per_class:
                origin = subset(origin, classes, per_class, seed)
            count = len(origin.train.names) + len(origin.test.names)
            announce(count, storage_costs(count, size))
            check_space(target, count, form)
            return write(target, called, origin, form, allow_bad, progress)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise ValueError(
                f"{error.filename or directory}: {error.strerror}; what is written already is kept"
            ) from None
        raise


def unfinished(target: Path) -> Path:
    """The folder that is `target` in the making."""
    return target.with_name(target.name + ".part")


def write(
    target: Path,
    called: str,
    origin: Source,
    form: Form,
    allow_bad: int | None,
    progress: Listener,
) -> Manifest:
    """Write both splits, the mean image and the manifest beside `target`, then give the folder its name."""
    work = unfinished(target)
    work.mkdir(exist_ok=True)
    train, test = (
        write_split(work, split_name, split, len(origin.classes), form, allow_bad, progress)
        for split_name, split in (("train", origin.train), ("test", origin.test))
    )
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
        source=called,
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
        notes=list(origin.notes),
        packages={package: version(package) for package in ("pillow", "numpy")},
    )
    manifests.save(result, work)
    for left in (*work.glob("*.state*"), *work.glob("*.journal"), work / "unpacked"):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    if target.exists():  # a folder without a manifest: of no use
        shutil.rmtree(target)
    work.rename(target)
    return result


def content_digest(files: dict[str, dict[str, Any]], classes: list[dict[str, str]]) -> str:
    """SHA-256 over the hashes of the files and the classes: names the data of a run."""
    return hashlib.sha256(json.dumps({"files": files, "classes": classes}, sort_keys=True).encode()).hexdigest()


def merged(one: dict[str, dict[str, Any]], two: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Counts of both splits together; example files of the first, then of the second."""
    return {
        reason: {
            "count": sum(side[reason]["count"] for side in (one, two) if reason in side),
            "files": [file for side in (one, two) if reason in side for file in side[reason]["files"]][:EXAMPLES],
        }
        for reason in sorted({*one, *two})
    }


@dataclass(frozen=True)
class Cost:
    """What a storage takes on disk for a set."""

    storage: str
    quality: int | None
    bytes: int


# Bytes a pixel of 256x256 pictures as `convert_picture` writes them; measured on 100 full-size ImageNet photographs.
BYTES_A_PIXEL = {("raw", None): 3.0, ("png", None): 1.76, ("jpeg", 95): 0.48, ("jpeg", 90): 0.34, ("jpeg", 85): 0.27}


def storage_costs(count: int, size: int) -> list[Cost]:
    """The choices for `count` pictures of `size` pixels a side; png and jpeg are estimates from photographs."""
    return [
        Cost(storage, quality, round(count * size * size * rate)) for (storage, quality), rate in BYTES_A_PIXEL.items()
    ]


def check_space(target: Path, count: int, form: Form) -> None:
    """Raises ValueError when the disk cannot hold the rest of the set; what an earlier attempt wrote is counted."""
    measured = (1, 50, 85, 90, 95, 100), (0.03, 0.14, 0.27, 0.34, 0.48, 0.91)  # of the same 100 photographs
    rate = BYTES_A_PIXEL[form.storage, None] if form.quality is None else float(np.interp(form.quality, *measured))
    needed, free = int(count * form.size**2 * rate), shutil.disk_usage(target.parent).free
    # blocks of 512 bytes, not st_size: that counts the hole in front of the pictures, too
    written = sum(path.stat().st_blocks * 512 for path in unfinished(target).glob("*.beton"))
    if needed - written > free:
        already = f" and {written / 1e9:.1f} GB are written" if written else ""
        raise ValueError(
            f"{target.parent} has {free / 1e9:.1f} GB free; {count:,} {form.storage} pictures take "
            f"{needed / 1e9:.1f} GB{already}; choose another --data-dir, a smaller --size, "
            "or --storage jpeg --quality 95"
        )


@dataclass(frozen=True)
class Problem:
    """Something wrong with a prepared set, in words, and the file that it is about."""

    file: Path
    what: str


def verify(directory: Path, name: str | None = None) -> list[Problem]:
    """Read every file of all prepared sets (or of those called `name`, by folder or source) and compare its hashes.

    Names changed, missing and half-written files. Raises ValueError when nothing is called `name`.
    """
    found = []
    parts = (manifests.NAME, *manifests.FILES)
    folders = [path for path in sorted(directory.glob("*")) if any((path / part).exists() for part in parts)]
    asked = []
    for folder in folders:
        try:
            known = manifests.load(folder)
        except ValueError as error:
            known, broken = None, str(error)
        else:
            broken = "half-written: preparation was interrupted; run it again and it goes on from there"
        if name and name not in (folder.name, folder.name.removesuffix(".part"), known.source if known else ""):
            continue
        asked.append(folder)
        if known is None:
            found.append(Problem(folder, broken))
            continue
        for file, wanted in known.files.items():
            found += compare(folder / file, wanted)
        if content_digest(known.files, known.classes) != known.digest:
            found.append(
                Problem(folder / manifests.NAME, "its digest does not fit its own entries; prepare the set again")
            )
    if name and not asked:
        raise ValueError(f"nothing called {name} is prepared in {directory}; `repro data list` shows what is")
    return found


def compare(path: Path, wanted: dict[str, Any]) -> list[Problem]:
    """What differs between a file and its entry in the manifest."""
    if not path.exists():
        return [Problem(path, "missing; delete its folder and prepare the set again")]
    is_now = hash_file(path)
    if is_now["bytes"] != wanted["bytes"]:
        return [Problem(path, f"half-written or changed: {is_now['bytes']:,} bytes instead of {wanted['bytes']:,}")]
    pairs = enumerate(zip(is_now["sha256"], wanted["sha256"], strict=True))
    places = [number for number, (now, then) in pairs if now != then]
    if not places:
        return []
    where = ", ".join(f"{place * BLOCK:,}" for place in places[:5])
    what = (
        f"changed: its SHA-256 differs in the 64 MiB from byte {where} on; delete its folder and prepare the set again"
    )
    return [Problem(path, what)]


def check_options(form: Form) -> None:
    """Raises ValueError for a choice that does not exist or a quality where none belongs."""
    if form.size < 8:
        raise ValueError(f"--size {form.size}: the stored square must have at least 8 pixels a side")
    if form.resize not in ("short-crop", "warp"):
        raise ValueError(f"--resize {form.resize}: choose short-crop or warp")
    if form.storage not in ("raw", "jpeg", "png"):
        raise ValueError(f"--storage {form.storage}: choose raw, jpeg or png")
    if (form.storage == "jpeg") != (form.quality is not None):
        raise ValueError("--quality: give it exactly when --storage is jpeg, for example --storage jpeg --quality 95")


def open_source(name: str, source: Path | None, downloads: Path, scratch: Path, progress: Listener) -> Source:
    """The pictures of set `name`. Raises ValueError when they cannot be found."""
    if source is not None and not source.exists():
        raise ValueError(f"--source {source}: there is no such file or folder")
    if name == "photos":
        return photos()
    if name == "cifar10":
        return cifar10(source, downloads)
    if source is not None:
        check_archives(source, lambda *at: progress(Progress(*at)), scratch)
    return class_folders(name, source, scratch)


def subset_name(name: str, classes: int | None, per_class: int | None, seed: int) -> str:
    """`imagenet-10x100` for 10 classes with 100 training pictures each; other seeds than 0 are named."""
    if not classes and not per_class:
        return name
    return f"{name}-{classes or 'all'}x{per_class or 'all'}" + (f"-seed{seed}" if seed else "")


def subset(whole: Source, classes: int | None, per_class: int | None, seed: int) -> Source:
    """A class-balanced part: `classes` classes, `per_class` training pictures of each, and every test picture."""
    if classes and classes > len(whole.classes):
        raise ValueError(f"--classes {classes}: there are only {len(whole.classes)}")
    every = np.arange(len(whole.classes), dtype=np.int64)
    kept = sorted(epoch_order(seed, 0, every)[: classes or len(every)].tolist())

    def part(split: Split, limit: int | None, epoch: int) -> Split:
        order = epoch_order(seed, epoch, np.arange(len(split.labels), dtype=np.int64))
        labels = np.asarray(split.labels)
        chosen: list[int] = []
        for label in kept:
            of_class = order[labels[order] == label]
            if limit and len(of_class) < limit:
                raise ValueError(
                    f"--per-class {limit}: class {whole.classes[label]['name']} has only {len(of_class)} pictures"
                )
            chosen += of_class[:limit].tolist()
        chosen.sort()
        new = {label: position for position, label in enumerate(kept)}
        return Split(
            [split.names[i] for i in chosen],
            [new[split.labels[i]] for i in chosen],
            lambda number: split.read(chosen[number]),
        )

    named = [whole.classes[label] for label in kept]
    return Source(whole.origin, named, part(whole.train, per_class, 1), part(whole.test, None, 2), whole.notes)


class SplitWriter:
    """One split on its way to disk: the writer, and sums that give mean and covariance. All sums are exact integers."""

    def __init__(self, work: Path, name: str, split: Split, classes: int, form: Form) -> None:
        self.writer = Writer(work / f"{name}.beton", form.storage, form.size, len(split.names))
        listed = json.dumps([split.names, split.labels]).encode()
        self.fingerprint = hashlib.sha256(listed).hexdigest()  # another source starts anew
        self.state = work / f"{name}.state"
        self.next = 0  # position in the stored order
        self.sums = np.zeros((form.size, form.size, 3), np.int64)
        self.products = np.zeros((3, 3), np.int64)
        self.per_class = [0] * classes
        self.bad: list[dict[str, str]] = []
        self.converted: dict[str, dict[str, Any]] = {}
        self.finished = False

    @property
    def count(self) -> int:
        return self.writer.count

    @property
    def pixel_count(self) -> int:
        return self.writer.count * self.writer.size**2

    def add(self, picture: Picture, label: int, name: str) -> None:
        """Append one picture that was read well."""
        self.writer.append(picture.encoded, label)
        self.sums += picture.pixels
        self.products += picture.products
        self.per_class[label] += 1
        for reason in picture.converted:
            kind = self.converted.setdefault(reason, {"count": 0, "files": []})
            kind["count"] += 1
            if len(kind["files"]) < EXAMPLES:
                kind["files"].append(name)

    def save(self) -> None:
        """Bring everything to the disk, so that `load` can go on from here."""
        end, count = (0, self.count) if self.finished else self.writer.checkpoint()
        plain = {
            "end": end, "count": count, "next": self.next, "per_class": self.per_class, "bad": self.bad,
            "converted": self.converted, "finished": self.finished, "fingerprint": self.fingerprint,
        }  # fmt: skip
        content = io.BytesIO()
        np.savez(content, sums=self.sums, products=self.products, plain=np.array(json.dumps(plain)))
        write_atomically(self.state, content.getvalue())

    def load(self, limit: int) -> None:
        """Go on from the last `save`, if there was one for these pictures.

        Where more than `limit` were unreadable all are read again, since some may have been mended meanwhile.
        """
        saved = read_state(self.state)
        if saved is None or saved["fingerprint"] != self.fingerprint or len(saved["bad"]) > limit:
            self.writer.restart()
            return
        self.sums, self.products = saved["sums"], saved["products"]
        self.next, self.per_class = saved["next"], saved["per_class"]
        self.bad, self.converted, self.finished = saved["bad"], saved["converted"], saved["finished"]
        if self.finished:
            self.writer.count = saved["count"]
        else:
            self.writer.resume(saved["end"], saved["count"])


def read_state(path: Path) -> dict[str, Any] | None:
    """What `SplitWriter.save` wrote; None when there is nothing, or nothing that can be read."""
    if not path.exists():
        return None
    try:
        with open(path, "rb") as file, np.load(file) as saved:  # np.load leaves a damaged file open
            return {**json.loads(str(saved["plain"])), "sums": saved["sums"], "products": saved["products"]}
    except (EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile):  # what damage makes numpy and zip raise
        return None


@dataclass(frozen=True)
class Picture:
    """A picture as it will be stored; `converted` says what was unusual about it."""

    pixels: Pixels
    encoded: bytes | Pixels
    products: npt.NDArray[np.int64]
    converted: tuple[str, ...]


def write_split(
    work: Path,
    name: str,
    split: Split,
    classes: int,
    form: Form,
    allow_bad: int | None,
    progress: Listener,
) -> SplitWriter:
    """Read, convert and append every picture of a split in its stored order."""
    total = len(split.names)
    out = SplitWriter(work, name, split, classes, form)
    limit = allow_bad if allow_bad is not None else int(UNREADABLE * total)
    try:
        out.load(limit)
        if out.finished:
            return out
        order = epoch_order(SHUFFLE_SEED, 0 if name == "train" else 1, np.arange(total, dtype=np.int64))
        save_every = max(1, SAVE_BYTES // (form.size**2 * 3))

        def convert(number: int) -> Picture:
            return convert_picture(split.read(number), split.names[number], form)

        for number, future in in_order(convert, order[out.next :].tolist()):
            try:
                picture = future.result()
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                out.bad.append({"file": shown(split.names[number]), "reason": one_line(error)})
            else:
                out.add(picture, split.labels[number], shown(split.names[number]))
            out.next += 1
            progress(Progress(name, out.next, total))
            if out.next % save_every == 0 and out.next < total:
                out.save()
        if len(out.bad) > limit:
            out.save()
            first = "; ".join(f"{entry['file']}: {entry['reason']}" for entry in out.bad[:3])
            raise ValueError(
                f"{len(out.bad)} of {total} {name} pictures cannot be read, and {limit} may be ({first}"
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


def shown(name: str) -> str:
    """A file's name for people and JSON, also when it is no valid text."""
    return name.encode("utf-8", "backslashreplace").decode()


def convert_picture(content: bytes | Pixels, name: str, form: Form) -> Picture:
    """Decode, bring to RGB, resize and encode one picture. Raises OSError or ValueError when it cannot be read."""
    converted: tuple[str, ...] = ()
    if isinstance(content, bytes):
        if not content:
            raise ValueError("the file is empty")
        image, converted = decode(content, name)
    else:
        image = Image.fromarray(content)
    image = to_square(image, form.size, form.resize)
    pixels = np.asarray(image)
    encoded: bytes | Pixels = pixels
    if form.storage != "raw":
        file = io.BytesIO()
        if form.storage == "jpeg":
            image.save(file, "JPEG", quality=form.quality, subsampling="4:2:0")
        else:
            image.save(file, "PNG", compress_level=6)
        encoded = file.getvalue()
    flat = pixels.reshape(-1, 3).astype(np.float64)  # products below 2**53, so the sums are exact
    return Picture(pixels, encoded, (flat.T @ flat).astype(np.int64), converted)


def decode(content: bytes, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """An encoded file as upright RGB, and what was unusual about it.

    Raises OSError for truncated and unknown files, ValueError for pictures that are no 8-bit gray or color pictures,
    and Pillow's DecompressionBombError above 179 million pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large is fine, up to the error
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF
        opened: Image.Image = Image.open(io.BytesIO(content))
        opened.load()
    unusual = []
    ending = name.rsplit(".", 1)[-1].lower()
    if opened.format not in FORMATS.get(ending, (ending.upper(),)):
        unusual.append(f"{opened.format} file named .{ending}")
    if opened.mode.startswith(("I", "F")):
        raise ValueError(f"{opened.mode} pixels are no 8-bit gray or color")
    if opened.mode != "RGB":
        unusual.append({"L": "gray", "P": "palette"}.get(opened.mode, opened.mode) + " made RGB")
    if opened.getexif().get(ORIENTATION, 1) not in (0, 1):
        unusual.append("turned upright as its EXIF says")
        ImageOps.exif_transpose(opened, in_place=True)
    return opened.convert("RGB"), tuple(unusual)


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
