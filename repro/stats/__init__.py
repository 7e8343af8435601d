"""Effects, intervals, paired tests, power and verdicts. The rules are written down in docs/verdicts.md."""

from repro.stats.designs import DesignJudgement, judge_design
from repro.stats.judge import arm_summary, effect_between, holm, judge
from repro.stats.sequential import most_seeds, peeking_level, seeds_needed
from repro.stats.values import Effect, Interval, Judgement, Verdict

__all__ = [
    "DesignJudgement", "Effect", "Interval", "Judgement", "Verdict", "arm_summary", "effect_between", "holm", "judge",
    "judge_design", "most_seeds", "peeking_level", "seeds_needed",
]  # fmt: skip
