"""A block of a page: a heading, a paragraph, tables and figures, of which designs and curves are made."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.report import figures
from repro.report.sections import Figure
from repro.report.tables import ReportTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


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


def figure(path: str, reports: Path, alt: str, caption: str, draw: Callable[..., Drawing], *arguments: Any) -> Figure:
    """The figure that `draw` makes of the arguments, drawn again only where they changed."""

    def png(*given: Any, source: str) -> bytes:
        with figures._style():
            return figures._png(draw(*given))

    png.__name__ = draw.__name__
    source = hashlib.sha256(Path(inspect.getfile(draw)).read_bytes()).hexdigest()  # which says how it is drawn
    return Figure(path, figures.drawn(reports / path, png, *arguments, source=source), alt, caption)
