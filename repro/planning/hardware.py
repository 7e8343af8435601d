"""What a hardware does: rates that finished runs reached here, that `repro bench` measured, or that have a source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from repro import files, index, store
from repro.config.config import Config, from_dict
from repro.config.keys import override
from repro.config.presets import preset
from repro.records import maker_name
from repro.suggest import did_you_mean

GUESSED = 15e9  # multiply-adds a second, forward and backward, of one small CPU: until a finished run tells better
TRAINING = 3  # a training step takes so many times the multiply-adds of a forward pass
CROP = 224  # pixels: `repro bench loader` measures crops of so many
FULL_BATCH = 32  # images: `repro bench step --quick` takes fewer, and measures nothing


class Rate(NamedTuple):
    """Multiply-adds a second of training: of the slowest run, of the median, of the fastest."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Hardware:
    """Rates of one kind of processor or accelerator, number of threads and placement."""

    name: str  # empty: nobody measured anything, and the rate is a guess
    of_network: Mapping[str, Rate]  # by `network_key`
    images: Mapping[str, float] = field(default_factory=dict)  # that its loader makes a second, at CROP, by storage
    link: float = 0.0  # bytes a second between the devices of the two towers; 0: not known, or one device
    source: str = ""
    runs: int = 0  # finished ones that it follows from

    def rate(self, network: str) -> Rate:
        """Of a network; of one that was not measured, what those that were span."""
        if network in self.of_network:
            return self.of_network[network]
        if not self.of_network:
            return Rate(GUESSED, GUESSED, GUESSED)
        every = self.of_network.values()
        return Rate(min(one.low for one in every), median(one.middle for one in every), max(one.high for one in every))


class Published(NamedTuple):
    """A row of the table: images that a hardware trains on a second, from a source."""

    low: float
    images: float
    high: float
    network: str  # the preset that is, or is nearest to, the network that was timed
    source: str
    link: float = 0.0


def _seconds(seconds: float, images: int, network: str, source: str) -> Published:
    rate = images / seconds
    return Published(rate, rate, rate, network, source)


_CAFFE = "Caffe, docs/performance_hardware.md: {} s for 20 batches of 256, its reference network"
_DAYS = 90 * 1_200_000 / 86_400  # images a second, times days: "roughly 90 cycles" of 1.2 million images
TABLE: dict[str, Published] = {
    "2xgtx580": Published(
        _DAYS / 6, _DAYS / 5.5, _DAYS / 5, "paper",
        "the paper, section 5: about 90 cycles through 1.2 million images in five to six days",
        link=8e9,  # PCI Express 2.0, 16 lanes, each way
    ),
    "k40": _seconds(26.5, 5_120, "caffenet", _CAFFE.format("26.5")),
    "titan": _seconds(26.26, 5_120, "caffenet", _CAFFE.format("26.26")),
    "gtx770": _seconds(33.0, 5_120, "caffenet", _CAFFE.format("33.0")),
    "k20": _seconds(36.0, 5_120, "caffenet", _CAFFE.format("36.0")),
    "titan-x": _seconds(
        0.081, 128, "torchvision",
        "convnet-benchmarks: 81 ms for 128 images, cuDNN R4 in float32, one tower, no normalization and no loader",
    ),
}  # fmt: skip


def network_key(config: Config) -> str:
    """Runs of one network on one kind of image take the same time an image."""
    return f"{forward_of(config)}-{config.precision}-{config.augment.crop}"


def forward_of(config: Config) -> int:
    """Multiply-adds of an image, forward."""
    return sum(shape.multiply_adds for shape in config.shapes())


def measured(results: Path) -> list[Hardware]:
    """What finished runs were trained on, that with the most runs first: one for each processor or accelerator, number
    of threads and placement."""
    found: dict[tuple[str, int, str], dict[str, list[float]]] = {}
    of_digest: dict[str, list[index.Entry]] = {}
    known = index.of(results)
    for digest, _, run in known.entries():
        if run.epochs:  # else its weights were read from a file
            of_digest.setdefault(digest, []).append(run)
    known.save()
    for record in store.one_of_each(results):
        with suppress(ValueError):  # a Config of an older version: its rate is not known, its results are
            config = from_dict(record.config)
            work = TRAINING * forward_of(config)
            for run in of_digest.get(record.digest, ()):
                rates = found.setdefault((run.machine, run.threads, run.placement), {})
                rates.setdefault(network_key(config), []).append(work * run.images_per_second)
    made = [
        Hardware(
            _label(*where), {network: _rate(rates) for network, rates in of.items()}, runs=sum(map(len, of.values()))
        )
        for where, of in found.items()
    ]
    return sorted(made, key=lambda one: (-one.runs, one.name))


def _label(machine: str, threads: int, placement: str) -> str:
    on = [] if placement == "cpu" and threads else [placement]
    return ", ".join([machine, *([f"{threads} thread{'s' if threads > 1 else ''}"] if threads else []), *on])


def _rate(rates: Iterable[float]) -> Rate:
    ordered = sorted(rates)
    return Rate(ordered[0], median(ordered), ordered[-1])


def likely(found: Iterable[Hardware], machine: str) -> Hardware:
    """What the next run here is likely to reach, of what was `measured`: each network as on the hardware that most of
    its runs had; those on `machine`, this one, count alone where there are some."""
    every = list(found)
    here = [one for one in every if one.name.startswith(machine)] if machine else []
    of_network: dict[str, Rate] = {}
    for one in here or every:
        for network, rate in one.of_network.items():
            of_network.setdefault(network, rate)
    names = dict.fromkeys(one.name.partition(",")[0] for one in here or every)
    return Hardware(" and ".join(names), of_network, runs=sum(one.runs for one in here or every))


def find(name: str, results: Path) -> Hardware:
    """The hardware that `--hardware` names: a row of TABLE, one that finished runs had, or a file that `repro bench
    step --json` (or `all`, for the loader too) printed. Raises ValueError where it is not known."""
    if name in TABLE:
        one = TABLE[name]
        config = preset(one.network)
        work = TRAINING * forward_of(config)
        rate = Rate(one.low * work, one.images * work, one.high * work)
        return Hardware(name, {network_key(config): rate}, link=one.link, source=one.source)
    if name.endswith(".json"):
        return _benched(Path(name))
    here = measured(results)
    matching = [one for one in here if one.name.lower().startswith(name.lower())]
    exact = [one for one in matching if one.name.lower() == name.lower()]
    if len(matching) == 1 or exact:
        return (exact or matching)[0]
    if matching:
        raise ValueError(f"--hardware {name}: is the beginning of {' and of '.join(one.name for one in matching)}")
    known = [*TABLE, *(one.name for one in here)]
    raise ValueError(
        f"--hardware {name}: not known: `repro bench step` measures it in a minute: repro bench step --json > it.json, "
        f"then --hardware it.json{did_you_mean(name, known)}"
    )


def _benched(path: Path) -> Hardware:
    try:
        said = json.loads(files.read_bytes(path))
        facts, rows = said["step"]["machine"], said["step"]["rows"]
        of_network = dict(filter(None, map(_of_row, rows)))
        name = (facts.get("gpus") or [facts["cpu"]])[0]
        images = dict(filter(None, map(_loaded, said.get("loader", {}).get("rows", ()))))
        threads = int(facts["threads"])
    except OSError as error:
        raise ValueError(f"--hardware {path}: {error.strerror}; repro bench step --json > {path}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"--hardware {path}: is not what `repro bench step --json` prints ({error!r})") from None
    if not of_network:
        raise ValueError(f"--hardware {path}: has no rate of a whole batch; measure it without --quick")
    label = _label(maker_name(str(name)), threads, "cuda" if facts.get("gpus") else "cpu")
    return Hardware(label, of_network, images, source=f"repro bench step, {path}")


def _of_row(row: Mapping[str, Any]) -> tuple[str, Rate] | None:
    """`full net, batch 128: ours, float32`, images/s."""
    of, _, what = row["name"].partition(" net, batch ")
    batch, _, contender = what.partition(": ours, ")
    if of not in ("full", "cifar") or contender not in ("float32", "bfloat16") or int(batch) < FULL_BATCH:
        return None
    config = override(preset("paper" if of == "full" else "cifar10"), {"precision": contender})
    work = TRAINING * forward_of(config)
    return network_key(config), Rate(*(float(row[name]) * work for name in ("low", "median", "high")))


def _loaded(row: Mapping[str, Any]) -> tuple[str, float] | None:
    """`ours, torch, raw` or `ours, FFCV, JPEG`, images/s; the later one, of FFCV, counts."""
    name = row["name"]
    ours = name.startswith("ours, ") and name.endswith((", raw", ", JPEG"))
    return (name.rpartition(", ")[2].lower(), float(row["median"])) if ours else None
