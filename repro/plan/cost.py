"""What missing runs cost in time, disk and memory, at the rate that finished runs reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from repro import store
from repro.config.config import Config, from_dict
from repro.data import known
from repro.data.manifest import Manifest, find
from repro.records import RunRecord

if TYPE_CHECKING:
    from repro.plan.plan import Plan

GUESSED_RATE = 15e9  # multiply-adds a second, forward and backward, of one small CPU: until a finished run tells better
# bytes of a process with torch, numba and a loader, beside its net and the images that it maps: as seen on Linux
INTERPRETER = 850_000_000


@dataclass(frozen=True)
class Cost:
    """What the missing runs take; all 0 where nothing is missing."""

    runs: int
    seconds: float
    disk_bytes: int
    memory_bytes: int  # of the largest run
    machine: str = ""  # the processors whose finished runs gave the rate; empty: it is a guess


@dataclass(frozen=True)
class Rates:
    """Multiply-adds a second of training that finished runs reached."""

    of_network: Mapping[str, float]  # medians
    machine: str  # the processors, or accelerators, of these runs; empty where there are none


def cost(plan: Plan, *, data: Path, results: Path, rates: Rates | None = None) -> Cost:
    """Time, disk and memory of what is missing; `rates` saves reading all records again.

    Time: multiply-adds (three times forward for a training step, once for a view) over the rate that finished runs of
    these networks reached, or all finished runs, or GUESSED_RATE.
    """
    measured = rates or measured_rates(results)
    of_network = measured.of_network
    overall = median(of_network.values()) if of_network else GUESSED_RATE
    seconds = 0.0
    disk = memory = 0
    sizes: dict[str, Sizes] = {}  # by digest: all seeds of an arm have the same
    for run in plan.todo:
        if run.digest not in sizes:
            sizes[run.digest] = sizes_of(run.config, data)
        train, test, forward, parameters, neurons, network = sizes[run.digest]
        epochs = 0 if run.finished else run.config.schedule.epochs
        looks = sum(
            {"center": 1, "flips": 2, "ten": 10, "dense": 50}[view] for view in run.missing if view in run.views
        )
        work = forward * (epochs * (3 * train + test / run.config.eval.every) + looks * test + (train if epochs else 0))
        seconds += work / of_network.get(network, overall)
        disk += parameters * 8 + len(run.missing) * test * run.config.data.classes * 2
        activations = run.config.optim.batch_size * neurons * 4 * 3
        memory = max(memory, parameters * 16 + activations + INTERPRETER)
    return Cost(len(plan.todo), seconds, disk, memory, measured.machine)


def training_seconds(config: Config, data: Path, rates: Rates) -> float:
    """What `RunRecord.seconds` of a run will be: its training alone."""
    size = sizes_of(config, data)
    rate = rates.of_network.get(size.network) or median([*rates.of_network.values()] or [GUESSED_RATE])
    return 3 * size.train * size.forward * config.schedule.epochs / rate


class Sizes(NamedTuple):
    """What the cost of a run follows from."""

    train: int  # images an epoch
    test: int
    forward: int  # multiply-adds an image
    parameters: int
    neurons: int
    network: str


def sizes_of(config: Config, data: Path) -> Sizes:
    """Sizes of a Config, with the images of its set, prepared in `data` or as published."""
    shapes = config.shapes()
    return Sizes(
        *images(config, find(config.data, data)),
        sum(shape.multiply_adds for shape in shapes),
        sum(shape.parameters for shape in shapes),
        sum(shape.neurons for shape in shapes),
        network_key(config),
    )


def network_key(config: Config) -> str:
    """Runs of one network on one kind of image take the same time an image."""
    return f"{sum(shape.multiply_adds for shape in config.shapes())}-{config.precision}-{config.augment.crop}"


def measured_rates(results: Path) -> Rates:
    """The rates that finished runs reached, and on what."""
    found: dict[str, list[float]] = {}
    machines: Counter[str] = Counter()
    for record in store.trained_runs(results):
        with suppress(ValueError):  # a Config of an older version: its rate is not known, its results are
            config = from_dict(record.config)
            work = 3 * sum(shape.multiply_adds for shape in config.shapes())
            found.setdefault(network_key(config), []).append(work * record.images_per_second)
            machines[machine_of(record)] += 1
    of_network = {key: median(rates) for key, rates in found.items()}
    return Rates(of_network, " and ".join(name for name, _ in machines.most_common()))


def machine_of(record: RunRecord) -> str:
    """What a run was trained on, as its maker calls it: the accelerator, else the processor."""
    hardware = record.about("hardware")
    names = hardware.get("accelerators") if "cuda" in record.placement else None
    name = names[0] if names else hardware.get("processor") or "an unknown processor"
    return " ".join(str(name).replace("(R)", "").replace("(TM)", "").split())


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
