"""`repro bench loader`: images a second of both loaders beside torchvision's, and beside what the machine can do.

All make the same from the same images: a random 224x224 crop of a stored 256x256 image, mirrored by chance, minus
the mean image, as float32 batches. They take turns within one run. The images are cut from the photographs inside
two wheels, so nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from repro.bench import BenchResult, in_child, interleaved, machine, ratio, row, seconds
from repro.config.config import Config
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import Kind, Prepared, ffcv_installed, make_loader, open_data
from repro.data.prepare.photos import PHOTOGRAPHS, photographs
from repro.data.prepare.prepare import prepare

SIZE, CROP, BATCH = 256, 224, 128
QUALITY = 90  # FFCV's usual one
TARGETS = {
    "ffcv_raw_over_torchvision": "at least 15",
    "ffcv_jpeg_over_torchvision": "at least 4.2",
    "decode_bound_over_ffcv_jpeg": "at most 1.1",
    "ffcv_raw_over_memory_bound": "at least 0.6",
    "first_batch_seconds": "at most 2 (beyond `import torch`)",
}
FIRST_BATCH = """
import sys, time
import torch
start, busy = time.perf_counter(), time.process_time()
import repro
from pathlib import Path
from repro.bench.loader import benched
from repro.data.load.loading import make_loader, open_data
config = benched("raw")
loader = make_loader(open_data(config.data, Path(sys.argv[1])), config, "train", seed=0, kind=sys.argv[2])
with loader.epoch(0) as batches:
    next(batches)
print(time.perf_counter() - start, time.process_time() - busy)
"""


def measure(quick: bool = False) -> BenchResult:
    """Images a second (higher is better), and the seconds from `import repro` to the first batch.

    `quick` takes few images and rounds: it shows that everything runs, its ratios are rough.
    """
    facts = machine()
    workers, images, rounds = facts["cores"], (256 if quick else 768), (3 if quick else 7)
    with tempfile.TemporaryDirectory() as folder:
        tree = write_tree(Path(folder) / "tree", images)
        for storage, quality in (("raw", None), ("jpeg", QUALITY)):
            prepare("bench", source=tree, directory=Path(folder), size=SIZE, storage=storage, quality=quality)
        raw, jpeg = (open_data(benched(storage).data, Path(folder)) for storage in ("raw", "jpeg"))
        measures = {
            "torchvision v1": torchvision_epochs(tree, raw.mean, workers, 1),
            "torchvision v2": torchvision_epochs(tree, raw.mean, workers, 2),
            "ours, torch, raw": our_epochs(raw, "torch", workers),
            "ours, torch, raw, one thread": our_epochs(raw, "torch", 1),
            "ours, torch, JPEG": our_epochs(jpeg, "torch", workers),
        }
        if ffcv_installed():
            measures["ours, FFCV, raw"] = our_epochs(raw, "ffcv", workers)
            measures["ours, FFCV, JPEG"] = our_epochs(jpeg, "ffcv", workers)
            measures["bound: libjpeg-turbo decode alone"] = decoding(jpeg, workers)
        measures["bound: read stored bytes, write output floats"] = moving(raw, workers, read=True)
        measures["bound: memcpy of the output bytes"] = moving(raw, workers, read=False)
        for work in measures.values():
            work()  # worker processes, buffers and compiled code are there from now on
        samples = interleaved({name: partial(rate, work, images) for name, work in measures.items()}, rounds)
        kind = "ffcv" if ffcv_installed() else "torch"
        first = [[float(value) for value in in_child(FIRST_BATCH, folder, kind).split()] for _ in range(5)]
    rows = [row(name, "images/s", values) for name, values in samples.items()]
    rows.append(row("from import repro to the first batch, processor time", "s", [busy for _, busy in first]))
    rows.append(row("from import repro to the first batch", "s", [passed for passed, _ in first]))
    plain, bounds = samples["torchvision v1"], [name for name in samples if name.startswith("bound")]
    ratios = {
        "torch_raw_over_torchvision": ratio(samples["ours, torch, raw"], plain),
        "torch_jpeg_over_torchvision": ratio(samples["ours, torch, JPEG"], plain),
    }
    if ffcv_installed():
        raw_rates, jpeg_rates = samples["ours, FFCV, raw"], samples["ours, FFCV, JPEG"]
        decode, memory = samples[bounds[0]], samples[bounds[1]]
        both = [1 / (1 / one + 1 / two) for one, two in zip(decode, memory, strict=True)]
        ratios |= {
            "ffcv_raw_over_torchvision": ratio(raw_rates, plain),
            "ffcv_jpeg_over_torchvision": ratio(jpeg_rates, plain),
            "decode_bound_over_ffcv_jpeg": ratio(decode, jpeg_rates),
            "decode_and_memory_bound_over_ffcv_jpeg": ratio(both, jpeg_rates),
            "ffcv_raw_over_memory_bound": ratio(raw_rates, memory),
        }
    ratios["first_batch_seconds"] = rows[-1].median
    notes = [f"{images} images of {SIZE}x{SIZE}, JPEG quality {QUALITY}, {workers} workers, files in memory"]
    if ffcv_installed():
        notes.append(
            "decode_and_memory_bound: an image is decoded, then its floats are written, each at its bound's rate"
        )
    else:
        notes.append("FFCV is not installed: its rows are missing; `repro doctor` says how to install it")
    return BenchResult("loader", rows, ratios, facts, TARGETS, notes)


def benched(storage: str) -> Config:
    """The paper's input on the made-up set: 224 of 256, batches of 128, mean image, no color noise."""
    changes = {
        "data.source": "bench", "data.classes": len(PHOTOGRAPHS), "data.storage": storage, "augment.color": None,
        "data.quality": QUALITY if storage == "jpeg" else None, "optim.batch_size": BATCH,
    }  # fmt: skip
    return override(preset("paper"), changes)


def rate(work: Callable[[], None], images: int) -> float:
    """Images a second of one epoch."""
    return images / seconds(work)


def write_tree(folder: Path, images: int) -> Path:
    """train/ with `images` windows of 256x256 in class folders, as JPEG files, and val/ with one a class."""
    generator = np.random.default_rng(0)
    whole = photographs()
    for split, count in (("train", images), ("val", len(whole))):
        for number in range(count):
            pixels = whole[number % len(whole)]
            y, x = (int(generator.integers(0, side - SIZE + 1)) for side in pixels.shape[:2])
            file = folder / split / f"c{number % len(whole)}" / f"{number}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[y : y + SIZE, x : x + SIZE]).save(file, quality=QUALITY, subsampling="4:2:0")
    return folder


def our_epochs(data: Prepared, kind: Kind, workers: int) -> Callable[[], None]:
    """One epoch a call, every batch taken and dropped."""
    config = benched(data.manifest.storage)
    loader = make_loader(data, config, "train", seed=0, kind=kind, workers=workers)
    epoch = iter(range(1 << 30))

    def work() -> None:
        with loader.epoch(next(epoch)) as batches:
            for _, image, _ in batches:
                assert image.shape[1:] == (3, CROP, CROP)

    return work


def torchvision_epochs(tree: Path, mean: np.ndarray[Any, Any], workers: int, version: int) -> Callable[[], None]:
    """The same with ImageFolder, torchvision's transforms and DataLoader, its workers kept from epoch to epoch."""
    from torchvision import transforms as v1
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    edge = (SIZE - CROP) // 2
    below = torch.from_numpy(mean[edge : edge + CROP, edge : edge + CROP]).permute(2, 0, 1).contiguous()
    subtract = SubtractMean(below)
    steps: Any = (
        v1.Compose([v1.RandomCrop(CROP), v1.RandomHorizontalFlip(), v1.PILToTensor(), subtract])
        if version == 1
        else v2.Compose([v2.PILToTensor(), v2.RandomCrop(CROP), v2.RandomHorizontalFlip(), subtract])
    )
    loader = DataLoader(
        ImageFolder(str(tree / "train"), steps),
        BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def work() -> None:
        for image, _ in loader:
            assert image.shape[1:] == (3, CROP, CROP)

    return work


class SubtractMean:
    """uint8 (3, 224, 224) to float32 minus the mean image; a class, so that it can be sent to worker processes."""

    def __init__(self, mean: torch.Tensor) -> None:
        self.mean = mean

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image - self.mean


def decoding(data: Prepared, workers: int) -> Callable[[], None]:
    """libjpeg-turbo alone: every stored JPEG decoded into one place a thread, which stays in its cache."""
    from repro.data.load.ffcv_loader import TurboJpeg

    beton, decoder = data.train.beton, TurboJpeg()

    def part(first: int) -> None:
        out = np.empty((SIZE, SIZE, 3), np.uint8)
        for index in range(first, len(beton.pointers), workers):
            decoder.decode(beton.encoded(index), out)

    return in_threads(part, workers)


def moving(data: Prepared, workers: int, *, read: bool) -> Callable[[], None]:
    """Memory alone: per image, the stored bytes read once (`read`) and 224x224x3 floats written once, or copied."""
    beton = data.train.beton
    out = np.zeros((3 * BATCH, CROP * CROP * 3), np.float32)  # as much memory as the loader's batches go through
    one = np.ones(CROP * CROP * 3, np.float32)

    def part(first: int) -> None:
        place = np.empty(SIZE * SIZE * 3, np.uint8)
        for index in range(first, len(beton.pointers), workers):
            if read:
                np.copyto(place, beton.encoded(index))
                out[index % len(out)].fill(1)
            else:
                np.copyto(out[index % len(out)], one)

    return in_threads(part, workers)


def in_threads(part: Callable[[int], None], workers: int) -> Callable[[], None]:
    """`part` for every worker at once."""
    pool = ThreadPoolExecutor(workers)

    def work() -> None:
        list(pool.map(part, range(workers)))

    return work
