"""ImageNet-style sources: a folder a class, on disk or in archives, and what publishers put beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from repro.data import known
from repro.data.prepare.files import File, Listing, Losses, SourceError, kind, members, shown, stem
from repro.data.prepare.labels import read_labels
from repro.data.prepare.progress import OnProgress, Progress
from repro.data.prepare.sources import Source, SourceSplit, called, first_few

SPLITS = ("train", "val", "test")
OWN_SPLIT = re.compile(r"(?:^|[^a-z])(train|val|test)")  # in an archive's own name
CLASS_IN_NAME = re.compile(r"(?:^|_)(n\d+)(?:_\d+)?\.[^.]+$")  # n01440764_10026.JPEG, ..._n01440764.JPEG

# Published MD5 of the archives, by file name (image-net.org, download page of each challenge).
ARCHIVE_MD5 = {
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
    "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
}
SHARD = re.compile(r"-(\d+)-?of-?(\d+)")  # train-00000-of-00294.parquet, val-00of02.tar.xz


def class_folders(name: str, found: Listing, scratch: Path, progress: OnProgress) -> Source:
    """ImageNet-style images: train/CLASS/FILE and val/CLASS/FILE (or test/), as a folder, as archives of it, as ILSVRC
    publishes it (a tar of one tar a class, a tar of validation images, and a development kit), or as hubs keep it (tars
    of images with the class in the file name, Parquet tables).

    Only a folder, or an archive in its place, is a class, unless train has none and the class is in the file names.
    Classes are in sorted order of their folder (WordNet id), as is usual for ILSVRC. Validation images outside class
    folders get their labels from what is published beside them (`read_labels`), or from their names.
    Raises SourceError when nothing fits, two folders hold a train/, or an image is there twice.
    """
    check_archives(found, progress, scratch)
    published = known.row(name)
    contents = Contents(found, scratch)
    trains, tests = contents.split("train"), contents.split("val") or contents.split("test")
    if contents.images["val"]:  # the labels of ILSVRC's own test images were kept secret
        for file in contents.images["test"]:
            found.losses.add("images of test, for val is there", file.name)
    labels = read_labels(contents.published)
    train_of = classes_of_train(trains, found.losses)
    numbers = {wnid: number for number, wnid in enumerate(sorted({wnid for _, wnid in train_of}))}
    test_of = classes_of_test(tests, numbers, labels.truth, found)
    if not train_of or not test_of:
        lacking, wanted = "validation" if train_of else "training", published.wanted
        parts = f"{found.source} holds no {lacking} images", f"wanted: {wanted}", *found.losses.notes()
        raise SourceError(shown("; ".join(parts)))
    notes = []
    counts = len(train_of), len(test_of)
    whole = published.train, published.test
    if any(whole) and counts != whole:
        notes.append(f"{counts[0]:,} + {counts[1]:,} images, where {name} has {whole[0]:,} + {whole[1]:,}")
    if empty := sorted(contents.folders - {*numbers}):
        notes.append(f"no images in {len(empty)} folders of train, which are no classes: {first_few(empty)}")

    def split(pairs: list[tuple[File, str]]) -> SourceSplit:
        files = [file for file, _ in pairs]
        return SourceSplit(
            [file.name for file in files], [numbers[wnid] for _, wnid in pairs], lambda number: files[number].read()
        )

    notes += missing_shards(found)
    roots = [sorted(contents.roots[split]) for split in ("train", tests[0].name.split("/")[0])]
    if roots[0] != roots[1]:
        notes.append(
            shown(f"train is of {found.source / roots[0][0]}, the test images of {found.source / roots[1][0]}")
        )
    return Source(
        called(found.source),
        [{"wnid": shown(wnid), "name": shown(labels.names.get(wnid, wnid))} for wnid in numbers],
        split(train_of),
        split(test_of),
        (*notes, *found.losses.notes()),
    )


Place = tuple[str, str, str]  # split, the folder that holds it, path below it


class Contents:
    """A source sorted out: images by split, named train/CLASS/FILE; class folders of train; label files. First what is
    on disk, then the archives that it does not make needless."""

    def __init__(self, found: Listing, scratch: Path) -> None:
        self.found = found
        self.images: dict[str, list[File]] = {split: [] for split in SPLITS}
        self.roots: dict[str, set[str]] = {split: set() for split in SPLITS}  # the folders that hold the split's
        self.folders: set[str] = set()
        self.published: list[File] = []
        loose: set[str] = set()  # every folder on disk with an image below
        for file in found.files:
            if self._sort(file, _below([], file.name.split("/"))):
                loose |= {file.name[:place] for place, letter in enumerate(file.name) if letter == "/"}
        there = {split for split, images in self.images.items() if images}
        said = {_own_split(archive.name) for archive in found.archives}
        classes_in = {path.rpartition("/")[0] for path in loose if _is_class(path)}
        for archive in found.archives:
            if why := _needless(archive.name, there, loose, said):
                found.losses.add(why, archive.name)
            elif archive.name.rpartition("/")[0] in classes_in:
                raise SourceError(
                    shown(f"{archive.place} is among class folders; unpack it there, or take it out of the source")
                )
            else:
                inside = list(members(archive, scratch, found.losses))
                whole = any({*file.name.split("/")[:-1]} & {*SPLITS} for file in inside)
                for file in inside:
                    self._sort(file, place_in_archive(file, whole))

    def _sort(self, file: File, placed: Place | None) -> bool:
        """Put a file where it belongs. Whether it is an image that is used."""
        what = kind(file.name)
        if file.name.endswith("/"):
            if placed and placed[0] == "train" and "/" in placed[2]:
                self.folders.add(placed[2].partition("/")[0])
        elif what == "labels":
            self.published.append(file)
        elif what == "image" and placed:
            split, root, rest = placed
            self.images[split].append(replace(file, name=f"{split}/{rest}"))
            self.roots[split].add(root)
            return True
        elif what == "image":
            self.found.losses.add("images outside train, val and test", file.name)
        elif not what:
            base = file.name.rpartition("/")[2]
            ending = f"files with the ending .{base.rpartition('.')[2]}" if "." in base else "files without an ending"
            self.found.losses.add(ending, file.name)
        return False

    def split(self, name: str) -> list[File]:
        """Images of a split by name, each once: in one tar the last of a name counts, as for tar itself.

        Raises SourceError where two folders hold the split (two sets, or two copies of one), or two files one name.
        """
        if len(roots := sorted(self.roots[name])) > 1:
            several = " and ".join(str(self.found.source / root / name) for root in roots[:2])
            raise SourceError(shown(f"{several} both hold images; give --source one of the folders around them"))
        kept: list[File] = []
        for file in sorted(self.images[name], key=lambda file: file.name):  # stable: in an archive's own order
            if kept and kept[-1].name == file.name:
                if kept[-1].place != file.place:
                    places = f"both {kept[-1].place} and {file.place}"
                    raise SourceError(shown(f"{file.name} is in {places}; take one of them out of the source"))
                self.found.losses.add("earlier members of the same name in archives", file.name)
                kept.pop()
            kept.append(file)
        return kept


def _is_class(folder: str) -> bool:
    """Whether a folder is one of a class: right below the first train, val or test."""
    parts = folder.split("/")
    return next((place for place, part in enumerate(parts) if part in SPLITS), -1) == len(parts) - 2


def _own_split(archive: str) -> str:
    """Which split an archive's own name speaks of; empty where it is in a split's folder, or speaks of none."""
    above, _, base = archive.rpartition("/")
    said = OWN_SPLIT.search(base.lower())
    return said[1] if said and not {*above.split("/")} & {*SPLITS} else ""


def _needless(archive: str, there: set[str], loose: set[str], said: set[str]) -> str:
    """Why an archive is not opened; empty where it is."""
    split = _own_split(archive)
    if split == "test" and "val" in there | said:
        return "archives of test, for val is there"
    in_split = {*archive.split("/")[:-1]} & {*SPLITS}
    if "devkit" not in archive and (stem(archive) in loose if in_split else (split or "train") in there):
        return "archives, for their images are there as files"
    return ""


def place_in_archive(file: File, whole: bool) -> Place | None:
    """Where a member belongs: in an archive that has the folders train, val or test (`whole`) by those, else by the
    archive's name, else, in an archive in the place of a class folder, by where that is."""
    parts, outer = file.name.split("/"), file.archive.split("/")[:-1]
    if whole or "devkit" in file.archive:
        return _below(outer, parts)
    if own := _own_split(file.archive):
        return own, "/".join(outer), file.name
    in_class = [stem(file.archive).rpartition("/")[2], *parts]
    return _below([], outer + in_class) or ("train", "/".join(outer), "/".join(in_class))


def _below(outer: list[str], parts: list[str]) -> Place | None:
    """By the first folder of `parts` that is called train, val or test."""
    for position, part in enumerate(parts[:-1]):
        if part in SPLITS:
            return part, "/".join(outer + parts[:position]), "/".join(parts[position + 1 :])
    return None


def _folder(file: File) -> str:
    """The class folder of train/CLASS/FILE; empty for an image that is in none."""
    parts = file.name.split("/", 2)
    return parts[1] if len(parts) > 2 else ""


def _class_in_name(file: File) -> str:
    """The WordNet id that publishers put into file names; empty where there is none."""
    found = CLASS_IN_NAME.search(file.name.rpartition("/")[2])
    return found[1] if found else ""


def classes_of_train(files: list[File], losses: Losses) -> list[tuple[File, str]]:
    """The training images that have a class, with it."""
    class_of = _folder if any(map(_folder, files)) else _class_in_name
    pairs = [(file, class_of(file)) for file in files]
    for file, wnid in pairs:
        if not wnid:
            losses.add("images of train that are in no class folder", file.name)
    return [pair for pair in pairs if pair[1]]


def classes_of_test(
    files: list[File], known: Collection[str], truth: dict[str, str], found: Listing
) -> list[tuple[File, str]]:
    """The test images, with their classes. One outside the class folders, where nothing is published, is left out.

    Raises SourceError for an image of no known class.
    """
    in_folders = not truth and any(_folder(file) in known for file in files)
    pairs = []
    for file in files:
        base = file.name.rpartition("/")[2]
        published = truth.get(base) or truth.get(base.rpartition(".")[0]) or _class_in_name(file)
        wnid = _folder(file) if _folder(file) in known else published
        if wnid in known:
            pairs.append((file, wnid))
        elif in_folders and not _folder(file):
            found.losses.add(f"images of {file.name.split('/')[0]} that are in no class folder", file.name)
        elif known:
            raise SourceError(
                shown(f"{found.source}: no class is known for {file.name}; wanted: val/CLASS folders with the classes ")
                + "of train, val_annotations.txt, LOC_val_solution.csv, or ILSVRC's development kit beside the archives"
            )
    return pairs


def missing_shards(found: Listing) -> list[str]:
    """A line for each series of archives, called NAME-00000-of-00005, that is not whole."""
    series: dict[tuple[str, int], set[int]] = {}
    for archive in found.archives:
        if said := SHARD.search(archive.name):
            series.setdefault((archive.name[: said.start()], int(said[2])), set()).add(int(said[1]))
    return [
        f"{len(numbers)} of the {whole} archives of {shown(name)} are there"
        for (name, whole), numbers in sorted(series.items())
        if len(numbers) < whole
    ]


def check_archives(found: Listing, progress: OnProgress, scratch: Path) -> None:
    """Compare archives that are known by name with their published MD5; what was compared once is not read again.

    Raises SourceError that names the archive that differs.
    """
    for archive in found.archives:
        wanted = ARCHIVE_MD5.get(archive.place.name)
        if not wanted or (seal := scratch / f"{archive.place.name}.md5").exists():
            continue
        digest, done = hashlib.md5(), 0
        with open(archive.place, "rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
                done += len(block)
                progress(Progress(f"check {archive.place.name}", done, archive.length))
        if digest.hexdigest() != wanted:
            raise SourceError(
                f"{archive.place} is not the published archive (MD5 {digest.hexdigest()}); fetch it again"
            )
        scratch.mkdir(parents=True, exist_ok=True)
        seal.touch()
