"""Intervals and tests on plain arrays. What each assumes, and how well it covers, is in docs/verdicts.md.

A per-seed effect varies for two reasons: another seed would train another network, and other test images would favor
the other arm. The layout is crossed (every seed sees the same images):

    effect[s, i] = effect + seed[s] + image[i] + rest[s, i]

The seed means carry `seed + rest / images`, which their own spread measures. What they share, `image`, does not show in
that spread and does not shrink with more seeds; the analysis of variance has it as the mean square of images less
that of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from repro.stats.values import Interval
from repro.terms import FEWEST_SEEDS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

CONFIDENCE = 0.95
RESAMPLES = 1999  # of images; moments are matched, so that an end is known to about 2% of the half-width
FLIPS = 9999  # sign flips of the permutation test, where all are too many
GENERATOR_SEED = 2012  # fixed: the same runs give the same interval
RUNS_IN_WORDS = {1: "one run per arm", 2: "two runs per arm"}

OVER_BOTH = "hierarchical bootstrap over seeds and images"
OVER_SEEDS = "t over seeds"


@dataclass(frozen=True)
class Images:
    """How the test images, shared by all seeds, move the mean effect."""

    variance: float  # of the mean effect, points squared
    values: np.ndarray  # (K,) the different effects on an image, points, centered
    share: np.ndarray  # (K,) how many of the images have each
    count: int


def images_part(effects: np.ndarray) -> Images | None:
    """From effects (seeds, images) in points: the part that seeds share, or everything where there is one seed.

    None where there are fewer than two images.
    """
    seeds, images = effects.shape
    if images < 2:
        return None
    by_image = effects.mean(axis=0)
    of_images = seeds * by_image.var(ddof=1)
    rest = 0.0
    if seeds > 1:
        left = effects - by_image
        left -= left.mean(axis=1, keepdims=True)
        rest = float((left**2).sum() / ((images - 1) * (seeds - 1)))
    shared = max(of_images - rest, 0.0)
    shrink = math.sqrt(shared / of_images) if of_images > 0 else 0.0
    # One hundredth of an image is as fine as ties matter; few different values make the resampling below cheap.
    values, share = np.unique(np.round(by_image - by_image.mean()), return_counts=True)
    values = values - np.average(values, weights=share)
    return Images(shared / (seeds * images), values * shrink, share, images)


def _resampled(images: Images, resamples: int) -> np.ndarray:
    """Shift of the mean effect in each resample of the images with replacement, (resamples,) points.

    Images of one value are exchangeable, so drawing how many of each value come back is drawing the images. Mean and
    variance of the resamples are set to what they are without the chance of drawing.
    """
    generator = np.random.default_rng(GENERATOR_SEED)
    drawn = generator.multinomial(images.count, images.share / images.count, size=resamples) @ images.values
    spread = drawn.std()
    return np.asarray((drawn - drawn.mean()) * (math.sqrt(images.variance) / spread if spread > 0 else 0.0))


def hierarchical(
    effects: Sequence[float],
    images: Images | None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> tuple[Interval, float]:
    """Interval for the effect of the recipe, and the two-sided p of no effect, from per-seed effects in points.

    Images are resampled with replacement. Seeds are not: three to ten values have no tail to resample (and resampling
    seeds and images together counts their interaction three times; McCullagh 2000, Owen 2007). A replicate redraws the
    mean over seeds from what their spread allows, as Student's t does; the share of replicates that takes two more
    degrees of freedom is the share of images in the variance, which keeps the coverage at its nominal value when the
    images' part is known and the seeds' is not (the matching prior of the Behrens-Fisher problem; Ghosh and Kim 2001).
    Without `images` this is the t-interval. It is never inside the t-interval over seeds, nor p below that of its test:
    the two more degrees of freedom can take more off an end than a small part of the images adds, and to know more
    about the sources of the variance must not make us surer than to look at the seeds alone.
    """
    seeds = len(effects)
    assert seeds >= FEWEST_SEEDS, seeds
    of_seeds, p = over_seeds(effects, confidence=confidence), t_p(effects)
    if images is None or images.variance <= 0:
        return of_seeds, p
    mean, error = _mean_and_error(effects)
    draws = _seeds_part(seeds - 1, error, images.variance, resamples)
    replicates = mean + draws + _resampled(images, resamples)
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = min(float(low), of_seeds.low), max(float(high), of_seeds.high)
    return Interval(mean, low, high, OVER_BOTH), max(p, _two_sided(mean, error, seeds - 1, images.variance))


def _seeds_part(freedom: int, error: float, of_images: float, resamples: int) -> np.ndarray:
    """Draws (resamples,) of the seeds' mean, points; evenly spread over the distribution, not random."""
    plain = round(resamples * error**2 / (error**2 + of_images))
    narrow = _student(resamples - plain, freedom + 2) * math.sqrt(freedom / (freedom + 2))
    return error * np.concatenate([_student(plain, freedom), narrow])


def _student(count: int, freedom: int) -> np.ndarray:
    """Quantiles (count,) of Student's t at the middles of `count` equal shares."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(float(freedom), (np.arange(count) + 0.5) / max(count, 1)))


def _two_sided(mean: float, error: float, freedom: int, of_images: float) -> float:
    """Two-sided p of no effect by the same distribution as the replicates', summed instead of drawn (images as normal),
    so that it is not limited by their number."""
    from scipy.special import stdtr

    normal = np.linspace(-10, 10, 1601)
    density = np.exp(-(normal**2) / 2)
    beyond = (math.sqrt(of_images) * normal - abs(mean)) / max(error, 1e-9)
    share = error**2 / (error**2 + of_images)
    tail = share * stdtr(freedom, beyond)
    tail += (1 - share) * stdtr(freedom + 2, beyond * math.sqrt((freedom + 2) / freedom))
    return min(1.0, 2 * float((tail * density).sum() / density.sum()))


def images_only(effects: Sequence[float], images: Images, *, confidence: float = CONFIDENCE) -> Interval:
    """Interval for these very networks: what other test images would have said. Nothing about other seeds."""
    mean = math.fsum(effects) / len(effects)
    low, high = np.quantile(mean + _resampled(images, RESAMPLES), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high), f"images only, {RUNS_IN_WORDS[len(effects)]}")


def over_seeds(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The t-interval for the mean over seeds, on these test images."""
    mean, error = _mean_and_error(values)
    half = _t_quantile(confidence, len(values) - 1) * error
    return Interval(mean, mean - half, mean + half, OVER_SEEDS)


def one_more(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The prediction interval: where one more run, or pair of runs, on these images would fall."""
    mean, error = _mean_and_error(values)
    half = _t_quantile(confidence, len(values) - 1) * error * math.sqrt(len(values) + 1)
    return Interval(mean, mean - half, mean + half, "t prediction of one more")


def t_p(values: Sequence[float]) -> float:
    """Two-sided p of a mean of zero, by the t-test over seeds."""
    return _two_sided_t(*_mean_and_error(values), len(values) - 1)


def _two_sided_t(mean: float, error: float, freedom: int) -> float:
    """Two-sided p of a mean of zero with this standard error, by Student's t."""
    from scipy.special import stdtr

    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(stdtr(float(freedom), -abs(mean) / error))


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


@lru_cache(maxsize=1024)
def _t_quantile(confidence: float, freedom: int) -> float:
    """Half the width of the t-interval, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(float(freedom), (1 + confidence) / 2))


def sign_flips(effects: Sequence[float]) -> tuple[float, float]:
    """Two-sided p of the sign-flip permutation test over seeds, and the smallest p that so many seeds can give.

    Exact up to 13 seeds, then 9,999 random flips. The numbers are those of scipy.stats.permutation_test, which takes
    ten times as long as everything else here; the tests hold the two together.
    """
    signs = _signs(len(effects))
    exact = len(signs) < FLIPS
    flipped = signs @ np.asarray(effects, dtype=float)
    seen = math.fsum(effects)
    close = 1e-12 * float(np.abs(effects).sum())  # flips that differ by rounding only are ties
    beyond = min(int((flipped >= seen - close).sum()), int((flipped <= seen + close).sum()))
    total = len(signs) if exact else FLIPS + 1
    return min(1.0, 2 * (beyond if exact else beyond + 1) / total), 2 / total


@lru_cache(maxsize=64)
def _signs(count: int) -> np.ndarray:
    """All sign vectors (2**count, count), or FLIPS random ones where those are more."""
    if 2**count <= FLIPS:
        return np.array(list(product((1.0, -1.0), repeat=count)))
    return np.random.default_rng(GENERATOR_SEED).choice([1.0, -1.0], (FLIPS, count))


def mcnemar(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Exact McNemar test of per-image errors (P,) of an arm and its reference, for each pair of runs.

    It asks whether these two networks differ, not whether the recipes do. Over several pairs, which see the same
    images and so are not independent, the answer is twice the median p: valid whatever the dependence (Rueschendorf
    1982; Meinshausen, Meier and Buehlmann 2009). A tied image counts as its likelier side.
    """
    from scipy.special import bdtr

    found = []
    for arm, reference in pairs:
        one, two = arm > 0.5, reference > 0.5
        only_one, only_two = int((one & ~two).sum()), int((two & ~one).sum())
        found.append(min(1.0, 2 * float(bdtr(min(only_one, only_two), only_one + only_two, 0.5))))  # a fair coin
    return found[0] if len(found) == 1 else min(1.0, 2 * float(np.median(found)))


def improvement(arm: ArrayLike, reference: ArrayLike) -> float:
    """The chance that a run of the arm has the lower number, over all pairs of runs; ties count half.

    It is the Mann-Whitney statistic over the number of pairs (rliable's probability of improvement).
    """
    one, two = np.asarray(arm, dtype=float), np.sort(np.asarray(reference, dtype=float))
    below, up_to = (np.searchsorted(two, one, side=side) for side in ("left", "right"))  # of the reference's
    pairs = len(one) * len(two)
    return float(2 * pairs - below.sum() - up_to.sum()) / (2 * pairs)


@dataclass(frozen=True)
class Count:
    """How long a run took, in epochs; `censored` where it was not there yet when it ended."""

    epochs: float
    censored: bool = False
    between: tuple[float, float] | None = None  # epochs of the tests before and after, where it is read off tests


def ratio(pairs: Sequence[tuple[Count, Count]], *, confidence: float = CONFIDENCE) -> tuple[Interval, float | None]:
    """Interval for how many times the epochs of the reference an arm needs, and the two-sided p of equal times.

    A t-interval on the paired log-ratios. A time that is read off tests lies anywhere between the tests beside it: each
    end holds what it would be with any such times, since the mean moves by at most the mean of what single logs may be
    off, and the root of the sum of squares by at most theirs (the triangle inequality).

    A censored arm makes its pair's ratio a lower bound, a censored reference an upper bound: the lower end is then
    taken over the lower bounds and the upper end over the upper ones, and an end that some pair leaves open is open.
    Bounds spread otherwise than the times would have, so such an end is approximate, and there is no p. The mean is
    that of the lower bounds where arms are censored. Needs three pairs; fewer give the mean and no ends.
    """
    n = len(pairs)
    logs = [math.log(arm.epochs / reference.epochs) for arm, reference in pairs]
    mean = math.fsum(logs) / n
    censored = sum(arm.censored or reference.censored for arm, reference in pairs)
    note = f", {censored} of {n} pairs censored" if censored else ""
    if n < FEWEST_SEEDS:
        return Interval(math.exp(mean), 0.0, math.inf, f"no interval, {RUNS_IN_WORDS[n]}{note}"), None
    offs = [_off(arm, reference) for arm, reference in pairs]
    below, above = (math.fsum(off) / n for off in zip(*offs, strict=True))
    known = [max((one for one in off if one < math.inf), default=0.0) for off in offs]
    error = _mean_and_error(logs)[1] + math.hypot(*known) / math.sqrt(n * (n - 1))
    half = _t_quantile(confidence, n - 1) * error
    low, high = math.exp(mean - below - half), math.exp(mean + above + half)
    interval = Interval(math.exp(mean), low, high, f"t over seeds of log-ratios{note}")
    if censored or math.isinf(below) or math.isinf(above):
        return interval, None
    nearest = mean - below if mean > 0 else -mean - above  # to equal times, of the means that are possible
    return interval, _two_sided_t(max(nearest, 0.0), error, n - 1)


def _off(arm: Count, reference: Count) -> tuple[float, float]:
    """How far below and above its number the log-ratio of a pair may be; infinite where nothing bounds it."""
    (arm_below, arm_above), (reference_below, reference_above) = _off_in_time(arm), _off_in_time(reference)
    return arm_below + reference_above, arm_above + reference_below


def _off_in_time(count: Count) -> tuple[float, float]:
    """The same of one run's log time. Before the first test the time may be anything down to 0."""
    low, high = count.between or (count.epochs, count.epochs)
    return (
        math.log(count.epochs / low) if low > 0 else math.inf,
        math.inf if count.censored else math.log(high / count.epochs),
    )
