"""How many seeds a claim needs, and when to stop adding them."""

from __future__ import annotations

import math
from functools import lru_cache

from repro.stats.rule import ALPHA
from repro.terms import FEWEST_SEEDS

POWER = 0.8
MOST_SEEDS = 10_000  # beyond, "no number of seeds" is the better answer
PATHS = 40_000  # simulated sequences behind the boundary: its error rate is known to 0.1%


def baseline_runs(runs: int, contrasts: int) -> int:
    """Runs of a reference that `contrasts` arms of `runs` runs each are compared with: sqrt(contrasts) times as many.

    For one total number of runs this makes the variance of each contrast smallest (Dunnett 1955).
    """
    return math.ceil(runs * math.sqrt(contrasts))


def seeds_needed(spread: float, claimed: float, *, images: float = 0.0) -> int | None:
    """Pairs of runs at which a two-sided t-test at ALPHA tells an effect of `claimed` points from none with POWER.

    `spread` is the standard deviation of the per-seed effects, points; `images` the variance (points squared) that the
    test images add to their mean and that more seeds do not lower. At least 3, the fewest that a verdict takes; None
    where no number of seeds is enough, because the test set is too small. A spread seen over few seeds is itself
    uncertain (from three seeds by a factor of 0.5 to 6), and so is this number.
    """
    if claimed == 0:
        raise ValueError("seeds_needed: the claimed effect is 0, and no number of seeds tells 0 from 0; give its size")
    if spread < 0 or images < 0:
        raise ValueError(f"seeds_needed: spread {spread} and images {images} must be zero or more")
    if _power(MOST_SEEDS, spread, claimed, ALPHA, images) < POWER:
        return None
    few, enough = FEWEST_SEEDS - 1, FEWEST_SEEDS
    while _power(enough, spread, claimed, ALPHA, images) < POWER:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if _power(middle, spread, claimed, ALPHA, images) >= POWER else (middle, enough)
    return enough


def _power(seeds: int, spread: float, claimed: float, alpha: float, images: float) -> float:
    """Power of the two-sided t-test of `hierarchical`'s variance, with Satterthwaite's degrees of freedom; at most that
    without the images, since that interval is never the narrower one."""
    return min(_noncentral_t(seeds, spread, claimed, alpha, part) for part in (0.0, images))


def _noncentral_t(seeds: int, spread: float, claimed: float, alpha: float, images: float) -> float:
    """The chance that a noncentral t lies beyond a quantile of Student's t, on either side (Cohen 1988, chapter 2)."""
    from scipy.special import nctdtr, stdtrit

    of_seeds = spread**2 / seeds
    variance = of_seeds + images
    if variance == 0:
        return 1.0
    freedom = min((seeds - 1) * (variance / of_seeds) ** 2, 1e6) if of_seeds else 1e6
    size = abs(claimed) / math.sqrt(variance)
    if size > 30:  # beyond what the noncentral t of scipy resolves, and certain
        return 1.0
    beyond = -stdtrit(freedom, alpha / 2)
    other_side = float(nctdtr(freedom, size, -beyond))  # scipy gives nan for some that are far below 1e-9
    return float(1 - nctdtr(freedom, size, beyond)) + (0.0 if math.isnan(other_side) else other_side)


@lru_cache(maxsize=64)
def peeking_level(max_seeds: int) -> float:
    """The level at which each look must test, so that looking after every seed from 3 to `max_seeds` errs in ALPHA.

    One level for every look (Pocock's boundary) of the t-test. It is the ALPHA quantile of the smallest p that a
    sequence of effects with mean zero shows along its way; the t-test does not depend on their spread, so that one
    simulation of normal sequences, with a fixed generator, serves all.
    """
    import numpy as np
    from scipy.special import ndtri, stdtr

    if max_seeds < FEWEST_SEEDS:
        raise ValueError(f"--max-seeds {max_seeds}: a verdict takes {FEWEST_SEEDS} seeds; give at least {FEWEST_SEEDS}")
    effects = np.random.default_rng(2012).standard_normal((PATHS, max_seeds))
    seeds = np.arange(1, max_seeds + 1)
    mean = effects.cumsum(axis=1) / seeds
    squares = (effects**2).cumsum(axis=1)
    looks = slice(FEWEST_SEEDS - 1, None)
    spread = np.sqrt((squares - seeds * mean**2)[:, looks] / (seeds - 1)[looks])
    size = np.abs(mean[:, looks]) / spread * np.sqrt(seeds[looks])
    # a t below the normal quantile has p > ALPHA at any degrees of freedom, and the answer is at most ALPHA
    path, look = np.nonzero(size > -ndtri(ALPHA / 2))
    p = np.ones(PATHS)
    np.minimum.at(p, path, 2 * stdtr(look + FEWEST_SEEDS - 1.0, -size[path, look]))
    return float(np.quantile(p, ALPHA))


def most_seeds(spread: float, claimed: float, *, images: float = 0.0) -> int | None:
    """The `max_seeds` with which `--until-decided` tells an effect of `claimed` points from none with POWER.

    At the last look alone the boundary is a t-test at `peeking_level`, and looks before it only add to its power, so
    this is the number for that test: safe, and a seed or two more than a simulation of the looks would ask for.
    `spread` and `images` are those of `seeds_needed`, and the answer is never below its. None where it would be over
    100 seeds, or where no number is enough.
    """
    fewest = seeds_needed(spread, claimed, images=images)
    level = ALPHA  # of fewer looks: what is not enough at it is not enough at that of more, which takes long to find
    for seeds in range(fewest, 101) if fewest else ():
        if _power(seeds, spread, claimed, level, images) >= POWER:
            level = peeking_level(seeds)
            if _power(seeds, spread, claimed, level, images) >= POWER:
                return seeds
    return None
