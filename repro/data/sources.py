"""Where pictures come from: the photographs inside two wheels, CIFAR-10, and ImageNet-style folders and archives.

A source lists the pictures of both splits with their labels and can read any of them by number; it decodes nothing
that is not asked for.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Split:
    """N pictures: a name for messages, a label, and a way to read each, as an encoded file or as RGB pixels."""

    names: list[str]
    labels: list[int]
    read: Callable[[int], bytes | Pixels]


@dataclass(frozen=True)
class Source:
    """Both splits and their classes, {"wnid", "name"} in label order; `origin` says where they came from."""

    origin: str
    classes: list[dict[str, str]]
    train: Split
    test: Split
    notes: tuple[str, ...] = ()


# Color photographs that ship inside the wheels, so nothing is downloaded; each is one class. motorcycle_right.png is
# left out as it shows what motorcycle_left.png shows; drawings and gray pictures too.
PHOTOGRAPHS = {
    "astronaut": "skimage/data/astronaut.png",
    "cat": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "galaxies": "skimage/data/hubble_deep_field.jpg",
    "tissue": "skimage/data/ihc.png",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "retina": "skimage/data/retina.jpg",
    "rocket": "skimage/data/rocket.jpg",
    "pagoda": "sklearn/datasets/images/china.jpg",
    "flower": "sklearn/datasets/images/flower.jpg",
}
WINDOW = 64  # side of a window cut from a photograph, pixels
GAP = 8  # pixels between the regions of training and test windows
PHOTO_TRAIN, PHOTO_TEST = 256, 64  # windows of each photograph


def photos() -> Source:
    """Windows of 64x64 pixels: test windows from a middle band of each photograph, training windows from both sides of it.

    The bands lie along the longer side and are `GAP` pixels apart, so no training window shares a pixel with a test window.
    """
    import importlib.util

    from PIL import Image

    pictures: list[Pixels] = []
    for file in PHOTOGRAPHS.values():
        package, _, inside = file.partition("/")
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise ValueError(f"data photos needs the package {package}; run: pip install scikit-image scikit-learn")
        with Image.open(Path(found.submodule_search_locations[0]) / inside) as picture:
            rgb = picture.convert("RGB")
            if min(rgb.size) > 600:  # retina and hubble: bring their detail to the scale of the others
                rgb = rgb.resize((rgb.width // 2, rgb.height // 2), Image.Resampling.BOX)
            pixels = np.asarray(rgb)
        pictures.append(pixels if pixels.shape[0] >= pixels.shape[1] else pixels.transpose(1, 0, 2))
    generator = np.random.default_rng(2012)
    windows = {"train": _windows(pictures, generator, "train"), "test": _windows(pictures, generator, "test")}

    def split(kind: str, each: int) -> Split:
        places = windows[kind]
        names = [f"{list(PHOTOGRAPHS)[label]} at {y},{x}" for label, y, x in places]

        def read(number: int) -> Pixels:
            label, y, x = places[number]
            return pictures[label][y : y + WINDOW, x : x + WINDOW]

        return Split(names, [label for label, _, _ in places], read)

    classes = [{"wnid": "", "name": name} for name in PHOTOGRAPHS]
    origin = "photographs shipped in scikit-image and scikit-learn"
    return Source(origin, classes, split("train", PHOTO_TRAIN), split("test", PHOTO_TEST))


def _windows(pictures: list[Pixels], generator: np.random.Generator, kind: str) -> list[tuple[int, int, int]]:
    """(label, y, x) of every window; along axis 0 (the longer) the test band is the middle three tenths."""
    places = []
    for label, picture in enumerate(pictures):
        rows = test_rows(picture.shape[0])
        if kind == "test":
            starts = np.arange(rows.start, rows.stop - WINDOW + 1)
        else:
            starts = np.r_[0 : rows.start - GAP - WINDOW + 1, rows.stop + GAP : picture.shape[0] - WINDOW + 1]
        ys = generator.choice(starts, PHOTO_TRAIN if kind == "train" else PHOTO_TEST)
        xs = generator.integers(0, picture.shape[1] - WINDOW + 1, len(ys))
        places += [(label, int(y), int(x)) for y, x in zip(ys, xs, strict=True)]
    return places


def test_rows(length: int) -> range:
    """The band that test windows are cut from, of a photograph `length` pixels long."""
    return range(round(0.35 * length), round(0.65 * length))


CIFAR_MD5 = {  # of the six files of the official binary version
    "data_batch_1": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
CIFAR_NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()
CIFAR_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"


def cifar10(source: Path | None, download_to: Path) -> Source:
    """CIFAR-10 from the official binary or python version (folder or .tar.gz), from tars of lossless WebP sheets, or
    downloaded by torchvision into `download_to` when `source` is None. Every batch is checked against its official MD5."""
    if source is None:
        source = download_cifar10(download_to)
    batches = {name: _cifar_batch(source, name) for name in CIFAR_MD5}
    for name, records in batches.items():
        if hashlib.md5(records.tobytes()).hexdigest() != CIFAR_MD5[name]:
            raise ValueError(f"{source}: {name} is not the official CIFAR-10 batch (its MD5 differs); get it from {CIFAR_HOME}")
    train = np.concatenate([batches[name] for name in CIFAR_MD5 if name != "test_batch"])

    def split(kind: str, records: Pixels) -> Split:
        pictures = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        names = [f"{kind}/{number:05d}" for number in range(len(records))]
        return Split(names, [int(label) for label in records[:, 0]], lambda number: pictures[number])

    classes = [{"wnid": "", "name": name} for name in CIFAR_NAMES]
    return Source(f"CIFAR-10, {source.name}, MD5 as published", classes, split("train", train), split("test", batches["test_batch"]))


def download_cifar10(folder: Path) -> Path:
    """Fetch the python version with torchvision. Raises ValueError without a network."""
    from torchvision.datasets import CIFAR10

    try:
        folder.mkdir(parents=True, exist_ok=True)
        CIFAR10(str(folder), download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"CIFAR-10 could not be downloaded ({reason}); get cifar-10-binary.tar.gz from {CIFAR_HOME} and run: "
            "repro data prepare cifar10 --source cifar-10-binary.tar.gz"
        ) from None
    return folder / "cifar-10-batches-py"


def _cifar_batch(source: Path, name: str) -> Pixels:
    """(10000, 3073) uint8 records, label first, whichever form the folder or archive holds."""
    if source.is_file():
        with tarfile.open(source) as tar:
            members = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
            for form in (f"{name}.bin", name):
                if form in members:
                    file = tar.extractfile(members[form])
                    assert file is not None
                    return _cifar_records(file.read(), form)
    else:
        for folder in (source, *(path for path in sorted(source.glob("*")) if path.is_dir())):
            for form in (f"{name}.bin", name, f"{name}.tar"):
                if (folder / form).is_file():
                    return _cifar_records((folder / form).read_bytes(), form)
    raise ValueError(f"{source} holds no CIFAR-10 batch {name}; get cifar-10-binary.tar.gz from {CIFAR_HOME}")


def _cifar_records(content: bytes, form: str) -> Pixels:
    if form.endswith(".bin"):
        return np.frombuffer(content, np.uint8).reshape(-1, 3073)
    if form.endswith(".tar"):  # 100 lossless WebP sheets of 10x10 pictures in official order, and the labels
        from PIL import Image

        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
            read = {name: file.read() for name, file in files.items() if file}
        sheets = [np.asarray(Image.open(io.BytesIO(read[f"{sheet:03d}.webp"])).convert("RGB")) for sheet in range(100)]
        pictures = np.stack(sheets).reshape(100, 10, 32, 10, 32, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3072)
        return np.concatenate([np.frombuffer(read["labels.bin"], np.uint8)[:, None], pictures], axis=1)
    batch = _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    return np.concatenate([np.array(batch["labels"], np.uint8)[:, None], batch["data"]], axis=1)


class _PlainUnpickler(pickle.Unpickler):
    """Loads numpy arrays and plain values and nothing else: a pickle from elsewhere must not run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 batch")


PICTURE_ENDINGS = (".jpeg", ".jpg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Entry:
    """One encoded picture: a whole file (`length` None), or a stretch of an archive."""

    name: str  # path inside the source, for messages
    file: Path
    start: int = 0
    length: int | None = None

    def read(self) -> bytes:
        """The encoded picture."""
        with open(self.file, "rb") as file:
            file.seek(self.start)
            return file.read() if self.length is None else file.read(self.length)


def class_folders(name: str, source: Path | None, scratch: Path) -> Source:
    """A tree of class folders, train/CLASS/PICTURE and val/CLASS/PICTURE (or test/), as a folder or as tar archives of it.

    Classes are the folders of train in sorted order, as ILSVRC code counts them; `classes.tsv` (a column `wnid` and a
    column `name`) beside them names them. Archives train*.tar.xz are unpacked once into `scratch`.
    """
    if source is None:
        raise ValueError(f"data {name} needs --source FOLDER with train/CLASS/*.jpg and val/CLASS/*.jpg")
    entries = folder_entries(source) or archive_entries(source, scratch)
    trains = [entry for entry in entries if entry.name.startswith("train/")]
    tests = [entry for entry in entries if entry.name.startswith(("val/", "test/"))]
    if not trains or not tests:
        raise ValueError(f"{source} holds no pictures as train/CLASS/*.jpg and val/CLASS/*.jpg (or test/)")
    wnids = sorted({entry.name.split("/")[1] for entry in trains})
    label = {wnid: number for number, wnid in enumerate(wnids)}
    strange = sorted({entry.name.split("/")[1] for entry in tests} - label.keys())
    if strange:
        raise ValueError(f"{source}: val has classes that train lacks: {', '.join(strange[:5])}")
    named = class_names(source)
    classes = [{"wnid": wnid, "name": named.get(wnid, wnid)} for wnid in wnids]

    def split(found: list[Entry]) -> Split:
        found = sorted(found, key=lambda entry: entry.name)
        return Split([e.name for e in found], [label[e.name.split("/")[1]] for e in found], lambda number: found[number].read())

    return Source(source.name, classes, split(trains), split(tests))


def folder_entries(source: Path) -> list[Entry]:
    """Pictures of train/CLASS, val/CLASS and test/CLASS; train/CLASS/images too, as Tiny ImageNet has it."""
    found = []
    for split in ("train", "val", "test"):
        for path in sorted((source / split).glob("*/**/*")):
            if path.suffix.lower() in PICTURE_ENDINGS and path.is_file():
                found.append(Entry(path.relative_to(source).as_posix(), path))
    return found


def archive_entries(source: Path, scratch: Path) -> list[Entry]:
    """Pictures inside the tar archives of folder `source`; compressed ones are unpacked once, as they cannot be sought."""
    import lzma

    found = []
    for archive in sorted(source.glob("*.tar*")):
        plain = archive
        if archive.suffix == ".xz":
            plain = scratch / source.name / archive.stem
            if not plain.exists():
                plain.parent.mkdir(parents=True, exist_ok=True)
                part = plain.with_suffix(".part")
                with lzma.open(archive) as packed, open(part, "wb") as unpacked:
                    while block := packed.read(1 << 22):
                        unpacked.write(block)
                part.rename(plain)
        with tarfile.open(plain) as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith(PICTURE_ENDINGS):
                    found.append(Entry(member.name.removeprefix("./"), plain, member.offset_data, member.size))
    return found


def class_names(source: Path) -> dict[str, str]:
    """WordNet id -> name from a `classes.tsv` in the folder; empty without one."""
    file = source / "classes.tsv" if source.is_dir() else source
    if file.name != "classes.tsv" or not file.exists():
        return {}
    header, *rows = (line.split("\t") for line in file.read_text().splitlines() if line)
    if "wnid" not in header or "name" not in header:
        return {}
    return {row[header.index("wnid")]: row[header.index("name")] for row in rows}
