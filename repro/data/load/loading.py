"""The contract of both loaders: batches of (index, image, label), from any start, in an order that (seed, epoch) fix.

    with loader.epoch(3, start=10) as batches:
        for index, image, label in batches: ...

A `Pass` says what happens to which image; `fill` does it, one fused pass an image; FFCV and torch only decide who
calls `fill` and when. So their batches are bitwise equal.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from repro.config import config
from repro.data import known, manifest
from repro.data.load import augment
from repro.data.load.beton import Beton, open_beton
from repro.data.load.contrast import normalize_contrast
from repro.data.load.device import on_device
from repro.data.load.render import Bytes, Floats, Ints, Pass, decode_with_pillow
from repro.data.load.torch_loader import TorchImages
from repro.data.manifest import Manifest
from repro.data.prepare.files import reading
from repro.data.prepare.verify import check_files
from repro.terms import View

SplitName = Literal["train", "test", "held_out"]
Kind = Literal["ffcv", "torch"]


class Batch(NamedTuple):
    """index (B,) int64, the stored position; image (B, 3, crop, crop) or (B, V, 3, crop, crop) float32, channels last
    in memory; label (B,) int64 from 0 to classes - 1."""

    index: torch.Tensor  # type: ignore[assignment]  # hides a method of tuple that nobody needs
    image: torch.Tensor
    label: torch.Tensor


@dataclass(frozen=True)
class Split:
    """The images of one split that `data` asks for: stored positions in stored order, and their labels from 0 on."""

    beton: Beton
    indices: Ints  # (N,)
    labels: Ints  # (N,)
    first_class: int


@dataclass(frozen=True)
class Prepared:
    """A prepared set, opened. `mean` is (size, size, 3), 0-255; `covariance` (3, 3) that of the training pixels."""

    manifest: Manifest
    mean: Floats
    covariance: npt.NDArray[np.float64]
    train: Split
    test: Split
    held_out: Split | None  # training images that are never trained on; None where `data` holds none out

    def split(self, name: SplitName) -> Split:
        """The named split."""
        found = {"train": self.train, "test": self.test, "held_out": self.held_out}[name]
        assert found is not None, "data.held_out is 0"
        return found

    def pixels(self, name: SplitName, index: int) -> Bytes:
        """(size, size, 3) uint8 of the image stored at `index`."""
        size = self.manifest.size
        encoded = self.split(name).beton.encoded(index)
        if self.manifest.storage == "raw":
            return np.array(encoded).reshape(size, size, 3)
        out = np.empty((size, size, 3), np.uint8)
        try:
            decode_with_pillow(encoded, out)
        except Exception as error:
            raise self.split(name).beton.damaged(index, error) from None
        return out

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes in use, in label order."""
        first = self.train.first_class
        count = int(self.train.labels.max()) + 1
        return [entry["name"] for entry in self.manifest.classes[first : first + count]]


def open_data(data: config.Data, directory: Path, seed: int = 0, *, verify: bool = True) -> Prepared:
    """Open the set that `data` asks for; a shipped one is prepared on first use. `seed` is the run's: where
    `data.subsets` is by-seed, it chooses the part that is trained on. `verify`: hash what was not hashed since it last
    changed.

    Raises ValueError, with the command to run, when it is not prepared, when it has fewer classes or images a class
    than `data` asks for, and when a file of it is not the one that was prepared.
    """
    found = manifest.find(data, directory)
    if found is None and known.row(data.source).shipped:
        from repro.data.prepare.prepare import prepare

        found = prepare(
            data.source,
            directory=directory,
            size=data.size,
            resize=data.resize,
            storage=data.storage,
            quality=data.quality,
        )
    if found is None:
        raise ValueError(manifest.missing(data, directory))
    folder = directory / found.name
    manifest.check_fits(data, found)
    check_files(folder, found, content=verify)
    train, test = (
        open_split(folder / name, found, counts)
        for name, counts in (("train.beton", found.train_per_class), ("test.beton", found.test_per_class))
    )
    trained, held_out = training_indices(train.labels, data, seed)
    tested = [indices[: data.test_per_class] for indices in indices_by_class(test.labels, data)]
    return Prepared(
        manifest=found,
        mean=open_mean(folder / "mean.npy", found.size),
        covariance=np.array(found.covariance),
        train=_split(train, found, data, trained),
        test=_split(test, found, data, tested),
        held_out=_split(train, found, data, held_out) if data.held_out else None,
    )


def open_split(path: Path, found: Manifest, per_class: list[int]) -> Beton:
    """The stored images of a split. Raises ValueError where they are not those that the manifest tells of."""
    beton = open_beton(path, found.storage, found.size, [entry["name"] for entry in found.classes])
    if np.bincount(beton.labels, minlength=len(per_class)).tolist() != per_class:
        raise ValueError(f"{path} has not the images that {manifest.NAME} tells of; {manifest.AGAIN}")
    return beton


def open_mean(path: Path, size: int) -> Floats:
    """(size, size, 3) float32. Raises ValueError where the file is something else."""
    with reading(path, manifest.AGAIN):
        mean: Floats = np.load(path)
        if mean.shape != (size, size, 3) or mean.dtype != np.float32 or not np.isfinite(mean).all():
            raise ValueError(f"it is no mean of images with {size} pixels a side")
    return mean


def indices_by_class(labels: Ints, data: config.Data) -> list[Ints]:
    """Stored positions of the images of each class in use, in stored order."""
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(data.first_class, data.first_class + data.classes + 1))
    return [order[first:last] for first, last in pairwise(bounds)]


def training_indices(labels: Ints, data: config.Data, seed: int) -> tuple[list[Ints], list[Ints]]:
    """Stored positions of each class's images to train on, and of those held out.

    The last `held_out` images of a class are held out. Of the rest the first `per_class` are trained on (balanced, and
    nested when per_class grows), or by-seed part i mod m of the m disjoint parts that there are.
    """
    classes = indices_by_class(labels, data)
    rest = [indices[: len(indices) - data.held_out] for indices in classes]
    held_out = [indices[len(indices) - data.held_out :] for indices in classes]
    if data.per_class is None:
        return rest, held_out
    part = 0
    if data.subsets == "by-seed":
        part = seed % min(len(indices) // data.per_class for indices in rest)
    return [indices[part * data.per_class : (part + 1) * data.per_class] for indices in rest], held_out


def _split(beton: Beton, found: Manifest, data: config.Data, classes: list[Ints]) -> Split:
    """The images at these stored positions, in stored order."""
    indices = np.sort(np.concatenate(classes))
    if not len(indices):
        raise ValueError(f"{found.name}: no images of the classes asked for")
    return Split(beton, indices, beton.labels[indices] - data.first_class, data.first_class)


class Batches:
    """An iterator of `Batch` that is closed at the end, by `close`, by `with`, or when it is dropped."""

    def __init__(self, batches: Iterator[Batch], close: Callable[[], None]) -> None:
        self._batches, self._close = batches, close

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def close(self) -> None:
        """Stop, and give threads, processes and memory back. Twice is fine."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Loader:
    """Batches of one split. `len` counts the batches of an epoch; the last may be short, nothing is dropped."""

    def __init__(
        self,
        prepared: Prepared,
        cfg: config.Config,
        split: SplitName,
        seed: int,
        kind: Kind,
        workers: int,
        rank: int,
        world: int,
        device: torch.device | None = None,
    ) -> None:
        assert 0 <= rank < world and workers >= 0
        self.prepared, self.config, self.name = prepared, cfg, split
        self.seed, self.kind, self.workers, self.rank, self.world = seed, kind, workers, rank, world
        self.source, self.device = prepared.split(split), device
        pinned = device is not None and device.type == "cuda"
        self._images = image_maker(kind)(self.source.beton, prepared.manifest.size, workers, pinned)

    @property
    def images(self) -> int:
        """Images in one epoch, over all ranks."""
        return len(self.source.indices)

    def __len__(self) -> int:
        return -(-self.images // self.config.optim.batch_size)

    def size(self, batch: int) -> int:
        """Images of the batch of this number in an epoch, over all ranks."""
        return min(self.config.optim.batch_size, self.images - batch * self.config.optim.batch_size)

    def epoch(self, epoch: int, *, start: int = 0, color: bool = True) -> Batches:
        """The batches of one epoch from batch `start` on, augmented as `config.augment` says; `color` False leaves
        the color noise out and with it the division, which is by 1 + its strength (2012's end-game, F11)."""
        data, how = self.config.data, self.config.augment
        reshuffle = data.order == "reshuffle"
        order = self.source.indices
        if reshuffle:
            order = augment.epoch_order(self.config.seed_of("order", self.seed), epoch, order)
        keys = None
        if how.chunk > 1:
            keys = np.zeros(int(self.source.indices.max()) + 1, np.int64)
            keys[order] = np.arange(len(order)) // how.chunk
        noise = how.color if color else None
        axes = augment.color_axes(noise, self.prepared.covariance) if noise else None
        factor = data.scale / (1 + noise.strength) if noise and noise.divide else data.scale
        batches = self._batches(order, self.config.optim.batch_size, start)
        return self._run(batches, epoch, keys, how.random_crop, how.mirror, axes, None, factor, how.resized_crop)

    def views(self, view: View) -> Batches:
        """Every image in stored order without augmentation, image (B, V, 3, crop, crop), V = 1, 2, 10 or 50.

        B is the batch size divided by V (at least 1), so that a step sees about as many images as in training.
        """
        places = augment.view_places(view, self.prepared.manifest.size, self.config.augment.crop)
        batches = self._batches(self.source.indices, max(1, self.config.optim.batch_size // len(places)), 0)
        return self._run(batches, 0, None, False, False, None, places, self.config.data.scale)

    def _batches(self, order: Ints, size: int, start: int) -> list[Ints]:
        """This rank's share of each batch from `start` on: a contiguous part, so the ranks together see the whole."""
        assert start >= 0
        whole = [order[first : first + size] for first in range(start * size, len(order), size)]
        return [
            batch[len(batch) * self.rank // self.world : len(batch) * (self.rank + 1) // self.world] for batch in whole
        ]

    def _run(
        self,
        batches: list[Ints],
        epoch: int,
        keys: Ints | None,
        random_crop: bool,
        mirror: bool,
        axes: npt.NDArray[np.float64] | None,
        views: Ints | None,
        factor: float,
        boxes: config.ResizedCrop | None = None,
    ) -> Batches:
        data, crop = self.config.data, self.config.augment.crop
        later = data.mean == "picture" or data.contrast != "none"  # then the factors wait, too
        swapped = data.color_order == "bgr"
        factors = (factor / np.array(data.channel_std or (1.0, 1.0, 1.0))).astype(np.float32)
        last = torch.from_numpy((factors[::-1] if swapped else factors).copy()).view(3, 1, 1)
        run = Pass(
            batches=[batch for batch in batches if len(batch)],  # a rank may have no part of the last batch
            seed=self.config.seed_of("augment", self.seed),
            epoch=epoch,
            keys=keys,
            choices=self.prepared.manifest.size - crop + 1,
            random_crop=random_crop,
            mirror=mirror,
            axes=axes,
            views=views,
            crop=crop,
            mean=augment.mean_crop(data, self.prepared.mean, crop),
            mean_at_offset=augment.is_cropped_with_the_image(data),
            factors=np.ones(3, np.float32) if later else factors,
            swapped=swapped,
            boxes=boxes,
        )
        made = self._images.images(replace(run, stored=self.device is not None))
        if self.device is not None:
            made, last = on_device(made, run, self.device), last.to(self.device)

        def finished() -> Generator[Batch]:
            for indices in batches:
                image = next(made) if len(indices) else last.new_empty(run.shape(0)).movedim(-1, -3)
                if later:
                    image = normalize_contrast(image, data.mean == "picture", data.contrast) * last
                label = self.source.beton.labels[indices] - self.source.first_class
                yield Batch(torch.from_numpy(indices), image, torch.from_numpy(label))
                del image
            assert next(made, None) is None  # `made` goes on behind its last image: what held that is free by then

        generator = finished()

        def close() -> None:
            generator.close()
            made.close()

        return Batches(generator, close)


def make_loader(
    prepared: Prepared,
    cfg: config.Config,
    split: SplitName,
    *,
    seed: int,
    kind: Kind | None = None,
    workers: int = 1,
    rank: int = 0,
    world: int = 1,
    device: torch.device | None = None,
) -> Loader:
    """A loader of one split. All kinds and all numbers of workers give bitwise the same batches.

    kind None: FFCV where it is installed and it helps (stored images of 128 pixels or more; smaller ones take less
    time than handing them over). workers: threads that render; with 0 or 1 torch renders where the batch is asked for.
    rank and world: this process's share of every batch.
    device: finishes the images, and has them then; None: the CPU, in one pass. The images are bitwise the same.
    Raises ValueError when FFCV is asked for and is not installed, or the storage is png, which FFCV does not decode.
    """
    storage, size = prepared.manifest.storage, prepared.manifest.size
    if kind is None:
        kind = "ffcv" if ffcv_installed() and storage != "png" and size >= 128 else "torch"
    if kind == "ffcv" and storage == "png":
        raise ValueError("FFCV does not decode png storage; use the torch loader, or prepare with --storage raw")
    if kind == "ffcv" and not ffcv_installed():
        raise ValueError("FFCV is not installed; `repro doctor` says how to install it, or use the torch loader")
    return Loader(prepared, cfg, split, seed, kind, workers, rank, world, device)


def image_maker(kind: Kind) -> Any:
    """The class that makes images: (beton, side, workers, pinned), with `images(run)`. Only its use imports FFCV."""
    if kind == "torch":
        return TorchImages
    from repro.data.load.ffcv_loader import FfcvImages

    return FfcvImages


def ffcv_installed() -> bool:
    """Whether FFCV can be imported here (it is for Linux only)."""
    return sys.platform == "linux" and importlib.util.find_spec("ffcv") is not None
