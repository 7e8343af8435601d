"""The source that needs no download: windows of the color photographs that ship inside two wheels."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from repro.data.prepare.sources import Pixels, Source, SourceSplit

# Color photographs that ship inside the wheels, so nothing is downloaded; each is one class. motorcycle_right.png is
# left out as it shows what motorcycle_left.png shows; drawings and gray images too.
PHOTOGRAPHS = {
    "astronaut": "skimage/data/astronaut.png",
    "cat": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "galaxies": "skimage/data/hubble_deep_field.jpg",
    "tissue": "skimage/data/ihc.png",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "retina": "skimage/data/retina.jpg",
    "rocket": "skimage/data/rocket.jpg",
    "pagoda": "sklearn/datasets/images/china.jpg",
    "flower": "sklearn/datasets/images/flower.jpg",
}
WINDOW = 64  # side of a window cut from a photograph, pixels
GAP = 8  # pixels between the regions of training and test windows
PHOTO_TRAIN, PHOTO_TEST = 256, 64  # windows of each photograph


def photos() -> Source:
    """Windows of 64x64 pixels: test windows from two bands across each photograph, training windows from the rest.

    The bands are `GAP` pixels apart from the rest, so no training window shares a pixel with a test window; there are
    two, so that what a photograph shows in its middle is in both splits.
    """
    images = photographs()
    generator = np.random.default_rng(2012)

    def split(kind: str, each: int) -> SourceSplit:
        places = [
            (label, *place) for label, image in enumerate(images) for place in _windows(image, generator, kind, each)
        ]
        names = [f"{list(PHOTOGRAPHS)[label]} at {y},{x}" for label, y, x in places]

        def read(number: int) -> Pixels:
            label, y, x = places[number]
            return images[label][y : y + WINDOW, x : x + WINDOW]

        return SourceSplit(names, [label for label, _, _ in places], read)

    classes = [{"wnid": "", "name": name} for name in PHOTOGRAPHS]
    origin = "photographs shipped in scikit-image and scikit-learn"
    return Source(origin, classes, split("train", PHOTO_TRAIN), split("test", PHOTO_TEST))


def photographs() -> list[Pixels]:
    """The photographs in the order of `PHOTOGRAPHS`, (height, width, 3)."""
    from PIL import Image

    images: list[Pixels] = []
    for file in PHOTOGRAPHS.values():
        package, _, inside = file.partition("/")
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise ValueError(f"data photos needs the package {package}; run: pip install scikit-image scikit-learn")
        with Image.open(Path(found.submodule_search_locations[0]) / inside) as image:
            rgb = image.convert("RGB")
            if min(rgb.size) > 600:  # the retina and the galaxies: bring their detail to the scale of the others
                rgb = rgb.resize((rgb.width // 2, rgb.height // 2), Image.Resampling.BOX)
            images.append(np.asarray(rgb))
    return images


def _windows(image: Pixels, generator: np.random.Generator, kind: str, count: int) -> list[tuple[int, int]]:
    """(y, x) of `count` windows, drawn along the longer side from the places that belong to `kind`."""
    height, width, _ = image.shape
    length, across = max(height, width), min(height, width)
    bands = test_bands(length)
    starts = np.arange(length - WINDOW + 1)
    if kind == "test":
        allowed = [(starts >= band.start) & (starts + WINDOW <= band.stop) for band in bands]
        starts = starts[np.any(allowed, axis=0)]
    else:
        allowed = [(starts + WINDOW + GAP <= band.start) | (starts >= band.stop + GAP) for band in bands]
        starts = starts[np.all(allowed, axis=0)]
    along = generator.choice(starts, count).tolist()
    aside = generator.integers(0, across - WINDOW + 1, count).tolist()
    return list(zip(along, aside, strict=True) if height >= width else zip(aside, along, strict=True))


def test_bands(length: int) -> list[range]:
    """The two bands that test windows are cut from, across a photograph `length` pixels long."""
    return [range(round(first * length), round((first + 0.16) * length)) for first in (0.22, 0.62)]
