"""What publishers put beside images: which class a validation image shows, and what the classes are called."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from repro.data.prepare.files import TRUTH, File, reading

Rows = Iterator[tuple[str, str]]


@dataclass
class Labels:
    """`truth` maps an image's file name, or its stem, to its class; `names` maps a class to its name."""

    truth: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def read_labels(files: Iterable[File]) -> Labels:
    """What the label files of a source tell, on disk or in archives; later kinds of `PARSERS` overrule earlier ones.

    A development kit of ILSVRC is known by its parts: data/meta.mat maps its own ids to WordNet ids, and
    data/ILSVRC<year>_validation_ground_truth.txt holds one id a line, for the validation images in order.
    Raises SourceError, which names file and line.
    """
    found: dict[str, list[File]] = {}
    for file in files:
        base = file.name.lower().rsplit("/", 1)[-1]
        found.setdefault(TRUTH if base.endswith(TRUTH) else base, []).append(file)
    labels = Labels()
    ids: dict[int, str] = {}
    for file in found.get("meta.mat", ()):
        with reading(file.where, "fetch the development kit again"):
            for number, wnid, words in synsets(file.read()):
                ids[number], labels.names[wnid] = wnid, words
    for base, (what, rows) in PARSERS.items():
        for file in found.get(base, ()):
            with reading(file.where, "mend that line, or take the file out of the source"):
                getattr(labels, what).update(rows(file.read()))
    for file in found.get(TRUTH, ()) if ids else ():  # its ids say nothing without meta.mat
        with reading(file.where, "fetch the development kit again"):
            year = file.name.rsplit("/", 1)[-1].split("_")[0]  # ILSVRC2012
            for number, line in enumerate(file.read().split(), 1):
                labels.truth[f"{year}_val_{number:08d}"] = ids[int(line)]
    return labels


def synsets(content: bytes) -> Iterator[tuple[int, str, str]]:
    """(ILSVRC's id, WordNet id, words) of a kit's meta.mat."""
    from scipy.io import loadmat

    for synset in np.atleast_1d(loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)["synsets"]):
        key = next(name for name in synset._fieldnames if name.endswith("_ID"))  # ILSVRC2012_ID
        yield int(getattr(synset, key)), str(synset.WNID), str(synset.words)


def lines(content: bytes) -> Iterator[tuple[int, str]]:
    """(number from 1 on, line) of the lines that are not empty; like file names, they need not be valid text."""
    for number, line in enumerate(content.decode("utf-8-sig", "surrogateescape").splitlines(), 1):
        if "\0" in line:
            raise ValueError(f"line {number} is no text")
        if line.strip():
            yield number, line


def pair(number: int, cells: list[str], wanted: str) -> tuple[str, str]:
    """The first two cells of a line. Raises ValueError where one of them is empty."""
    if len(cells) < 2 or not all(cell.strip() for cell in cells[:2]):
        raise ValueError(f"line {number} is not {wanted}")
    return cells[0].strip(), cells[1].strip()


def tiny_annotations(content: bytes) -> Rows:
    """Tiny ImageNet's val_annotations.txt: file, class and box, with tabs between them."""
    for number, line in lines(content):
        yield pair(number, line.split("\t"), "FILE, a tab, CLASS")


def kaggle_solution(content: bytes) -> Rows:
    """Kaggle's LOC_val_solution.csv: below its heading, stem and "class box"."""
    rows = list(lines(content))
    for (number, _), cells in list(zip(rows, csv.reader(line for _, line in rows), strict=True))[1:]:
        stem, answer = pair(number, cells, "IMAGE,CLASS BOX")
        yield stem, answer.split()[0]


def words(content: bytes) -> Rows:
    """LOC_synset_mapping.txt and synset_words.txt: class, a space, name."""
    for _, line in lines(content):
        if " " in line:
            yield pair(0, line.split(" ", 1), "CLASS NAME")


def table(content: bytes) -> Rows:
    """classes.tsv: the columns wnid and name of a table with a heading."""
    rows = [(number, line.split("\t")) for number, line in lines(content)]
    heading = rows[0][1] if rows else []
    if "wnid" in heading and "name" in heading:
        places = heading.index("wnid"), heading.index("name")
        for number, row in rows[1:]:
            yield pair(number, [row[place] for place in places if place < len(row)], "as its heading says")


PARSERS: dict[str, tuple[str, Callable[[bytes], Rows]]] = {
    "loc_synset_mapping.txt": ("names", words),
    "synset_words.txt": ("names", words),
    "classes.tsv": ("names", table),
    "val_annotations.txt": ("truth", tiny_annotations),
    "loc_val_solution.csv": ("truth", kaggle_solution),
}
