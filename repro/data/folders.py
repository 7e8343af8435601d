"""ImageNet-style sources: a folder a class, as folders or in archives, and what publishers put beside them."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.data.progress import OnProgress, Progress
from repro.data.sources import Source, Split, called, first_few

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
    validation = [entry for entry in tests if entry.name.startswith("val/")]
    tests = validation or tests  # the labels of ILSVRC's own test pictures were kept secret
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
    if empty := _empty_folders(trains, wnids):
        notes.append(f"no pictures in {len(empty)} folders of train, which are no classes: {first_few(empty)}")
    return Source(
        called(source),
        classes,
        Split([entry.name for entry in trains], train_labels, lambda number: trains[number].read()),
        Split([entry.name for entry in tests], test_labels, lambda number: tests[number].read()),
        tuple(notes),
    )


def _empty_folders(trains: list[Entry], wnids: list[str]) -> list[str]:
    """Folders beside those of the classes that hold no picture."""
    places = {entry.file.parents[entry.name.count("/") - 1] for entry in trains if entry.length is None}
    return sorted({path.name for place in places for path in place.iterdir() if path.is_dir()} - {*wnids})


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


def check_archives(source: Path, progress: OnProgress, scratch: Path) -> None:
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
                progress(Progress(f"check {archive.name}", done, facts.st_size))
        if digest.hexdigest() != ARCHIVE_MD5[archive.name]:
            raise ValueError(f"{archive} is not the published archive (MD5 {digest.hexdigest()}); fetch it again")
        scratch.mkdir(parents=True, exist_ok=True)
        seal.touch()
