"""What is prepared, where, and from what: the manifest of a prepared set. Imports neither torch nor numpy.

A prepared set is one folder of the data directory:

    <data-dir>/<key>/manifest.json     written last, so a folder with a manifest is a whole one
                     train.beton       images and labels in FFCV's file format, in an order shuffled once (F15)
                     test.beton
                     mean.npy          (size, size, 3) float32, the mean training image, 0-255
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repro.config import config
from repro.data import known
from repro.folders import data_directory
from repro.store import write_json
from repro.suggest import did_you_mean

VERSION = 1
NAME = "manifest.json"
FILES = ("train.beton", "test.beton", "mean.npy")
AGAIN = "delete its folder and prepare the set again"


@dataclass(frozen=True)
class Manifest:
    """Everything that is known of a prepared set without opening its images."""

    name: str  # the folder
    source: str  # what `data.source` names
    origin: str  # where the images came from
    size: int  # side of the stored square, pixels
    resize: str  # short-crop or warp
    resize_filter: str
    storage: str  # raw, jpeg or png
    quality: int | None
    classes: list[dict[str, str]]  # {"wnid", "name"} in label order
    train_count: int
    test_count: int
    train_per_class: list[int]
    test_per_class: list[int]
    covariance: list[list[float]]  # of the RGB values of all training pixels, 0-255 squared
    eigenvalues: list[float]  # of the covariance, rising
    eigenvectors: list[list[float]]  # column i belongs to eigenvalue i
    digest: str  # of the content: files and classes
    files: dict[str, dict[str, Any]]  # name -> {"bytes", "sha256": [one for each block]}
    bad: list[dict[str, str]] = field(default_factory=list)  # {"file", "reason"}: left out
    converted: dict[str, dict[str, Any]] = field(default_factory=dict)  # reason -> {"count", "files": the first few}
    notes: list[str] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)
    seal: str = ""  # of the files that were read: names, sizes, times; empty where nobody could give others
    version: int = VERSION

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return sum(int(entry["bytes"]) for entry in self.files.values())


def folder(source: str, size: int, resize: str, storage: str, quality: int | None) -> str:
    """The folder's name; two settings that give other pixels never share one."""
    return f"{source}-{size}-{resize}-{storage}{quality if quality is not None else ''}"


def key(data: config.Data) -> str:
    """Folder name of the prepared set that `data` asks for."""
    return folder(data.source, data.size, data.resize, data.storage, data.quality)


def find(data: config.Data, directory: Path) -> Manifest | None:
    """The manifest of the set that `data` asks for, or None when it is not prepared."""
    return load(directory / key(data))


def check_fits(data: config.Data, manifest: Manifest) -> None:
    """Raise ValueError where the set has fewer classes, or images a class, than `data` asks for."""
    last = data.first_class + data.classes
    if last > len(manifest.classes):
        asked = f"data.first_class {data.first_class} and data.classes {data.classes} need {last} classes"
        raise ValueError(f"{asked}; {manifest.source} has {len(manifest.classes)}")
    asked = f"data.per_class {data.per_class}" if data.per_class else ""
    if data.held_out:
        asked += f"{' and ' if asked else ''}data.held_out {data.held_out}"
    for asked_for, needed, there in (
        (asked, (data.per_class or 1) + data.held_out if asked else 0, manifest.train_per_class),
        (f"data.test_per_class {data.test_per_class}", data.test_per_class or 0, manifest.test_per_class),
    ):
        for entry, count in zip(manifest.classes[data.first_class : last], there[data.first_class : last], strict=True):
            if count < needed:
                raise ValueError(f"{asked_for}: class {entry['name']} of {manifest.source} has only {count} images")


def load(path: Path) -> Manifest | None:
    """The manifest in folder `path`, None when there is none. Raises ValueError when it cannot be read."""
    damaged = ValueError(f"{path / NAME} is damaged; delete the folder {path} and prepare it again")
    try:
        values = json.loads((path / NAME).read_text())
        checksum = values.pop("checksum", None)  # older ones have none
        if values["version"] != VERSION:
            raise ValueError(f"{path} was prepared by another version of repro; delete it and prepare it again")
        manifest = Manifest(**values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"{path / NAME}: {error.strerror}; mend that, or choose another --data-dir") from None
    except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError, RecursionError):
        raise damaged from None  # cut short, or a key is not there
    if checksum not in (None, _checksum(values)) or not _is_whole(manifest):
        raise damaged
    return manifest


def _checksum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _is_whole(manifest: Manifest) -> bool:
    """Whether the parts that others rely on are of the right kind and fit each other."""
    many = len(manifest.classes)
    try:
        return (
            all(set(each) >= {"wnid", "name"} for each in manifest.classes)
            and [len(manifest.train_per_class), len(manifest.test_per_class)] == [many, many]
            and [sum(manifest.train_per_class), sum(manifest.test_per_class)]
            == [manifest.train_count, manifest.test_count]
            and all(isinstance(row[column], float) for row in manifest.covariance for column in range(3))
            and {*FILES} <= {*manifest.files}
            and all(isinstance(entry["bytes"], int) and entry["sha256"] for entry in manifest.files.values())
            and isinstance(manifest.size, int)
        )
    except (TypeError, LookupError):
        return False


def save(manifest: Manifest, path: Path) -> None:
    """Write the manifest into folder `path`, atomically."""
    values = asdict(manifest)
    write_json(path / NAME, {**values, "checksum": _checksum(values)})


def source_of(name: str) -> str:
    """The source that a folder called `name` by `folder`, or in the making, is for; `name` itself for other folders."""
    return re.sub(r"-\d+-(short-crop|warp)-(raw|png|jpeg\d+)(\.part)?$", "", name)


def prepared(directory: Path) -> list[Manifest]:
    """All prepared sets of the directory, by name. Those that cannot be read are among `damaged`."""
    found = []
    for path in folders(directory):
        with suppress(ValueError):
            manifest = load(path)
            if manifest and manifest.name == path.name:  # else it is in the making
                found.append(manifest)
    return found


def folders(directory: Path) -> list[Path]:
    """What may be a prepared set, by name. Raises ValueError where the directory may not be read."""
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ValueError(f"{directory}: {error.strerror}; mend that, or choose another --data-dir") from None


def damaged(directory: Path) -> list[str]:
    """One line for each set of the directory whose manifest cannot be read: the file, and what to do."""
    found = []
    for path in folders(directory):
        try:
            load(path)
        except ValueError as error:
            found.append(str(error))
    return found


def subset_name(name: str, classes: int | None, per_class: int | None, seed: int) -> str:
    """`imagenet-10x100` for 10 classes with 100 training images each; other seeds than 0 are named."""
    if not classes and not per_class:
        return name
    return f"{name}-{classes or 'all'}x{per_class or 'all'}" + (f"-seed{seed}" if seed else "")


def taken_apart(source: str) -> tuple[str, str]:
    """(name, options) that prepare `source`: `imagenet`, ` --classes 10 --per-class 100` for what `subset_name` made.
    Options are empty for a whole set."""
    found = re.fullmatch(r"(.+)-(\d+|all)x(\d+|all)(?:-seed(-?\d+))?", source)
    if not found:
        return source, ""
    name, *values = found.groups()
    options = zip(("--classes", "--per-class", "--seed"), values, strict=True)
    return name, "".join(f" {option} {value}" for option, value in options if value not in (None, "all"))


def missing(data: config.Data, directory: Path) -> str:
    """One line: what is not prepared and the command that prepares it."""
    name, subset = taken_apart(data.source)
    command = f"repro data prepare {name}{subset} --size {data.size}"
    if data.resize != "short-crop":
        command += f" --resize {data.resize}"
    if data.storage != "raw":
        command += f" --storage {data.storage}"
    if data.quality is not None:
        command += f" --quality {data.quality}"
    row = known.row(name)
    if not row.shipped and not row.fetch:
        command += " --source FOLDER"
    if os.path.abspath(directory) != os.path.abspath(data_directory(None)):
        command += f" --data-dir {directory}"
    there = {each.source for each in prepared(directory)} | {*known.names()}
    hint = "" if name in there else did_you_mean(data.source, there)
    return f"data {data.source} ({key(data)}) is not prepared in {directory}{hint}; run: {command}"
