"""What an answer costs in runs, by design: how many runs make an interval so narrow, or find an effect of such a size.

A design answers for several factors at once. Its `Layout` says what the answers cost together, and how well each is
known: the standard error of an effect in units of the spread of runs, and the degrees of freedom of its t. Numbers are
those of the intervals over runs alone; what test images add is the same for every design, and no runs lower it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from repro.stats.rule import ALPHA
from repro.stats.sequential import POWER, baseline_runs
from repro.terms import FEWEST_SEEDS

DesignName = Literal["one at a time", "shared baseline", "screen", "factorial"]
DESIGNS: tuple[DesignName, ...] = ("one at a time", "shared baseline", "screen", "factorial")
SMALLEST_SCREEN = 8  # rows
MOST_RUNS = 2**17  # in all, beyond which "too many" is the better answer


class Layout(NamedTuple):
    """A design of one size."""

    runs: int  # in all
    error: float  # standard error of an effect, in spreads of runs
    freedom: float
    arm: int = 0  # runs of an arm and of its reference; 0 where runs belong to no arm
    reference: int = 0


def layouts(design: DesignName, factors: int) -> Callable[[int], Layout]:
    """Of sizes 0, 1, 2, ... the layout of a design for so many factors, each larger than the one before.

    One at a time: each arm beside a reference of its own, of as many runs. Shared baseline: one reference, of the
    square root of `factors` times as many runs as an arm. Screen: a power of two of rows, at least twice the factors.
    Factorial: all combinations, so many runs of each, with the interactions of two.
    """
    if factors < 1:
        raise ValueError(f"factors: {factors}; give 1 or more")

    def arms(size: int) -> Layout:
        arm = FEWEST_SEEDS + size
        shared = design == "shared baseline"
        reference = baseline_runs(arm, factors) if shared else arm
        parts = 1 / arm, 1 / reference
        freedom = sum(parts) ** 2 / (parts[0] ** 2 / (arm - 1) + parts[1] ** 2 / (reference - 1))
        runs = factors * arm + (1 if shared else factors) * reference
        return Layout(runs, math.sqrt(sum(parts)), freedom, arm, reference)

    def rows(size: int) -> Layout:
        smallest = max(SMALLEST_SCREEN, 1 << (2 * factors - 1).bit_length())
        runs = smallest << size
        return Layout(runs, 2 / math.sqrt(runs), runs - 1 - factors)

    def cells(size: int) -> Layout:
        runs = (1 + size) << factors
        return Layout(runs, 2 / math.sqrt(runs), runs - 1 - factors - math.comb(factors, 2))

    return {"one at a time": arms, "shared baseline": arms, "screen": rows, "factorial": cells}[design]


def half_width(layout: Layout) -> float:
    """Half of the 95% interval of an effect, in spreads of runs; infinite without degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(layout.freedom, 1 - ALPHA / 2)) * layout.error if layout.freedom > 0 else math.inf


def power(layout: Layout, effect: float) -> float:
    """The chance that an effect, in spreads of runs, is told from none at 95%."""
    if layout.arm:
        from repro.stats.independent import welch_power

        return welch_power(layout.arm, layout.reference, 1.0, 1.0, effect)
    from scipy.special import nctdtr

    half = half_width(layout) / layout.error
    if not math.isfinite(half):
        return 0.0
    size = min(abs(effect) / layout.error, 30.0)  # the noncentral t of scipy resolves no more, and it is certain
    other_side = float(nctdtr(layout.freedom, size, -half))  # nan where it is far below 1e-9
    return float(1 - nctdtr(layout.freedom, size, half)) + (0.0 if math.isnan(other_side) else other_side)


def as_narrow(design: DesignName, factors: int, width: float) -> Layout | None:
    """The smallest layout whose half width, in spreads of runs, is at most `width`; None above MOST_RUNS."""
    return _smallest(layouts(design, factors), lambda layout: half_width(layout) <= width)


def deciding(design: DesignName, factors: int, effect: float) -> Layout | None:
    """The smallest layout that tells an effect, in spreads of runs, from none with 80% power; None above MOST_RUNS.

    By symmetry it also tells the effect from its size where there is none.
    """
    if effect == 0:
        raise ValueError("effect: is 0, and no number of runs tells 0 from 0; give its size")
    return _smallest(layouts(design, factors), lambda layout: power(layout, effect) >= POWER)


def _smallest(of_size: Callable[[int], Layout], enough: Callable[[Layout], bool]) -> Layout | None:
    below, above = -1, 0
    while not enough(of_size(above)):
        below, above = above, 2 * above + 1
        if of_size(above).runs > MOST_RUNS:
            return None
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if enough(of_size(middle)) else (middle, above)
    return of_size(above)
