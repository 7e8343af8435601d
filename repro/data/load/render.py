"""One way through a split, made into images: what both loaders call."""

from __future__ import annotations

import io
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from repro.config import config
from repro.data.load import augment
from repro.data.load.beton import Beton

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Decode = Callable[[Bytes, Bytes], None]
PIECE = 16  # images that a thread renders at a time: few enough to share a batch evenly, many enough to be worth it


@dataclass(frozen=True)
class Pass:
    """One way through a split: the batches, and what happens to each image.

    `batches` are stored positions; `keys` maps a stored position to the key of its crop and mirror draws.
    """

    batches: list[Ints]
    seed: int
    epoch: int
    keys: Ints | None  # (stored,) or None: the position itself
    choices: int  # crop offsets an axis
    random_crop: bool
    mirror: bool
    axes: npt.NDArray[np.float64] | None  # (3, 3) color noise
    views: Ints | None  # (V, 3): fixed views instead of draws
    crop: int
    mean: Floats  # (crop, crop, 3); (side, side, 3) with `mean_at_offset`
    mean_at_offset: bool  # cropped and mirrored with the image
    factors: Floats  # (3,) of red, green, blue
    swapped: bool  # blue comes first
    boxes: config.ResizedCrop | None = None  # random boxes instead of crops
    stored: bool = False  # `fill` makes the stored pixels, for a device that does the rest (device.py)

    def made(self, count: int) -> tuple[tuple[int, ...], type[np.generic]]:
        """Shape and type of what `fill` makes of `count` images."""
        if self.stored:
            side = self.choices + self.crop - 1
            return (count, side, side, 3), np.uint8
        return self.shape(count), np.float32

    def shape(self, count: int) -> tuple[int, ...]:
        """Of the images of `count` images, channels last: (count, V, crop, crop, 3) or (count, crop, crop, 3)."""
        crop = self.crop
        return (count, crop, crop, 3) if self.views is None else (count, len(self.views), crop, crop, 3)

    def places(self, indices: Ints) -> Ints:
        """(B * V, 3): row offset, column offset, mirrored; (B, 5) of `box_draws` with `boxes`."""
        if self.views is not None:
            return np.tile(self.views, (len(indices), 1))
        keys = indices if self.keys is None else self.keys[indices]
        if self.boxes:
            side, law = self.choices + self.crop - 1, (self.boxes.area, self.boxes.ratio)
            boxes: Ints = augment.box_draws(self.seed, self.epoch, keys, side, *law, self.mirror)
            return boxes
        drawn: Ints = augment.place_draws(self.seed, self.epoch, keys, self.choices, self.random_crop, self.mirror)
        return drawn

    def colors(self, indices: Ints) -> Floats:
        """(B * V, 3) float32 to add."""
        if self.axes is None:
            return np.zeros((len(indices) * (1 if self.views is None else len(self.views)), 3), np.float32)
        drawn: Floats = augment.color_draws(self.seed, self.epoch, indices, self.axes)
        return drawn


def fill(beton: Beton, side: int, run: Pass, indices: Ints, out: Floats | Bytes, decode: Decode) -> None:
    """Fill `out`, as `run.made(len(indices))` says, with the images stored at `indices`."""
    if run.stored:
        for index, pixels in zip(indices, out, strict=True):
            if beton.storage == "raw":
                pixels.reshape(-1)[:] = beton.encoded(index)
            else:
                _decode(beton, index, pixels, decode)
        return
    places, colors = run.places(indices), run.colors(indices)
    views = 1 if run.views is None else len(run.views)
    target = out.reshape(-1, run.crop, run.crop, 3)
    fused = augment.fused_boxes if run.boxes else augment.fused

    def fill(pixels: Bytes, starts: Ints, rows: slice) -> None:
        how = run.mean, run.mean_at_offset, colors[rows], run.factors, run.swapped
        fused(pixels, starts, side, places[rows], *how, target[rows])

    if beton.storage == "raw":
        fill(beton.mapped, np.repeat(beton.pointers[indices], views), slice(None))
        return
    # A few images are decoded one after the other and then rendered together: turn by turn takes a fifth longer, as
    # each drives the other's code and data out of the nearest caches.
    scratch = np.empty((min(PIECE, len(indices)), side, side, 3), np.uint8)
    starts = np.repeat(np.arange(len(scratch)) * scratch[0].size, views) if len(scratch) else np.empty(0, np.int64)
    for first in range(0, len(indices), PIECE):
        piece = indices[first : first + PIECE]
        for number, index in enumerate(piece):
            _decode(beton, index, scratch[number], decode)
        rows = slice(first * views, (first + len(piece)) * views)
        fill(scratch.reshape(-1), starts[: len(piece) * views], rows)


def _decode(beton: Beton, index: int, out: Bytes, decode: Decode) -> None:
    try:
        decode(beton.encoded(index), out)
    except Exception as error:
        raise beton.damaged(index, error) from None


def decode_with_pillow(encoded: Bytes, out: Bytes) -> None:
    """A stored JPEG or PNG into `out` (size, size, 3)."""
    with Image.open(io.BytesIO(encoded.data)) as image:
        out[:] = np.asarray(image)


class Buffers:
    """Memory that is used again once nobody holds the batch that was made in it; `pinned` for copies to CUDA devices.

    Fresh pages of the system cost more than filling them, and views of a ring would change under whoever keeps them.
    """

    def __init__(self, pinned: bool = False) -> None:
        self.free: list[Bytes] = []
        self.pinned = pinned

    def take(self, shape: tuple[int, ...], kind: type[np.generic]) -> npt.NDArray[Any]:
        """An array of `shape`, contents arbitrary; its memory comes back when the array (or a tensor on it) is gone."""
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        while self.free:
            memory = self.free.pop()
            if memory.size >= count:
                break
        else:
            memory = np.empty(count, np.uint8)
            if self.pinned:
                memory = torch.empty(count, dtype=torch.uint8, pin_memory=True).numpy()
        array = memory[:count].view(kind).reshape(shape)
        weakref.finalize(array, self.free.append, memory).atexit = False
        return array


class Ahead:
    """Renders the batches of a pass in `workers` threads, which go on with the next batch while one is waited for.

    numba's code, Pillow and libturbojpeg let go of the GIL, so threads do, and no process has to be started or fed.
    """

    def __init__(self, beton: Beton, side: int, run: Pass, buffers: Buffers, decode: Decode, workers: int) -> None:
        self.beton, self.side, self.run, self.buffers, self.decode = beton, side, run, buffers, decode
        self.pool = ThreadPoolExecutor(workers, "repro-render")
        # Once, and at exit at the latest: a generator that a process ends inside is closed after the modules that
        # `shutdown` needs are gone.
        self.end = weakref.finalize(self, self.pool.shutdown, cancel_futures=True)
        self.coming = iter(run.batches)
        self.begun: deque[tuple[Ints, npt.NDArray[Any], list[Future[None]]]] = deque()
        self._begin()

    def _begin(self) -> None:
        indices = next(self.coming, None)
        if indices is None:
            return
        out = self.buffers.take(*self.run.made(len(indices)))
        parts = [slice(first, first + PIECE) for first in range(0, len(indices), PIECE)]
        work = [
            self.pool.submit(fill, self.beton, self.side, self.run, indices[part], out[part], self.decode)
            for part in parts
        ]
        self.begun.append((indices, out, work))

    def take(self) -> tuple[Ints, npt.NDArray[Any]]:
        """Stored positions and images of the next batch; raises what its rendering raised."""
        self._begin()
        indices, out, work = self.begun.popleft()
        for piece in work:
            piece.result()
        return indices, out

    def close(self) -> None:
        """End the threads; what has not begun is left out. Twice is fine."""
        self.end()
        self.begun.clear()
