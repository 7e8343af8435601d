"""STL-10 (Coates, Ng and Lee 2011): 96x96 images in binary files of its own, by columns, channel by channel."""

from pathlib import Path

import numpy as np

from repro.data.known import KnownSet
from repro.data.prepare.files import Listing, reading
from repro.data.prepare.progress import OnProgress
from repro.data.prepare.sources import Pixels, Source, SourceSplit, called

STL10 = KnownSet(
    size=96, classes=10, train=5_000, test=8_000, read="repro_more.stl10:read",
    wanted="the folder stl10_binary of stl10_binary.tar.gz, from https://cs.stanford.edu/~acoates/stl10",
)  # fmt: skip


def read(name: str, found: Listing, scratch: Path, progress: OnProgress) -> Source:
    files = {file.name.rpartition("/")[2]: file for file in found.files}

    def split(kind: str) -> SourceSplit:
        if missing := {f"{kind}_X.bin", f"{kind}_y.bin"} - files.keys():
            raise ValueError(f"{found.source} holds no {min(missing)}; wanted: {STL10.wanted}")
        with reading(files[f"{kind}_X.bin"].where):
            columns = np.frombuffer(files[f"{kind}_X.bin"].read(), np.uint8).reshape(-1, 3, 96, 96)
            labels = np.frombuffer(files[f"{kind}_y.bin"].read(), np.uint8).astype(int) - 1
        images: Pixels = columns.transpose(0, 3, 2, 1)
        names = [f"{kind}/{number:05d}" for number in range(len(images))]
        return SourceSplit(names, labels.tolist(), lambda number: images[number])

    with reading(found.source):
        classes = [{"wnid": "", "name": line} for line in files["class_names.txt"].read().decode().split()]
    return Source(called(found.source), classes, split("train"), split("test"))
