"""The data sets that are known by name: everything that depends on a set's name stands in its row.

Another package adds a row by an entry point of the group `repro.datasets` (docs/extending.md). A name without a row is
a set of the user's own, in class folders.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro import extensions

GROUP = "repro.datasets"
CLASS_FOLDERS = "a folder with train/CLASS/*.jpg and val/CLASS/*.jpg"


@dataclass(frozen=True)
class KnownSet:
    """A row. `read` and `fetch` name functions as `module:function`, which are loaded when a set is prepared."""

    size: int  # side of the stored square, pixels, unless --size says another
    classes: int
    train: int  # images, as published
    test: int
    # (name, listing of --source, scratch folder, progress) -> Source; of a shipped set, () -> Source
    read: str = "repro.data.prepare.folders:class_folders"
    wanted: str = CLASS_FOLDERS  # what --source has to be, and where it is to be had
    fetch: str = ""  # (folder) -> the source, downloaded; "" where it needs --source
    shipped: bool = False  # made from what is installed: no --source, and prepared on first use
    official: bool = False  # `read` refuses any copy but the published one, so that all copies are the same set


OWN = KnownSet(size=256, classes=0, train=0, test=0)  # a set of the user's
PHOTOS = KnownSet(64, 10, 2_560, 640, read="repro.data.prepare.photos:photos", shipped=True)
CIFAR10 = KnownSet(
    32, 10, 50_000, 10_000,
    read="repro.data.prepare.cifar:cifar10",
    wanted="cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html",
    fetch="repro.data.prepare.cifar:download_cifar10",
    official=True,
)  # fmt: skip
TINY200 = KnownSet(
    64, 200, 100_000, 10_000,
    wanted="http://cs231n.stanford.edu/tiny-imagenet-200.zip, as it is or unpacked",
)  # fmt: skip
IMAGENETTE = KnownSet(
    256, 10, 9_469, 3_925,
    wanted="https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz, as it is or unpacked",
)  # fmt: skip
IMAGENET = KnownSet(
    256, 1000, 1_281_167, 50_000,
    wanted="one folder with ILSVRC2012_img_train.tar (138 GB), ILSVRC2012_img_val.tar (6.3 GB) and "
    "ILSVRC2012_devkit_t12.tar.gz, from https://image-net.org/download-images (log in)",
)  # fmt: skip


def names() -> tuple[str, ...]:
    """The known sets: ours, then those of installed packages."""
    return extensions.known(GROUP)


def row(name: str) -> KnownSet:
    """The row of a set; `OWN` for a name that nobody knows. Raises ValueError for a row that does not load."""
    if name not in extensions.OURS[GROUP] and name not in names():
        return OWN
    found: KnownSet = extensions.load(GROUP, name)
    return found


def published(name: str) -> tuple[int, int, int]:
    """Classes, training and test images of a set that is not prepared: those of ImageNet for a name nobody knows."""
    found = row(name)
    found = IMAGENET if found is OWN else found
    return found.classes, found.train, found.test
