"""Tables of a report: the same rows as Markdown, LaTeX, and CSV with raw numbers and units in the column names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from repro.report.markdown import cell, unmarked

if TYPE_CHECKING:
    import pandas as pd

LATEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$", "±": r"$\pm$", "\N{EN DASH}": "--",
    "\N{INFINITY}": r"$\infty$", "\N{RIGHTWARDS ARROW}": r"$\to$", "<": "$<$", ">": "$>$",
}  # fmt: skip


LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")  # of Markdown
DIGITS = "%.12g"  # more than any number here is known to, and without the tail that binary fractions have


@dataclass(frozen=True)
class ReportTable:
    """Text for people in `rows`, one cell a column; `frame` holds the raw numbers behind them."""

    name: str  # of its CSV and LaTeX files
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    frame: pd.DataFrame
    numeric: frozenset[int] = frozenset()  # columns set flush right


def markdown(table: ReportTable) -> Markup:
    """A GitHub table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(cell, cells)) + " |"

    ruler = ["--:" if place in table.numeric else ":--" for place in range(len(table.columns))]
    return Markup("\n".join([line(table.columns), line(ruler), *(line(row) for row in table.rows)]))


def latex(table: ReportTable, label: str) -> str:
    """A `table` of booktabs rules (`\\usepackage{booktabs}`), with caption and `tab:<label>`."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(escape(LINK.sub(r"\1", unmarked(cell.replace("\n", "; ")))) for cell in cells) + r" \\"

    layout = "".join("r" if place in table.numeric else "l" for place in range(len(table.columns)))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{layout}}}",
            r"\toprule",
            line(table.columns),
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
    """The raw numbers, to twelve digits."""
    return str(table.frame.to_csv(index=False, lineterminator="\n", float_format=DIGITS))
