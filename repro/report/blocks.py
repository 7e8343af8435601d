"""A block of a page: a heading, a paragraph, tables and figures, of which designs and curves are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro.report.drawing import Figure
from repro.report.tables import ReportTable


@dataclass(frozen=True)
class Block:
    """What stands under one heading."""

    title: str
    text: str
    tables: Sequence[ReportTable] = ()
    figures: Sequence[Figure] = ()


@dataclass(frozen=True)
class Column:
    """One column: heading, name in a CSV file, and whether it is set flush right."""

    heading: str
    name: str
    number: bool = True


def table(name: str, caption: str, columns: Sequence[Column], rows: Sequence[Sequence[tuple[str, Any]]]) -> ReportTable:
    """A table whose cells are given as (text, raw value)."""
    import pandas as pd

    frame = pd.DataFrame([[raw for _, raw in row] for row in rows], columns=[column.name for column in columns])
    return ReportTable(
        name,
        caption,
        [column.heading for column in columns],
        [[text for text, _ in row] for row in rows],
        frame,
        frozenset(place for place, column in enumerate(columns) if column.number),
    )
