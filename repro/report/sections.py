"""What a page consists of: a section for each setting with its tables and figures, and the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from repro.experiments import paper
from repro.report import contents, markdown, tables, words
from repro.report.gather import Part

if TYPE_CHECKING:
    import jinja2

    from repro.report.blocks import Block

OWN_IMAGES = ("photos",)  # data whose images may be published: those that ship with scikit-image and scikit-learn
LOCAL = "local"  # below reports/: figures that show images of other data


@dataclass(frozen=True)
class Figure:
    """A PNG with its place below reports/, what it shows (for those who cannot see it), and its caption."""

    path: str
    png: bytes
    alt: str
    caption: str

    @property
    def published(self) -> bool:
        """Whether the figure may leave this machine."""
        return not self.path.startswith(f"{LOCAL}/")


@dataclass(frozen=True)
class Section:
    """One setting of an experiment's page."""

    part: Part
    arms: tables.ReportTable
    claims: tables.ReportTable
    setting: tables.ReportTable
    cost: tables.ReportTable
    search: tables.ReportTable
    tests: tables.ReportTable
    exchange: tables.ReportTable
    selectivity: tables.ReportTable
    figures: Sequence[Figure]
    blocks: Sequence[Block] = ()  # of designs and curves

    @property
    def tables(self) -> tuple[tables.ReportTable, ...]:
        """All of its tables."""
        own = (table for table in (self.search, self.tests, self.exchange, self.selectivity) if table.rows)
        of_blocks = (table for block in self.blocks for table in block.tables)
        return (self.arms, self.claims, *own, *of_blocks, self.setting, self.cost)


@cache
def environment(kind: Literal["html", "md"]) -> jinja2.Environment:
    """Templates beside this file, of HTML or Markdown. Both escape what they print."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("repro.report"),
        autoescape=kind == "html",
        finalize=markdown.text if kind == "md" else None,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"markdown_table": tables.markdown, "cell": markdown.cell, "code": markdown.code}
    made.filters |= {"paragraph": markdown.paragraph, "as_it_is": Markup}
    made.globals.update(words=words, contents=contents, title=paper.TITLE)
    return made
