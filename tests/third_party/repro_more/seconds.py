"""A section of a report: how long the runs of each arm took."""

from pathlib import Path

from repro.report.blocks import Block, Column, table
from repro.report.gather import Part


def blocks(part: Part, reports: Path) -> list[Block]:
    rows = [
        [(arm, arm), (f"{(longest := max(run.seconds for run in runs)):.0f}", longest)]
        for arm, runs in part.runs.items()
        if runs
    ]
    if not rows:
        return []
    columns = [Column("arm", "arm", number=False), Column("longest run (s)", "seconds")]
    of = table(f"{part.setting.name}-seconds", "The longest run of each arm, seconds of training.", columns, rows)
    return [Block("How long it took", "Times depend on the machine.", [of])]
