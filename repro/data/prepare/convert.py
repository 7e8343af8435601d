"""One image from a source to what is stored: decoded, upright, RGB, resized to a square, encoded."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from repro.data.prepare.sources import Pixels

FILTER = Image.Resampling.BICUBIC  # one named filter, antialiased when it shrinks
FILTER_NAME = "Pillow bicubic, antialiased"
FORMATS = {  # Pillow's names; others are the ending
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), ("JPEG", "MPO")),
    **dict.fromkeys(("ppm", "pgm", "pbm", "pnm"), ("PPM",)),
    "tif": ("TIFF",),
}
ORIENTATION = 0x0112  # EXIF tag
TURNS = {  # what EXIF's orientation asks for; 1 is upright, and other values mean nothing
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
MOST_PIXELS = 1 << 24  # above it an image is decoded alone, and is cropped before it is resized
ONE_LARGE = threading.Lock()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of a damaged file is in its error


@dataclass(frozen=True)
class Form:
    """How images are stored: side in pixels, short-crop or warp, raw, png or jpeg and its quality."""

    size: int
    resize: str
    storage: str
    quality: int | None


@dataclass(frozen=True)
class StoredImage:
    """An image as it will be stored; `converted` says what was unusual about it."""

    pixels: Pixels  # (size, size, 3), before encoding
    encoded: bytes | Pixels  # a PNG or JPEG file, or the pixels themselves
    products: npt.NDArray[np.int64]  # (3, 3): of each two channels, summed over the pixels
    converted: tuple[str, ...]


def convert_image(content: bytes | Pixels, name: str, form: Form) -> StoredImage:
    """Decode, bring to RGB, resize and encode one image, an encoded file or (height, width, 3) pixels.

    Raises whatever `decode` raises, and ValueError for an empty file.
    """
    converted: tuple[str, ...] = ()
    if isinstance(content, bytes):
        if not content:
            raise ValueError("the file is empty")
        image, converted = decode(content, name)
    else:
        image = Image.fromarray(content)
    image = to_square(image, form.size, form.resize)
    pixels = np.asarray(image)
    encoded: bytes | Pixels = pixels
    if form.storage != "raw":
        file = io.BytesIO()
        if form.storage == "jpeg":
            image.save(file, "JPEG", quality=form.quality, subsampling="4:2:0")
        else:
            image.save(file, "PNG", compress_level=6)
        encoded = file.getvalue()
    flat = pixels.reshape(-1, 3).astype(np.float64)  # products below 2**53, so the sums are exact
    return StoredImage(pixels, encoded, (flat.T @ flat).astype(np.int64), converted)


def decode(content: bytes, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """An encoded file as upright RGB, and what was unusual about it.

    Raises whatever Pillow and its plugins raise for damaged and unknown files, ValueError for images that are no
    8-bit gray or color images, and Pillow's DecompressionBombError above 179 million pixels.
    """
    opened: Image.Image = Image.open(io.BytesIO(content))
    with ONE_LARGE if opened.width * opened.height > MOST_PIXELS else nullcontext():
        return _upright(opened, name)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings, in all threads: of damaged EXIF, and of large images, which are fine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def _upright(opened: Image.Image, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    opened.load()
    unusual = []
    ending = name.rsplit(".", 1)[-1].lower()
    if opened.format not in FORMATS.get(ending, (ending.upper(),)):
        unusual.append(f"{opened.format} file named .{ending}")
    if opened.mode.startswith(("I", "F")):
        raise ValueError(f"{opened.mode} pixels are no 8-bit gray or color")
    if opened.mode != "RGB":
        unusual.append({"L": "gray", "P": "palette"}.get(opened.mode, opened.mode) + " made RGB")
    turn = TURNS.get(opened.getexif().get(ORIENTATION, 1))
    if turn is not None:  # not Pillow's exif_transpose: that also writes the EXIF anew, which may be malformed
        unusual.append("turned upright as its EXIF says")
        opened = opened.transpose(turn)
    return opened.convert("RGB"), tuple(unusual)


def to_square(image: Image.Image, size: int, resize: str) -> Image.Image:
    """(size, size): short side to `size` and the center cropped, or both sides warped."""
    if resize == "warp":
        return image if image.size == (size, size) else image.resize((size, size), FILTER)
    width, height = image.size
    short = min(width, height)
    if short != size:
        long = max(size, round(max(width, height) * size / short))
        if size * long > MOST_PIXELS:  # a line of 30,000 x 1 pixels would take gigabytes: the crop comes first
            left, top = (width - short) / 2, (height - short) / 2
            return image.resize((size, size), FILTER, box=(left, top, left + short, top + short))
        width, height = max(size, round(width * size / short)), max(size, round(height * size / short))
        image = image.resize((width, height), FILTER)
    left, top = (width - size) // 2, (height - size) // 2
    return image if (width, height) == (size, size) else image.crop((left, top, left + size, top + size))
