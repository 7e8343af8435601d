"""Runs that failed to train, on a page: how often each arm's do, with an exact interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repro.report import words
from repro.report.blocks import Block, Column, table
from repro.report.gather import Part


def blocks(part: Part, reports: Path) -> list[Block]:
    """Nothing where every run trained."""
    counts = {arm: (failed, runs) for one in part.judgements for arm, failed, runs in one.failed}
    if not counts:
        return []
    counts = {arm: counts.get(arm, (0, len(runs))) for arm, runs in part.runs.items() if runs}
    from repro.stats.endpoints import failure_rate

    rows: list[list[tuple[str, Any]]] = []
    for arm, (failed, runs) in counts.items():
        rate = failure_rate(failed, runs)
        shown = f"{words.number(rate.mean, 0)}% [{words.number(rate.low, 0)}, {words.number(rate.high, 0)}]"
        rows.append([(arm, arm), (f"{failed} of {runs}", failed), (shown, rate.mean)])
    columns = [
        Column("arm", "arm", number=False), Column("failed to train", "failed"),
        Column("rate [95% interval]", "rate_percent"),
    ]  # fmt: skip
    caption = f"Runs of {part.experiment.name} at preset {part.setting.preset} that failed to train; exact intervals."
    text = (
        "A run that failed to train is in no mean: effects are those among runs that trained. Where the rates of two "
        "arms differ visibly, no verdict is given on them."
    )
    return [Block("Runs that failed to train", text, [table(f"{part.setting.name}-failures", caption, columns, rows)])]
