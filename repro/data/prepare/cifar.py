"""CIFAR-10, from whichever form of its six batches is at hand; each must be the published one."""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from repro.data import known
from repro.data.prepare.files import File, Listing, Losses, SourceError, members, reading
from repro.data.prepare.files import kind as kind_of
from repro.data.prepare.progress import OnProgress
from repro.data.prepare.sources import Pixels, Source, SourceSplit, called

CIFAR_MD5 = {  # of the six files of the official binary version
    "data_batch_1": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORDS = 10_000  # of a batch


def cifar10(name: str, found: Listing, scratch: Path, progress: OnProgress) -> Source:
    """CIFAR-10 from the official binary or python version (a folder or an archive), from tars of lossless WebP sheets,
    or from a hub's Parquet tables. Every batch must have its official MD5.

    Raises SourceError that names what is missing, damaged or not the published one.
    """
    mend = f"get {known.row(name).wanted}"
    tables = [archive for archive in found.archives if archive.name.endswith(".parquet")]
    whole = {Path(archive.name).stem: archive for archive in found.archives if archive not in tables}
    sheets = [whole.pop(name) for name in CIFAR_MD5 if name in whole]  # tars that are a batch each
    inside = [file for archive in whole.values() for file in members(archive, scratch, found.losses)]
    files = {file.name.rpartition("/")[2]: file for file in (*inside, *sheets, *reversed(found.files))}
    batches: dict[str, Pixels] = {}
    for name in CIFAR_MD5:
        forms = [form for form in (f"{name}.bin", name, f"{name}.tar") if form in files]
        if forms:
            with reading(files[forms[0]].where, mend):
                batches[name] = _records(files[forms[0]])
    if tables and not batches:
        batches = _from_tables(tables, scratch, found.losses)
    for name, md5 in CIFAR_MD5.items():
        if name not in batches:
            raise SourceError(f"{found.source} holds no CIFAR-10 batch {name}; {mend}")
        if hashlib.md5(batches[name].tobytes()).hexdigest() != md5:
            raise SourceError(f"{found.source}: {name} is not the official CIFAR-10 batch (its MD5 differs); {mend}")
    train = np.concatenate([batches[name] for name in CIFAR_MD5 if name != "test_batch"])

    def split(kind: str, records: Pixels) -> SourceSplit:
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        names = [f"{kind}/{number:05d}" for number in range(len(records))]
        return SourceSplit(names, [int(label) for label in records[:, 0]], lambda number: images[number])

    classes = [{"wnid": "", "name": name} for name in CIFAR_NAMES]
    origin = f"CIFAR-10, {called(found.source)}, MD5 as published"
    return Source(origin, classes, split("train", train), split("test", batches["test_batch"]))


def _from_tables(tables: list[File], scratch: Path, losses: Losses) -> dict[str, Pixels]:
    """The batches in a hub's tables, which keep them whole, one after the other, in an order of their own."""
    batches: dict[str, Pixels] = {}
    names = {md5: name for name, md5 in CIFAR_MD5.items()}
    for kind in ("train", "test"):
        records = []
        for table in sorted((table for table in tables if kind in table.name), key=lambda table: table.name):
            files = [file for file in members(table, scratch, losses) if kind_of(file.name) == "image"]
            with reading(table.place):
                records += [_record(file) for file in files]
        for first in range(0, len(records), RECORDS):
            batch = np.stack(records[first : first + RECORDS])
            batches[names.get(hashlib.md5(batch.tobytes()).hexdigest(), f"{kind} {first}")] = batch
    return batches


def _record(file: File) -> Pixels:
    """(3073,) of an image LABEL/ROW.png: the label, then the pixels channel by channel."""
    with Image.open(io.BytesIO(file.read())) as image:
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1).reshape(-1)
    return np.concatenate([np.array([int(file.name.split("/")[0])], np.uint8), pixels])


def download_cifar10(folder: Path) -> Path:
    """Fetch the python version with torchvision. Raises ValueError without a network."""
    from torchvision.datasets import CIFAR10

    try:
        folder.mkdir(parents=True, exist_ok=True)
        CIFAR10(str(folder), download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"CIFAR-10 could not be downloaded ({reason}); get {known.CIFAR10.wanted} and run: "
            "repro data prepare cifar10 --source cifar-10-binary.tar.gz"
        ) from None
    return folder / "cifar-10-batches-py"


def _records(file: File) -> Pixels:
    """(N, 3073) uint8 records, label first, of a batch in whichever form."""
    content = file.read()
    if file.name.endswith(".bin"):
        return np.frombuffer(content, np.uint8).reshape(-1, 3073)
    if file.name.endswith(".tar"):  # lossless WebP sheets of 10x10 images in official order, and the labels
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
            read = {name: file.read() for name, file in files.items() if file}
        sheets = [
            np.asarray(Image.open(io.BytesIO(read[name])).convert("RGB")) for name in sorted(read) if "webp" in name
        ]
        images = np.stack(sheets).reshape(-1, 10, 32, 10, 32, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3072)
        return np.concatenate([np.frombuffer(read["labels.bin"], np.uint8)[:, None], images], axis=1)
    batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in _unpickled(content).items()}
    labels, data = batch["labels"], batch["data"]
    if not isinstance(labels, list) or not {int}.issuperset(map(type, labels)) or len(labels) > RECORDS:
        raise ValueError("labels is no list of numbers")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (len(labels), 3072):
        raise ValueError("data is no table of bytes, a row a label")
    return np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1)


def _unpickled(content: bytes) -> Any:
    """Numpy arrays and plain values: a pickle from elsewhere must neither run code nor take more memory than it has
    bytes. Raises ValueError for one that would, and whatever a damaged one raises."""
    for opcode, argument, _ in pickletools.genops(content):
        if (
            "PUT" in opcode.name and isinstance(argument, int) and argument > len(content)
        ):  # a table of so many entries would be made
            raise ValueError(f"it numbers a value {argument}, and has {len(content)} bytes")
    return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()


class _PlainUnpickler(pickle.Unpickler):
    """Of all functions that a pickle may name, those of arrays, in forms that give no more than they are given."""

    def find_class(self, module: str, name: str) -> Any:
        forms: dict[str, Any] = {
            "_reconstruct": lambda *_: np.empty(0, np.uint8),  # the state that follows gives it shape and content
            "_frombuffer": lambda buffer, kind, shape, order: np.frombuffer(buffer, kind).reshape(shape, order=order),
            "ndarray": None,  # as an argument of the first; called, it would take any amount of memory
            "dtype": np.dtype,
        }
        if module.split(".")[0] == "numpy" and name in forms:
            return forms[name]
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 3 writes them for Python 2
            return lambda text, *_: text.encode("latin1")
        raise ValueError(f"{module}.{name} has no place in a CIFAR-10 batch")
