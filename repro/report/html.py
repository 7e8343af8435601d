"""A report as a small site of HTML pages, which works from a file: the index and a page an experiment.

Each page holds all that it shows: nothing is loaded. Charts are SVG in the colors of the page, light or dark. All texts
pass through Jinja's escaping; Markdown of a declaration is rendered with raw HTML shown, not used.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from repro.report import contents, words
from repro.report.drawing import Figure
from repro.report.gather import Score, counted_scores
from repro.report.markdown import unmarked
from repro.report.sections import Board, ExperimentPage, IndexPage, environment
from repro.stats.values import VERDICTS

WIDTH, HEIGHT = 150, 26  # of an interval within a row, pixels


def site(index: IndexPage, pages: Sequence[ExperimentPage]) -> dict[str, bytes]:
    """Path below reports/ -> bytes."""
    linked = {page.experiment.name for page in pages}
    files = {f"{page.experiment.name}.html": _page("experiment.html.jinja", page=page) for page in pages}
    boards = [(board, rows(board, linked)) for board in index.boards]
    counts = Counter(row.word for _, of in boards for row in of)
    chips = [(word, counts[word]) for word in VERDICTS if counts[word]]
    files["index.html"] = _page("index.html.jinja", index=index, boards=boards, chips=chips)
    return files


def _page(template: str, **values: object) -> bytes:
    made = environment("html").get_template(template)
    return made.render(picture=picture, rich=rich, **values).encode()


@dataclass(frozen=True)
class Row:
    """A claim at a setting on the scoreboard."""

    word: str  # verdict of its primary number
    told: str  # the same, with what it depends on
    others: Sequence[str]  # verdicts of its other numbers, where they differ
    cells: Sequence[str | Markup]  # as contents.BOARD names them
    link: str  # page of its experiment, or nothing
    key: str  # of its mark in the forest
    bar: Markup
    evaluated: bool
    counted: bool  # whether it is at the setting that the claim is counted at


def rows(board: Board, linked: set[str]) -> list[Row]:
    """The rows of a board, those with a verdict first."""
    groups = contents.board_groups(board.scores)
    reach = _reach(board.scores)
    counted = {id(score) for score in counted_scores(board.scores)}
    found = []
    for group, cells in zip(groups, board.whole.rows, strict=True):
        first = next((score for score in group if score.primary), group[0])
        name = first.experiment.name
        found.append(
            Row(
                first.verdict,
                contents.verdict(first.judgement),
                cells[0].split("\n")[1:],
                [cells[0], f"{contents.section(first)}{name}", *(unmarked(cell) for cell in cells[2:])],
                f"{name}.html" if name in linked else "",
                contents.mark_key(first),
                bar(first, reach),
                contents.evaluated(group),
                any(id(score) in counted for score in group),
            )
        )
    return sorted(found, key=lambda row: not row.evaluated)  # stable


def _reach(scores: Sequence[Score]) -> float:
    """Points from 0 to either end of the bars of a board: the widest finite number."""
    ends = [0.0]
    for score in counted_scores(scores):
        if score.claim.row.unit == "points" and score.judgement and (one := score.judgement.estimate):
            ends += [one.low, one.mean, one.high, score.published or 0.0]
    return max(abs(end) for end in ends if math.isfinite(end)) or 1.0


def bar(score: Score, reach: float) -> Markup:
    """Our interval on a line from -reach to reach points, the published number a diamond; nothing in other units."""
    one = score.judgement.estimate if score.judgement else None
    if one is None or score.claim.row.unit != "points" or not math.isfinite(one.mean):
        return Markup("")

    def x(value: float) -> float:
        return round(WIDTH / 2 + max(-1.0, min(1.0, value / reach)) * (WIDTH / 2 - 6), 1)

    middle, drawn = HEIGHT / 2, []
    drawn.append(f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="2" y2="{HEIGHT - 2}"/>')
    drawn.append(f'<line class="ours" x1="{x(one.low)}" x2="{x(one.high)}" y1="{middle}" y2="{middle}"/>')
    drawn.append(f'<circle class="ours" cx="{x(one.mean)}" cy="{middle}" r="4"/>')
    if score.published is not None:
        at = x(score.published)
        corners = f"{at},{middle - 6} {at + 6},{middle} {at},{middle + 6} {at - 6},{middle}"
        drawn.append(f'<polygon class="published" points="{corners}"/>')
    alt = f"{words.with_interval(one, 'points')}; published {words.published(score.claim, score.metric)}"
    inside = Markup("".join(drawn))  # numbers only
    return Markup('<svg class="bar" role="img" width="{}" height="{}" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, alt, inside
    )


def picture(figure: Figure) -> Markup:
    """A figure: SVG where it has one, else its PNG as a URI."""
    if figure.svg is None:
        uri = f"data:image/png;base64,{base64.b64encode(figure.png).decode()}"
        return Markup('<img src="{}" alt="{}" width="900" loading="lazy">').format(uri, figure.alt)
    drawing = figure.svg()
    opened = Markup('<svg class="chart" role="img" aria-label="{}" ').format(figure.alt)
    return opened + Markup(drawing.removeprefix("<svg "))  # matplotlib escapes the text in it


def rich(text: str) -> Markup:
    """An experiment's discussion as HTML; raw HTML in it is shown, not used."""
    from markdown_it import MarkdownIt

    return Markup(MarkdownIt("commonmark", {"html": False}).render(text))
