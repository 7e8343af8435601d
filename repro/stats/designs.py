"""Designs that learn more from each run: `Screen` and `Factorial`, from the declaration to the estimates.

A design varies several factors at once. Each row is a run like any other: a preset, some changes, and a seed. Every run
then says something about every factor, where an experiment of one arm at a time uses a run for one comparison only.

The levels come from pyDOE, the regressions from statsmodels. Errors are in percent, effects in points. What the
intervals assume, and how often they hold, `python -m tests.simulations` prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.experiments.design import TIMES, Design, Factor, Factorial, factors_at
from repro.experiments.experiment import Arm, Experiment
from repro.stats.evidence import Runs
from repro.stats.intervals import CONFIDENCE, GENERATOR_SEED
from repro.stats.values import Interval
from repro.suggest import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from repro.config.config import Config
    from repro.records import RunRecord, Setting
    from repro.terms import View

# HC2 (MacKinnon and White 1985): squared residuals over one less their leverage. Decided before any screen was run: in
# simulation its intervals hold the truth in 95.3% of cases, as they should, and those of HC3 in 97.8% (docs/designs.md)
COVARIANCE = "HC2"
OVER_RUNS = f"t over runs of a design, {COVARIANCE} errors"
MOST_LOST = 0.125  # share of runs that do not train, above which a design gives no estimate
FEWEST_FREEDOM = 3  # degrees of freedom of the rest, below which a design gives no estimate
LEVEL = 0.05  # of the test that a factor's levels fail equally often
NAMED = 3  # factors up to which a row is called by its levels


# --- layout ---------------------------------------------------------------------------------------------------------


def laid_out(experiment: Experiment, preset: str) -> Experiment:
    """The experiment with the rows of its design at `preset` as its arms, and nothing else of its own to run.

    Raises ValueError where it has no design at the preset, and for rows that `cells` refuses.
    """
    from repro.config.presets import preset as named

    if experiment.design is None:
        raise ValueError(f"{experiment.name} has no design; leave out --design")
    rows = cells(experiment.design, named(preset), preset)
    design = replace(experiment.design, factors=_resolved(experiment.design, preset), presets=[preset])
    return replace(experiment, arms=rows, presets=[preset], claims=(), artifacts=(), design=design)


def _resolved(design: Design, preset: str) -> list[Factor]:
    """The factors at one preset, without what they are elsewhere."""
    return [Factor(one.name, one.low, one.changes(1, preset)) for one in factors_at(design, preset)]


def levels(design: Design, count: int) -> np.ndarray:
    """Levels (rows, factors) of `count` factors, int, -1 and +1.

    For a Screen, of the smallest number of columns that pyDOE spreads over `runs` rows; any columns of a design of
    resolution IV make a design of resolution IV.
    """
    from pydoe import ff2n, fracfact_by_res

    if isinstance(design, Factorial):
        return np.asarray(ff2n(count), dtype=int)
    columns = fracfact_by_res(max(count, design.runs // 4 + 1), 4)
    assert len(columns) == design.runs, (columns.shape, design)
    return np.asarray(columns[:, :count], dtype=int)


def seeds(design: Design, rows: int) -> list[tuple[int, ...]]:
    """The seeds of each of so many rows, in the order of `levels`.

    Those of a Screen are distinct and in a fixed random order: where seed i trains on subset i mod m of the images, the
    standard order of the rows would alias subsets with factors.
    """
    if isinstance(design, Factorial):
        return [tuple(range(design.runs))] * rows
    return [(int(place),) for place in np.random.default_rng(GENERATOR_SEED).permutation(rows)]


def cells(design: Design, base: Config, preset: str) -> list[Arm]:
    """Every row as an arm, with changes of `base`, the Config of `preset` (with or without changes of its own).

    Raises ValueError where two factors change one key, where a factor changes nothing in `base`, and where the changes
    of a row make no valid Config.
    """
    from repro.config.keys import override

    if preset not in design.presets:
        raise ValueError(f"the design does not support preset {preset!r}{did_you_mean(preset, design.presets)}")
    factors = factors_at(design, preset)
    keys = {factor.name: factor.changes(-1, preset).keys() | factor.changes(1, preset) for factor in factors}
    for one, two in combinations(factors, 2):
        for key in keys[one.name]:
            for other in keys[two.name]:
                if key == other or key.startswith(f"{other}.") or other.startswith(f"{key}."):
                    raise ValueError(f"factors {one.name!r} and {two.name!r}: both change {min(key, other, key=len)}")
    for factor in factors:
        if override(base, factor.changes(-1, preset)) == override(base, factor.changes(1, preset)):
            raise ValueError(f"factor {factor.name!r}: low and high are the same at {preset}; leave it out there")
    found = []
    table = levels(design, len(factors)).tolist()
    for number, (row, own) in enumerate(zip(table, seeds(design, len(table)), strict=True), start=1):
        changes: dict[str, Any] = {}
        for factor, level in zip(factors, row, strict=True):
            changes |= factor.changes(level, preset)
        name = f"row-{number:02}"
        if len(factors) <= NAMED:
            sides = ("low" if level < 0 else "high" for level in row)
            name = "-".join(f"{factor.name}-{side}" for factor, side in zip(factors, sides, strict=True))
        try:
            override(base, changes)
        except ValueError as error:
            raise ValueError(f"row {name!r} at {preset}: {error}") from None
        found.append(Arm(name, changes, seeds=own, levels=tuple(row)))
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
    contrasts: tuple[Contrast, ...] = ()  # the smallest first
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
    return replace(_with_contrasts(found, names, rows, errors), leak=leak)


def _with_contrasts(
    found: Analysis, names: Sequence[str], rows: np.ndarray, errors: Sequence[float | None]
) -> Analysis:
    points = _contrasts(names, rows, errors)
    return replace(found, contrasts=points, lenth_margin=lenth_margin([one.effect for one in points]))


def analyze_factorial(
    names: Sequence[str], rows: np.ndarray, errors: Sequence[float | None], settings: Sequence[int] | None = None
) -> Analysis:
    """Main effects and all two-factor interactions; levels (runs, factors) with each cell as often as it was run.

    `settings` (runs,): the subset of images that each run trained on; the subsets' own means are then taken out. Runs
    that did not train are treated as in a Screen; an interaction is withheld where one of its factors is.
    Raises ValueError where the shapes differ or an error is not finite.
    """
    terms: list[tuple[int, ...]] = [(place,) for place in range(len(names))]
    rows = np.asarray(rows)
    found = _analyze(names, rows, errors, terms + list(combinations(range(len(names)), 2)), settings)
    return found if found.reason else _with_contrasts(found, names, rows, errors)


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


# --- judgement ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DesignJudgement:
    """What the finished runs of a design say of its factors."""

    factors: tuple[Factor, ...]
    view: View  # of the test errors
    aliases: Aliases
    asked: int  # runs
    finished: int
    analysis: Analysis | None  # None while runs are missing: an estimate on the way would be a look


def judge_design(experiment: Experiment, setting: Setting, results: Path, runs: Runs | None = None) -> DesignJudgement:
    """The effects on the top-1 error of a setting whose experiment is `laid_out`; ten views where all runs have them.

    A run that did not train counts as lost, by the rule of `analyze_screen`. Where each run trains on a part of the
    images by its seed, a Factorial takes out the seeds' own means: seeds stand for parts in every cell alike.
    """
    design = experiment.laid_out
    assert design is not None, experiment.name
    runs = runs or Runs(experiment, setting, results)
    arms = experiment.arms
    view: View = "ten" if runs.has_view(arms, "ten") else "center"
    rows, errors, own = [], [], []
    parts = False
    for arm in arms:
        for seed in setting.seeds_for(arm.name) if arm.name in setting.arms else ():
            record = runs.record(arm.name, seed)
            if record is not None:
                rows.append(arm.levels)
                errors.append(_error(runs, record, view))
                own.append(seed)
                parts = parts or record.config["data"].get("subsets") == "by-seed"
    names = [factor.name for factor in design.factors]
    analysis = None
    asked = len(arms) * design.repeats
    if len(rows) == asked:
        if isinstance(design, Factorial):
            analysis = analyze_factorial(names, np.array(rows), errors, own if parts else None)
        else:
            analysis = analyze_screen(names, np.array(rows), errors)
    table = aliases(names, np.array([arm.levels for arm in arms]))
    return DesignJudgement(tuple(design.factors), view, table, asked, len(rows), analysis)


def _error(runs: Runs, record: RunRecord, view: View) -> float | None:
    """The top-1 error of a run, percent; None of one that did not train."""
    error = record.errors[view].top1_error if view in record.errors else None
    return float(error) if runs.trained(record) and error is not None and math.isfinite(error) else None
