"""What a page consists of: a section for each setting with its tables and figures, and the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from repro.experiments import paper
from repro.report import contents, markdown, tables, words
from repro.report.drawing import Figure
from repro.report.explained import explained
from repro.report.gather import Gathered, Part, Score

if TYPE_CHECKING:
    import jinja2

    from repro.experiments.experiment import Experiment
    from repro.report.blocks import Block

OWN_IMAGES = ("photos",)  # data whose images may be published: those that ship with scikit-image and scikit-learn


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


@dataclass(frozen=True)
class ExperimentPage:
    """The page of one experiment; its first section is the one that the page begins with."""

    experiment: Experiment
    sections: Sequence[Section]
    discussion: str = ""  # Markdown, its numbers filled in
    own: Sequence[tables.ReportTable] = ()  # beside the paper's tables
    over: Sequence[Block] = ()  # of all settings together

    @property
    def figures(self) -> list[Figure]:
        """All of its figures."""
        blocks = [*self.over, *(block for one in self.sections for block in one.blocks)]
        shown = [figure for one in self.sections for figure in one.figures]
        return [*shown, *(figure for block in blocks for figure in block.figures)]

    @property
    def tables(self) -> list[tables.ReportTable]:
        """All of its tables that have numbers."""
        over = [table for block in self.over for table in block.tables]
        return [*self.own, *over, *(table for one in self.sections for table in one.tables)]


@dataclass(frozen=True)
class Board:
    """A part of the scoreboard: the claims of one origin. Its tables are made once, when they are first asked for."""

    name: str
    title: str
    scores: Sequence[Score]

    @cached_property
    def whole(self) -> tables.ReportTable:
        """All of its rows."""
        return contents.scoreboard(self.scores, self.name, f"{self.title}.")

    @cached_property
    def evaluated(self) -> tables.ReportTable:
        """The rows that have a verdict."""
        return contents.scoreboard(self.scores, self.name, f"{self.title}.", only=True)

    @cached_property
    def open(self) -> tables.ReportTable:
        """The rows that have none."""
        return contents.scoreboard(self.scores, self.name, f"{self.title}: not evaluated.", only=False)


@dataclass(frozen=True)
class IndexPage:
    """The first page."""

    gathered: Gathered
    boards: Sequence[Board]
    arithmetic: tables.ReportTable
    forest: Figure | None
    weights: bool  # whether there is a page of weights that were not trained here


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
    made.filters |= {"paragraph": markdown.paragraph, "unmarked": markdown.unmarked, "as_it_is": Markup}
    made.globals.update(words=words, contents=contents, title=paper.TITLE, explained=explained)
    return made
