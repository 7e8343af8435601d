"""Two arms or runs side by side: which keys of their Configs differ, and how far their errors lie apart."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from repro import store
from repro.config.config import Config, from_dict
from repro.config.keys import diff
from repro.experiments.experiment import Experiment
from repro.experiments.registry import Registry
from repro.plan import plan
from repro.records import RunRecord, Setting
from repro.suggest import did_you_mean
from repro.terms import View

TitledLines = tuple[str, Sequence[str], list[Sequence[object]]]


def compare_runs(
    registry: Registry,
    one: str,
    two: str,
    preset: str | None,
    changes: Mapping[str, Any],
    *,
    data: Path,
    results: Path,
) -> list[TitledLines]:
    """Tables of what differs: keys, then errors by view over the seeds that both sides have finished.

    Each side is EXPERIMENT/ARM (at the setting that has the most finished runs of it, among those of `preset` and with
    `--set` changes where these are given) or the digest of a run, or its beginning.
    Arms that each read a view of their own are compared by those. Raises ValueError for a side that names nothing,
    and for a setting where no side needs one.
    """
    if (preset or changes) and "/" not in one + two:
        raise ValueError("--preset and --set choose the setting of EXPERIMENT/ARM; the digest of a run says it already")
    sides = [_side(registry, name, preset, changes, data, results) for name in (one, two)]
    (left, left_view, left_runs), (right, right_view, right_runs) = sides
    keys: list[Sequence[object]] = [(key, json.dumps(a), json.dumps(b)) for key, (a, b) in diff(left, right).items()]
    if left_view != right_view:
        keys.append(("the view it reads", left_view or "any", right_view or "any"))
    tables: list[TitledLines] = [("What differs", ("key", one, two), keys or [("nothing", "", "")])]
    shared = sorted(left_runs.keys() & right_runs.keys())
    rows: list[Sequence[object]] = []
    views = [(left_view, right_view)] if left_view and right_view else [(view, view) for view in get_args(View)]
    for view, other in views:
        looked = view if view == other else f"{view} and {other}"
        for metric in ("top1_error", "top5_error"):
            pairs = [
                (getattr(left_runs[seed].errors[view], metric), getattr(right_runs[seed].errors[other], metric))
                for seed in shared
                if view in left_runs[seed].errors and other in right_runs[seed].errors
            ]
            if pairs:
                a, b = (fmean(pair[side] for pair in pairs) for side in (0, 1))
                rows.append((f"{metric}, {looked}", f"{a:.2f}%", f"{b:.2f}%", f"{b - a:+.2f} points", len(pairs)))
    tables.append(
        (
            "Errors",
            ("metric", one, two, "difference", "seeds"),
            rows or [("no finished run on both sides", "", "", "", 0)],
        )
    )
    return tables


def _side(
    registry: Registry, name: str, preset: str | None, changes: Mapping[str, Any], data: Path, results: Path
) -> tuple[Config, View | None, dict[int, RunRecord]]:
    """Config of one side, the view that it reads if it is an arm with one of its own, and its finished runs by seed."""
    start, _, rest = name.partition("/")
    if start in registry.experiments and not rest:
        arms = ", ".join(arm.name for arm in registry.get(start).arms)
        raise ValueError(f"{name!r}: write EXPERIMENT/ARM; the arms of {start} are {arms}")
    if re.fullmatch(r"seed-\d+", rest) and start not in registry.experiments:
        raise ValueError(f"{name!r}: errors are compared over all seeds that both sides have; leave out /{rest}")
    if rest:
        experiment = registry.get(start)
        view = experiment.arm(rest).view
        if asked := _asked(experiment, rest, preset, changes, results):
            runs = _runs(results, asked.arms[rest])
            config = from_dict(next(iter(runs.values())).config)  # with the value that a search chose
            return config, view, {seed: run for seed, run in runs.items() if seed in asked.seeds_for(rest)}
        at = preset or experiment.presets[0]
        found = plan.configs(experiment, at, changes, tuned=False)
        if rest not in found:
            here = any(arm.name == rest for arm in experiment.arms_at(at))
            why = "has no runs of its own; compare the arms that it reads" if here else "is no arm there"
            raise ValueError(f"{name} at {at}: {why}")
        return found[rest], view, {}
    names = sorted(path.name for path in (results / "runs").glob("*"))
    matches = [digest for digest in names if digest.startswith(start)]
    if len(matches) != 1:
        what = "is the beginning of several runs" if matches else "is neither EXPERIMENT/ARM nor a run in results"
        raise ValueError(f"{name!r} {what}{did_you_mean(name, [*registry.experiments, *names])}")
    runs = _runs(results, matches[0])
    if not runs:
        raise ValueError(f"{name!r}: none of its runs is finished")
    return from_dict(next(iter(runs.values())).config), None, runs


def _asked(
    experiment: Experiment, arm: str, preset: str | None, changes: Mapping[str, Any], results: Path
) -> Setting | None:
    """The setting with the most finished runs of an arm, at `preset` and with `changes` where they are given."""
    wanted = plan.effective(preset or experiment.presets[0], changes) if changes else None
    found = [
        setting
        for setting in store.read_settings(results)[0]
        if setting.experiment == experiment.name
        and (preset is None or setting.preset == preset)
        and (wanted is None or setting.changes == wanted)
        and arm in setting.arms
    ]
    counts = [len(_runs(results, setting.arms[arm]).keys() & set(setting.seeds_for(arm))) for setting in found]
    return found[counts.index(max(counts))] if any(counts) else None


def _runs(results: Path, digest: str) -> dict[int, RunRecord]:
    seeds = [
        int(path.parent.name.removeprefix("seed-")) for path in (results / "runs" / digest).glob("seed-*/run.json")
    ]
    return {seed: store.read_run(results, digest, seed) for seed in seeds}
