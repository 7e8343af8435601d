"""Two arms or runs side by side: which keys of their Configs differ, and how far their errors lie apart."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, get_args

from repro import store
from repro.config.config import Config, from_dict
from repro.config.keys import diff
from repro.config.presets import PRESETS
from repro.experiments.experiment import Arm, Experiment
from repro.experiments.registry import Registry
from repro.planning import plan, settings
from repro.records import RunRecord, Setting
from repro.suggest import did_you_mean
from repro.terms import EPOCHS_TO_TARGET, View

if TYPE_CHECKING:
    from repro.commands.terminal import TitledRows
    from repro.stats import Effect
    from repro.stats.values import Unit

Finished = tuple[Setting, dict[int, RunRecord]]  # a setting, and the finished runs of one of its arms by seed

ONE, TWO = "one", "two"  # the sides, as arms


@dataclass(frozen=True)
class Side:
    """An arm at a setting, or a run's digest."""

    name: str  # as it was asked for
    config: Config
    digest: str = ""
    view: View | None = None  # of an arm that has one of its own
    runs: Mapping[int, RunRecord] = field(default_factory=dict)  # finished, by seed
    setting: Setting | None = None


@dataclass(frozen=True)
class Comparison:
    """What differs between two sides. Effects are the second side against the first."""

    sides: tuple[Side, Side]
    keys: Mapping[str, tuple[Any, Any]]  # key -> its value on either side
    effects: Sequence[tuple[str, Effect]]  # the view that was read, "" where it does not matter
    settings: Sequence[tuple[Setting, int, int]]  # that have finished runs of both sides, and how many
    untrained: str = ""  # why the runs of a side say nothing, in words

    def tables(self, results: Path) -> list[TitledRows]:
        """The same for people."""
        from repro.report import words

        one, two = (side.name for side in self.sides)
        keys: list[Sequence[object]] = [(key, json.dumps(a), json.dumps(b)) for key, (a, b) in self.keys.items()]
        found: list[TitledRows] = [("What differs", ("key", one, two), keys or [("nothing", "", "")])]
        rows: list[Sequence[object]] = []
        for view, effect in self.effects:
            unit: Unit = "times" if effect.metric == EPOCHS_TO_TARGET else "points"
            own = " epochs" if effect.metric == EPOCHS_TO_TARGET else "%"
            a, b = (fmean(number for _, number in side) for side in (effect.of_reference, effect.of_arm))
            name = f"{words.metric(effect.metric)}, {view}" if view else words.metric(effect.metric)
            runs = f"{effect.runs[1]} and {effect.runs[0]}"
            rows.append((name, f"{a:.2f}{own}", f"{b:.2f}{own}", words.with_interval(effect.interval, unit), runs))
        columns = ("metric", one, two, "difference [95% interval]", "runs")
        nothing = self.untrained or "no finished run on both sides"
        found.append(("Errors", columns, rows or [(nothing, "", "", "", "")]))
        if self.settings:
            names, shown = settings.called(results), self.sides[0].setting
            lines = [
                (settings.label(setting, names), a, b, "shown" if setting == shown else "")
                for setting, a, b in self.settings
            ]
            title = "Settings with runs of both: --setting NAME"
            found.append((title, ("setting", "runs of the first", "of the second", ""), lines))
        return found

    def as_json(self) -> dict[str, Any]:
        """The same as plain values: errors in percent, effects in points, ratios in times."""
        return {
            "sides": [
                {"name": side.name, "digest": side.digest, "setting": side.setting.name if side.setting else None}
                for side in self.sides
            ],
            "differs": {key: list(values) for key, values in self.keys.items()},
            "effects": [
                {
                    "metric": effect.metric,
                    "view": view or None,
                    "of_first": dict(effect.of_reference),
                    "of_second": dict(effect.of_arm),
                    "mean": effect.interval.mean if effect.interval else None,
                    "low": effect.interval.low if effect.interval else None,
                    "high": effect.interval.high if effect.interval else None,
                    "method": effect.interval.method if effect.interval else None,
                    "p": effect.p,
                    "runs": [effect.runs[1], effect.runs[0]],
                }
                for view, effect in self.effects
            ],
            "untrained": self.untrained or None,
            "settings": [
                {"setting": setting.name, "runs": [one, two], "shown": setting == self.sides[0].setting}
                for setting, one, two in self.settings
            ],
        }


def compare_runs(
    registry: Registry,
    one: str,
    two: str,
    preset: str | None,
    changes: Mapping[str, Any],
    *,
    results: Path,
) -> Comparison:
    """What differs between two sides: keys, then errors by view over the finished runs of each.

    Each side is EXPERIMENT/ARM or the digest of a run, or its beginning. Arms are compared at the setting that has the
    most finished runs of both, among those of `preset` and with `--set` changes where these are given. Arms that each
    read a view of their own are compared by those. Raises ValueError for a side that names nothing, and for a setting
    where no side needs one.
    """
    if one in PRESETS and two in PRESETS:
        raise ValueError(f"{one} and {two} are presets; write: repro compare --presets {one} {two}")
    if (preset or changes) and "/" not in one + two:
        raise ValueError(
            "--preset, --set and --setting choose the setting of EXPERIMENT/ARM; the digest of a run says it already"
        )
    every = [
        setting
        for setting in store.read_settings(results)[0]
        if preset is None or (setting.preset == preset and (not changes or _is_at(setting, preset, changes)))
    ]
    names = (one, two)
    arms = [_arm(registry, name) for name in names]
    counted = [_finished(results, arm, every) if arm else {} for arm in arms]
    both = sorted(
        counted[0].keys() & counted[1].keys(), key=lambda name: (-min(len(runs[name][1]) for runs in counted), name)
    )
    chosen = [both[0] if both else _most(runs) for runs in counted]
    sides = [
        _side_of_arm(name, arm, runs.get(at), preset, changes) if arm else _side_of_run(registry, name, results)
        for name, arm, at, runs in zip(names, arms, chosen, counted, strict=True)
    ]
    left, right = sides
    keys: dict[str, tuple[Any, Any]] = dict(diff(left.config, right.config))
    if left.view != right.view:
        keys["the view it reads"] = left.view or "any", right.view or "any"
    listed = [(counted[0][name][0], len(counted[0][name][1]), len(counted[1][name][1])) for name in both]
    effects, untrained = _effects(left, right, results)
    return Comparison((left, right), keys, effects, listed, untrained)


def _is_at(setting: Setting, preset: str, changes: Mapping[str, Any]) -> bool:
    return dict(setting.changes) == plan.effective(preset, changes)


def _arm(registry: Registry, name: str) -> tuple[Experiment, Arm] | None:
    """The arm that EXPERIMENT/ARM names; None for the digest of a run."""
    start, _, rest = name.partition("/")
    if start in registry.experiments and not rest:
        arms = ", ".join(arm.name for arm in registry.get(start).arms)
        raise ValueError(f"{name!r}: write EXPERIMENT/ARM; the arms of {start} are {arms}")
    if re.fullmatch(r"seed-\d+", rest) and start not in registry.experiments:
        raise ValueError(f"{name!r}: errors are compared over all finished runs of both sides; leave out /{rest}")
    if not rest:
        return None
    experiment = registry.get(start)
    return experiment, experiment.arm(rest)


def _finished(results: Path, of: tuple[Experiment, Arm], every: Sequence[Setting]) -> dict[str, Finished]:
    """Name of each setting that has finished runs of an arm, and these."""
    experiment, arm = of
    found = {}
    for setting in every:
        if setting.experiment == experiment.name and arm.name in setting.arms:
            wanted = set(setting.seeds_for(arm.name))
            runs = {seed: run for seed, run in _runs(results, setting.arms[arm.name]).items() if seed in wanted}
            if runs:
                found[setting.name] = setting, runs
    return found


def _most(counted: Mapping[str, Finished]) -> str:
    """The setting with the most finished runs; empty where none has any."""
    return max(counted, key=lambda name: len(counted[name][1]), default="")


def _side_of_arm(
    name: str, of: tuple[Experiment, Arm], found: Finished | None, preset: str | None, changes: Mapping[str, Any]
) -> Side:
    experiment, arm = of
    if found:
        setting, runs = found
        config = from_dict(next(iter(runs.values())).config)  # with the value that a search chose
        return Side(name, config, setting.arms[arm.name], arm.view, runs, setting)
    at = preset or experiment.presets[0]
    configs = plan.configs(experiment, at, changes, tuned=False)
    if arm.name not in configs:
        here = any(one.name == arm.name for one in experiment.arms_at(at))
        why = "has no runs of its own; compare the arms that it reads" if here else "is no arm there"
        raise ValueError(f"{name} at {at}: {why}")
    return Side(name, configs[arm.name], view=arm.view)


def _side_of_run(registry: Registry, name: str, results: Path) -> Side:
    names = sorted(path.name for path in (results / "runs").glob("*"))
    matches = [digest for digest in names if digest.startswith(name)]
    if len(matches) != 1:
        what = "is the beginning of several runs" if matches else "is neither EXPERIMENT/ARM nor a run in results"
        arms = [f"{one.name}/{arm.name}" for one in registry.experiments.values() for arm in one.arms]
        hint = did_you_mean(name, [*registry.experiments, *names]) or did_you_mean(name, arms)
        raise ValueError(f"{name!r} {what}{hint}")
    runs = _runs(results, matches[0])
    if not runs:
        raise ValueError(f"{name!r}: none of its runs is finished")
    return Side(name, from_dict(next(iter(runs.values())).config), matches[0], None, runs)


def _runs(results: Path, digest: str) -> dict[int, RunRecord]:
    seeds = [
        int(path.parent.name.removeprefix("seed-")) for path in (results / "runs" / digest).glob("seed-*/run.json")
    ]
    return {seed: store.read_run(results, digest, seed) for seed in sorted(seeds)}


def _effects(left: Side, right: Side, results: Path) -> tuple[list[tuple[str, Effect]], str]:
    """The effect of the second side on each number that both have, and why a side that did not train has none."""
    if not (left.runs and right.runs):
        return [], ""
    from repro.stats import effect_between
    from repro.stats.evidence import Runs

    own = bool(left.view and right.view)
    one, two = (Arm(name, view=side.view if own else None) for name, side in ((ONE, left), (TWO, right)))
    seeds = [sorted(side.runs) for side in (left, right)]
    if left.digest == right.digest:  # the same runs, read twice
        seeds = [sorted(left.runs.keys() & right.runs.keys())] * 2
    setting = Setting(
        "comparison", "any", {}, max(map(len, seeds)), {ONE: left.digest, TWO: right.digest},
        looks=left.setting.looks if left.setting and left.setting == right.setting else (),
        own_seeds={ONE: seeds[0], TWO: seeds[1]},
    )  # fmt: skip
    experiment = Experiment("comparison", "What differs?", "-", "-", [one, two], [setting.preset])
    records = {(side.digest, seed): run for side in (left, right) for seed, run in side.runs.items()}
    runs = Runs(experiment, setting, results, records)
    found: list[tuple[str, Effect]] = []
    if own and left.view and right.view:
        shown = left.view if left.view == right.view else f"{left.view} and {right.view}"
        views: list[tuple[View, str]] = [(left.view, shown)]
    else:
        views = [(view, view) for view in get_args(View)]
    for view, shown in views:
        found += [(shown, effect_between(runs, two, one, metric, view)) for metric in ("top1_error", "top5_error")]
    if left.digest != right.digest:
        others = ("train_error", EPOCHS_TO_TARGET)
        found += [("", effect_between(runs, two, one, metric, "center")) for metric in others]
    untrained = [
        why.replace(f"arm {arm.name}", side.name)
        for arm, side in ((one, left), (two, right))
        if (why := runs.untrained(arm))
    ]
    return [(view, effect) for view, effect in found if effect.of_arm and effect.of_reference], "; ".join(untrained)
