"""Whether a frozen plan asked for a setting before its runs were made, and what differs from the plan.

A verdict is *confirmatory* where a readable plan in results/plans/ names the experiment, its preset, changes, seeds,
first seed, search and rule as the setting has them, and the claim's primary number among its endpoints. Any other is
*exploratory*.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.experiments.experiment import Experiment
from repro.planning import frozen
from repro.records import Setting
from repro.stats import rule

if TYPE_CHECKING:
    from repro.stats import Judgement

Endpoint = tuple[str, str | None, str, str, float | None]  # arm, reference, kind, metric, published


@dataclass(frozen=True)
class Standing:
    """Of one setting. `plan` is the name that it gives, empty where it names none."""

    plan: str = ""
    deviations: tuple[str, ...] = ()
    endpoints: frozenset[Endpoint] = frozenset()

    def of(self, one: Judgement | None) -> str:
        """`confirmatory` or `exploratory`, of one number of a claim."""
        claim = one.claim if one else None
        if not self.plan or self.deviations or one is None or claim is None:
            return "exploratory"
        endpoint = (claim.arm, claim.reference, claim.kind, one.metric, one.published)
        return "confirmatory" if endpoint in self.endpoints else "exploratory"


NO_PLAN = Standing()


def standing(experiment: Experiment, setting: Setting, results: Path) -> Standing:
    """What the plan that a setting names says of it."""
    if not setting.frozen:
        return NO_PLAN
    try:
        plan = frozen.read(results / frozen.FOLDER / f"{setting.frozen}.json")
    except ValueError as error:
        reason = str(error).replace(f"{results}/", "")
        return Standing(setting.frozen, (f"the plan cannot be read: {reason}",))
    endpoints = frozenset(
        (one["arm"], one["reference"], one["kind"], one["metric"], one["published"])
        for one in plan.endpoints
        if one["experiment"] == experiment.name
    )
    return Standing(setting.frozen, tuple(_deviations(plan, experiment, setting)), endpoints)


def _deviations(plan: frozen.Frozen, experiment: Experiment, setting: Setting) -> list[str]:
    if experiment.name not in plan.experiments:
        return ["the plan does not name the experiment"]
    prefix = f"{experiment.name}/"
    arms = {name.removeprefix(prefix) for name in plan.arms if name.startswith(prefix)}
    more = {name.removeprefix(prefix): count for name, count in plan.seeds_of.items() if name.startswith(prefix)}
    pairs: dict[str, tuple[Any, Any]] = {
        "preset": (plan.preset, setting.preset),
        "changes": (plan.changes, setting.changes),
        "runs an arm": (plan.seeds, setting.seeds),
        "runs of single arms": (more, setting.seeds_of),
        "first seed": (plan.first_seed, setting.first_seed),
        "version of the rule": (plan.rule, rule.VERSION),
        "numbers of the rule": (plan.margins, rule.margins()),
        "search": (plan.searches.get(experiment.name), _search(experiment, setting)),
        "interim looks": ([], list(setting.looks[:-1])),
    }
    found = [f"{what}: {_text(asked)} in the plan, {_text(is_)} here" for what, (asked, is_) in pairs.items()
             if _text(asked) != _text(is_)]  # fmt: skip
    trained = {*setting.arms, *setting.searches}
    missing = arms & _trained(experiment, setting) - trained
    for what, names in (("not in the plan", trained - arms), ("in the plan, not here", missing)):
        found += [f"arm {name}: {what}" for name in sorted(names)]
    return found


def _trained(experiment: Experiment, setting: Setting) -> set[str]:
    return {arm.name for arm in experiment.arms_at(setting.preset) if not arm.ensemble}


def _search(experiment: Experiment, setting: Setting) -> Mapping[str, Any] | None:
    """The search as a plan has it: with the first grid, which the declaration and the preset give."""
    from repro.config.keys import flatten
    from repro.planning.plan import configs

    if experiment.search is None or setting.untuned:
        return None
    search = experiment.search.at(setting.preset)
    config = next(iter(configs(experiment, setting.preset, setting.changes).values()))
    grid = search.grid(float(flatten(config)[search.key]))
    return {
        "key": search.key, "grid": list(grid), "metric": search.metric, "seeds": list(setting.search_seeds),
        "extensions": search.extensions,
    }  # fmt: skip


def _text(value: Any) -> str:
    """A value as JSON keeps it, so that a list and a tuple are one."""
    return json.dumps(value, sort_keys=True)
