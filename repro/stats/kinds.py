"""The kinds of claims, a row each: everything that depends on a claim's kind is read here. The rules are in verdict.py.

Another package adds a kind by an entry point of the group `repro.claims` that names a ClaimKind (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from repro.experiments.experiment import Claim
from repro.stats import verdict
from repro.stats.values import Interval, Unit, Verdict

# interval, claim, metric, seeds, and the points that are as good as none -> verdict and the sentence of the rule
Rule = Callable[[Interval, Claim, str, int, float], tuple[Verdict, str]]


@dataclass(frozen=True)
class ClaimKind:
    """How claims of one kind are judged, worded and drawn."""

    name: str
    unit: Unit  # of its numbers: points (a difference of two percents), percent, or times
    rule: Rule
    paired: bool = True  # it compares two arms; False: it is about one
    overfits: bool = False  # it is judged only where an arm overfits
    tested: bool = True  # its p, that of no effect, counts among the tests of claimed effects
    sized: bool = False  # half of its number is no longer negligible
    power: bool = True  # whether seeds are counted that tell its number from none
    bound: bool = False  # its number is a bound; the marker is a line to one side
    wording: str = "{}"  # in tables, around the number
    sentence: str = "{}"  # in a sentence, around the number
    bare: str = "worse"  # where the source gives a direction only


def _effect(interval: Interval, claim: Claim, metric: str, seeds: int, negligible: float) -> tuple[Verdict, str]:
    published = claim.published[metric]
    rounding = 0.0 if published is None else claim.rounding(metric)
    return verdict.of_effect(interval, published, seeds, rounding=rounding, negligible=negligible)


def _no_effect(interval: Interval, claim: Claim, metric: str, seeds: int, negligible: float) -> tuple[Verdict, str]:
    return verdict.of_none(interval, seeds, negligible=negligible)


def _at_least(interval: Interval, claim: Claim, metric: str, seeds: int, negligible: float) -> tuple[Verdict, str]:
    return verdict.at_least(interval, claim.number(metric), seeds)


def _ratio(interval: Interval, claim: Claim, metric: str, seeds: int, negligible: float) -> tuple[Verdict, str]:
    published = claim.published[metric]
    rounding = 0.0 if published is None else claim.rounding(metric)
    return verdict.of_ratio(interval, published, seeds, rounding=rounding)


def _value(interval: Interval, claim: Claim, metric: str, seeds: int, negligible: float) -> tuple[Verdict, str]:
    return verdict.of_value(interval, claim.number(metric), metric, seeds)


EFFECT = ClaimKind("effect", "points", _effect, sized=True)
NO_EFFECT = ClaimKind(
    "no_effect", "points", _no_effect, tested=False, power=False,  # noise is not to be told from none
    wording="no difference ({})", sentence="no difference beyond noise ({})",
)  # fmt: skip
AT_LEAST = ClaimKind("at_least", "points", _at_least, sized=True, bound=True, wording="over {}", sentence="at least {}")
RATIO = ClaimKind("ratio", "times", _ratio)
SLOWER = ClaimKind("slower", "times", _ratio, bare="longer")
VALUE = ClaimKind("value", "percent", _value, paired=False, tested=False)
OVERFITS = ClaimKind("overfits", "points", _effect, overfits=True, bare="larger")
