"""Plans that are frozen: what will be judged, written down and committed before the runs are made.

`repro plan NAME... --freeze results/plans/FACTORS.json` writes one; `repro run --plan FILE` makes its runs and nothing
else. Reports call a row *confirmatory* where a frozen plan asked for its setting, and list what differs from the plan.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repro import index, store
from repro.config.keys import flatten
from repro.experiments.design import effects_of
from repro.experiments.experiment import Experiment
from repro.planning.plan import Plan, configs
from repro.stats import rule
from repro.suggest import did_you_mean
from repro.terms import SEARCH_SEEDS

FOLDER = "plans"  # in results/
SCHEMA = 1


@dataclass(frozen=True)
class Frozen:
    """One set of experiments at one preset with one set of changes, and how it will be judged."""

    name: str
    experiments: tuple[str, ...]
    preset: str
    changes: Mapping[str, Any]
    arms: tuple[str, ...]  # the `experiment/arm`s that run
    seeds: int
    seeds_of: Mapping[str, int]  # `experiment/arm` -> another number
    first_seed: int  # no run of results/ had this seed, or a later one of a comparison, when the plan was made
    searches: Mapping[str, Mapping[str, Any]]  # experiment -> key, first grid, metric, seeds, extensions
    endpoints: tuple[Mapping[str, Any], ...]  # primary ones: experiment, arm, reference, kind, metric, published
    rule: int  # version of the rule of docs/verdicts.md
    margins: Mapping[str, Any]  # its numbers
    design: str = ""  # "screen" or "factorial": the arms are its rows, the endpoints its effects
    schema: int = SCHEMA


def first_fresh_seed(results: Path) -> int:
    """The first multiple of ten above every seed of a comparison that a finished run had."""
    used = [seed for _, seed, run in index.of(results).entries() if run.epochs and seed < SEARCH_SEEDS]
    return 10 * (max(used, default=-10) // 10 + 1)


def freeze(
    path: Path,
    experiments: Sequence[Experiment],
    plan: Plan,
    arms: Iterable[str],
) -> Frozen:
    """Write what `plan` will be judged by. Raises ValueError where the file is there, or stands in another folder."""
    if path.exists():
        raise ValueError(f"--freeze {path}: is there already, and a frozen plan does not change; choose another name")
    if path.suffix != ".json" or path.parent.name != FOLDER:
        raise ValueError(f"--freeze {path}: reports look in results/{FOLDER}/ for NAME.json; write it there")
    first = plan.settings[0]
    if any(setting.design != first.design for setting in plan.settings):
        raise ValueError(f"--freeze {path}: holds a design and another experiment; freeze each by itself")
    searches = {}
    for experiment, setting in zip(experiments, plan.settings, strict=True):
        if experiment.search and not setting.untuned:
            search = experiment.search.at(setting.preset)
            config = next(iter(configs(experiment, setting.preset, setting.changes).values()))
            searches[experiment.name] = {
                "key": search.key,
                "grid": list(search.grid(float(flatten(config)[search.key]))),
                "metric": search.metric,
                "seeds": list(search.seeds),
                "extensions": search.extensions,
            }
    frozen = Frozen(
        path.stem,
        tuple(experiment.name for experiment in experiments),
        first.preset,
        first.changes,
        tuple(sorted(arms)),
        first.seeds,
        {f"{setting.experiment}/{arm}": count for setting in plan.settings for arm, count in setting.seeds_of.items()},
        first.first_seed,
        searches,
        tuple(endpoints(experiments, first.preset, arms)),
        rule.VERSION,
        rule.margins(),
        first.design,
    )
    store.write_json(path, asdict(frozen))
    return frozen


def endpoints(experiments: Iterable[Experiment], preset: str, arms: Iterable[str]) -> list[dict[str, Any]]:
    """The primary endpoint of each claim whose sides are among `arms`, and the effects of each design."""
    known = set(arms)
    effects = [
        {
            "experiment": experiment.name,
            "arm": effect,
            "reference": None,
            "kind": design.kind,
            "metric": "top1_error",
            "published": None,
        }
        for experiment in experiments
        if (design := experiment.laid_out)
        for effect in effects_of(design)
    ]
    return effects + [
        {
            "experiment": experiment.name,
            "arm": claim.arm,
            "reference": claim.reference,
            "kind": claim.kind,
            "metric": claim.primary,
            "published": claim.published[claim.primary],
        }
        for experiment in experiments
        for claim in experiment.claims_at(preset)
        if known.issuperset(f"{experiment.name}/{side}" for side in experiment.trained(claim))
    ]


def read(path: Path) -> Frozen:
    """A frozen plan. Raises ValueError in one line where it is none."""
    try:
        values = json.loads(path.read_text())
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema {values['schema']}, this version reads {SCHEMA}")
        lists = {name: tuple(values[name]) for name in ("experiments", "arms", "endpoints")}
        return Frozen(**{**values, **lists})
    except FileNotFoundError:
        there = sorted(str(one) for one in path.parent.glob("*.json"))
        raise ValueError(f"{path}: there is no such plan{did_you_mean(str(path), there)}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: is no frozen plan ({error})") from None
