"""The discussion of an experiment: Markdown beside its declaration, whose numbers are filled in from results.

A number is written `{KIND ARM METRIC SETTING}`. KIND is `effect` (with its interval and runs), `common` (the same at
the rate of the reference), `verdict`, or `error` (mean and standard deviation over runs); `{rate ARM SETTING}` is what
the search took. What results do not have is "not known yet".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from repro.experiments.experiment import Experiment
from repro.report import contents, words
from repro.report.gather import Part

PLACEHOLDER = re.compile(r"\{([a-z]+(?:\s[^\s{}]+)+)\}")  # within a line or over two
KINDS = {"effect": 3, "common": 3, "verdict": 3, "error": 3, "rate": 2}  # kind -> words after it
UNKNOWN = "not known yet"


def discussion(experiment: Experiment, parts: Sequence[Part]) -> str:
    """The text with its numbers; nothing where there is no text, or where none of its numbers is known: it is about
    settings that have no runs here."""
    if experiment.discussion is None:
        return ""
    text = experiment.discussion.read_text(encoding="utf-8").strip()
    numbers = {found[0]: filled(found[1].split(), parts) for found in PLACEHOLDER.finditer(text)}
    if numbers and set(numbers.values()) == {UNKNOWN}:
        return ""
    return PLACEHOLDER.sub(lambda found: numbers[found[0]], text)


def filled(asked: Sequence[str], parts: Sequence[Part]) -> str:
    """What stands for one placeholder. Raises ValueError for a kind that there is not, or words that are missing."""
    kind, *of = asked
    if KINDS.get(kind) != len(of):
        raise ValueError(f"discussion: {{{' '.join(asked)}}}: known are {', '.join(KINDS)}, with ARM METRIC SETTING")
    arm, metric, setting = of[0], of[1], of[-1]
    part = next((one for one in parts if one.setting.name == setting), None)
    if part is None:
        return UNKNOWN
    if kind == "rate":
        return words.plain(part.chosen[arm]) if part.chosen.get(arm) is not None else UNKNOWN
    if kind == "error":
        row = part.summary.set_index("arm").to_dict("index").get(arm, {})
        shown = words.mean_and_spread(row.get(f"{metric}_mean"), row.get(f"{metric}_sd"))
        return UNKNOWN if shown == words.NOTHING else f"{shown}%"
    one = next((one for one in part.judgements if (one.arm, one.metric) == (arm, metric)), None)
    if one is None or one.estimate is None:
        return UNKNOWN
    if kind == "verdict":
        return f"*{contents.verdict(one)}*"
    if kind == "common":
        return words.with_interval(one.common or one.estimate, one.unit)
    return f"{words.with_interval(one.estimate, one.unit)} ({contents.runs_of(one)})"
