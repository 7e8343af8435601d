"""Tables of a report. A column is said once: its heading, its name in a CSV file, its raw value, and how it is shown.

The same table is Markdown, LaTeX, and CSV with raw numbers and units in the names of its columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import pandas as pd

Row = TypeVar("Row")
LATEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$", "±": r"$\pm$", "\N{EN DASH}": "--",
    "\N{INFINITY}": r"$\infty$", "\N{RIGHTWARDS ARROW}": r"$\to$", "<": "$<$", ">": "$>$", "\N{SECTION SIGN}": r"\S{}",
}  # fmt: skip
LINK = re.compile(r"\[([^]]*)\]\([^)\s]*\)")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column. Without a heading it stands in CSV only, without a name on pages only.

    A raw value may be an Interval, which becomes four columns (mean as `name`, `name_low`, `name_high`,
    `name_method`), or a mapping, which becomes a column each.
    """

    heading: str
    name: str
    value: Callable[[Row], Any] = lambda row: None
    shown: Callable[[Row], str] | None = None  # None: the value as text
    number: bool = False  # set flush right

    def text(self, row: Row) -> str:
        """The cell for people."""
        return str(self.value(row)) if self.shown is None else self.shown(row)


@dataclass(frozen=True)
class ReportTable:
    """Text for people in `rows`, one cell a column, inline Markdown; `frame` holds the raw numbers behind them."""

    name: str  # of its CSV and LaTeX files
    caption: str
    columns: Sequence[Column[Any]]
    of: Sequence[Any]  # what a row is about, a value each

    @property
    def shown(self) -> list[Column[Any]]:
        """The columns that pages have."""
        return [column for column in self.columns if column.heading]

    @cached_property
    def rows(self) -> list[list[str]]:
        """The cells of pages."""
        return [[column.text(row) for column in self.shown] for row in self.of]

    @property
    def frame(self) -> pd.DataFrame:
        """The raw numbers."""
        import pandas as pd

        named = [column for column in self.columns if column.name]
        if not self.of:
            return pd.DataFrame(columns=[column.name for column in named])
        return pd.DataFrame(
            [dict(pair for column in named for pair in _raw(column.name, column.value(row))) for row in self.of]
        )


def _raw(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    from repro.stats import Interval

    if isinstance(value, Interval):
        return [(name, value.mean), (f"{name}_low", value.low), (f"{name}_high", value.high),
                (f"{name}_method", value.method)]  # fmt: skip
    return value.items() if isinstance(value, Mapping) else [(name, value)]


def plain(text: str) -> str:
    """Inline Markdown as plain text: links by their text, no marks of code or emphasis."""
    return LINK.sub(r"\1", text).replace("`", "").replace("**", "")


def markdown(table: ReportTable) -> str:
    """A GitHub table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"

    ruler = ["--:" if column.number else ":--" for column in table.shown]
    return "\n".join([line([column.heading for column in table.shown]), line(ruler), *map(line, table.rows)])


def latex(table: ReportTable, label: str) -> str:
    """A `table` of booktabs rules (`\\usepackage{booktabs}`), with caption and `tab:<label>`."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(escape(plain(cell.replace("\n", "; "))) for cell in cells) + r" \\"

    layout = "".join("r" if column.number else "l" for column in table.shown)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(plain(table.caption))}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{layout}}}",
            r"\toprule",
            line([column.heading for column in table.shown]),
            r"\midrule",
            *(line(row) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def csv(table: ReportTable) -> str:
    """The raw numbers, to ten digits: without the last ones of binary arithmetic, which say nothing."""
    return csv_of(table.frame)


def csv_of(frame: pd.DataFrame) -> str:
    """A frame as `csv` writes it."""
    return str(frame.to_csv(index=False, lineterminator="\n", float_format="%.10g"))
