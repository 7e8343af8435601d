"""Two arms whose runs are independent of each other: intervals, tests and power on plain arrays.

Seed i of two arms shares its initial weights and its order of the data, and at the end of training that is worth
nothing (`python -m tests.simulations` prints the correlation). So runs are not paired: each arm has its own number of
runs, its own spread, and Welch's t. What all runs do share are the test images. The layout:

    error[arm, s, i] = mean[arm] + run[arm, s] + image[i] + taste[arm, i] + rest[arm, s, i]

The mean over images of a run carries `run + rest / images`, which the spread of the arm's runs measures. `image` drops
out of a difference of arms. What arms differ by on an image, `taste`, does not show in the spread of runs and does not
shrink with more of them; `images_of_difference` estimates it.

Everything here is in scipy.stats too, whose import takes longer than all of a report's statistics; so the formulas are
written out on scipy.special, which is imported inside functions, and the tests hold them to: `welch`
ttest_ind(equal_var=False) and its confidence_interval, `shuffles` permutation_test(permutation_type="independent").
Power is held to simulated arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

from repro.stats.intervals import CONFIDENCE, FLIPS, GENERATOR_SEED, RUNS_IN_WORDS, Count, _mean_and_error, _off_in_time
from repro.stats.rule import ALPHA
from repro.stats.sequential import MOST_SEEDS, PATHS, POWER, baseline_runs, peeking_level
from repro.stats.values import Interval
from repro.terms import FEWEST_SEEDS

DRAWN = 500  # shares that are drawn at a time
OVER_RUNS = "Welch t over runs"
OVER_RUNS_AND_IMAGES = "Welch t over runs, with images"
GRID = 24  # spreads of an arm over which power is averaged: exact to 0.001
MOST_FREEDOM = 1e6  # degrees of freedom from which on Student's t is the normal distribution


def images_of_difference(arm: np.ndarray, reference: np.ndarray, *, whole: bool = False) -> float:
    """Variance (points squared) that the test images add to the mean effect, however many runs there are.

    `arm` (runs, images) and `reference` (runs, images) are errors in points on the same images; their numbers of runs
    may differ, and three of each are enough. The variance over images of the difference of the arms' mean errors holds
    `taste` of both, and of each arm its `rest` over its runs; the rest is the mean square of the arm's own interaction
    of runs and images, and is taken off. At least 0. An arm of one run shows no rest, and keeps it: too much, never
    too little. `whole` takes off nothing: how far other images would move these very networks. Fewer than two images
    give 0. ValueError where the numbers of images differ.
    """
    if arm.shape[1] != reference.shape[1]:
        raise ValueError(f"an arm was tested on {arm.shape[1]} images, its reference on {reference.shape[1]}")
    images = arm.shape[1]
    if images < 2:
        return 0.0
    variance = float((arm.mean(axis=0) - reference.mean(axis=0)).var(ddof=1))
    if not whole:
        variance -= _rest_of_mean(arm) + _rest_of_mean(reference)
    return float(max(variance, 0.0) / images)


def _rest_of_mean(errors: np.ndarray) -> float:
    """Variance over images of what runs' own luck leaves in their mean error (runs, images); 0 for a single run."""
    runs, images = errors.shape
    if runs < 2:
        return 0.0
    left = errors - errors.mean(axis=0)
    left -= left.mean(axis=1, keepdims=True)
    return float((left**2).sum() / ((images - 1) * (runs - 1)) / runs)


def welch(
    arm: Sequence[float], reference: Sequence[float], images: float = 0.0, *, confidence: float = CONFIDENCE
) -> tuple[Interval, float]:
    """Interval for the effect of the recipe, and the two-sided p of no effect, from the errors of runs in percent.

    `images` is the variance of `images_of_difference`. It is added to the two variances of the arms' means, and counts
    in Satterthwaite's degrees of freedom as known, which it is beside a spread of a few runs. That is Welch's own
    formula with a third term: no resampling, so nothing to fix and nothing that rounds. In simulations it covers as
    often as Welch's t does without images; the mixture that `intervals.hierarchical` takes for pairs, where
    Satterthwaite's number is too small at two degrees of freedom, is no better here. The third term raises the degrees
    of freedom too, which may take more off than it adds; the interval is therefore never narrower than that over runs
    alone, nor p below its p. ValueError below two runs an arm.
    """
    alone, p = _welch(arm, reference, 0.0, confidence, OVER_RUNS)
    if images <= 0:
        return alone, p
    both, with_images = _welch(arm, reference, images, confidence, OVER_RUNS_AND_IMAGES)
    wider = Interval(both.mean, min(both.low, alone.low), max(both.high, alone.high), both.method)
    return wider, max(p, with_images)


def _welch(
    arm: Sequence[float], reference: Sequence[float], images: float, confidence: float, method: str
) -> tuple[Interval, float]:
    mean, parts = _difference(arm, reference)
    error = math.sqrt(math.fsum(parts) + images)
    freedom = _freedom(parts, (len(arm), len(reference)), images)
    half = _quantile(confidence, freedom) * error
    return Interval(mean, mean - half, mean + half, method), _two_sided(mean, error, freedom)


def of_few(
    arm: Sequence[float], reference: Sequence[float], images: float, *, confidence: float = CONFIDENCE
) -> Interval:
    """Interval for these very networks, where an arm has fewer than three runs: what other images would have said.

    `images` is the `whole` variance of `images_of_difference`. Nothing about other runs.
    """
    ours, theirs = len(arm), len(reference)
    mean, half = math.fsum(arm) / ours - math.fsum(reference) / theirs, math.sqrt(images)
    half *= _quantile(confidence, MOST_FREEDOM)
    return Interval(mean, mean - half, mean + half, f"images only, {few_in_words(ours, theirs)}")


def few_in_words(arm: int, reference: int) -> str:
    """`two runs per arm`, or `one against three runs`."""
    return RUNS_IN_WORDS[arm] if arm == reference else f"{arm} against {reference} runs"


def one_more_pair(arm: Sequence[float], reference: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The prediction interval: where the difference of one more run of each arm, on these images, would fall."""
    mean, parts = _difference(arm, reference)
    runs = (len(arm), len(reference))
    wider = [part * (count + 1) for part, count in zip(parts, runs, strict=True)]
    half = _quantile(confidence, _freedom(wider, runs, 0.0)) * math.sqrt(math.fsum(wider))
    return Interval(mean, mean - half, mean + half, "Welch t prediction of one more pair")


def shuffles(arm: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Two-sided p of the permutation test of equal means, and the smallest p that so many runs can give.

    All ways to share out the runs where there are at most 9,999 (7 runs an arm), else 9,999 random ones. Each side is
    doubled, as permutation_test of scipy.stats does.
    """
    pooled = np.asarray([*arm, *reference], dtype=float)
    pooled -= pooled.mean()
    shares = _shares(len(arm), len(reference))
    exact = math.comb(len(pooled), len(arm)) <= FLIPS
    sums = pooled[shares].sum(axis=1)
    seen = pooled[: len(arm)].sum()
    close = 1e-12 * float(np.abs(pooled).sum())  # shares that differ by rounding only are ties
    beyond = min(int((sums >= seen - close).sum()), int((sums <= seen + close).sum()))
    total = len(shares) if exact else FLIPS + 1
    return min(1.0, 2 * (beyond if exact else beyond + 1) / total), 2 / total


@lru_cache(maxsize=16)
def _shares(arm: int, reference: int) -> np.ndarray:
    """Which runs fall to the arm, (shares, arm): all ways, or FLIPS random ones where those are more."""
    runs = arm + reference
    if math.comb(runs, arm) <= FLIPS:
        return np.array(list(combinations(range(runs), arm)))
    generator, drawn = np.random.default_rng(GENERATOR_SEED), np.empty((FLIPS, arm), dtype=np.int16)
    for start in range(0, FLIPS, DRAWN):  # in parts: a thousand runs a side would take 320 MB at once
        some = np.tile(np.arange(runs), (min(DRAWN, FLIPS - start), 1))
        drawn[start : start + DRAWN] = generator.permuted(some, axis=1)[:, :arm]
    return drawn


def independent_ratio(
    arm: Sequence[Count], reference: Sequence[Count], *, confidence: float = CONFIDENCE
) -> tuple[Interval, float | None]:
    """Interval for how many times the epochs of the reference an arm needs, and the two-sided p of equal times.

    Welch's t on the logs of the times, by the rules of `intervals.ratio`. A censored run of the arm leaves the upper
    end open, one of the reference the lower end; the other end is then taken over bounds and is approximate, and there
    is no p. A time read off tests lies anywhere between the tests beside it: the difference of means moves by at most
    the mean of what logs may be off, and the error of an arm's mean by at most the root of the sum of their squares.
    The degrees of freedom then are those of the smaller arm, the fewest that any spreads can give. Needs three runs an
    arm; fewer give the ratio and no ends.
    """
    sides, runs = (arm, reference), (len(arm), len(reference))
    logs = [[math.log(count.epochs) for count in side] for side in sides]
    mean = math.fsum(logs[0]) / runs[0] - math.fsum(logs[1]) / runs[1]
    censored = sum(count.censored for side in sides for count in side)
    note = f", {censored} of {sum(runs)} runs censored" if censored else ""
    if min(runs) < FEWEST_SEEDS:
        return Interval(math.exp(mean), 0.0, math.inf, f"no interval, {few_in_words(*runs)}{note}"), None
    offs = [[_off_in_time(count) for count in side] for side in sides]
    (arm_below, arm_above), (reference_below, reference_above) = (
        [math.fsum(off) / len(side) for off in zip(*side, strict=True)] for side in offs
    )
    below, above = arm_below + reference_above, arm_above + reference_below
    errors, read_off_tests = [], False
    for side, log in zip(offs, logs, strict=True):
        known = math.hypot(*(max((one for one in off if one < math.inf), default=0.0) for off in side))
        errors.append(_mean_and_error(log)[1] + known / math.sqrt(len(log) * (len(log) - 1)))
        read_off_tests |= known > 0
    freedom = min(runs) - 1.0 if read_off_tests else _freedom([error**2 for error in errors], runs, 0.0)
    error = math.hypot(*errors)
    half = _quantile(confidence, freedom) * error
    low, high = math.exp(mean - below - half), math.exp(mean + above + half)
    interval = Interval(math.exp(mean), low, high, f"{OVER_RUNS}, of logs{note}")
    if censored or math.isinf(below) or math.isinf(above):
        return interval, None
    nearest = mean - below if mean > 0 else -mean - above  # to equal times, of the means that are possible
    return interval, _two_sided(max(nearest, 0.0), error, freedom)


def welch_power(
    runs_arm: int,
    runs_reference: int,
    spread_arm: float,
    spread_reference: float,
    effect: float,
    *,
    alpha: float = ALPHA,
    images: float = 0.0,
) -> float:
    """The chance that `welch` tells an effect of so many points from none at level `alpha`, two-sided.

    `spread_arm` and `spread_reference` are standard deviations over runs, points; `images` the variance that images
    add, points squared. Noise is normal, so that the difference of means is independent of the spreads that will be
    seen: over an even grid of those, the chance that it lies further from zero than half the interval's width. Degrees
    of freedom vary with the spreads, which the noncentral t at the true ones leaves out: at five runs an arm it would
    promise 0.04 too much.
    """
    from scipy.special import gammaincinv, ndtr, stdtrit

    if min(runs_arm, runs_reference) < 2:
        raise ValueError(f"welch_power: {runs_arm} and {runs_reference} runs: a spread takes two runs an arm")
    share = (np.arange(GRID) + 0.5) / GRID
    true, seen = images, []
    for runs, spread in ((runs_arm, spread_arm), (runs_reference, spread_reference)):
        of_mean = spread**2 / runs
        true += of_mean
        seen.append(of_mean * 2 * gammaincinv((runs - 1) / 2, share) / (runs - 1))
    if true == 0:
        return 1.0
    parts = seen[0][:, None], seen[1][None, :]
    unsure = parts[0] ** 2 / (runs_arm - 1) + parts[1] ** 2 / (runs_reference - 1)
    half = np.zeros((GRID, GRID))
    for part in {0.0, images}:
        variance = parts[0] + parts[1] + part
        freedom = variance**2 / np.maximum(unsure, variance**2 / MOST_FREEDOM)
        half = np.maximum(half, stdtrit(freedom, 1 - alpha / 2) * np.sqrt(variance))
    error = math.sqrt(true)
    return float((ndtr((abs(effect) - half) / error) + ndtr((-abs(effect) - half) / error)).mean())


def runs_needed(
    spread_arm: float, spread_reference: float, claimed: float, *, contrasts: int = 1, images: float = 0.0
) -> int | None:
    """Runs an arm at which `welch` tells an effect of `claimed` points from none with 80% power at 5%.

    The reference has `baseline_runs(runs, contrasts)`. Spreads are standard deviations over runs, points; `images` the
    variance that images add, points squared. At least 3, the fewest that a verdict takes; None where no number of runs
    is enough, because the test set is too small. A spread of few runs is itself uncertain, and so is this number.
    """
    if claimed == 0:
        raise ValueError("runs_needed: the claimed effect is 0, and no number of runs tells 0 from 0; give its size")
    if spread_arm < 0 or spread_reference < 0 or images < 0:
        raise ValueError(
            f"runs_needed: spreads {spread_arm}, {spread_reference} and images {images} must be zero or more"
        )

    def enough(runs: int) -> bool:
        reference = baseline_runs(runs, contrasts)
        return welch_power(runs, reference, spread_arm, spread_reference, claimed, images=images) >= POWER

    if not enough(MOST_SEEDS):
        return None
    below, above = FEWEST_SEEDS - 1, FEWEST_SEEDS
    while not enough(above):
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if enough(middle) else (middle, above)
    return above


@lru_cache(maxsize=64)
def level_of_looks(most_runs: int, contrasts: int = 1) -> float:
    """The level at which each look must test, so that looking after every run from 3 to `most_runs` errs in 5%.

    What `sequential.peeking_level` is for pairs. At each look the arm has so many runs and the reference
    `baseline_runs`. It is simulated with equal spreads and a fixed generator. Welch's t at three runs against nine errs
    in 6% by itself, and the level makes good for that too. With equal numbers of runs it errs in less than 5% where
    spreads are equal and in more where they are not, so the level is never above that of pairs. Where the arm has three
    times the spread of its reference, looks err in up to 7%. ValueError below three runs, the fewest of a verdict.
    """
    from scipy.special import ndtri, stdtr

    if most_runs < FEWEST_SEEDS:
        raise ValueError(f"at most {most_runs} runs: a verdict takes {FEWEST_SEEDS} runs an arm; allow as many")
    generator = np.random.default_rng(GENERATOR_SEED)
    sums, squares, smallest = np.zeros((2, PATHS)), np.zeros((2, PATHS)), np.ones(PATHS)
    drawn = [0, 0]
    for runs in range(FEWEST_SEEDS, most_runs + 1):
        for side, count in enumerate((runs, baseline_runs(runs, contrasts))):
            more = generator.standard_normal((count - drawn[side], PATHS))
            sums[side] += more.sum(axis=0)
            squares[side] += (more**2).sum(axis=0)
            drawn[side] = count
        counts = np.array(drawn)[:, None]
        parts = (squares - sums**2 / counts) / (counts - 1) / counts
        total = parts.sum(axis=0)
        size = np.abs(sums[0] / drawn[0] - sums[1] / drawn[1]) / np.sqrt(total)
        near = size > -ndtri(ALPHA / 2)  # below, p is above ALPHA at any degrees of freedom, and the answer is not
        freedom = total**2 / (parts**2 / (counts - 1)).sum(axis=0)
        smallest[near] = np.minimum(smallest[near], 2 * stdtr(freedom[near], -size[near]))
    return min(float(np.quantile(smallest, ALPHA)), peeking_level(most_runs))


def most_runs(
    spread_arm: float, spread_reference: float, claimed: float, *, contrasts: int = 1, images: float = 0.0
) -> int | None:
    """The `max_seeds` with which `--until-decided` tells an effect of `claimed` points from none with 80% power.

    At the last look alone it is `welch` at `level_of_looks`, and looks before it only add to its power: safe, and a run
    or two more than a simulation of the looks would ask for. None where it would be over 100, or no number is enough.
    """
    fewest = runs_needed(spread_arm, spread_reference, claimed, contrasts=contrasts, images=images)
    for runs in range(fewest, 101) if fewest else ():
        reference, level = baseline_runs(runs, contrasts), level_of_looks(runs, contrasts)
        found = welch_power(runs, reference, spread_arm, spread_reference, claimed, alpha=level, images=images)
        if found >= POWER:
            return runs
    return None


def _difference(arm: Sequence[float], reference: Sequence[float]) -> tuple[float, list[float]]:
    """Difference of the means, and the variance of either mean."""
    if min(len(arm), len(reference)) < 2:
        raise ValueError(f"{len(arm)} and {len(reference)} runs: a spread takes two runs an arm; add runs")
    (ours, our_error), (theirs, their_error) = _mean_and_error(arm), _mean_and_error(reference)
    return ours - theirs, [our_error**2, their_error**2]


def _freedom(parts: Sequence[float], runs: tuple[int, int], images: float) -> float:
    """Satterthwaite's degrees of freedom of the sum of two estimated variances and a known one."""
    total = math.fsum(parts) + images
    unsure = math.fsum((part / total) ** 2 / (count - 1) for part, count in zip(parts, runs, strict=True) if part > 0)
    return 1 / max(unsure, 1 / MOST_FREEDOM)


def _two_sided(mean: float, error: float, freedom: float) -> float:
    """Two-sided p of a mean of zero with this standard error, by Student's t."""
    from scipy.special import stdtr

    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(stdtr(freedom, -abs(mean) / error))


def _quantile(confidence: float, freedom: float) -> float:
    """Half the width of an interval, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))
