"""CIFAR-10, from whichever form of its six batches is at hand; each must be the published one."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from repro.data.sources import Pixels, Source, Split

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
