"""The written rule that turns an interval and a published number into a verdict. docs/verdicts.md says the same at
length.

Each function returns the verdict and the clause that explains it. Every case ends in exactly one verdict.
"""

from __future__ import annotations

import math

from repro.stats.intervals import RUNS_IN_WORDS
from repro.stats.rule import TOLERANCE
from repro.stats.values import Interval, Verdict
from repro.terms import FEWEST_SEEDS


def too_few(seeds: int) -> tuple[Verdict, str] | None:
    """Below three runs of each arm nothing is known about other runs, whatever the images say."""
    if seeds >= FEWEST_SEEDS:
        return None
    return "inconclusive", f"{RUNS_IN_WORDS[seeds]}, and a verdict takes {FEWEST_SEEDS}"


def too_early(seeds: int, asked: int) -> tuple[Verdict, str] | None:
    """A verdict is for the number of seeds that was asked for: one given on the way to it would be a look."""
    if not FEWEST_SEEDS <= seeds < asked:
        return None
    return "inconclusive", f"{seeds} of the {asked} seeds that were asked for, and the verdict waits for all"


def of_effect(
    interval: Interval, published: float | None, seeds: int, *, rounding: float = 0.0, negligible: float
) -> tuple[Verdict, str]:
    """An effect in points against a published one, or against a direction (above zero) where `published` is None.

    `rounding`: the published number stands for any within so many points. `negligible`: points as good as none.
    """
    most = 2 * abs(published or 0.0)
    ends = None if published is None else (abs(published) - rounding, abs(published) + rounding)
    few = too_few(seeds)
    return few or _of_line(interval.mean, interval.low, interval.high, published, ends, negligible, "0", most)


def of_none(interval: Interval, seeds: int, *, negligible: float) -> tuple[Verdict, str]:
    """An effect in points against "no difference beyond noise": equivalence within `negligible` points."""
    return too_few(seeds) or _of_none(interval.low, interval.high, negligible)


def elsewhere(found: tuple[Verdict, str]) -> tuple[Verdict, str]:
    """The verdict away from the setting of the claim: that a size agrees with one of another setting means little."""
    verdict, rule = found
    if verdict != "reproduced":
        return found
    return "same direction", f"{rule}; away from the claim's own setting that is no more than its direction"


def at_least(interval: Interval, bound: float, seeds: int) -> tuple[Verdict, str]:
    """An effect in points against "at least so many points"; a negative bound means "at least so many below"."""
    if few := too_few(seeds):
        return few
    _, low, high = _turned(interval.mean, interval.low, interval.high, bound)
    if low >= abs(bound) and low > 0:
        return "reproduced", "the whole interval is at least the published bound"
    if low > 0:
        how = "ends" if high < abs(bound) else "begins"
        return "same direction", f"the interval excludes 0 but {how} below the published bound"
    if high < 0:
        return "contradicted", "the interval excludes 0 in the other direction"
    if high < abs(bound):
        return "not seen", "the interval holds 0 and ends below the published bound"
    return "inconclusive", "the interval holds 0 and reaches the published bound"


def of_ratio(interval: Interval, published: float | None, seeds: int, *, rounding: float = 0.0) -> tuple[Verdict, str]:
    """A ratio against a published one, on the log scale, where 1 is no effect. The published number stands for any
    within `rounding`: "six times" for 5.5 to 6.5. None: the source says that it is above 1, and no more."""
    if few := too_few(seeds):
        return few
    low = math.log(interval.low) if interval.low > 0 else -math.inf
    if published is None:
        return _of_line(math.log(interval.mean), low, math.log(interval.high), None, None, 0.0, "1", math.inf)
    size = math.log(published)
    most = abs(size) + math.log(2)  # twice as many times; twice the log would be the square
    ends = abs(math.log(published - rounding)), abs(math.log(published + rounding))
    return _of_line(math.log(interval.mean), low, math.log(interval.high), size, ends, 0.0, "1", most)


def of_value(interval: Interval, published: float, metric: str, seeds: int) -> tuple[Verdict, str]:
    """An error in percent against a published one: equivalence within TOLERANCE."""
    if few := too_few(seeds):
        return few
    tolerance = TOLERANCE.get(metric, TOLERANCE["top1_error"])
    low, high = interval.low - published, interval.high - published
    if -tolerance <= low and high <= tolerance:
        return "reproduced", f"the whole interval is within {tolerance} points of the published error"
    if high < -tolerance or low > tolerance:
        side = "lower" if high < 0 else "higher"
        return "not seen", f"the whole interval is {side} than the published error by more than {tolerance} points"
    return "inconclusive", f"the interval lies only partly within {tolerance} points of the published error"


def _turned(mean: float, low: float, high: float, published: float | None) -> tuple[float, float, float]:
    """Mirrored where the published number is negative, so that the claimed direction is up."""
    return (mean, low, high) if published is None or published >= 0 else (-mean, -high, -low)


def _of_line(
    mean: float,
    low: float,
    high: float,
    published: float | None,
    ends: tuple[float, float] | None,
    negligible: float,
    zero: str,
    most: float,
) -> tuple[Verdict, str]:
    """The rule of docs/verdicts.md on a line. `ends` are those of what the published number, turned, stands for; `most`
    is the largest middle, turned, that is of the published size."""
    if published == 0:
        return _of_none(low, high, negligible)
    mean, low, high = _turned(mean, low, high, published)
    if high < 0:
        return "contradicted", f"the interval excludes {zero} in the other direction"
    if published is None:
        if low > 0:
            return "same direction", f"the interval excludes {zero}; the paper gives no size"
        if high < negligible:
            return "not seen", f"the interval holds {zero} and nothing of {negligible:g} points or more"
        return "inconclusive", f"the interval holds {zero} and more than {negligible:g} points"
    assert ends is not None
    least, largest = sorted(ends)
    if low > 0:
        if high < least or low > largest:
            return "same direction", f"the interval excludes {zero} and the published number"
        if math.isinf(high):
            return "same direction", f"the interval excludes {zero} but has no upper end"
        if mean > most:
            return "same direction", f"the interval excludes {zero} but its middle is over twice the published number"
        return "reproduced", f"the interval excludes {zero} and holds the published number"
    if high < least:
        return "not seen", f"the interval holds {zero} and excludes the published number"
    return "inconclusive", f"the interval holds both {zero} and the published number"


def _of_none(low: float, high: float, negligible: float) -> tuple[Verdict, str]:
    """A claim of no effect: equivalence within `negligible`."""
    if -negligible <= low and high <= negligible:
        return "reproduced", f"the whole interval is within {negligible:g} points of none"
    if low > 0 or high < 0:
        return "contradicted", "the interval excludes 0"
    return "inconclusive", f"the interval holds 0 and more than {negligible:g} points"
