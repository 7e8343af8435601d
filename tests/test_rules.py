"""What version 2 of the rule changed: every row that version 1 had judged, before and after.

tests/golden/verdicts-of-rule-1.csv has what commit 22b0596 said of the published runs. docs/rule-2.md is written from
it and from what the rule says of the same runs now:

    python -m tests.test_rules
"""

from __future__ import annotations

import csv
from pathlib import Path

from repro import store
from repro.experiments import registry
from repro.stats import judge, rule

ROOT = Path(__file__).parent.parent
BEFORE = Path(__file__).parent / "golden" / "verdicts-of-rule-1.csv"
PAGE = ROOT / "docs" / "rule-2.md"
HEAD = """# What version 2 of the rule changed

Every comparison of the first round that version 1 of the rule had judged: its verdict then, and by version 2 of
[the rule](verdicts.md). The runs are the same. This page is written by `python -m tests.test_rules`, and a test holds
the two together.

| experiment | setting | comparison | metric | version 1 | | version 2 | | why |
|---|---|---|---|---|---|---|---|---|
"""


def page() -> str:
    """docs/rule-2.md."""
    known, results = registry.load(), ROOT / "results"
    found = {
        (setting.experiment, setting.name, one.arm, one.reference or "", one.metric): one
        for setting in store.read_settings(results)[0]
        for one in judge(known.get(setting.experiment), setting, results)
        if one.claim
    }
    lines = []
    for row in csv.DictReader(BEFORE.read_text().splitlines()):
        one = found[row["experiment"], row["setting"], row["arm"], row["reference"], row["metric"]]
        numbers = "-" if one.estimate is None else _numbers(one.estimate.mean, one.estimate.low, one.estimate.high)
        before = _numbers(*(float(row[name]) for name in ("estimate", "low", "high")))
        clauses = one.reason.split("; ")[2:] if one.estimate else [one.reason]
        why = "; ".join(
            clause
            for clause in clauses
            if not clause.startswith(("this says", "setting:")) and "values changed" not in clause
        )
        between = f"{row['arm']} against {row['reference']}" if row["reference"] else row["arm"]
        cells = [
            row["experiment"], f"`{row['setting']}`", between, row["metric"], before, row["verdict"], numbers,
            f"**{one.verdict}**" if one.verdict != row["verdict"] else one.verdict, why,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |\n")
    return HEAD + "".join(lines)


def _numbers(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def test_the_page_of_what_version_2_changed_is_what_it_says_of_the_same_runs() -> None:
    assert rule.VERSION == 2
    assert PAGE.read_text() == page()


if __name__ == "__main__":
    PAGE.write_text(page())
