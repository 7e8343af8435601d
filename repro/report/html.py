"""The one-page report: everything inline, so that it opens from a file and asks the network for nothing.

Curves are drawn by plotly.js from plain dicts; what they show also stands in a table below each, for those who do not
see them. A content security policy in the page forbids every request.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repro.report import contents, figures, words
from repro.report.gather import Gathered, Score

if TYPE_CHECKING:
    import pandas as pd

    from repro.report.blocks import Block
    from repro.report.sections import Section
    from repro.report.tables import ReportTable

PLOTTED = {"train_error": "training error", "test_top1_error": "test top-1 error, center view"}
SEEDS_DRAWN = 20  # lines of their own in one plot; more are drawn as mean and band
PLOTLY_DASHES = ("solid", "dash", "dashdot", "dot")


@dataclass(frozen=True)
class Cell:
    """A cell of the scoreboard: its text, what it sorts by (None: after all others), and where it leads."""

    text: str
    key: float | str | None
    link: str = ""


@dataclass(frozen=True)
class Plot:
    """A zoomable figure: plotly's traces and layout, and the numbers behind it at a few epochs."""

    name: str
    title: str
    alt: str
    figure: Mapping[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def html_page(
    gathered: Gathered,
    sections: Mapping[str, Sequence[Section]],
    forest: bytes | None,
    own: Mapping[str, Sequence[ReportTable]],
    over: Mapping[str, Sequence[Block]],
) -> bytes:
    """The page. `sections` holds the settings of each experiment, `own` further tables of an experiment, `over` what
    its settings say together."""
    from plotly.offline import get_plotlyjs

    from repro.report.sections import environment

    experiments = [one for one in gathered.experiments if sections.get(one.name)]
    board = [_row(score) for score in gathered.scores]
    return (
        environment("html")
        .get_template("page.html.jinja")
        .render(
            gathered=gathered,
            experiments=experiments,
            sections=sections,
            own=own,
            over=over,
            board=board,
            columns=COLUMNS,
            verdicts=sorted({str(row[-1].key) for row in board}),
            settings=sorted({row[-2].text for row in board} - {words.NOTHING}),
            forest=None if forest is None else data_uri(forest),
            plots={name: [plots(one) for one in several] for name, several in sections.items()},
            data_uri=data_uri,
            rich=_markdown,
            plotly=get_plotlyjs(),
        )
        .encode()
    )


COLUMNS = (
    "§",
    "experiment",
    "claim",
    "metric",
    "published",
    "2012 runs",
    "ours [95% interval]",
    "n",
    "setting",
    "verdict",
)


def _row(score: Score) -> list[Cell]:
    one, unit = score.judgement, score.claim.row.unit
    estimate = one.estimate if one else None
    name = score.experiment.name
    return [
        Cell(score.experiment.section, score.experiment.section),
        Cell(name, name, f"#{name}" if score.setting else ""),
        Cell(contents.score_line(score), contents.score_line(score)),
        Cell(words.metric(score.metric), score.metric),
        Cell(words.published(score.claim, score.metric), score.published),
        Cell(words.quantity(score.noted, unit), score.noted),
        Cell(words.with_interval(estimate, unit), _key(estimate.mean) if estimate else None),
        Cell(str(one.seeds) if one else words.NOTHING, one.seeds if one else None),
        Cell(score.setting.name, score.setting.name) if score.setting else Cell(words.NOTHING, None),
        Cell(contents.verdict(one), score.verdict),
    ]


def _key(value: float) -> float | str:
    """A number as JavaScript reads it."""
    return f"{'-' if value < 0 else ''}Infinity" if math.isinf(value) else value


def data_uri(png: bytes) -> str:
    """A PNG as a URI that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _markdown(text: str) -> str:
    """An experiment's discussion as HTML; raw HTML in it is shown, not used."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).render(text))


def plots(section: Section) -> list[Plot]:
    """The learning curves of one setting, one plot a metric."""
    found: list[Plot] = []
    if section.part.setting.design:
        return found
    for column, title in PLOTTED.items():
        some = section.part.curves.dropna(subset=[column])
        if len(some):
            found.append(_plot(section, some, column, title))
    return found


def _plot(section: Section, frame: pd.DataFrame, column: str, title: str) -> Plot:
    arms = figures.labels_with_n(frame)
    stops = section.part.config.schedule.stop_train_error is not None
    single = stops and len(frame[["arm", "seed"]].drop_duplicates()) <= SEEDS_DRAWN
    traces: list[dict[str, Any]] = []
    for place, (arm, label) in enumerate(arms.items()):
        mine = frame[frame["arm"] == arm]
        style = {"color": figures.PALETTE[place % len(figures.PALETTE)], "dash": PLOTLY_DASHES[place % 4]}
        whole = section.part.curves[section.part.curves["arm"] == arm]
        mode = "lines+markers" if figures.marked(whole, column) else "lines"
        draw = _by_seed if single else _band
        traces += draw(mine, column, arm, label, style, mode)
    part = section.part
    name = f"{part.experiment.name}--{part.setting.name.replace('+', '-')}--{column}"
    last = frame[frame["epoch"] == frame.groupby(["arm", "seed"])["epoch"].transform("max")]
    rows = [
        [label, str(int(mine["epoch"].max())), words.mean_and_spread(mine[column].mean(), mine[column].std())]
        for arm, label in arms.items()
        for mine in [last[last["arm"] == arm]]
    ]
    layout = {
        "xaxis": {"title": {"text": "epochs"}},
        "yaxis": {"title": {"text": f"{title} (%)"}, "rangemode": "tozero"},
    }
    alt = (
        f"{title} in percent against epochs for {', '.join(arms.values())}; its last numbers stand in the table below."
    )
    return Plot(name, title, alt, {"data": traces, "layout": layout}, ["arm", "epochs", "error at the end (%)"], rows)


def _by_seed(
    frame: pd.DataFrame, column: str, arm: str, label: str, style: Mapping[str, Any], mode: str
) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter", "mode": mode, "x": run["epoch"].tolist(), "y": _rounded(run[column]), "name": label,
            "legendgroup": arm, "showlegend": first, "line": {**style, "width": 1.5},
            "hovertemplate": f"{arm}, seed {seed}: %{{y:.2f}}% at epoch %{{x}}<extra></extra>",
        }
        for first, (seed, run) in zip([True] + [False] * frame["seed"].nunique(), frame.groupby("seed"), strict=False)
    ]  # fmt: skip


def _band(
    frame: pd.DataFrame, column: str, arm: str, label: str, style: Mapping[str, Any], mode: str
) -> list[dict[str, Any]]:
    over = figures.over_seeds(frame, column)
    mean, low, high = over["mean"], over["min"], over["max"]
    epochs = over.index.tolist()
    band = {
        "type": "scatter", "mode": "lines", "x": epochs + epochs[::-1], "y": _rounded(high) + _rounded(low)[::-1],
        "fill": "toself", "fillcolor": f"{style['color']}33", "line": {"width": 0}, "hoverinfo": "skip",
        "showlegend": False, "legendgroup": arm, "name": label,
    }  # fmt: skip
    line = {
        "type": "scatter", "mode": mode, "x": epochs, "y": _rounded(mean),
        "name": label, "legendgroup": arm, "line": {**style, "width": 2.5},
        "hovertemplate": f"{arm}: %{{y:.2f}}% at epoch %{{x}}<extra></extra>",
    }  # fmt: skip
    return [band, line]


def _rounded(values: pd.Series[float]) -> list[float]:
    return [round(float(value), 3) for value in values]
