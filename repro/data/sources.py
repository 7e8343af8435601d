"""Where pictures come from: the photographs inside two wheels, CIFAR-10, and ImageNet-style folders and archives.

A source lists the pictures of both splits with their labels and can read any of them by number; it decodes nothing
that is not asked for.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shutil
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
    """Windows of 64x64 pixels: test windows from two bands across each photograph, training windows from between them.

    The bands are `GAP` pixels apart from the rest, so no training window shares a pixel with a test window; there are
    two, so that what a photograph shows in its middle is in both splits.
    """
    pictures = photographs()
    generator = np.random.default_rng(2012)

    def split(kind: str, each: int) -> Split:
        places = [
            (label, *place)
            for label, picture in enumerate(pictures)
            for place in _windows(picture, generator, kind, each)
        ]
        names = [f"{list(PHOTOGRAPHS)[label]} at {y},{x}" for label, y, x in places]

        def read(number: int) -> Pixels:
            label, y, x = places[number]
            return pictures[label][y : y + WINDOW, x : x + WINDOW]

        return Split(names, [label for label, _, _ in places], read)

    classes = [{"wnid": "", "name": name} for name in PHOTOGRAPHS]
    origin = "photographs shipped in scikit-image and scikit-learn"
    return Source(origin, classes, split("train", PHOTO_TRAIN), split("test", PHOTO_TEST))


def photographs() -> list[Pixels]:
    """The photographs in the order of `PHOTOGRAPHS`, (height, width, 3)."""
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
            if min(rgb.size) > 600:  # the retina and the galaxies: bring their detail to the scale of the others
                rgb = rgb.resize((rgb.width // 2, rgb.height // 2), Image.Resampling.BOX)
            pictures.append(np.asarray(rgb))
    return pictures


def _windows(picture: Pixels, generator: np.random.Generator, kind: str, count: int) -> list[tuple[int, int]]:
    """(y, x) of `count` windows, drawn along the longer side from the places that belong to `kind`."""
    height, width, _ = picture.shape
    length, across = max(height, width), min(height, width)
    bands = test_bands(length)
    starts = np.arange(length - WINDOW + 1)
    if kind == "test":
        allowed = [(starts >= band.start) & (starts + WINDOW <= band.stop) for band in bands]
        starts = starts[np.any(allowed, axis=0)]
    else:
        allowed = [(starts + WINDOW + GAP <= band.start) | (starts >= band.stop + GAP) for band in bands]
        starts = starts[np.all(allowed, axis=0)]
    along = generator.choice(starts, count).tolist()
    aside = generator.integers(0, across - WINDOW + 1, count).tolist()
    return list(zip(along, aside, strict=True) if height >= width else zip(aside, along, strict=True))


def test_bands(length: int) -> list[range]:
    """The two bands that test windows are cut from, across a photograph `length` pixels long."""
    return [range(round(first * length), round((first + 0.16) * length)) for first in (0.22, 0.62)]


CIFAR_MD5 = {  # of the six files of the official binary version
    "data_batch_1": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"


def cifar10(source: Path | None, download_to: Path) -> Source:
    """CIFAR-10 from the official binary or python version (folder or .tar.gz), from tars of lossless WebP sheets, or
    downloaded by torchvision into `download_to` when `source` is None. Every batch must have its official MD5."""
    if source is None:
        source = download_cifar10(download_to)
    batches = {name: _cifar_batch(source, name) for name in CIFAR_MD5}
    for name, records in batches.items():
        if hashlib.md5(records.tobytes()).hexdigest() != CIFAR_MD5[name]:
            raise ValueError(
                f"{source}: {name} is not the official CIFAR-10 batch (its MD5 differs); get it from {CIFAR_HOME}"
            )
    train = np.concatenate([batches[name] for name in CIFAR_MD5 if name != "test_batch"])

    def split(kind: str, records: Pixels) -> Split:
        pictures = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        names = [f"{kind}/{number:05d}" for number in range(len(records))]
        return Split(names, [int(label) for label in records[:, 0]], lambda number: pictures[number])

    classes = [{"wnid": "", "name": name} for name in CIFAR_NAMES]
    test = batches["test_batch"]
    return Source(f"CIFAR-10, {source.name}, MD5 as published", classes, split("train", train), split("test", test))


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
    if form.endswith(".tar"):  # lossless WebP sheets of 10x10 pictures in official order, and the labels
        from PIL import Image

        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
            read = {name: file.read() for name, file in files.items() if file}
        sheets = [
            np.asarray(Image.open(io.BytesIO(read[name])).convert("RGB")) for name in sorted(read) if "webp" in name
        ]
        pictures = np.stack(sheets).reshape(-1, 10, 32, 10, 32, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3072)
        return np.concatenate([np.frombuffer(read["labels.bin"], np.uint8)[:, None], pictures], axis=1)
    batch = _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    return np.concatenate([np.array(batch["labels"], np.uint8)[:, None], batch["data"]], axis=1)


class _PlainUnpickler(pickle.Unpickler):
    """Loads numpy arrays and plain values and nothing else: a pickle from elsewhere must not run code."""

    def find_class(self, module: str, name: str) -> Any:
        numpys = module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype")
        if numpys or (module, name) == ("_codecs", "encode"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise ValueError(f"{module}.{name} has no place in a CIFAR-10 batch")


PICTURE_ENDINGS = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
IN_SPLIT = re.compile(r"(?:^|/)(train|val|test)/(.+)$")

# Published MD5 of the archives, by file name (image-net.org, download page of each challenge).
ARCHIVE_MD5 = {
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
    "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
}
COUNTS = {"imagenet": (1_281_167, 50_000)}  # ILSVRC-2012, training and validation
WANTED = {
    "imagenet": "one folder with ILSVRC2012_img_train.tar (138 GB), ILSVRC2012_img_val.tar (6.3 GB) and "
    "ILSVRC2012_devkit_t12.tar.gz, from https://image-net.org/download-images (log in)",
    "imagenette": "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz, as it is or unpacked",
    "tiny200": "http://cs231n.stanford.edu/tiny-imagenet-200.zip, unpacked",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One encoded picture: a whole file (`length` None), or a stretch of an archive."""

    name: str  # train/..., val/... or test/...
    file: Path
    start: int = 0
    length: int | None = None

    def read(self) -> bytes:
        """The encoded picture."""
        with open(self.file, "rb") as file:
            file.seek(self.start)
            return file.read() if self.length is None else file.read(self.length)


def class_folders(name: str, source: Path | None, scratch: Path) -> Source:
    """ImageNet-style pictures: train/CLASS/PICTURE and val/CLASS/PICTURE (or test/), as a folder, as tar archives of
    it, or as ILSVRC publishes it (a tar of one tar a class, a tar of validation pictures, and a development kit).

    Classes are those of train in sorted order of their folder (WordNet id), as is usual for ILSVRC. Validation pictures
    outside class folders get their labels from val_annotations.txt (Tiny ImageNet), LOC_val_solution.csv (Kaggle) or
    the development kit. Compressed archives are unpacked once into `scratch`, because they cannot be sought.
    Errors: ValueError when nothing fits.
    """
    wanted = WANTED.get(name, "a folder with train/CLASS/*.jpg and val/CLASS/*.jpg")
    if source is None:
        raise ValueError(f"data {name} needs --source: {wanted}")
    entries = _entries(source, scratch)
    trains = sorted((entry for entry in entries if entry.name.startswith("train/")), key=lambda entry: entry.name)
    tests = sorted((entry for entry in entries if not entry.name.startswith("train/")), key=lambda entry: entry.name)
    if any(
        entry.name.startswith("val/") for entry in tests
    ):  # the labels of ILSVRC's own test pictures were kept secret
        tests = [entry for entry in tests if entry.name.startswith("val/")]
    if not trains or not tests:
        lacking = "training" if not trains else "validation"
        raise ValueError(f"{source} holds no {lacking} pictures; wanted: {wanted}")
    wnids = sorted({entry.name.split("/")[1] for entry in trains})
    labels = {wnid: number for number, wnid in enumerate(wnids)}
    truth, named = _side_files(source)
    classes = [{"wnid": wnid, "name": named.get(wnid, wnid)} for wnid in wnids]
    train_labels = [labels[entry.name.split("/")[1]] for entry in trains]
    test_labels = []
    for entry in tests:
        place, file = entry.name.split("/")[1], entry.name.rsplit("/", 1)[1]
        wnid = place if place in labels else truth.get(file, truth.get(file.rsplit(".", 1)[0], place))
        if wnid not in labels:
            raise ValueError(
                f"{source}: no class is known for {entry.name}; wanted: val/CLASS folders with the classes of train, "
                "val_annotations.txt, LOC_val_solution.csv, or ILSVRC's development kit beside the archives"
            )
        test_labels.append(labels[wnid])
    notes = []
    if name in COUNTS and (len(trains), len(tests)) != COUNTS[name]:
        notes.append(
            f"{len(trains):,} + {len(tests):,} pictures, where {name} has {COUNTS[name][0]:,} + {COUNTS[name][1]:,}"
        )
    return Source(
        source.name,
        classes,
        Split([entry.name for entry in trains], train_labels, lambda number: trains[number].read()),
        Split([entry.name for entry in tests], test_labels, lambda number: tests[number].read()),
        tuple(notes),
    )


def _entries(source: Path, scratch: Path) -> list[Entry]:
    """Every picture below train/, val/ and test/, of a folder, of archives in it, or of one archive."""
    if source.is_file():
        return _archive_entries(source, scratch)
    found = []
    for path in source.rglob("*"):
        name = path.relative_to(source).as_posix()
        inside = IN_SPLIT.search(name)
        if inside and name.lower().endswith(PICTURE_ENDINGS) and not path.name.startswith(".") and path.is_file():
            found.append(Entry(f"{inside[1]}/{inside[2]}", path))
    loose = {entry.name.split("/")[0] for entry in found}
    for archive in sorted(source.glob("*.tar*")) + sorted(source.glob("*.tgz")):
        if not loose or _split_of(archive) not in (None, *loose):
            found += _archive_entries(archive, scratch)
    return found


def _split_of(archive: Path) -> str | None:
    """Which split an archive's own name speaks of."""
    return next((split for split in ("train", "val", "test") if split in archive.name), None)


def _archive_entries(archive: Path, scratch: Path) -> list[Entry]:
    if "devkit" in archive.name or "train_t3" in archive.name:  # t3: the dogs of another task
        return []
    plain, split = _unpacked(archive, scratch), _split_of(archive) or "train"
    found = []
    try:
        with tarfile.open(plain) as tar:
            for member in tar:
                if member.isfile() and member.name.endswith(".tar"):  # ILSVRC: one tar a class
                    wnid = Path(member.name).stem
                    with open(plain, "rb") as whole:
                        whole.seek(member.offset_data)
                        with tarfile.open(fileobj=whole) as inner:
                            for each in inner:
                                start = each.offset_data
                                found.append(Entry(f"train/{wnid}/{each.name}", plain, start, each.size))
                elif member.isfile() and member.name.lower().endswith(PICTURE_ENDINGS):
                    inside = IN_SPLIT.search(member.name)
                    name = f"{inside[1]}/{inside[2]}" if inside else f"{split}/images/{Path(member.name).name}"
                    found.append(Entry(name, plain, member.offset_data, member.size))
    except tarfile.TarError as error:
        raise ValueError(f"{archive} cannot be read as a tar archive: {error}") from None
    return found


def _unpacked(archive: Path, scratch: Path) -> Path:
    """`archive` itself when it is a plain tar, else its unpacked copy in `scratch`."""
    import gzip
    import lzma

    opens: dict[str, Callable[[Path], Any]] = {".xz": lzma.open, ".gz": gzip.open, ".tgz": gzip.open}
    if archive.suffix == ".tar":
        return archive
    if archive.suffix not in opens:
        raise ValueError(
            f"--source {archive}: give a folder, a .tar, .tar.gz, .tgz or .tar.xz; unpack other archives first"
        )
    plain = scratch / f"{archive.name}.plain.tar"
    if not plain.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        part = plain.with_suffix(".part")
        try:
            with opens[archive.suffix](archive) as packed, open(part, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 22)
        except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise ValueError(f"{archive} is damaged: {error}") from None
        part.rename(plain)
    return plain


def _side_files(source: Path) -> tuple[dict[str, str], dict[str, str]]:
    """(picture file or stem -> WordNet id, WordNet id -> name), from what publishers put beside the pictures."""
    truth: dict[str, str] = {}
    named: dict[str, str] = {}
    if source.is_file():
        return truth, named
    for path in sorted(source.rglob("val_annotations.txt")):  # Tiny ImageNet: file, wnid, box
        truth.update(line.split("\t")[:2] for line in path.read_text().splitlines() if line)  # type: ignore[misc]
    for path in sorted(source.rglob("LOC_val_solution.csv")):  # Kaggle: stem, "wnid box"
        truth.update(
            (line.split(",")[0], line.split(",")[1].split()[0]) for line in path.read_text().splitlines()[1:] if line
        )
    for path in [*sorted(source.rglob("LOC_synset_mapping.txt")), *sorted(source.rglob("synset_words.txt"))]:
        named.update(line.split(" ", 1) for line in path.read_text().splitlines() if " " in line)  # type: ignore[misc]
    for path in sorted(source.glob("classes.tsv")):
        header, *rows = (line.split("\t") for line in path.read_text().splitlines() if line)
        if "wnid" in header and "name" in header:
            named.update((row[header.index("wnid")], row[header.index("name")]) for row in rows)
    for path in [*sorted(source.glob("ILSVRC*devkit*")), *sorted(source.glob("*devkit*/"))]:
        kit_truth, kit_named = _development_kit(path)
        truth.update(kit_truth)
        named = {**kit_named, **named}
    return truth, named


def _development_kit(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Ground truth and names of an ILSVRC development kit: data/meta.mat maps its own ids to WordNet ids, and
    data/ILSVRC<year>_validation_ground_truth.txt holds one id a line, for the validation pictures in order."""
    from scipy.io import loadmat

    needed = ("meta.mat", "_validation_ground_truth.txt")
    if path.is_file():
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member) for member in tar if member.name.endswith(needed)}
            content = {name: file.read() for name, file in files.items() if file}
    else:
        content = {str(file): file.read_bytes() for file in path.rglob("*") if file.name.endswith(needed)}
    meta = next((data for name, data in content.items() if name.endswith("meta.mat")), None)
    truth = next(
        ((name, data) for name, data in content.items() if name.endswith("_validation_ground_truth.txt")), None
    )
    if meta is None or truth is None:
        raise ValueError(f"{path} is no whole ILSVRC development kit (data/meta.mat and the validation ground truth)")
    synsets = loadmat(io.BytesIO(meta), squeeze_me=True, struct_as_record=False)["synsets"]
    year = Path(truth[0]).name.split("_")[0]  # ILSVRC2012
    by_id = {int(getattr(synset, f"{year}_ID")): synset for synset in synsets}
    wnids = {f"{year}_val_{number:08d}": str(by_id[int(line)].WNID) for number, line in enumerate(truth[1].split(), 1)}
    return wnids, {str(synset.WNID): str(synset.words) for synset in synsets}


def check_archives(source: Path, progress: Callable[[str, int, int], None], scratch: Path) -> None:
    """Compare archives that are known by name with their published MD5; what was compared once is not read again.

    Errors: ValueError that names the archive that differs.
    """
    found = [source] if source.is_file() else sorted(source.iterdir())
    for archive in (path for path in found if path.name in ARCHIVE_MD5):
        facts = archive.stat()
        seal = scratch / f"{archive.name}.md5-{facts.st_size}-{facts.st_mtime_ns}"
        if seal.exists():
            continue
        digest, done = hashlib.md5(), 0
        with open(archive, "rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
                done += len(block)
                progress(f"check {archive.name}", done, facts.st_size)
        if digest.hexdigest() != ARCHIVE_MD5[archive.name]:
            raise ValueError(f"{archive} is not the published archive (MD5 {digest.hexdigest()}); fetch it again")
        scratch.mkdir(parents=True, exist_ok=True)
        seal.touch()
