"""The numbers of the rule that turns evidence into verdicts, and its version. docs/verdicts.md gives the reasons.

A number changes only with a new version, declared before the results that it judges.
"""

from __future__ import annotations

from typing import Any

VERSION = 2
ALPHA = 0.05
# Points. At most half of a published effect, where one is known. Of the order by which runs of one net differ in the
# 2012 notes, under other schedules, one seed each (0.3 to 0.5 of top-1 error). No two runs of one recipe are on record.
NEGLIGIBLE = 0.5
TOLERANCE = {"top1_error": 1.0, "top5_error": 0.6}  # points, of a value: twice that, for the published run and for ours
OVERFITS = 10.0  # points between test and training error that the wider of two gaps has, before overfitting is judged
MOST_GUESSES = 0.1  # top-k errors are judged where k is at most this share of the classes


def margins() -> dict[str, Any]:
    """The numbers, as a frozen plan keeps them."""
    return {
        "alpha": ALPHA,
        "negligible_points": NEGLIGIBLE,
        "tolerance_points": dict(TOLERANCE),
        "overfits_points": OVERFITS,
        "most_guesses": MOST_GUESSES,
    }
