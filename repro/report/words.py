"""Numbers and sentences as people read them: units always, a real minus sign, nothing rounded away."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from repro.experiments.experiment import Arm, Claim
from repro.terms import EPOCHS_TO_BEST, EPOCHS_TO_TARGET, TRAINING_HOURS

if TYPE_CHECKING:
    from repro.stats import Interval
    from repro.stats.values import Unit

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
NOTHING = "\N{EN DASH}"

METRICS = {
    "early_error": "training error in the first tenth",
    "top1_error": "top-1 error",
    "top5_error": "top-5 error",
    "train_error": "training error",
    EPOCHS_TO_TARGET: "epochs to target",
    EPOCHS_TO_BEST: "epochs to the lowest test error",
    TRAINING_HOURS: "hours of training",
    "gap": "test minus training error",
}

VIEWS = {"center": "center view", "flips": "two views", "ten": "ten views", "dense": "dense views"}


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """`1.40`, with `signed` `+1.40` or a real minus; a dash for what is not there."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return ("+" if value > 0 and signed else MINUS if value < 0 else "") + "\N{INFINITY}"
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0:  # neither +0.00 nor -0.00
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def quantity(value: float | None, unit: Unit, digits: int = 2) -> str:
    """One number with its unit: `40.70%`, `+1.40 points`, `6.00 times`."""
    if value is None or math.isnan(value):
        return NOTHING
    if unit == "percent":
        return f"{number(value, digits)}%"
    return f"{number(value, digits, signed=unit == 'points')} {unit}"


def with_interval(estimate: Interval | None, unit: Unit) -> str:
    """`+1.40 points [+0.90, +1.90]`, and what the interval leaves out; a dash where there is no estimate."""
    if estimate is None:
        return NOTHING
    signed = unit == "points"
    low, high = number(estimate.low, signed=signed), number(estimate.high, signed=signed)
    return f"{quantity(estimate.mean, unit)} [{low}, {high}]" + (" (images only)" if estimate.images_only else "")


def mean_and_spread(mean: float | None, spread: float | None) -> str:
    """`40.70 ± 0.30` in the unit of the column; the mean alone when one run has no spread."""
    if mean is None or math.isnan(mean):
        return NOTHING
    if spread is None or math.isnan(spread):
        return number(mean)
    return f"{number(mean)} ± {number(spread)}"


def metric(name: str) -> str:
    """A metric in words."""
    return METRICS.get(name, name.replace("_", " "))


def view(name: str) -> str:
    """A view in words."""
    return VIEWS.get(name, name)


def subject(arm: str, reference: str | None) -> str:
    """What a number is about: an arm, or the difference of two."""
    return arm if reference is None else f"{arm} against {reference}"


def published(claim: Claim, name: str) -> str:
    """The paper's number for one metric of a claim, with unit; in words where it gives a direction only."""
    value, unit = claim.published[name], claim.row.unit
    if value is None:
        return claim.row.bare
    digits = 1 if round(value, 1) == round(value, 6) else 2  # as printed: 1.4, and -0.04 of the run notes
    shown = quantity(value, unit, digits)
    return claim.row.wording.format(shown)


def changes(values: Mapping[str, Any]) -> str:
    """`model.norm = null, ...`; "as the preset" where nothing is changed."""
    if not values:
        return "as the preset"
    return ", ".join(f"{key} = {plain(value)}" for key, value in values.items())


def arm(value: Arm, preset: str) -> str:
    """What an arm changes at `preset`, or how it reads the runs of another."""
    if value.ensemble:
        of = " and ".join(f"{count(runs, 'run')} of {name}" for name, runs in value.ensemble.members.items())
        weights = ", weights tuned" if value.ensemble.weights == "tuned" else ""
        return f"average of {of}{weights}"
    parts = [changes(value.changes_at(preset))]
    if value.view:
        parts.append(f"read with {view(value.view)}")
    return "; ".join(parts)


def count(many: int, what: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{many} {what}" if many == 1 else f"{many} {what}s"


def probability(value: float | None) -> str:
    """`0.032`, `< 0.001`."""
    if value is None or math.isnan(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def plain(value: Any) -> str:
    """A Config value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=list)


def duration(seconds: float) -> str:
    """`45 s`, `12.5 min`, `3.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
