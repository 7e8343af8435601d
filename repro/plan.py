"""Which runs an experiment needs, which of them are finished, and what the rest costs. Nothing is changed on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from repro import store
from repro.ablation import EPOCHS_TO_TARGET, FEWEST_SEEDS, SEARCH_SEEDS, Ablation, Arm, Product, Search, View
from repro.config import Config, digest, from_dict, override
from repro.data.manifest import Manifest, check_fits, find, key, missing
from repro.presets import preset
from repro.store import Block
from repro.suggest import did_you_mean

if TYPE_CHECKING:
    from repro.stats import Judgement

GUESSED_RATE = 15e9  # multiply-adds a second, forward and backward, of one small CPU: until a finished run tells better
# bytes of a process with torch, numba and a loader, beside its net and the pictures that it maps: as seen on Linux
INTERPRETER = 850_000_000
PUBLISHED = {  # classes, training and test pictures of sets that are not prepared yet
    "photos": (10, 2_560, 640),
    "cifar10": (10, 50_000, 10_000),
    "tiny200": (200, 100_000, 10_000),
    "imagenette": (10, 9_469, 3_925),
    "imagenet": (1000, 1_281_167, 50_000),
}
UNPREPARED = "unprepared"  # stands for the digest of data that is not there yet, and that no run has seen


@dataclass(frozen=True)
class Run:
    """One Config and one seed, and every `experiment/arm` that reads it."""

    config: Config
    seed: int
    digest: str
    used_by: tuple[str, ...]
    views: tuple[View, ...]
    products: tuple[Product, ...]
    finished: bool  # its record is there
    missing: tuple[str, ...]  # views and products that are still to be read off it
    failed: str | None  # why the last attempt failed; the next one goes on from its checkpoint

    @property
    def name(self) -> str:
        """`<digest>/seed-<n>`, as its folder is called."""
        return f"{self.digest}/seed-{self.seed}"

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self.finished and not self.missing


@dataclass(frozen=True)
class Cost:
    """What the missing runs take; all 0 where nothing is missing."""

    runs: int
    seconds: float
    disk_bytes: int
    memory_bytes: int  # of the largest run
    measured: bool  # the rate comes from finished runs, not from a guess


@dataclass(frozen=True)
class Plan:
    """Distinct runs, shared ones once, those that a claim needs first and all arms of a seed before the next seed, so
    that a sweep cut short has its verdicts; `waiting` arms learn their Config from a search that goes on."""

    blocks: tuple[Block, ...]
    runs: tuple[Run, ...]
    waiting: tuple[str, ...]
    unprepared: tuple[str, ...]  # what to do about data that is not there, and is needed
    claimed: frozenset[str]  # the `experiment/arm`s that claims are about

    @property
    def todo(self) -> tuple[Run, ...]:
        """The runs that are not done."""
        return tuple(run for run in self.runs if not run.done)

    @property
    def next(self) -> tuple[Run, ...]:
        """The runs to do before planning again: the search that a claim's arms wait for, else all that are not done."""
        if self.claimed.isdisjoint(self.waiting):
            return self.todo
        return tuple(run for run in self.todo if run.seed >= SEARCH_SEEDS and not self.claimed.isdisjoint(run.used_by))


def configs(ablation: Ablation, preset_name: str, changes: Mapping[str, Any]) -> dict[str, Config]:
    """Config of each arm that trains, at a preset with `--set` changes: first the preset, then `--set`, then the arm.

    Raises ValueError for a preset that the ablation does not support, an unknown or ill-typed key, or a change to the
    very key that the arms compare or a search chooses.
    """
    if preset_name not in ablation.presets:
        raise ValueError(
            f"{ablation.name} does not support preset {preset_name!r}{did_you_mean(preset_name, ablation.presets)}"
        )
    taken = {ablation.search.key: f"what {ablation.name} searches for each arm"} if ablation.search else {}
    for arm in ablation.arms_at(preset_name):
        taken |= dict.fromkeys(arm.changes_at(preset_name), f"what arm {arm.name!r} of {ablation.name} changes")
    for changed in changes:
        for own, why in taken.items():
            if changed == own or changed.startswith(f"{own}.") or own.startswith(f"{changed}."):
                raise ValueError(f"--set {changed}: is {why}; leave it out")
    base = override(preset(preset_name), changes)
    found = {}
    for arm in ablation.arms_at(preset_name):
        if arm.ensemble:
            continue
        try:
            found[arm.name] = override(base, arm.changes_at(preset_name))
        except ValueError as error:
            raise ValueError(f"{ablation.name}, arm {arm.name!r} at {preset_name}: {error}") from None
    return found


def make(
    experiments: Sequence[Ablation],
    preset_name: str | None,
    seeds: int | Mapping[str, int],
    changes: Mapping[str, Any],
    *,
    data: Path,
    results: Path,
) -> Plan:
    """The plan of several experiments together. `preset_name` None: each at its first preset; with a name, those that
    lack it raise ValueError. `seeds` may differ by experiment."""
    blocks: list[Block] = []
    runs: dict[str, Run] = {}
    waiting: list[str] = []
    manifests: dict[str, Manifest | None] = {}  # by the set's key
    data_digests: dict[str, str] = {}
    for ablation in experiments:
        at = preset_name or ablation.presets[0]
        count = seeds if isinstance(seeds, int) else seeds[ablation.name]
        arms: dict[str, str] = {}
        searches: dict[str, dict[str, str]] = {}
        data_digest = ""
        for name, config in configs(ablation, at, changes).items():
            pictures_of = key(config.data)
            if pictures_of not in manifests:
                manifest = manifests[pictures_of] = find(config.data, data)
                data_digests[pictures_of] = manifest.digest if manifest else _digest_in(results, pictures_of)
            if there := manifests[pictures_of]:
                check_fits(config.data, there)
            data_digest = data_digests[pictures_of]
            arm = ablation.arm(name)
            if ablation.search:
                tried = trials(ablation.search, config)
                searches[name] = {str(value): digest(one, data_digest) for value, one in tried.items()}
                for one in tried.values():
                    _add(runs, _run(one, ablation.search.seed, data_digest, ablation, arm, results, read=False))
                best = choose(ablation.search, _finished(searches[name], ablation.search.seed, results))
                if best is None:
                    waiting.append(f"{ablation.name}/{name}")
                    continue
                config = override(config, {ablation.search.key: best})
            arms[name] = digest(config, data_digest)
            for seed in range(count):
                if config.pretrain:
                    before = pretrain_config(config)
                    _add(runs, _run(before, seed, data_digest, ablation, arm, results, read=False))
                _add(runs, _run(config, seed, data_digest, ablation, arm, results))
        changed = effective(at, changes)
        blocks.append(Block(ablation.name, at, changed, count, arms, searches, data_digest))
    claimed = frozenset(
        f"{ablation.name}/{arm}" for ablation in experiments for claim in ablation.claims for arm in claim.sides
    )
    tries = {name for block in blocks for tried in block.searches.values() for name in tried.values()}
    ordered = sorted(
        runs.values(), key=lambda run: (claimed.isdisjoint(run.used_by), run.digest not in tries, run.seed)
    )
    needed = {key(run.config.data): run.config.data for run in ordered if not run.done}
    unprepared = [  # photos are cut on first use
        missing(wanted, data) for wanted in needed.values() if wanted.source != "photos" and find(wanted, data) is None
    ]
    return Plan(tuple(blocks), tuple(ordered), tuple(waiting), tuple(unprepared), claimed)


def _digest_in(results: Path, name: str) -> str:
    """Digest of a set that is not prepared: the one that all finished runs had, so that published runs count."""
    records = (record["data"] for record in store.finished_runs(results)[0])
    seen = {one["digest"] for one in records if one["name"] == name}
    return seen.pop() if len(seen) == 1 else UNPREPARED


def effective(preset_name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The `--set` changes without those to what the preset has anyway: the same runs are the same block, looked at as
    often as it was."""
    whole = override(preset(preset_name), changes)
    kept = dict(changes)
    for changed in changes:
        others = {other: value for other, value in kept.items() if other != changed}
        with suppress(ValueError):  # it takes the others to be possible
            if override(preset(preset_name), others) == whole:
                kept = others
    return kept


def trials(search: Search, config: Config) -> dict[float, Config]:
    """Value -> Config of the run that tries it, for an arm of that Config."""
    epochs = min(search.epochs or config.schedule.epochs, config.schedule.epochs)
    every = {"schedule.epochs": epochs, "eval.views": ["center"]}  # what `choose` reads
    return {value: override(config, {search.key: value, **every}) for value in search.values}


def pretrain_config(config: Config) -> Config:
    """The Config of the run that comes first: other classes, other length, nothing before it."""
    first = config.pretrain
    assert first is not None
    return override(
        config,
        {
            "pretrain": None,
            "data.first_class": first.first_class,
            "data.classes": first.classes,
            "schedule.epochs": first.epochs,
        },
    )


def _finished(tried: Mapping[str, str], seed: int, results: Path) -> dict[str, dict[str, Any] | None]:
    return {
        value: store.read_run(results, name, seed) if store.is_finished(results, name, seed) else None
        for value, name in tried.items()
    }


def choose(search: Search, tried: Mapping[str, Mapping[str, Any] | None]) -> float | None:
    """The value whose record has the lowest criterion, or None while one is missing. Among runs without one, or with
    the same, the lower error on training pictures wins, then the smaller value."""
    ranked = []
    for value, record in tried.items():
        if record is None:
            return None
        found = (criterion(record, metric) for metric in (search.metric, "train_error"))
        ranked.append((*(math.inf if one is None else one for one in found), float(value)))
    return min(ranked)[-1]


def criterion(record: Mapping[str, Any], metric: str) -> float | None:
    """What a run of a search is ranked by, lower is better; None: it diverged, or never reached the target."""
    if record["diverged"]:
        return None
    found = record[metric] if metric in (EPOCHS_TO_TARGET, "train_error") else record["errors"]["center"][metric]
    return None if found is None else float(found)


def _run(
    config: Config, seed: int, data_digest: str, ablation: Ablation, arm: Arm, results: Path, *, read: bool = True
) -> Run:
    """One run of an arm. Without `read` it only goes before: what the arm reads off its runs is not wanted of it."""
    name = digest(config, data_digest)
    views = tuple(dict.fromkeys([*config.eval.views, *([arm.view] if arm.view and read else [])]))
    finished = store.is_finished(results, name, seed)
    products = tuple(ablation.products) if read else ()
    unread = store.unread(results, name, seed, views, products)
    used_by = (f"{ablation.name}/{arm.name}",)
    failed = store.failure(results, name, seed)
    return Run(config, seed, name, used_by, views, products, finished, unread, failed)


def _add(runs: dict[str, Run], run: Run) -> None:
    """Merge runs of one name: a run that two arms share is trained once and read for both."""
    known = runs.get(run.name)
    if known is None:
        runs[run.name] = run
        return
    join = {
        key: tuple(dict.fromkeys([*getattr(known, key), *getattr(run, key)]))
        for key in ("used_by", "views", "products", "missing")
    }
    runs[run.name] = replace(known, **join)  # type: ignore[arg-type]


def power(experiments: Sequence[Ablation], plan: Plan, results: Path) -> list[dict[str, Any]]:
    """For every claim of the plan: seeds so far, and those that tell its effect from zero at 80% power, `needed` by one
    look at the end and `max_seeds` by a look after every seed (None: too few runs are finished to know the spread, the
    claim names no number, or no number of seeds is enough)."""
    from repro.stats import judge

    rows = []
    for ablation, asked in zip(experiments, plan.blocks, strict=True):
        path = store.block_path(results, asked)
        block = store.read_block(path) if path.is_file() else asked  # it may have more seeds, and remembers looks
        for found in judge(ablation, block, results):
            if found.claim is None:
                continue
            rows.append(
                {
                    "experiment": ablation.name,
                    "claim": f"{found.arm} against {found.reference}" if found.reference else found.arm,
                    "metric": found.metric,
                    "seeds": found.seeds,
                    "needed": found.seeds_needed,
                    "max_seeds": _max_seeds(found),
                }
            )
    return rows


def _max_seeds(found: Judgement) -> int | None:
    from repro.stats import most_seeds

    effect = found.effect
    if not (found.seeds_needed and found.published and effect and effect.spread is not None):
        return None
    if found.unit != "points" or found.seeds < FEWEST_SEEDS:
        return None
    return most_seeds(effect.spread, found.published, images=effect.of_images)


def cost(plan: Plan, *, data: Path, results: Path) -> Cost:
    """Time, disk and memory of what is missing.

    Time: multiply-adds (three times forward for a training step, once for a view) over the rate that finished runs of
    these networks reached, or all finished runs, or GUESSED_RATE.
    """
    rates = measured_rates(results)
    overall = median(rates.values()) if rates else GUESSED_RATE
    seconds = 0.0
    disk = memory = 0
    for run in plan.todo:
        manifest = find(run.config.data, data)
        train, test = pictures(run.config, manifest)
        shapes = run.config.shapes()
        forward = sum(shape.multiply_adds for shape in shapes)
        parameters = sum(shape.parameters for shape in shapes)
        epochs = 0 if run.finished else run.config.schedule.epochs
        looks = sum(
            {"center": 1, "flips": 2, "ten": 10, "dense": 50}[view] for view in run.missing if view in run.views
        )
        work = forward * (epochs * (3 * train + test / run.config.eval.every) + looks * test + (train if epochs else 0))
        seconds += work / rates.get(network_key(run.config), overall)
        disk += parameters * 8 + len(run.missing) * test * run.config.data.classes * 2
        activations = run.config.optim.batch_size * sum(shape.neurons for shape in shapes) * 4 * 3
        memory = max(memory, parameters * 16 + activations + INTERPRETER)
    return Cost(len(plan.todo), seconds, disk, memory, bool(rates))


def network_key(config: Config) -> str:
    """Runs of one network on one kind of picture take the same time a picture."""
    return f"{sum(shape.multiply_adds for shape in config.shapes())}-{config.precision}-{config.augment.crop}"


def measured_rates(results: Path) -> dict[str, float]:
    """Multiply-adds a second of training that finished runs reached, the median by network."""
    found: dict[str, list[float]] = {}
    for record in store.finished_runs(results)[0]:
        with suppress(ValueError):  # a Config of an older version: its rate is not known, its results are
            config = from_dict(record["config"])
            work = 3 * sum(shape.multiply_adds for shape in config.shapes())
            found.setdefault(network_key(config), []).append(work * record["images_per_second"])
    return {key: median(rates) for key, rates in found.items()}


def pictures(config: Config, manifest: Manifest | None) -> tuple[int, int]:
    """Training and test pictures that a run sees an epoch; of data not prepared, those that are published."""
    data = config.data
    if manifest:
        classes, train, test = len(manifest.classes), manifest.train_count, manifest.test_count
    else:
        classes, train, test = PUBLISHED.get(data.source, PUBLISHED["imagenet"])
    share = data.classes / classes
    train, test = int(train * share), int(test * share)
    if data.per_class:
        train = min(train, data.per_class * data.classes)
    if data.test_per_class:
        test = min(test, data.test_per_class * data.classes)
    return train, test
