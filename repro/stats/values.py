"""What the statistics hand to reports: intervals, effects, judgements. Plain frozen values.

Errors are in percent, effects in points (percent of error, arm minus reference), ratios in times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repro.experiments.experiment import Claim

Verdict = Literal[
    "reproduced", "same direction", "inconclusive", "not seen", "contradicted", "not tuned", "not evaluated"
]
Unit = Literal["points", "percent", "times"]

VERDICTS: tuple[Verdict, ...] = (
    "reproduced", "same direction", "inconclusive", "not seen", "contradicted", "not tuned", "not evaluated",
)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval: 95%, and wider where the setting was looked at more than once (`Setting.looks`).

    An end is infinite (or 0, for a ratio) where nothing bounds it: censoring, or too few runs.
    """

    mean: float
    low: float
    high: float
    method: str  # "hierarchical bootstrap over seeds and images", "t over seeds", "images only, one run per arm"

    @property
    def images_only(self) -> bool:
        """Of one or two runs: how other images would have changed these, and nothing of how runs vary."""
        return self.method.startswith("images only")


@dataclass(frozen=True)
class Effect:
    """How far `arm` lies from `reference`. None marks what cannot be computed from what is stored."""

    metric: str
    arm: str
    reference: str
    paired: bool  # the same runs read twice; otherwise the runs of the two arms are independent
    runs: tuple[int, int]  # of the arm and of the reference, that trained
    of_arm: tuple[tuple[int, float], ...]  # (seed, number): percent, points of a gap, or epochs
    of_reference: tuple[tuple[int, float], ...]
    interval: Interval | None  # None: nothing to compare; open at both ends where few runs have no stored predictions
    spreads: tuple[float, float] | None = None  # standard deviations over runs, points or log epochs; of pairs twice
    of_images: float = 0.0  # variance that the test images add to the mean effect, points squared; no seeds lower it
    t_interval: Interval | None = None  # over runs alone, from 2 of each arm up
    one_pair: Interval | None = None  # where one more pair of runs, as the authors had, would fall; from 3 runs up
    p: float | None = None  # two-sided, of no effect; below 0.05 where `interval` excludes none, also where it is wider
    mcnemar_p: float | None = None  # exact, per pair of runs; twice the median over the pairs
    permutation_p: float | None = None  # runs shared out anew, or signs of pairs flipped
    permutation_p_smallest: float | None = None  # the smallest that so few seeds can give
    probability_of_improvement: float | None = None  # chance that a run of `arm` has the lower number; ties half

    @property
    def seeds(self) -> int:
        """Runs of the arm that has fewer."""
        return min(self.runs)


@dataclass(frozen=True)
class Judgement:
    """One number of one claim against our runs; or, with `claim` None, an effect that no claim names."""

    claim: Claim | None
    arm: str
    reference: str | None
    metric: str
    unit: Unit
    published: float | None
    estimate: Interval | None
    effect: Effect | None  # None for a value
    seeds: int  # runs that trained, of the side that has fewer
    verdict: Verdict
    reason: str  # the rule applied, with its numbers: one sentence
    same_setting: bool  # nothing in `differences`: the verdict is on the claim as it was measured
    differences: tuple[str, ...]  # what differs from the claim's data, evaluation and setting
    holm_p: float | None = None  # set by `holm`, over all claims of a report
    common: Interval | None = None  # the effect with both arms at the reference's value of what a search chose
    common_verdict: Verdict | None = None  # its verdict; None where both found the same value, or none was searched
    failed: tuple[tuple[str, int, int], ...] = ()  # (arm, runs that failed to train, all finished), where one failed
    waits: bool = False  # fewer seeds than were asked for: neither verdict nor p is given yet
    seeds_needed: int | None = None  # runs of the arm, for 80% power against no effect, from the spread seen so far

    @property
    def primary(self) -> bool:
        """Whether the claim is counted by this number."""
        return self.claim is not None and self.metric == self.claim.primary

    @property
    def depends_on_rate(self) -> bool:
        """Whether another verdict would be given with both arms at the reference's value."""
        return self.common_verdict is not None and self.common_verdict != self.verdict
