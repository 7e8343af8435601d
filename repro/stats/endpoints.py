"""Failure to train as an endpoint of its own: how often an arm's runs fail, and when no verdict on the others is due.

A run that failed has no error to speak of (90% on ten classes says nothing of how good the net would have been), so it
is in no mean. The effect is that among runs that trained, and what is lost that way is said beside it: the failure rate
of each arm. Where the rates of two arms differ visibly, the runs that trained are no longer a fair sample of each arm,
and the verdict is withheld.
"""

from __future__ import annotations

import math

from repro.stats.intervals import CONFIDENCE
from repro.stats.rule import ALPHA
from repro.stats.values import Interval

VISIBLE = 25.0  # points between the failure rates of two arms, above which a verdict is withheld


def failure_rate(failed: int, runs: int, *, confidence: float = CONFIDENCE) -> Interval:
    """The share of an arm's runs that fail, percent, with the exact interval of Clopper and Pearson (1934).

    The same as scipy.stats.binomtest(failed, runs).proportion_ci(). Never covers less often than it says.
    """
    from scipy.special import betaincinv

    _check(failed, runs)
    tail = (1 - confidence) / 2
    low = float(betaincinv(failed, runs - failed + 1, tail)) if failed else 0.0
    high = float(betaincinv(failed + 1, runs - failed, 1 - tail)) if failed < runs else 1.0
    return Interval(100 * failed / runs, 100 * low, 100 * high, "Clopper-Pearson over runs")


def same_rate_p(failed_arm: int, runs_arm: int, failed_reference: int, runs_reference: int) -> float:
    """Two-sided p of equal failure rates, by Fisher's exact test, as scipy.stats.fisher_exact has it.

    Boschloo's test has more power, and takes a search over the unknown common rate. Fisher's is a sum of whole numbers;
    with so few runs neither finds anything but gross differences, and the rule below does not wait for them.
    """
    _check(failed_arm, runs_arm)
    _check(failed_reference, runs_reference)
    failed = failed_arm + failed_reference
    ways = {
        here: math.comb(runs_arm, here) * math.comb(runs_reference, failed - here)
        for here in range(max(0, failed - runs_reference), min(runs_arm, failed) + 1)
    }
    return sum(way for way in ways.values() if way <= ways[failed_arm]) / sum(ways.values())


def rates_differ_visibly(failed_arm: int, runs_arm: int, failed_reference: int, runs_reference: int) -> str | None:
    """In words, why no verdict is given on the runs that trained; None where one may be.

    Withheld where the failure rates lie more than VISIBLE apart, or Fisher's test tells them apart at ALPHA. The first
    decides among few runs (two of five against none), the second among many (six of thirty against none). If which runs
    fail has nothing to do with how good they are, no rate spoils the interval among those that trained. The rule is for
    the worst case, that the runs which fail would have been the worst: an arm that loses a tenth is then flattered by
    0.2 standard deviations of a run, and the interval still covers; one that loses two fifths by 0.64, and it does not.
    `python -m tests.simulations` prints the coverage of both cases, and how many wrong verdicts the rule saves.
    """
    p = same_rate_p(failed_arm, runs_arm, failed_reference, runs_reference)
    apart = 100 * abs(failed_arm / runs_arm - failed_reference / runs_reference)
    if apart <= VISIBLE and p >= ALPHA:
        return None
    return (
        f"{failed_arm} of {runs_arm} runs of the arm failed to train, {failed_reference} of {runs_reference} of its "
        f"reference (Fisher p = {p:.2g}): the rates differ visibly, and those that trained are no fair sample"
    )


def _check(failed: int, runs: int) -> None:
    if not 0 <= failed <= runs or runs < 1:
        raise ValueError(f"{failed} failed of {runs} runs: count runs from one up, and failures among them")
