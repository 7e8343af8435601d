"""How many seeds a claim needs, and when to stop adding them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from repro.stats.values import Decision, Interval, Word


def seeds_needed(spread: float, claimed: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Pairs of runs at which a two-sided t-test tells an effect of `claimed` points from none with `power`.

    `spread` is the standard deviation of the per-seed effects, points. At least 3, the fewest that a verdict takes.
    """
    from statsmodels.stats.power import TTestPower

    if claimed == 0:
        raise ValueError("seeds_needed: the claimed effect is 0, and no number of seeds tells 0 from 0")
    if spread <= 0:
        return 3
    seeds = 3
    while TTestPower().power(abs(claimed) / spread, seeds, alpha) < power:
        seeds += max(1, seeds // 50)
    return seeds


def settled(effects_so_far: Sequence[float], claimed: float | None, max_seeds: int) -> Decision:
    """Whether the verdict has settled. `effects_so_far` are the per-seed effects in seed order, points."""
    from scipy import stats

    n = len(effects_so_far)
    if n < 3:
        return Decision(n >= max_seeds, "inconclusive", None, f"{n} of at least 3 seeds")
    level = 0.05 / max(1, max_seeds - 2)
    mean = math.fsum(effects_so_far) / n
    spread = math.sqrt(math.fsum((effect - mean) ** 2 for effect in effects_so_far) / (n - 1))
    half = float(stats.t.ppf(1 - level / 2, n - 1)) * spread / math.sqrt(n)
    interval = Interval(mean, mean - half, mean + half, "t over seeds, at every look")
    word: Word = "inconclusive"
    if interval.low > 0 or interval.high < 0:
        word = "same direction" if claimed is None or mean * claimed > 0 else "contradicted"
    elif claimed is not None and not interval.low <= claimed <= interval.high:
        word = "not seen"
    return Decision(word != "inconclusive" or n >= max_seeds, word, interval, f"{n} seeds")
