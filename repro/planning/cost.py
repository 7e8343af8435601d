"""The bill: what missing runs take in time, disk and memory, what they read, and what limits them, on a hardware."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from repro.config.config import Config
from repro.data import known
from repro.data.manifest import Manifest, find
from repro.machine.provenance import processor
from repro.planning.hardware import CROP, TRAINING, Hardware, forward_of, likely, measured, network_key
from repro.records import maker_name

if TYPE_CHECKING:
    from repro.planning.plan import Plan, Run

# bytes of a process with torch, numba and a loader, beside its net and the images that it maps: as seen on Linux
INTERPRETER = 850_000_000
VIEWS = {"center": 1, "flips": 2, "ten": 10, "dense": 50}  # crops of a test image, in pixels looked at


@dataclass(frozen=True)
class Cost:
    """What missing runs take; all 0 where nothing is missing."""

    runs: int
    seconds: float
    disk_bytes: int
    memory_bytes: int  # of the largest run
    machine: str = ""  # whose rate it is; empty: it is a guess
    seconds_low: float = 0.0  # at the rate of the fastest run, and of the slowest
    seconds_high: float = 0.0
    bytes_read_per_second: float = 0.0  # of prepared images while it trains, of the run that reads most
    limit: str = ""  # what takes the longest: arithmetic, the loader, or exchange between towers
    source: str = ""  # of the rate; empty: finished runs


class Sizes(NamedTuple):
    """What the cost of a run follows from."""

    train: int  # images an epoch
    test: int
    forward: int  # multiply-adds an image
    parameters: int
    neurons: int
    network: str
    stored: float  # bytes of a prepared image; of a set that is not prepared, as if stored raw
    exchanged: int  # bytes of an image that cross between two towers, forward and backward


def cost(plan: Plan, *, data: Path, results: Path, on: Hardware | None = None) -> Cost:
    """Time, disk and memory of what is missing. `on`: what it runs on, None: what `here` says.

    Time: multiply-adds (three times forward for a training step, once for a view) over the rate that runs of these
    networks reach, or all runs, or a guess; more where its loader is known to be slower.
    """
    total, _ = bill(plan, data=data, on=on or here(results))
    return total


def here(results: Path) -> Hardware:
    """What the next run on this machine is likely to reach, by finished runs."""
    return likely(measured(results), maker_name(processor()))


def bill(plan: Plan, *, data: Path, on: Hardware) -> tuple[Cost, list[tuple[Run, Cost]]]:
    """What all that is missing takes, and what each run does."""
    sizes: dict[str, Sizes] = {}  # by digest: all seeds of an arm have the same
    bills = []
    for run in plan.todo:
        if run.digest not in sizes:
            sizes[run.digest] = sizes_of(run.config, data)
        bills.append((run, _of_run(run, sizes[run.digest], on)))
    every = [one for _, one in bills]
    of_limit: dict[str, float] = {}
    for one in every:
        of_limit[one.limit] = of_limit.get(one.limit, 0.0) + one.seconds
    total = Cost(
        len(every), sum(one.seconds for one in every), sum(one.disk_bytes for one in every),
        max((one.memory_bytes for one in every), default=0), on.name, sum(one.seconds_low for one in every),
        sum(one.seconds_high for one in every), max((one.bytes_read_per_second for one in every), default=0.0),
        max(of_limit, key=lambda limit: of_limit[limit], default=""), on.source,
    )  # fmt: skip
    return total, bills


def _of_run(run: Run, sizes: Sizes, on: Hardware) -> Cost:
    config = run.config
    epochs = 0 if run.finished else config.schedule.epochs
    looks = sum(VIEWS[view] for view in run.missing if view in run.views)
    tests = epochs / config.eval.every * sizes.test + looks * sizes.test + (sizes.train if epochs else 0)
    work = sizes.forward * (TRAINING * epochs * sizes.train + tests)
    rate, image = on.rate(sizes.network), TRAINING * sizes.forward
    times = {"arithmetic": image / rate.middle}  # seconds of a training image
    if speed := on.images.get("raw" if config.data.storage != "jpeg" else "jpeg"):
        times["the loader"] = (config.augment.crop / CROP) ** 2 / speed
    if on.link and config.model.towers == 2:
        times["exchange between towers"] = sizes.exchanged / on.link
    limit = max(times, key=lambda what: times[what])
    slower = max(1.0, times[limit] / times["arithmetic"])
    activations = config.optim.batch_size * sizes.neurons * 4 * 3
    return Cost(
        1,
        slower * work / rate.middle,
        sizes.parameters * 8 + len(run.missing) * sizes.test * config.data.classes * 2,
        sizes.parameters * 16 + activations + INTERPRETER,
        on.name,
        max(work / rate.high, slower * work / rate.middle if slower > 1 else 0.0),
        slower * work / rate.low,
        sizes.stored / times[limit] if epochs else 0.0,
        limit,
        on.source,
    )


def training_seconds(config: Config, data: Path, on: Hardware) -> float:
    """What `RunRecord.seconds` of a run will be: its training alone."""
    size = sizes_of(config, data)
    return TRAINING * size.train * size.forward * config.schedule.epochs / on.rate(size.network).middle


def sizes_of(config: Config, data: Path) -> Sizes:
    """Sizes of a Config, with the images of its set, prepared in `data` or as published."""
    shapes = config.shapes()
    there = find(config.data, data)
    return Sizes(
        *images(config, there),
        forward_of(config),
        sum(shape.parameters for shape in shapes),
        sum(shape.neurons for shape in shapes),
        network_key(config),
        there.bytes / (there.train_count + there.test_count) if there else 3 * config.data.size**2,
        sum(shape.floats_exchanged for shape in shapes) * 4 * 2,
    )


def images(config: Config, manifest: Manifest | None) -> tuple[int, int]:
    """Training and test images that a run sees an epoch; of data not prepared, those that are published."""
    data = config.data
    if manifest:
        classes, train, test = len(manifest.classes), manifest.train_count, manifest.test_count
    else:
        classes, train, test = known.published(data.source)
    share = data.classes / classes
    train, test = int(train * share), int(test * share)
    train -= data.held_out * data.classes
    if data.per_class:
        train = min(train, data.per_class * data.classes)
    if data.test_per_class:
        test = min(test, data.test_per_class * data.classes)
    return train, test
