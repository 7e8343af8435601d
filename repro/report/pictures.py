"""The pictures of a report, as PNG bytes. The same numbers give the same bytes: no time, no version, no random draw.

All are nine inches wide at 150 dots an inch, so that their text reads well in a column of 900 pixels. Colors are
seaborn's "colorblind" palette; shape or dash always says the same thing again.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repro.report import words

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from repro.stats import Interval
    from repro.stats.values import Unit

WIDTH = 9.0  # inches
DOTS = 150  # an inch
OURS, PAPER, NOTED = "#0173b2", "#de8f05", "#029e73"  # seaborn "colorblind": blue, orange, green
MANY = 8  # arms that one panel can tell apart
DASHES = ("-", "--", "-.", ":")
HOLLOW: dict[str, Any] = {
    "markerfacecolor": "none", "markeredgecolor": PAPER, "markersize": 9, "markeredgewidth": 2.2,
}  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib
    import seaborn

    extra: dict[str, Any] = {
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same everywhere
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.labelsize": 11,
        "legend.fontsize": 10,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "repro",
    }
    with matplotlib.rc_context({**seaborn.axes_style("whitegrid"), **extra}):
        yield


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, metadata={"Software": None})
    return buffer.getvalue()


def labels_with_n(frame: pd.DataFrame) -> dict[str, str]:
    """`{"no-lrn": "no-lrn (n = 5)"}` for every arm that has runs, in order."""
    return {arm: f"{arm} (n = {group['seed'].nunique()})" for arm, group in frame.groupby("arm", sort=False)}


def curves(frame: pd.DataFrame, *, stops: bool) -> bytes:
    """Learning curves: training error and test error (center view) against epochs, percent.

    `frame` is gather.curves. Lines are means over seeds with a band from the lowest to the highest seed; where runs
    `stops` at a target and so end at different epochs, every seed is a line of its own.
    """
    arms = labels_with_n(frame)
    if len(arms) > MANY:
        return _small_curves(frame, arms)
    shown = [("train_error", "training error"), ("test_top1_error", "test top-1 error, center view")]
    shown = [(column, title) for column, title in shown if frame[column].notna().any()]
    with _style():
        figure = _figure(3.9)
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, (column, title) in zip(panels, shown, strict=True):
            _lines(axes, frame, column, arms, stops=stops)
            axes.set_title(title, loc="left")
            axes.set(xlabel="epochs", ylabel="error (%)")
        handles, texts = panels[0].get_legend_handles_labels()
        note = "a line a seed" if stops else "line: mean over n seeds; band: lowest to highest seed"
        figure.legend(
            handles, texts, loc="outside upper center", ncols=min(len(arms), 4), title=note, title_fontsize=10
        )
        return _png(figure)


def _lines(axes: Axes, frame: pd.DataFrame, column: str, arms: Mapping[str, str], *, stops: bool) -> None:
    import seaborn

    some = frame.dropna(subset=[column])
    colors = seaborn.color_palette("colorblind", MANY)
    for place, (arm, label) in enumerate(arms.items()):
        mine = some[some["arm"] == arm]
        style = {"color": colors[place], "linestyle": DASHES[place % 4], "ax": axes, "x": "epoch", "y": column}
        if len(mine) and mine["epoch"].nunique() == 1:  # one epoch is a point, not a line
            style |= {"marker": MARKERS[place], "linestyle": ""}
        if stops:
            seaborn.lineplot(mine, units="seed", estimator=None, linewidth=1.2, label=label, legend=False, **style)
        else:
            seaborn.lineplot(mine, errorbar=("pi", 100), linewidth=2, label=label, legend=False, **style)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=0)


def _small_curves(frame: pd.DataFrame, arms: Mapping[str, str]) -> bytes:
    """A small panel an arm, with the first arm in gray behind each."""
    import seaborn

    first, *others = arms
    columns = 4
    rows = math.ceil(len(others) / columns)
    column = "test_top1_error"
    some = frame.dropna(subset=[column])
    with _style():
        figure = _figure(1.1 + 1.9 * rows)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, arm in zip(grid.flat, others, strict=False):
            for name, color, dash in ((first, "0.55", "--"), (arm, OURS, "-")):
                mine = some[some["arm"] == name]
                seaborn.lineplot(
                    mine, x="epoch", y=column, errorbar=("pi", 100), color=color, linestyle=dash, linewidth=1.6, ax=axes
                )
            axes.set_title(arms[arm], fontsize=9)
            axes.set(xlabel="", ylabel="")
            axes.xaxis.get_major_locator().set_params(integer=True, nbins=4)
            axes.tick_params(labelsize=9)
        for axes in list(grid.flat)[len(others) :]:
            axes.set_visible(False)
        figure.supxlabel("epochs")
        figure.supylabel("test top-1 error (%), center view")
        figure.suptitle(f"blue: the arm named; gray, dashed: {arms[first]}; band: lowest to highest seed", fontsize=11)
        return _png(figure)


@dataclass(frozen=True)
class Mark:
    """One row of an effect plot: our estimate, the paper's number and that of the 2012 run notes."""

    label: str
    unit: Unit
    estimate: Interval | None
    published: float | None
    noted: float | None = None
    at_least: bool = False


def _marks(axes: Axes, marks: Sequence[Mark], unit: Unit) -> None:
    for row, mark in enumerate(marks):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color="0.96", zorder=0)
        if mark.noted is not None:
            axes.plot(mark.noted, row, "x", color=NOTED, markersize=8, markeredgewidth=2.2, zorder=2)
        if mark.published is not None:
            axes.plot(mark.published, row, ">" if mark.at_least else "D", **HOLLOW, zorder=3)
        if mark.estimate is not None:
            low, high = mark.estimate.low, mark.estimate.high
            axes.plot([low, high], [row, row], color=OURS, linewidth=2.4, zorder=4)
            axes.plot(mark.estimate.mean, row, "o", color=OURS, markersize=8, zorder=5)
    axes.set_ylim(len(marks) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    if unit != "percent":
        axes.axvline(0 if unit == "points" else 1, color="0.25", linewidth=1.2, zorder=1)


TITLES: dict[Unit, str] = {
    "points": "difference in error (points; right of 0: the first arm is worse)",
    "times": "ratio of epochs (times; right of 1: the first arm is slower)",
    "percent": "error (%)",
}


def effects(marks: Sequence[Mark]) -> bytes:
    """Our numbers with their 95% intervals beside the paper's, a row a mark; a panel for each unit."""
    from matplotlib.lines import Line2D

    groups = {unit: [mark for mark in marks if mark.unit == unit] for unit in TITLES}
    groups = {unit: group for unit, group in groups.items() if group}
    with _style():
        figure = _figure(0.9 + 0.40 * len(marks) + 0.75 * len(groups))
        ratios = [len(group) + 0.6 for group in groups.values()]
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=ratios)[:, 0]
        for axes, (unit, group) in zip(panels, groups.items(), strict=True):
            _marks(axes, group, unit)
            axes.set_yticks(range(len(group)), [mark.label for mark in group])
            axes.set_xlabel(TITLES[unit])
            axes.margins(x=0.08)
        none: dict[str, Any] = {"linestyle": ""}
        legend = [Line2D([], [], color=OURS, marker="o", linewidth=2.4, markersize=8, label="ours, 95% interval")]
        if any(mark.published is not None and not mark.at_least for mark in marks):
            legend.append(Line2D([], [], marker="D", label="paper", **none, **HOLLOW))
        if any(mark.at_least for mark in marks):
            legend.append(Line2D([], [], marker=">", label="paper: at least", **none, **HOLLOW))
        if any(mark.noted is not None for mark in marks):
            noted = {"marker": "x", "color": NOTED, "markersize": 8, "markeredgewidth": 2.2}
            legend.append(Line2D([], [], label="2012 run notes", **none, **noted))
        figure.legend(handles=legend, loc="outside upper center", ncols=len(legend))
        return _png(figure)


def figure_1(frame: pd.DataFrame, fast: str, slow: str, target: float) -> bytes:
    """The paper's Figure 1 from our runs: training error rate against epochs, `fast` solid, `slow` dashed.

    A thin line a seed; the thick line is the seed that reaches the target in the median number of epochs.
    """
    with _style():
        figure = _figure(4.6)
        axes = figure.subplots()
        some = frame.dropna(subset=["train_error"])
        for arm, dash, color in ((fast, "-", OURS), (slow, "--", PAPER)):
            mine = some[some["arm"] == arm]
            n = mine["seed"].nunique()
            if not n:
                continue
            lengths = mine.groupby("seed")["epoch"].max().sort_values(kind="stable")
            middle = lengths.index[(n - 1) // 2]
            for seed, run in mine.groupby("seed"):
                thick = seed == middle
                label = f"{arm} (n = {n}; thick: the median seed)" if thick else None
                axes.plot(
                    run["epoch"], run["train_error"], dash, color=color, linewidth=2.6 if thick else 0.9,
                    alpha=1.0 if thick else 0.6, label=label,
                )  # fmt: skip
        axes.axhline(target, color="0.25", linewidth=1.2, linestyle=":")
        axes.annotate(
            f"{words.number(target, 0)}%", (1.0, target), xycoords=("axes fraction", "data"), xytext=(-4, 4),
            textcoords="offset points", ha="right",
        )  # fmt: skip
        axes.set(xlabel="epochs", ylabel="training error rate (%)", xlim=(0, None), ylim=(0, None))
        axes.legend(loc="upper right")
        return _png(figure)


def figure_3(kernels: np.ndarray) -> bytes:
    """The paper's Figure 3: first-layer kernels (maps, 3, k, k), tower 1 above tower 2, 16 a row at 96 kernels.

    Each kernel is stretched on its own to the full range, gray at its middle.
    """
    import numpy as np

    maps, _, side, _ = kernels.shape
    columns = 16 if maps % 16 == 0 and maps >= 64 else 8
    rows = math.ceil(maps / columns)
    lowest = kernels.min(axis=(1, 2, 3), keepdims=True)
    highest = kernels.max(axis=(1, 2, 3), keepdims=True)
    scaled = (kernels - lowest) / np.maximum(highest - lowest, 1e-12)
    with _style():
        figure = _figure(WIDTH * rows / columns + 0.5)
        grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, kernel in zip(grid.flat, scaled, strict=False):
            axes.imshow(kernel.transpose(1, 2, 0), interpolation="nearest")
        half = rows // 2
        text = f"{maps} kernels of {side}{words.TIMES}{side}{words.TIMES}3 of the first layer"
        figure.suptitle(f"{text}; upper {half} rows: tower 1, lower {rows - half}: tower 2", fontsize=11)
        return _png(figure)


def figure_4(
    pictures: np.ndarray, labels: Sequence[str], names: Sequence[Sequence[str]], probability: np.ndarray
) -> bytes:
    """The paper's Figure 4. Left: eight test pictures with their five likeliest labels. Right: five test pictures,
    each followed by the six training pictures with the nearest features.

    `pictures` is (R, C, S, S, 3) of bytes, a test picture and its C - 1 neighbors a row; `probability` is (R, 5).
    """
    left, right = min(8, len(pictures)), min(5, len(pictures))
    columns = min(4, left)
    rows = math.ceil(left / columns)
    with _style():
        figure = _figure(rows * 2.9 + right * 1.3 + 0.6)
        upper, lower = figure.subfigures(2, 1, height_ratios=[rows * 2.9, right * 1.3 + 0.4])
        grid = upper.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.5, 1.0] * rows)
        for axes in grid.flat:
            axes.set_axis_off()
        for place in range(left):
            row, column = divmod(place, columns)
            axes, bars = grid[2 * row, column], grid[2 * row + 1, column]
            axes.imshow(pictures[place, 0])
            axes.set_title(labels[place], fontsize=10, fontweight="bold")
            _bars(bars, labels[place], names[place], probability[place])
        panels = lower.subplots(right, pictures.shape[1], squeeze=False)
        for row in range(right):
            for column in range(pictures.shape[1]):
                panels[row, column].imshow(pictures[row, column])
                panels[row, column].set_axis_off()
        lower.suptitle(
            "first column: test pictures; the others: training pictures with the nearest features", fontsize=11
        )
        return _png(figure)


def _bars(axes: Axes, label: str, names: Sequence[str], probability: np.ndarray) -> None:
    """Five likeliest labels; the right one hatched as well as colored."""
    axes.set_axis_on()
    for place, (name, value) in enumerate(zip(names, probability, strict=True)):
        right = name == label
        axes.barh(place, value, color=PAPER if right else "#9ecae1", hatch="//" if right else None, edgecolor="white")
        axes.text(0.02, place, name, va="center", fontsize=9)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), yticks=[], xticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
