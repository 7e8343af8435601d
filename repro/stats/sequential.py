"""How many seeds a claim needs, and when to stop adding them."""

from __future__ import annotations

import math
from functools import lru_cache

from repro.ablation import FEWEST_SEEDS

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 10_000  # beyond, "no number of seeds" is the better answer
PATHS = 40_000  # simulated sequences behind the boundary: its error rate is known to 0.1%


def seeds_needed(
    spread: float, claimed: float, power: float = POWER, alpha: float = ALPHA, *, images: float = 0.0
) -> int | None:
    """Pairs of runs at which a two-sided t-test tells an effect of `claimed` points from none with `power`.

    `spread` is the standard deviation of the per-seed effects, points; `images` the variance (points squared) that the
    test images add to their mean and that more seeds do not lower. At least 3, the fewest that a verdict takes; None
    where no number of seeds is enough, because the test set is too small. A spread seen over few seeds is itself
    uncertain (from three seeds by a factor of 0.5 to 6), and so is this number.
    """
    if claimed == 0:
        raise ValueError("seeds_needed: the claimed effect is 0, and no number of seeds tells 0 from 0; give its size")
    if spread < 0 or images < 0:
        raise ValueError(f"seeds_needed: spread {spread} and images {images} must be zero or more")
    if _power(MOST_SEEDS, spread, claimed, alpha, images) < power:
        return None
    few, enough = FEWEST_SEEDS - 1, FEWEST_SEEDS
    while _power(enough, spread, claimed, alpha, images) < power:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if _power(middle, spread, claimed, alpha, images) >= power else (middle, enough)
    return enough


def _power(seeds: int, spread: float, claimed: float, alpha: float, images: float) -> float:
    """Power of the two-sided t-test of `hierarchical`'s variance, with Satterthwaite's degrees of freedom.

    The chance that a noncentral t lies beyond a quantile of Student's t, on either side (Cohen 1988, chapter 2).
    """
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
    return float(1 - nctdtr(freedom, size, beyond) + nctdtr(freedom, size, -beyond))


@lru_cache(maxsize=64)
def peeking_level(max_seeds: int, alpha: float = ALPHA) -> float:
    """The level at which each look must test, so that looking after every seed from 3 to `max_seeds` errs in `alpha`.

    One level for every look (Pocock's boundary) of the t-test. It is the `alpha` quantile of the smallest p that a
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
    # a t below the normal quantile has p > alpha at any degrees of freedom, and the answer is at most alpha
    path, look = np.nonzero(size > -ndtri(alpha / 2))
    p = np.ones(PATHS)
    np.minimum.at(p, path, 2 * stdtr(look + FEWEST_SEEDS - 1.0, -size[path, look]))
    return float(np.quantile(p, alpha))


def most_seeds(spread: float, claimed: float, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """The `max_seeds` with which `--until-decided` tells an effect of `claimed` points from none with `power`.

    At the last look alone the boundary is a t-test at `peeking_level`, and looks before it only add to its power, so
    this is the number for that test: safe, and a seed or two more than a simulation of the looks would ask for.
    None where it would be over 100 seeds.
    """
    fewest = seeds_needed(spread, claimed, power, alpha)
    for seeds in range(fewest or MOST_SEEDS, 101):
        if _power(seeds, spread, claimed, peeking_level(seeds, alpha), 0.0) >= power:
            return seeds
    return None
