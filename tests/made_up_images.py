"""Images for the data tests, made from noise: nothing is cut from anyone's photograph. And what the tests share."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 40  # stored side in the tests


def image(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """A smooth color image, so that JPEG keeps it well."""
    coarse = generator.integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def class_tree(folder: Path, *, classes: int, train: int, test: int, seed: int = 0) -> Path:
    """train/CLASS/*.JPEG and val/CLASS/*.JPEG of many sizes, `train` and `test` images a class."""
    generator = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", test)):
        for label in range(classes):
            place = folder / split / f"n{label:08d}"
            place.mkdir(parents=True)
            for number in range(count):
                width, height = (int(side) for side in generator.integers(30, 90, 2))
                image(generator, width, height).save(place / f"{split}_{number}.JPEG", quality=92)
    return folder


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Put a file into an archive that is being written."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def prepared_files(directory: Path, name: str) -> dict[str, bytes]:
    """Content of every file of a prepared set."""
    return {path.name: path.read_bytes() for path in (directory / name).iterdir()}
