"""Which runs an experiment needs, which of them are finished, and what the rest costs. Nothing is changed on disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from repro import files, index, store
from repro.config.config import Config, Data, digest
from repro.config.keys import flatten, override
from repro.config.presets import preset
from repro.data import known
from repro.data.manifest import Manifest, check_fits, find, key, missing
from repro.experiments.experiment import Arm, Experiment
from repro.planning.search import choose, finished_trials, trials
from repro.records import Setting
from repro.suggest import did_you_mean
from repro.terms import FEWEST_SEEDS, Artifact, View

if TYPE_CHECKING:
    from repro.stats import Judgement
UNPREPARED = "unprepared"  # stands for the digest of data that is not there yet, and that no run has seen


@dataclass(frozen=True)
class Run:
    """One Config and one seed, what is to be read off it, and every `experiment/arm` that does."""

    config: Config
    seed: int
    digest: str
    views: tuple[View, ...]
    artifacts: tuple[Artifact, ...] = ()
    used_by: tuple[str, ...] = ()
    finished: bool = False  # its record is there
    missing: tuple[str, ...] = ()  # views and artifacts that are still to be read off it
    failed: str | None = None  # why the last attempt failed; the next one goes on from its checkpoint
    search: bool = False  # a search of some arm needs it
    common: bool = False  # only comparisons at the reference's value need it
    damaged: tuple[str, ...] = ()  # what is there and cannot be used; the next attempt makes it again

    @property
    def name(self) -> str:
        """`<digest>/seed-<n>`, as its folder is called."""
        return f"{self.digest}/seed-{self.seed}"

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self.finished and not self.missing


@dataclass(frozen=True)
class Plan:
    """The distinct runs in execution order: runs that a claim needs come first, then seed by seed over all arms, so an
    interrupted sweep can still be judged. `waiting` arms learn their Config from a search that goes on."""

    settings: tuple[Setting, ...]
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
        return tuple(run for run in self.todo if run.search and not self.claimed.isdisjoint(run.used_by))


def part(plan: Plan, name: str) -> Plan:
    """What one experiment needs of a plan of several."""
    own = tuple(run for run in plan.runs if any(user.partition("/")[0] == name for user in run.used_by))
    waiting = tuple(arm for arm in plan.waiting if arm.partition("/")[0] == name)
    settings = tuple(one for one in plan.settings if one.experiment == name)
    return replace(plan, runs=own, settings=settings, waiting=waiting)


def configs(
    experiment: Experiment, preset_name: str, changes: Mapping[str, Any], *, tuned: bool = True
) -> dict[str, Config]:
    """Config of each arm that trains, at a preset with `--set` changes: first the preset, then `--set`, then the arm.

    Raises ValueError for a preset that the experiment does not support, an unknown or ill-typed key, or a change to the
    very key that the arms compare or a search chooses.
    """
    if preset_name not in experiment.presets:
        raise ValueError(
            f"{experiment.name} does not support preset {preset_name!r}{did_you_mean(preset_name, experiment.presets)}"
        )
    taken = (
        {experiment.search.key: f"what {experiment.name} searches for each arm"} if experiment.search and tuned else {}
    )
    for arm in experiment.arms_at(preset_name):
        taken |= dict.fromkeys(arm.changes_at(preset_name), f"what arm {arm.name!r} of {experiment.name} changes")
    for changed in changes:
        for own, why in taken.items():
            if changed == own or changed.startswith(f"{own}.") or own.startswith(f"{changed}."):
                raise ValueError(f"--set {changed}: is {why}; leave it out")
    base = override(preset(preset_name), changes)
    found = {}
    for arm in experiment.arms_at(preset_name):
        if arm.ensemble:
            continue
        try:
            found[arm.name] = override(base, arm.changes_at(preset_name))
        except ValueError as error:
            raise ValueError(f"{experiment.name}, arm {arm.name!r} at {preset_name}: {error}") from None
    return found


def make(
    experiments: Sequence[Experiment],
    preset_name: str | None,
    seeds: int | Mapping[str, int],
    changes: Mapping[str, Any],
    *,
    data: Path,
    results: Path,
    tuned: bool = True,
    first_seed: int = 0,
    arms: Container[str] | None = None,
    frozen: str = "",
) -> Plan:
    """The plan of several experiments together. `preset_name` None: each at its first preset; with a name, those that
    lack it raise ValueError. `seeds` may differ by experiment; an arm that k others are compared with gets sqrt(k)
    times as many. `tuned` False leaves out the searches: every arm has the preset's own value. Seeds of the comparison
    count from `first_seed`. `arms` are the `experiment/arm`s to run, None: all. `frozen` names the plan file that asks.
    """
    planned: list[_Planned] = []
    runs: dict[str, Run] = {}
    images, disk = _Images(data, results), _Disk(results)
    for experiment in experiments:
        at = preset_name or experiment.presets[0]
        count = seeds if isinstance(seeds, int) else seeds[experiment.name]
        if design := experiment.laid_out:
            count = design.repeats
        wanted = [arm.name for arm in experiment.arms_at(at) if arms is None or f"{experiment.name}/{arm.name}" in arms]
        planned.append(_settle(experiment, at, count, changes, wanted, tuned, images, runs, disk))
    from repro.stats.sequential import baseline_runs  # it brings numpy along, which no refusal above waits for

    compared = _compared(planned)
    for one in planned:
        for name, config in one.base.items():
            one.seeds_of[name] = baseline_runs(one.count, max(1, len(compared[one.named(config)])))
        for name, config in one.arms.items():
            arm = one.experiment.arm(name)
            named = one.named(config)
            before = pretrain_config(config) if config.pretrain else None
            there = one.named(before) if before else ""
            for seed in _seeds(arm, first_seed, one.seeds_of[name]):
                if before:
                    _add(runs, _run(before, there, seed, one.experiment, arm, disk, read=False))
                _add(runs, _run(config, named, seed, one.experiment, arm, disk))
        for (name, _), config in one.common.items():
            arm = one.experiment.arm(name)
            named = one.named(config)
            for seed in _seeds(arm, first_seed, one.count):
                _add(runs, _run(config, named, seed, one.experiment, arm, disk, common=True))
    settings = tuple(one.setting(effective(one.preset, changes), tuned, first_seed, frozen) for one in planned)
    claimed = frozenset(
        f"{experiment.name}/{arm}" for experiment in experiments for claim in experiment.claims for arm in claim.sides
    )
    disk.save()
    ordered = sorted(
        runs.values(), key=lambda run: (claimed.isdisjoint(run.used_by), not run.search, run.common, run.seed)
    )
    needed = {key(run.config.data): run.config.data for run in ordered if not run.done}
    unprepared = [  # a shipped set is prepared on first use
        missing(wanted, data)
        for wanted in needed.values()
        if not known.row(wanted.source).shipped and find(wanted, data) is None
    ]
    waiting = tuple(f"{one.experiment.name}/{arm}" for one in planned for arm in one.waiting)
    return Plan(settings, tuple(ordered), waiting, tuple(unprepared), claimed)


@dataclass
class _Planned:
    """One experiment at one preset while its plan is made."""

    experiment: Experiment
    preset: str
    count: int
    images: _Images
    base: dict[str, Config]  # of each arm that trains, with the preset's own value
    arms: dict[str, Config]  # the Config of each arm that trains, with the value that its own search found
    common: dict[tuple[str, str], Config]  # (arm, reference) -> the arm at the reference's value, where that is another
    searches: dict[str, dict[str, str]]  # arm -> tried value -> digest
    search_seeds: tuple[int, ...]
    waiting: list[str]
    seeds_of: dict[str, int] = field(default_factory=dict)

    def named(self, config: Config) -> str:
        """The digest of a run: arms may read sets that were prepared in other ways."""
        return self.images.named(config)

    def setting(self, changes: Mapping[str, Any], tuned: bool, first_seed: int, frozen: str) -> Setting:
        """What is asked for, as results/ keeps it."""
        design = self.experiment.laid_out
        more = {name: count for name, count in self.seeds_of.items() if count != self.count}
        return Setting(
            self.experiment.name,
            self.preset,
            changes,
            self.count,
            {name: self.named(config) for name, config in self.arms.items()},
            self.searches,
            search_seeds=self.search_seeds,
            common={f"{arm}@{other}": self.named(one) for (arm, other), one in self.common.items()},
            seeds_of=more,
            first_seed=first_seed,
            untuned=not tuned and self.experiment.search is not None,
            frozen=frozen,
            declared={name: digest(config, "") for name, config in self.base.items()},
            design=design.kind if design else "",
            own_seeds={
                arm.name: list(_seeds(arm, first_seed, self.seeds_of[arm.name]))
                for arm in self.experiment.arms
                if arm.seeds is not None and arm.name in self.seeds_of
            },
        )


def _seeds(arm: Arm, first_seed: int, count: int) -> Sequence[int]:
    """The seeds of an arm's runs, where those of others count from `first_seed`."""
    if arm.seeds is None:
        return range(first_seed, first_seed + count)
    return [first_seed + seed for seed in arm.seeds[:count]]


def _settle(
    experiment: Experiment,
    at: str,
    count: int,
    changes: Mapping[str, Any],
    wanted: Container[str],
    tuned: bool,
    images: _Images,
    runs: dict[str, Run],
    disk: _Disk,
) -> _Planned:
    """The Config of each arm, as far as its search is finished; the runs of the searches are added to `runs`."""
    search = experiment.search.at(at) if experiment.search and tuned else None
    every = configs(experiment, at, changes, tuned=tuned)
    base = {name: config for name, config in every.items() if name in wanted}
    searches: dict[str, dict[str, str]] = {}
    best: dict[str, float] = {}
    for name, config in base.items():
        if search is None:
            continue
        own = float(flatten(config)[search.key])
        values = list(search.grid(own))
        while True:
            tried = trials(search, config, values, images.per_class(config))
            searches[name] = {str(value): images.named(one) for value, one in tried.items()}
            for value, one in tried.items():
                for seed in search.seeds:
                    arm, there = experiment.arm(name), searches[name][str(value)]
                    _add(runs, _run(one, there, seed, experiment, arm, disk, read=False, search=True))
            found = choose(search, finished_trials(searches[name], search.seeds, disk.results))
            if found is None:
                break
            best[name] = found
            if (beyond := search.beyond(values, found, own)) is None:
                break
            values.append(beyond)
            del best[name]
    arms = {
        name: override(config, {search.key: best[name]}) if search else config
        for name, config in base.items()
        if search is None or name in best
    }
    common = {}
    for name, reference in contrasts(experiment, at):
        if search and name in best and reference in best and best[name] != best[reference]:
            common[name, reference] = override(base[name], {search.key: best[reference]})
    waiting = [name for name in base if name not in arms]
    seeds = search.seeds if search else ()
    return _Planned(experiment, at, count, images, base, arms, common, searches, seeds, waiting)


def laid_out(experiments: Iterable[Experiment], preset_name: str | None, design: str | None) -> list[Experiment]:
    """The experiments as they are to run: those without arms by their design, all of them where `design` names one.

    Raises ValueError for an experiment that has no such design at the preset.
    """
    found = []
    for experiment in experiments:
        if design and (experiment.design is None or experiment.design.kind != design):
            has = f"it has a {experiment.design.kind}" if experiment.design else "it has none"
            raise ValueError(f"{experiment.name} has no design of that kind ({design}); {has}")
        if experiment.design is None or (experiment.arms and not design):
            found.append(experiment)
            continue
        from repro.stats import designs

        found.append(designs.laid_out(experiment, preset_name or experiment.design.presets[0]))
    return found


def every_arm(experiments: Iterable[Experiment], preset_name: str | None) -> frozenset[str]:
    """The `experiment/arm`s that train, at the preset or each experiment's first."""
    return frozenset(
        f"{one.name}/{arm.name}"
        for one in experiments
        for arm in one.arms_at(preset_name or one.presets[0])
        if not arm.ensemble
    )


def choose_arms(
    experiments: Sequence[Experiment], preset_name: str | None, listed: str | None
) -> frozenset[str] | None:
    """What `--arms` lists, `claimed` standing for the arms that claims compare; None where it lists nothing.

    Raises ValueError for what is no arm of the experiments at the preset.
    """
    if listed is None:
        return None
    known = every_arm(experiments, preset_name)
    found: set[str] = set()
    for name in listed.split(","):
        if name == "claimed":
            found |= {
                f"{one.name}/{arm}"
                for one in experiments
                for claim in one.claims_at(preset_name or one.presets[0])
                for arm in one.trained(claim)
            }
        elif name in known:
            found.add(name)
        else:
            raise ValueError(f"--arms {name}: write `claimed` or EXPERIMENT/ARM{did_you_mean(name, known)}")
    return frozenset(found)


def contrasts(experiment: Experiment, preset_name: str) -> list[tuple[str, str]]:
    """(arm, reference) of the claims at a preset that compare two arms which are trained apart."""
    trained = {arm.name for arm in experiment.arms_at(preset_name) if not arm.ensemble}
    pairs = [(claim.arm, claim.reference) for claim in experiment.claims_at(preset_name) if claim.reference]
    return list(dict.fromkeys(pair for pair in pairs if trained.issuperset(pair)))


def _compared(planned: Iterable[_Planned]) -> dict[str, set[str]]:
    """Digest of a reference -> the digests of the arms that claims compare with it, over all experiments; both before
    any search, so that the numbers of seeds are known beforehand."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in planned:
        names = {arm: one.named(config) for arm, config in one.base.items()}
        for arm, reference in contrasts(one.experiment, one.preset):
            if arm in names and reference in names and names[arm] != names[reference]:
                found[names[reference]].add(names[arm])
    return found


class _Images:
    """What is known of the images that Configs ask for, each manifest read once."""

    def __init__(self, data: Path, results: Path) -> None:
        self._data, self._results = data, results
        self._manifests: dict[str, Manifest | None] = {}
        self._digests: dict[str, str] = {}
        self._named: dict[int, tuple[Config, str]] = {}  # by the identity of a Config, which is kept with it

    def manifest(self, wanted: Data) -> Manifest | None:
        """The manifest of the prepared set, or None. Raises ValueError where the set has too few images."""
        name = key(wanted)
        if name not in self._manifests:
            self._manifests[name] = find(wanted, self._data)
        if there := self._manifests[name]:
            check_fits(wanted, there)
        return self._manifests[name]

    def digest(self, wanted: Data) -> str:
        """Digest of the set's content; of a set that is not prepared, the one that all finished runs had."""
        manifest, name = self.manifest(wanted), key(wanted)
        if name not in self._digests:
            self._digests[name] = manifest.digest if manifest else _digest_in(self._results, name)
        return self._digests[name]

    def named(self, config: Config) -> str:
        """The digest of a Config's runs, made once for each."""
        if id(config) not in self._named:
            self._named[id(config)] = config, digest(config, self.digest(config.data))
        return self._named[id(config)][1]

    def per_class(self, config: Config) -> int:
        """Training images of the class in use that has the fewest."""
        manifest, wanted = self.manifest(config.data), config.data
        if manifest:
            return min(manifest.train_per_class[wanted.first_class : wanted.first_class + wanted.classes])
        classes, train, _ = known.published(wanted.source)
        return train // classes


def _digest_in(results: Path, name: str) -> str:
    """Digest of a set that is not prepared: the one that all finished runs had, so that published runs count."""
    seen = {record.data.digest for record in store.one_of_each(results) if record.data.name == name}
    return seen.pop() if len(seen) == 1 else UNPREPARED


def effective(preset_name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The `--set` changes without those to what the preset has anyway: the same runs are the same setting, looked at as
    often as it was."""
    whole = override(preset(preset_name), changes)
    kept = dict(changes)
    for changed in changes:
        others = {other: value for other, value in kept.items() if other != changed}
        with suppress(ValueError):  # it takes the others to be possible
            if override(preset(preset_name), others) == whole:
                kept = others
    return kept


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


class _Disk:
    """What results/ has of the runs of a plan, each looked at once."""

    def __init__(self, results: Path) -> None:
        self.results, self._index = results, index.of(results)
        self._folders: dict[str, frozenset[str]] = {}
        self._states: dict[tuple[Any, ...], _State] = {}

    def state(self, named: str, seed: int, views: tuple[View, ...], artifacts: tuple[Artifact, ...]) -> _State:
        """Of the run `named`/seed-`seed`, of which `views` and `artifacts` are wanted. Raises NewerError."""
        if named not in self._folders:
            self._folders[named] = frozenset(files.names_in(self.results / "runs" / named))
        if f"seed-{seed}" not in self._folders[named]:
            return _State(missing=(*views, *artifacts))
        key = named, seed, views, artifacts
        if key not in self._states:
            self._states[key] = self._look(named, seed, views, artifacts)
        return self._states[key]

    def _look(self, named: str, seed: int, views: tuple[View, ...], artifacts: tuple[Artifact, ...]) -> _State:
        entry, results = self._index.entry(named, seed), self.results
        if entry is None:
            unread = store.unread(results, named, seed, views, artifacts)
        else:
            unread = self._index.unread(named, seed, views, artifacts)
        if entry and not unread:
            return _DONE
        wrong = [store.damaged_run(results, named, seed), *unread.values()]
        if entry and entry.epochs and not store.has_checkpoint(results, named, seed):
            wrong.append(f"{named}/seed-{seed}: {', '.join(unread)}: its checkpoint is not here; delete it to redo it")
        damaged = tuple(reason for reason in wrong if reason)
        return _State(entry is not None, tuple(unread), store.failure(results, named, seed), damaged)

    def save(self) -> None:
        """Keep what was seen for the next plan."""
        self._index.save()


class _State(NamedTuple):
    """What is on disk of a run: see Run."""

    finished: bool = False
    missing: tuple[str, ...] = ()
    failed: str | None = None
    damaged: tuple[str, ...] = ()


_DONE = _State(finished=True)


def _run(
    config: Config,
    named: str,
    seed: int,
    experiment: Experiment,
    arm: Arm,
    disk: _Disk,
    *,
    read: bool = True,
    search: bool = False,
    common: bool = False,
) -> Run:
    """One run of an arm. Without `read` it only goes before: what the arm reads off its runs is not wanted of it."""
    views = tuple(dict.fromkeys([*config.eval.views, *([arm.view] if arm.view and read else [])]))
    artifacts = tuple(experiment.artifacts) if read else ()
    state = disk.state(named, seed, views, artifacts)
    used_by = (f"{experiment.name}/{arm.name}",)
    return Run(
        config, seed, named, views, artifacts, used_by, state.finished, state.missing, state.failed, search, common,
        state.damaged,
    )  # fmt: skip


def _add(runs: dict[str, Run], run: Run) -> None:
    """Merge runs of one name: a run that two arms share is trained once and read for both."""
    known = runs.get(run.name)
    if known is None:
        runs[run.name] = run
        return
    join = {
        key: tuple(dict.fromkeys([*getattr(known, key), *getattr(run, key)]))
        for key in ("used_by", "views", "artifacts", "missing", "damaged")
    }
    search, common = known.search or run.search, known.common and run.common
    runs[run.name] = replace(known, search=search, common=common, **join)  # type: ignore[arg-type]


def power(experiments: Sequence[Experiment], plan: Plan, results: Path) -> list[dict[str, Any]]:
    """For every claim of the plan: seeds so far, and those that tell its effect from zero at 80% power, `needed` by one
    look at the end and `max_seeds` by a look after every seed (None: too few runs are finished to know the spread, the
    claim names no number, or no number of seeds is enough)."""
    from repro.stats import judge

    rows = []
    for experiment, asked in zip(experiments, plan.settings, strict=True):
        path = store.setting_path(results, asked)
        setting = store.read_setting(path) if path.is_file() else asked  # it may have more seeds, and remembers looks
        for found in judge(experiment, setting, results):
            if found.claim is None:
                continue
            rows.append(
                {
                    "experiment": experiment.name,
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
    if not (found.seeds_needed and found.published and effect and effect.spreads):
        return None
    if found.unit != "points" or found.seeds < FEWEST_SEEDS:
        return None
    if effect.paired:
        return most_seeds(effect.spreads[0], found.published, images=effect.of_images)
    from repro.stats.independent import most_runs

    return most_runs(*effect.spreads, found.published, images=effect.of_images)
