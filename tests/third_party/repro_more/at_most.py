"""A claim kind: the error of an arm is at most so many points above that of a reference."""

from repro.experiments.experiment import Claim
from repro.stats.kinds import ClaimKind
from repro.stats.values import Interval, Verdict
from repro.terms import FEWEST_SEEDS


def rule(interval: Interval, claim: Claim, metric: str, seeds: int, negligible: float) -> tuple[Verdict, str]:
    bound = claim.number(metric)
    if seeds < FEWEST_SEEDS:
        return "inconclusive", f"a verdict takes {FEWEST_SEEDS} seeds"
    if interval.high <= bound:
        return "reproduced", f"the interval lies below {bound:+g}"
    if interval.low > bound:
        return "contradicted", f"the interval lies above {bound:+g}"
    return "inconclusive", f"the interval holds {bound:+g}"


AT_MOST = ClaimKind(
    "at-most", "points", rule, tested=False, power=False, bound=True, wording="at most {}", sentence="at most {}"
)
