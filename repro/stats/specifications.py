"""All reasonable ways to judge a claim that the runs of a setting allow: each view, each choice of the rate."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from repro.experiments.experiment import Claim, Experiment
from repro.records import Setting
from repro.stats.curves import Specification
from repro.stats.evidence import COUNTS, Runs
from repro.stats.judge import CONFIDENCE, _effect, _negligible, _unfit, _verdict
from repro.terms import FEWEST_SEEDS, GAP, View

VIEWS: tuple[View, ...] = ("center", "flips", "ten", "dense")
NOT_SHOWN = "not evaluated"


def specifications(
    experiment: Experiment, setting: Setting, results: Path, runs: Runs | None = None
) -> list[tuple[Claim, Specification]]:
    """The primary number of each claim of a comparison, in each way. Every way is judged as if this were the setting of
    the claim, so that sizes count; ways with fewer runs than a verdict takes are left out."""
    if setting.design:
        return []
    runs = runs or Runs(experiment, setting, results)
    found = []
    for claim in experiment.claims_at(setting.preset):
        if claim.kind == "value" or claim.control or claim.reference is None:
            continue
        arm, reference = (experiment.arm(name) for name in claim.sides)
        own = "own" if setting.searches.get(claim.arm) else "the preset's"
        ways = [(own, arm)]
        if f"{claim.arm}@{claim.reference}" in setting.common:
            ways.append(("common", dataclasses.replace(arm, name=f"{claim.arm}@{claim.reference}")))
        if not (runs.records(arm) and runs.records(reference)):
            continue
        negligible = _negligible(experiment, claim)
        unfit = _unfit(runs, [arm, reference], claim, claim.primary)
        for rate, side in ways:
            for view in _views(runs, claim, side.view or reference.view):
                effect = _effect(runs, side, reference, claim.primary, view, CONFIDENCE)
                interval = effect.interval
                if interval is None or effect.seeds < FEWEST_SEEDS or not math.isfinite(interval.mean):
                    continue
                verdict = NOT_SHOWN
                if not unfit:
                    verdict, _ = _verdict(claim, claim.primary, interval, effect.seeds, negligible, here=True)
                choices = {"setting": setting.name, "epochs": _epochs(runs, claim), "rate": rate, "view": view}
                found.append((claim, Specification(choices, interval, verdict)))
    return found


def _views(runs: Runs, claim: Claim, fixed: View | None) -> list[View]:
    """The views that say something else of the claim's number."""
    if fixed or claim.primary in COUNTS:
        return [claim.measured.view]
    if claim.primary in (GAP, "train_error"):
        return ["center"]
    arms = [runs.experiment.arm(name) for name in claim.sides]
    return [view for view in VIEWS if runs.has_view(arms, view)]


def _epochs(runs: Runs, claim: Claim) -> str:
    """The most epochs that a run of the claim's arm may take."""
    records = runs.records(runs.experiment.arm(claim.arm))
    return str(records[0].config["schedule"]["epochs"]) if records else "0"
