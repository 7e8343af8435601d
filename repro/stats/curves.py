"""An effect against size; all specifications of a claim; the best of k trials; sources of variance.

Pure functions on arrays. Errors are in percent, effects in points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from repro.stats.intervals import CONFIDENCE
from repro.stats.values import Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FEWEST_SIZES = 3  # of a regression: through two points goes every line
WELCH = "Welch's t over runs, each size by itself"
FROM_ERRORS = "normal, from the standard error"
LEAST_SQUARES = "t, least squares on log10 of the size"
PREDICTED = "t prediction, least squares on log10 of the size"


@dataclass(frozen=True)
class Curve:
    """An effect at several sizes: epochs, images a class, or a factor of width."""

    sizes: tuple[float, ...]
    band: tuple[Interval, ...]  # of each size by itself; together they miss the truth more often than each
    slope: Interval | None = None  # points for ten times the size
    line: tuple[Interval, ...] = ()  # of the regression's mean, at `sizes`
    at_paper: Interval | None = None  # a prediction interval for the effect at `paper_size`
    paper_size: float | None = None
    extrapolated: bool = False  # `paper_size` lies outside of the sizes
    reason: str = ""  # why there is no regression, where there is none


def along_training(epochs: Sequence[float], arm: ArrayLike, reference: ArrayLike) -> Curve:
    """Effect after each epoch, of stored errors (runs, epochs), percent, of an arm and its reference.

    It has no regression: the epochs of one run are not independent of one another. Where all runs of both sides have
    one error each, as at chance in a first epoch, nothing bounds the ends.
    Raises ValueError for fewer than two runs on a side, or other epochs than those of `epochs`.
    """
    from scipy.stats import t

    one, two = np.asarray(arm, dtype=float), np.asarray(reference, dtype=float)
    if one.ndim != 2 or two.ndim != 2 or {one.shape[1], two.shape[1]} != {len(epochs)}:
        raise ValueError(f"errors are {one.shape} and {two.shape}; give (runs, {len(epochs)} epochs) for both")
    if min(len(one), len(two)) < 2:
        raise ValueError(f"{min(len(one), len(two))} run on a side: a band takes two or more")
    means = one.mean(axis=0) - two.mean(axis=0)
    parts = [side.var(axis=0, ddof=1) / len(side) for side in (one, two)]
    square = parts[0] + parts[1]
    below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (one, two), strict=True))
    still = square == 0
    freedom = np.divide(square**2, below, out=np.ones_like(square), where=~still)  # Welch and Satterthwaite
    half = np.where(still, np.inf, t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(square))
    band = _intervals(np.column_stack([means, means - half, means + half]), WELCH)
    return Curve(tuple(map(float, epochs)), band, reason="the epochs of a run are not independent")


def against_size(
    sizes: Sequence[float],
    effects: Sequence[float],
    errors: Sequence[float],
    paper_size: float | None = None,
) -> Curve:
    """Effect against size, from estimates of different runs, with their standard errors, points.

    With three or more sizes: least squares of the effect on log10 of the size. The prediction interval says where the
    effect of one more experiment would fall at the paper's size *if the line goes on as it goes here*; beyond the sizes
    it is marked as extrapolation, and that it goes on is an assumption which no interval has in it.
    Raises ValueError where lengths differ, and for a size or standard error that is not positive.
    """
    from scipy.stats import norm
    from statsmodels.regression.linear_model import OLS

    if not len(sizes) == len(effects) == len(errors) > 0:
        raise ValueError(f"{len(sizes)} sizes, {len(effects)} effects, {len(errors)} errors: give as many of each")
    for what, given in (("size", [*sizes, paper_size or 1.0]), ("standard error", errors)):
        if not all(0 < one < math.inf for one in given):
            raise ValueError(f"{what}: must be positive and finite, in {list(given)}")
    order = np.argsort(sizes, kind="stable")
    x, y, error = (np.asarray(given, dtype=float)[order] for given in (sizes, effects, errors))
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    band = _intervals(np.column_stack([y, y - half, y + half]), FROM_ERRORS)
    at = tuple(map(float, x))
    if len(set(at)) < FEWEST_SIZES:
        return Curve(at, band, reason=f"a regression takes {FEWEST_SIZES} sizes; here are {len(set(at))}")
    fit = OLS(y, _line(x)).fit()
    low, high = fit.conf_int(alpha=1 - CONFIDENCE)[1]
    on_line = fit.get_prediction(_line(x)).summary_frame(alpha=1 - CONFIDENCE)
    means = on_line[["mean", "mean_ci_lower", "mean_ci_upper"]].to_numpy()
    slope = Interval(float(fit.params[1]), float(low), float(high), LEAST_SQUARES)
    found = Curve(at, band, slope, _intervals(means, LEAST_SQUARES))
    if paper_size is None:
        return found
    there = fit.get_prediction(_line(np.array([paper_size]))).summary_frame(alpha=1 - CONFIDENCE)
    outside = not x[0] <= paper_size <= x[-1]
    method = PREDICTED + (", extrapolated" if outside else "")
    (at_paper,) = _intervals(there[["mean", "obs_ci_lower", "obs_ci_upper"]].to_numpy(), method)
    return replace(found, at_paper=at_paper, paper_size=float(paper_size), extrapolated=outside)


def _intervals(rows: np.ndarray, method: str) -> tuple[Interval, ...]:
    """Intervals from rows (count, 3) of mean, low and high."""
    return tuple(Interval(mean, low, high, method) for mean, low, high in rows.tolist())


def _line(sizes: np.ndarray) -> np.ndarray:
    """The columns (sizes, 2) of a line in log10 of the size."""
    return np.column_stack([np.ones(len(sizes)), np.log10(sizes)])


@dataclass(frozen=True)
class Specification:
    """One reasonable way to judge a claim, and what it says."""

    choices: Mapping[str, str]  # "setting": "cifar10", "rate": "own", "epochs": "20", "view": "ten"
    estimate: Interval
    verdict: str


@dataclass(frozen=True)
class SpecificationCurve:
    """All of them, the smallest effect first (Simonsohn, Simmons and Nelson 2020)."""

    specifications: tuple[Specification, ...]
    choices: Mapping[str, tuple[str, ...]]  # rows of the lower panel: what varies -> its values, as first met
    shares: Mapping[str, float]  # verdict -> share of the specifications, the most frequent first
    median: float  # points


def specification_curve(specifications: Sequence[Specification]) -> SpecificationCurve:
    """Sorted by effect. A share is a count of what was tried, not the chance of anything.

    Raises ValueError for none, for two with the same choices, or where they do not name the same choices.
    """
    if not specifications:
        raise ValueError("a specification curve takes at least one specification")
    names = list(specifications[0].choices)
    seen = set()
    for one in specifications:
        if set(one.choices) != set(names):
            raise ValueError(f"specification {dict(one.choices)}: names other choices than {', '.join(names)}")
        key = tuple(one.choices[name] for name in names)
        if key in seen:
            raise ValueError(f"specification {dict(one.choices)}: is given twice")
        seen.add(key)
    verdicts = [one.verdict for one in specifications]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    return SpecificationCurve(
        tuple(sorted(specifications, key=lambda one: one.estimate.mean)),
        {name: tuple(dict.fromkeys(one.choices[name] for one in specifications)) for name in names},
        {verdict: counts[verdict] / len(verdicts) for verdict in sorted(counts, key=lambda one: -counts[one])},
        float(np.median([one.estimate.mean for one in specifications])),
    )


def expected_best(errors: Sequence[float], k: int) -> float:
    """Expected lowest error of k trials drawn, with replacement, from those that were made (Dodge et al. 2019).

    Exact: the chance that all k are above the i-th smallest of n is ((n - i) / n)^k. Raises ValueError for k below 1 or
    above the number of trials, of which those made say nothing.
    """
    n = len(errors)
    if not 1 <= k <= n:
        raise ValueError(f"k: {k} of {n} trials; give 1 to {n}")
    above = (np.arange(n, -1, -1) / n) ** k  # chance that the lowest has rank i or more, of ranks from 0
    return float(np.sort(np.asarray(errors, dtype=float)) @ (above[:-1] - above[1:]))


@dataclass(frozen=True)
class Source:
    """What one source of variation, varied alone, does to the error."""

    name: str
    runs: int
    variance: Interval  # points squared


def sources(runs: Mapping[str, Sequence[float]]) -> tuple[Source, ...]:
    """Variance of each source's errors (percent) with its chi-square interval, which takes errors as normal.

    Each entry holds the runs in which that source alone varied. The sum need not be the variance of runs in which all
    vary: sources may interact. Raises ValueError for a source with fewer than two runs, or runs that do not differ.
    """
    from scipy.stats import chi2

    found = []
    for name, errors in runs.items():
        if len(errors) < 2:
            raise ValueError(f"source {name!r}: {len(errors)} run; a variance takes two or more")
        freedom, variance = len(errors) - 1, float(np.var(errors, ddof=1))
        if variance == 0:
            raise ValueError(f"source {name!r}: all {len(errors)} runs have one error; did its seed change?")
        low, high = (freedom * variance / float(chi2.ppf((1 + side * CONFIDENCE) / 2, freedom)) for side in (1, -1))
        found.append(Source(name, len(errors), Interval(variance, low, high, "chi-square over runs")))
    return tuple(found)
