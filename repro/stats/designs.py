"""Designs that learn more from each run: `Screen` and `Factorial`, from the declaration to the estimates.

A design varies several factors at once. Each row is a run like any other: a preset, some changes, and a seed. Every run
then says something about every factor, where an experiment of one arm at a time uses a run for one comparison only.

The levels come from pyDOE, the regressions from statsmodels. Errors are in percent, effects in points. What the
intervals assume, and how often they hold, `python -m tests.simulations` prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.experiments.experiment import Arm
from repro.stats.intervals import CONFIDENCE, GENERATOR_SEED
from repro.stats.values import Interval
from repro.suggest import did_you_mean
from repro.terms import NAME

if TYPE_CHECKING:
    from repro.config.config import Config

# HC3 (MacKinnon and White 1985): residuals over one less their leverage, for the few runs a level that lost cells leave
COVARIANCE = "HC3"
OVER_RUNS = f"t over runs of a design, {COVARIANCE} errors"
MOST_LOST = 0.125  # share of runs that do not train, above which a design gives no estimate
FEWEST_FREEDOM = 3  # degrees of freedom of the rest, below which a design gives no estimate
LEVEL = 0.05  # of the test that a factor's levels fail equally often
MOST_FACTORS = 6  # of a Factorial: 64 cells
TIMES = " x "  # between the factors of an interaction


# --- declarations ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Factor:
    """Two levels of one thing, as changes of a preset. Raises ValueError where both are the same."""

    name: str
    low: Mapping[str, Any] = field(default_factory=dict)  # dotted key -> value; nothing: as the preset
    high: Mapping[str, Any] = field(default_factory=dict)
    at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # preset -> more changes of the high level

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"factor {self.name!r}: use lower-case letters, digits and hyphens")
        if dict(self.low) == dict(self.high) and not self.at:
            raise ValueError(f"factor {self.name!r}: low and high are the same; give one of them changes")

    def changes(self, level: int, preset: str) -> dict[str, Any]:
        """Dotted key -> value of what this factor changes in `preset` at level -1 or +1."""
        return dict(self.low) if level < 0 else {**self.high, **self.at.get(preset, {})}


@dataclass(frozen=True)
class Screen:
    """Many factors in few runs: a two-level fractional factorial of resolution IV, one run a row.

    Main effects are clear of one another and of all two-factor interactions; those are aliased with one another.
    """

    factors: Sequence[Factor]
    presets: Sequence[str]  # the first is the default
    runs: int = 64
    first_seed: int = 0

    def __post_init__(self) -> None:
        _check(self.factors, self.presets)
        if self.runs < 8 or self.runs & (self.runs - 1):
            raise ValueError(f"runs: {self.runs} is no power of two from 8 on")
        fewest, most = self.runs.bit_length(), self.runs // 2
        if len(self.factors) < fewest:
            raise ValueError(f"factors: {len(self.factors)} fit into {self.runs} runs as a Factorial; declare that")
        if len(self.factors) > most:
            raise ValueError(f"runs: {self.runs} hold {most} factors at resolution IV, not {len(self.factors)}")


@dataclass(frozen=True)
class Factorial:
    """All combinations of a few factors, `runs` of each: main effects, and every two-factor interaction by itself.

    Run r of each cell has seed r, as the arms of an experiment have, so that cells share runs with other experiments.
    """

    factors: Sequence[Factor]
    presets: Sequence[str]  # the first is the default
    runs: int = 3  # of each cell

    def __post_init__(self) -> None:
        _check(self.factors, self.presets)
        if not 2 <= len(self.factors) <= MOST_FACTORS:
            raise ValueError(f"factors: give 2 to {MOST_FACTORS}, or declare a Screen; here are {len(self.factors)}")
        if self.runs < 1:
            raise ValueError(f"runs: {self.runs} of each cell; give 1 or more")


@dataclass(frozen=True)
class Cell:
    """One combination of levels, and the seeds of its runs."""

    name: str
    levels: tuple[int, ...]  # -1 or +1 of each factor, in order
    changes: Mapping[str, Any]  # dotted key -> value
    seeds: tuple[int, ...]


def _check(factors: Sequence[Factor], presets: Sequence[str]) -> None:
    """What holds for every design. Raises ValueError."""
    if isinstance(presets, str) or not presets:
        raise ValueError(f"presets: {presets!r} is no list of names; write ['cifar10']")
    names = [factor.name for factor in factors]
    for factor in factors:
        if names.count(factor.name) > 1:
            raise ValueError(f"factor {factor.name!r}: is given twice; names are unique")
        for preset in factor.at:
            if preset not in presets:
                raise ValueError(
                    f"factor {factor.name!r}: {preset!r} is not among the presets of the design"
                    f"{did_you_mean(preset, presets)}"
                )


def screen_of(arms: Sequence[Arm], preset: str, *, runs: int = 64, first_seed: int = 0) -> Screen:
    """A Screen at `preset` whose factors are arms of an experiment: low as the preset, high as the arm changes it."""
    factors = [Factor(arm.name, high=arm.changes_at(preset)) for arm in arms]
    return Screen(factors, [preset], runs=runs, first_seed=first_seed)


def levels(design: Screen | Factorial) -> np.ndarray:
    """Levels (cells, factors), int, -1 and +1.

    For a Screen, of the smallest number of columns that pyDOE spreads over `runs` rows; any columns of a design of
    resolution IV make a design of resolution IV.
    """
    from pydoe import ff2n, fracfact_by_res

    count = len(design.factors)
    if isinstance(design, Factorial):
        return np.asarray(ff2n(count), dtype=int)
    columns = fracfact_by_res(max(count, design.runs // 4 + 1), 4)
    assert len(columns) == design.runs, (columns.shape, design)
    return np.asarray(columns[:, :count], dtype=int)


def seeds(design: Screen | Factorial) -> list[tuple[int, ...]]:
    """The seeds of each cell, in the order of `levels`.

    Those of a Screen are distinct and in a fixed random order: where seed i trains on subset i mod m of the images, the
    standard order of the rows would alias subsets with factors.
    """
    if isinstance(design, Factorial):
        return [tuple(range(design.runs))] * 2 ** len(design.factors)
    order = np.random.default_rng(GENERATOR_SEED).permutation(design.runs)
    return [(design.first_seed + int(place),) for place in order]


def cells(design: Screen | Factorial, base: Config, preset: str) -> list[Cell]:
    """Every cell as changes of `base`, the Config of `preset` (with or without changes of its own).

    Raises ValueError where two factors change one key, where a factor changes nothing in `base`, and where the changes
    of a cell make no valid Config.
    """
    from repro.config.keys import override

    if preset not in design.presets:
        raise ValueError(f"the design does not support preset {preset!r}{did_you_mean(preset, design.presets)}")
    keys = {factor.name: factor.changes(-1, preset).keys() | factor.changes(1, preset) for factor in design.factors}
    for one, two in combinations(design.factors, 2):
        for key in keys[one.name]:
            for other in keys[two.name]:
                if key == other or key.startswith(f"{other}.") or other.startswith(f"{key}."):
                    raise ValueError(f"factors {one.name!r} and {two.name!r}: both change {min(key, other, key=len)}")
    for factor in design.factors:
        if override(base, factor.changes(-1, preset)) == override(base, factor.changes(1, preset)):
            raise ValueError(f"factor {factor.name!r}: low and high are the same at {preset}; leave it out there")
    found = []
    for number, (row, own) in enumerate(zip(levels(design).tolist(), seeds(design), strict=True), start=1):
        changes: dict[str, Any] = {}
        for factor, level in zip(design.factors, row, strict=True):
            changes |= factor.changes(level, preset)
        name = f"row-{number:02}"
        if isinstance(design, Factorial):
            sides = ("low" if level < 0 else "high" for level in row)
            name = "-".join(f"{factor.name}-{side}" for factor, side in zip(design.factors, sides, strict=True))
        try:
            override(base, changes)
        except ValueError as error:
            raise ValueError(f"cell {name!r} at {preset}: {error}") from None
        found.append(Cell(name, tuple(row), changes, own))
    return found


@dataclass(frozen=True)
class Aliases:
    """What a design cannot tell apart, among effects of one and of two factors."""

    chains: tuple[tuple[str, ...], ...]  # two-factor interactions that share a column; one alone is clear
    of_main: Mapping[str, tuple[str, ...]]  # main effect -> the interactions that it is aliased with; none: clear


def aliases(names: Sequence[str], rows: np.ndarray) -> Aliases:
    """The alias table of levels (runs, factors): columns that are equal, or opposite, in every run."""
    chains: dict[bytes, list[str]] = {}
    for one, two in combinations(range(len(names)), 2):
        chains.setdefault(_column(rows[:, one] * rows[:, two]), []).append(names[one] + TIMES + names[two])
    of_main = {name: tuple(chains.get(_column(rows[:, place]), ())) for place, name in enumerate(names)}
    return Aliases(tuple(map(tuple, chains.values())), of_main)


def _column(column: np.ndarray) -> bytes:
    """A name for a column of signs, the same for its opposite."""
    return bytes((column * column[0] > 0).tolist())


# --- analysis -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """An effect on the error, points.

    Of one factor: mean of the high level less that of the low one. Of two: how much larger the effect of the first is
    at the high level of the second than at its low level (a difference of differences).
    """

    name: str
    interval: Interval | None  # None: withheld
    p: float | None = None  # two-sided, of no effect
    holm_p: float | None = None  # over all estimates of the analysis
    withheld: str = ""  # why there is no interval


@dataclass(frozen=True)
class FailureEffect:
    """Runs that do not train, at each level of a factor: an endpoint of its own."""

    name: str
    low: tuple[int, int]  # failed, of so many
    high: tuple[int, int]
    p: float  # Fisher's exact test, two-sided, of equal rates

    @property
    def points(self) -> float:
        """Share that fails at the high level less that at the low one, points."""
        return 100 * (self.high[0] / self.high[1] - self.low[0] / self.low[1])


@dataclass(frozen=True)
class Contrast:
    """A point of the half-normal plot: a main effect, or a chain of aliased interactions (2 means of half the runs)."""

    name: str
    effect: float  # points
    quantile: float  # of the half-normal distribution, where its size would stand if nothing mattered


@dataclass(frozen=True)
class Analysis:
    """What a design says. `reason` says why there are no estimates, where there are none."""

    runs: int
    failed: int
    estimates: tuple[Estimate, ...]
    failures: tuple[FailureEffect, ...]
    spread: float | None = None  # standard deviation of runs about the fit, points
    freedom: int | None = None
    leak: float | None = None  # points that one point of a two-factor interaction adds to a main effect, at most
    contrasts: tuple[Contrast, ...] = ()  # of a Screen, the smallest first
    lenth_margin: float | None = None  # a contrast beyond it is active, by Lenth (1989), at 95% each
    reason: str = ""


def analyze_screen(names: Sequence[str], rows: np.ndarray, errors: Sequence[float | None]) -> Analysis:
    """Main effects of levels (runs, factors) on errors (runs,), percent; None is a run that did not train.

    The rule for such runs, declared before any is seen: they are left out and counted, and the failure is an endpoint
    of its own. The estimates are then of the runs that trained. None is given where more than an eighth of the runs
    fail, and none for a factor whose levels fail at different rates (Fisher's test below 0.05): one of its sides is a
    selection. Runs that are left out also let interactions leak into main effects, by `leak`.
    Raises ValueError where the shapes differ or an error is not finite.
    """
    rows = np.asarray(rows)
    found = _analyze(names, rows, errors, [(place,) for place in range(len(names))])
    if found.reason:
        return found
    kept = np.array([error is not None for error in errors])
    pairs = np.stack([rows[:, one] * rows[:, two] for one, two in combinations(range(len(names)), 2)], axis=1)[kept]
    design = np.column_stack([np.ones(kept.sum()), rows[kept]])
    leak = float(np.abs(np.linalg.lstsq(design, pairs, rcond=None)[0][1:]).max()) / 2  # 2 b of one, 4 b of the other
    points = _contrasts(names, rows, errors)
    return replace(found, leak=leak, contrasts=points, lenth_margin=lenth_margin([one.effect for one in points]))


def analyze_factorial(
    names: Sequence[str], rows: np.ndarray, errors: Sequence[float | None], settings: Sequence[int] | None = None
) -> Analysis:
    """Main effects and all two-factor interactions; levels (runs, factors) with each cell as often as it was run.

    `settings` (runs,): the subset of images that each run trained on; the subsets' own means are then taken out. Runs
    that did not train are treated as in a Screen; an interaction is withheld where one of its factors is.
    Raises ValueError where the shapes differ or an error is not finite.
    """
    terms: list[tuple[int, ...]] = [(place,) for place in range(len(names))]
    return _analyze(names, np.asarray(rows), errors, terms + list(combinations(range(len(names)), 2)), settings)


def failure_effects(names: Sequence[str], rows: np.ndarray, failed: np.ndarray) -> tuple[FailureEffect, ...]:
    """Main effects of levels (runs, factors) on failure (runs,), bool."""
    from scipy.stats import fisher_exact

    found = []
    for place, name in enumerate(names):
        low, high = ((int(failed[side].sum()), int(side.sum())) for side in (rows[:, place] < 0, rows[:, place] > 0))
        table = [[lost, total - lost] for lost, total in (low, high)]
        found.append(FailureEffect(name, low, high, float(fisher_exact(table).pvalue)))
    return tuple(found)


def lenth_margin(contrasts: Sequence[float], *, confidence: float = CONFIDENCE) -> float | None:
    """Lenth's margin of error (Technometrics 31, 1989), points: the pseudo standard error times Student's t.

    It takes the contrasts' own middle as the noise, which holds where few of them are active; None below 7 contrasts.
    """
    from scipy.stats import t

    sizes = np.abs(contrasts)
    if len(sizes) < 7:
        return None
    small = sizes[sizes < 2.5 * 1.5 * np.median(sizes)]
    error = 1.5 * np.median(small) if len(small) else 0.0
    return float(t.ppf((1 + confidence) / 2, len(sizes) / 3) * error)


def _analyze(
    names: Sequence[str],
    rows: np.ndarray,
    errors: Sequence[float | None],
    terms: Sequence[tuple[int, ...]],
    settings: Sequence[int] | None = None,
) -> Analysis:
    """Least squares of the errors on products of effect-coded columns, one a term."""
    from statsmodels.regression.linear_model import OLS

    if rows.shape != (len(errors), len(names)):
        raise ValueError(f"levels are {rows.shape}; {len(errors)} runs and {len(names)} factors need as many")
    if any(error is not None and not math.isfinite(error) for error in errors):
        raise ValueError("errors: some are not finite; give None for a run that did not train")
    failed = np.array([error is None for error in errors])
    lost = int(failed.sum())
    failures = failure_effects(names, rows, failed)
    without = Analysis(len(errors), lost, (), failures)
    if lost > MOST_LOST * len(errors):
        return replace(without, reason=f"{lost} of {len(errors)} runs did not train: more than an eighth")
    y = np.array([error for error in errors if error is not None])
    kept = rows[~failed]
    columns = [kept[:, term].prod(axis=1) for term in terms]
    x = np.column_stack([*columns, *_intercepts(np.zeros(len(errors)) if settings is None else settings, ~failed)])
    freedom = len(y) - x.shape[1]
    if freedom < FEWEST_FREEDOM:
        return replace(without, reason=f"{len(y)} runs for {x.shape[1]} numbers leave too few for their spread")
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return replace(without, reason="the runs that trained cannot tell all effects apart")
    if np.ptp(y) == 0:
        return replace(without, reason="every run has the same error")
    fit = OLS(y, x).fit()
    if fit.get_influence().hat_matrix_diag.max() > 1 - 1e-9:
        return replace(without, reason="an effect hangs on a single run")
    fit = fit.get_robustcov_results(cov_type=COVARIANCE, use_t=True)
    ends = fit.conf_int(alpha=1 - CONFIDENCE)
    apart = {one.name: one for one in failures if one.p < LEVEL}
    estimates = []
    for place, term in enumerate(terms):
        points = 2.0 ** len(term)  # a coefficient is half of an effect, and a quarter of a difference of differences
        named = [names[one] for one in term]
        withheld = "; ".join(
            f"{one.name} fails in {one.low[0]} of {one.low[1]} runs when low, {one.high[0]} of {one.high[1]} when high"
            for one in (apart[name] for name in named if name in apart)
        )
        mean, low, high = (points * float(end) for end in (fit.params[place], *ends[place]))
        interval = None if withheld else Interval(mean, low, high, OVER_RUNS)
        p = None if withheld else float(fit.pvalues[place])
        estimates.append(Estimate(TIMES.join(named), interval, p, withheld=withheld))
    return replace(without, estimates=_holm(estimates), spread=float(np.sqrt(fit.scale)), freedom=freedom)


def _intercepts(settings: Sequence[int] | np.ndarray, kept: np.ndarray) -> list[np.ndarray]:
    """A column of ones for each setting that a kept run is in."""
    own = np.asarray(settings)[kept]
    return [(own == setting).astype(float) for setting in np.unique(own)]


def _holm(estimates: Sequence[Estimate]) -> tuple[Estimate, ...]:
    """The estimates with their adjusted p (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    given = [one.p for one in estimates if one.p is not None]
    if not given:
        return tuple(estimates)
    adjusted = iter(multipletests(given, method="holm")[1])
    return tuple(one if one.p is None else replace(one, holm_p=float(next(adjusted))) for one in estimates)


def _contrasts(names: Sequence[str], rows: np.ndarray, errors: Sequence[float | None]) -> tuple[Contrast, ...]:
    """Main effects and alias chains, where every run trained; else main effects by least squares alone."""
    from scipy.stats import norm

    kept = np.array([error is not None for error in errors])
    y = np.array([error for error in errors if error is not None])
    if kept.all():
        table = aliases(names, rows).chains
        place = {name: number for number, name in enumerate(names)}
        heads = [rows[:, [place[name] for name in chain[0].split(TIMES)]].prod(axis=1) for chain in table]
        columns = np.column_stack([rows, *heads])
        labels = [*names, *(" = ".join(chain) for chain in table)]
        effects = 2 * columns.T @ y / len(y)  # the columns are orthogonal
    else:
        labels = list(names)
        effects = 2 * np.linalg.lstsq(np.column_stack([rows[kept], np.ones(len(y))]), y, rcond=None)[0][:-1]
    order = np.argsort(np.abs(effects))
    quantiles = norm.ppf(0.5 + (np.arange(len(order)) + 0.5) / (2 * len(order)))
    return tuple(
        Contrast(labels[one], float(effects[one]), float(quantile))
        for one, quantile in zip(order, quantiles, strict=True)
    )
