"""The figures of a report as drawings, which drawing.py makes files of. No time, no version, no random draw.

All are nine inches wide. Colors are seaborn's "colorblind" palette; shape or dash always says the same thing again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from repro.report import words

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from repro.stats import Interval
    from repro.stats.values import Unit

WIDTH = 9.0  # inches
PALETTE = (
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#949494",
    "#56b4e9",
)  # seaborn "colorblind"
OURS, PUBLISHED, NOTED = PALETTE[:3]
UNCLAIMED = "0.45"  # gray
MANY = 8  # arms that one panel can tell apart
DASHES = ("-", "--", "-.", ":")
HOLLOW: dict[str, Any] = {
    "markerfacecolor": "none", "markeredgecolor": PUBLISHED, "markersize": 9, "markeredgewidth": 2.2,
}  # fmt: skip
NOTE: dict[str, Any] = {"linestyle": "", "marker": "x", "color": NOTED, "markersize": 8, "markeredgewidth": 2.2}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def canvas(height: float) -> Figure:
    """An empty drawing of the common width, and of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def labels_with_n(frame: pd.DataFrame) -> dict[str, str]:
    """`{"no-lrn": "no-lrn (n = 5)"}` for every arm that has runs, in order."""
    return {str(arm): f"{arm} (n = {group['seed'].nunique()})" for arm, group in frame.groupby("arm", sort=False)}


TRAINING = "training error of batches, as trained on"  # with augmentation and dropout


def curves(
    frame: pd.DataFrame, *, stops: bool, ends: Mapping[str, float] | None = None, drops: Sequence[int] = ()
) -> Figure:
    """Learning curves: training error and test error (center view) against epochs, percent.

    `frame` is Part.curves. Lines are means over seeds with a band from the lowest to the highest seed; where runs
    `stops` at a target and so end at different epochs, every seed is a line of its own. `ends`: arm -> mean training
    error at the end in test mode, percent: without augmentation and dropout. `drops`: epochs after which the rate fell.
    """
    arms = labels_with_n(frame)
    if len(arms) > MANY:
        return _small_curves(frame, arms)
    shown = [("train_error", TRAINING), ("test_top1_error", "test top-1 error, center view")]
    shown = [(column, title) for column, title in shown if frame[column].notna().any()]
    handles_rows = math.ceil(len(arms) / 4)
    height = 3.5 + 0.22 * handles_rows
    two = 0.24 if ends else 0.0  # the second line of a title
    figure, panels = _panels(1, len(shown), height + two, top=0.6 + two + 0.22 * handles_rows, between=0.75)
    for axes, (column, title) in zip(panels[0], shown, strict=True):
        _lines(axes, frame, column, arms, stops=stops)
        for drop in drops:
            axes.axvline(drop, color="0.25", linewidth=0.8, linestyle=":", zorder=0)
        if column == "train_error" and ends:
            title = f"{title}\n\N{WHITE DIAMOND}: of the images, in test mode, at the end"
            _ends(axes, frame, ends, list(arms))
        axes.set_title(title, loc="left", fontsize=11)
        axes.set(xlabel="epochs", ylabel="error (%)")
    handles, texts = panels[0][0].get_legend_handles_labels()
    once = dict(zip(texts, handles, strict=True))
    one = frame.groupby("arm")["seed"].nunique().max() == 1
    note = "a run an arm" if one else "a line a run" if stops else "line: mean over n runs; band: lowest to highest run"
    if drops:
        note += "; dotted: the learning rate falls"
    figure.legend(
        once.values(), once.keys(), loc="upper center", ncols=min(len(arms), 4), title=note, title_fontsize=10
    )
    return figure


def _ends(axes: Axes, frame: pd.DataFrame, ends: Mapping[str, float], arms: Sequence[str]) -> None:
    """A diamond an arm at the mean length of its runs."""
    for place, arm in enumerate(arms):
        if arm in ends:
            length = frame[frame["arm"] == arm].groupby("seed")["epoch"].max().mean()
            style: dict[str, Any] = {"color": PALETTE[place], "markerfacecolor": "white", "markersize": 6}
            axes.plot(length, ends[arm], "D", clip_on=False, zorder=5, **style)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.95 * min(ends.values())), max(high, 1.05 * max(ends.values())))


def _panels(
    rows: int, columns: int, height: float, *, top: float, between: float, **options: Any
) -> tuple[Figure, Any]:
    """A figure of panels with margins set by hand, inches: constrained layout costs as much as all the drawing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    width = (WIDTH - 0.75 - (columns - 1) * between) / columns
    tall = (height - top - 0.55) / rows
    edges = {"left": 0.65 / WIDTH, "right": 1 - 0.1 / WIDTH, "bottom": 0.55 / height, "top": 1 - top / height}
    spaces = {"wspace": between / width, "hspace": 0.38 / (tall - 0.38)}
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw={**edges, **spaces}, **options)


def over_seeds(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """`mean`, `min` and `max` of one arm's `column` over its seeds, indexed by epoch."""
    return frame.dropna(subset=[column]).groupby("epoch")[column].agg(["mean", "min", "max"])


def marked(frame: pd.DataFrame, column: str) -> bool:
    """Whether the points of one arm's `column` are to be seen: there is one alone, or not one after every epoch."""
    measured = frame.dropna(subset=[column])["epoch"].nunique()
    return measured == 1 or measured < frame["epoch"].nunique()


def _lines(axes: Axes, frame: pd.DataFrame, column: str, arms: Mapping[str, str], *, stops: bool) -> None:
    for place, (arm, label) in enumerate(arms.items()):
        whole = frame[frame["arm"] == arm]
        mine = whole.dropna(subset=[column])
        style: dict[str, Any] = {"color": PALETTE[place], "linestyle": DASHES[place % 4], "label": label}
        if marked(whole, column):
            style |= {"marker": MARKERS[place], "markersize": 5}
        if mine["epoch"].nunique() == 1:  # one epoch is a point, not a line
            style["linestyle"] = ""
        if stops:
            for _, run in mine.groupby("seed"):
                axes.plot(run["epoch"], run[column], linewidth=1.2, **style)
        else:
            _band(axes, over_seeds(mine, column), linewidth=2, **style)
    _whole_epochs(axes)
    low, high = axes.dataLim.y0, axes.dataLim.y1
    if math.isfinite(low) and math.isfinite(high):
        axes.set_ylim(max(0.0, low - 0.05 * (high - low)), high + 0.05 * (high - low) + 0.01)


def _band(axes: Axes, band: pd.DataFrame, *, color: str, **style: Any) -> None:
    axes.fill_between(band.index, band["min"], band["max"], color=color, alpha=0.2, linewidth=0)
    axes.plot(band.index, band["mean"], color=color, **style)


def _whole_epochs(axes: Axes, most: int = 8) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True))


def _small_curves(frame: pd.DataFrame, arms: Mapping[str, str]) -> Figure:
    """A small panel an arm, with the first arm in gray behind each."""
    first, *others = arms
    columns = 3
    rows = math.ceil(len(others) / columns)
    column = "test_top1_error"
    seeds = sorted({group["seed"].nunique() for _, group in frame.groupby("arm")})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}"
    height = 1.15 + 1.75 * rows
    figure, grid = _panels(rows, columns, height, top=0.7, between=0.3, sharex=True, sharey=True)
    for axes, arm in zip(grid.flat, others, strict=False):
        for name, color, dash in ((first, "0.55", "--"), (arm, OURS, "-")):
            mine = frame[frame["arm"] == name]
            point = "o" if marked(mine, column) else ""
            band = over_seeds(mine, column)
            _band(axes, band, color=color, linestyle=dash, linewidth=1.6, marker=point, markersize=3)
        axes.set_title(arm, fontsize=10)
        axes.set(xlabel="", ylabel="")
        _whole_epochs(axes, 4)
        axes.tick_params(labelsize=9)
    for axes in list(grid.flat)[len(others) :]:
        axes.set_visible(False)
    figure.supxlabel("epochs", y=0.12 / height, fontsize=11)
    figure.supylabel("test top-1 error (%), center view", x=0.01, fontsize=11)
    figure.suptitle(
        y=1 - 0.15 / height,
        t=f"blue: the arm named; gray, dashed: {first}; band: lowest to highest seed ({n} an arm)",
        fontsize=11,
    )
    return figure


@dataclass(frozen=True)
class Mark:
    """One row of an effect plot: our estimate, the paper's number and that of the 2012 run notes."""

    label: str
    unit: Unit
    estimate: Interval
    published: float | None
    noted: float | None = None
    at_least: bool = False
    same_setting: bool | None = True  # False: ours was measured at another setting or on other data; None: no claim
    tolerance: float | None = None  # points about the published number within which ours counts as reproduced
    key: str = ""  # names its estimate in an SVG


def _marks(axes: Axes, marks: Sequence[Mark], unit: Unit) -> None:
    """A row a mark: ours above, the published number below, so that neither hides the other."""
    edges = _edges(marks, unit)
    if unit == "times":
        _log_axis(axes)
    axes.set(xlim=edges, ylim=(len(marks) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    if unit != "percent":
        axes.axvline(0 if unit == "points" else 1, color="0.25", linewidth=1.2, zorder=1)
    for row, mark in enumerate(marks):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color="0.96", zorder=0)
        if mark.noted is not None:
            axes.plot(mark.noted, row + 0.2, **NOTE, zorder=2)
        if mark.published is not None and mark.tolerance is not None:
            band = [mark.published - mark.tolerance, mark.published + mark.tolerance]
            axes.fill_between(band, row - 0.45, row + 0.45, color=PUBLISHED, alpha=0.2, linewidth=0, zorder=1)
        if mark.published is not None:
            axes.plot(mark.published, row + 0.2, ">" if mark.at_least else "D", **HOLLOW, zorder=3)
        place = row if mark.published is None and mark.noted is None else row - 0.17
        _interval(axes, mark.estimate, place, edges, mark.same_setting, mark.key)


def _log_axis(axes: Axes) -> None:
    """Ratios as their intervals are made: twice and half lie as far from once. Ticks at 1, 2, 5, 10."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _edges(marks: Sequence[Mark], unit: Unit) -> tuple[float, float]:
    """Left and right end of a panel: all that is finite, no effect (0 points, once the epochs), and some room."""
    numbers = [number for mark in marks for number in (mark.published, mark.noted) if number is not None]
    for mark in marks:
        numbers += [mark.estimate.mean, mark.estimate.low, mark.estimate.high]
        if mark.tolerance is not None and mark.published is not None:
            numbers += [mark.published - mark.tolerance, mark.published + mark.tolerance]
    numbers += {"points": [0.0], "times": [1.0]}.get(unit, [])
    if unit == "times":
        numbers = [math.log(number) for number in numbers if number > 0]
    finite = [number for number in numbers if math.isfinite(number)]
    room = 0.06 * ((max(finite) - min(finite)) or 1.0)
    low, high = min(finite) - room, max(finite) + room
    return (math.exp(low), math.exp(high)) if unit == "times" else (low, high)


def _interval(
    axes: Axes, estimate: Interval, place: float, edges: tuple[float, float], same_setting: bool | None, key: str
) -> None:
    """The estimate and its bar, dotted where it is of images only; an end outside the panel (no end, or a ratio of 0)
    is an arrow at its edge."""
    low, high = max(estimate.low, edges[0]), min(estimate.high, edges[1])
    dash = ":" if estimate.images_only else "-"
    color = UNCLAIMED if same_setting is None else OURS
    (bar,) = axes.plot([low, high], [place, place], dash, color=color, linewidth=2.4, zorder=4)
    if key:
        bar.set_gid(f"mark-{key}")
    for within, edge, arrow in ((estimate.low >= low, edges[0], "<"), (estimate.high <= high, edges[1], ">")):
        if not within:
            axes.plot(edge, place, arrow, color=color, markersize=9, clip_on=False, zorder=5)
    if math.isfinite(estimate.mean):
        axes.plot(estimate.mean, place, **_ours(same_setting), zorder=6)


def _ours(same_setting: bool | None) -> dict[str, Any]:
    """Filled where the setting is the claim's own, open where it is not, a gray square where nothing was claimed."""
    color = UNCLAIMED if same_setting is None else OURS
    filled = "white" if same_setting is False else color
    marker = "s" if same_setting is None else "o"
    return {"color": color, "marker": marker, "markersize": 8, "markeredgewidth": 2, "markerfacecolor": filled}


TITLES: dict[Unit, str] = {
    "points": "points (right of 0: the first arm is worse)",
    "times": "times (log scale; right of 1: the first is slower)",
    "percent": "error (%)",
}


def effects(marks: Sequence[Mark]) -> Figure:
    """Our numbers with their 95% intervals beside the paper's, a row a mark; a panel for each unit."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    groups = {unit: [mark for mark in marks if mark.unit == unit] for unit in TITLES}
    groups = {unit: group for unit, group in groups.items() if group}
    figure = canvas(0.9 + 0.40 * len(marks) + 0.75 * len(groups))
    ratios = [len(group) + 0.6 for group in groups.values()]
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (unit, group) in zip(panels, groups.items(), strict=True):
        _marks(axes, group, unit)
        axes.set_yticks(range(len(group)), [mark.label for mark in group], fontsize=10)
        axes.set_xlabel(TITLES[unit])
    legend: list[Any] = [
        Line2D([], [], linewidth=2.4, label=f"ours, {where}", **_ours(same))
        for same, where in ((True, "the claim's setting"), (False, "another setting or data"), (None, "no claim"))
        if any(mark.same_setting is same for mark in marks)
    ]
    if any(mark.published is not None and not mark.at_least for mark in marks):
        legend.append(Line2D([], [], linestyle="", marker="D", label="published", **HOLLOW))
    if any(mark.tolerance is not None for mark in marks):
        legend.append(Patch(color=PUBLISHED, alpha=0.2, label="an interval in it: reproduced"))
    if any(mark.at_least for mark in marks):
        legend.append(Line2D([], [], linestyle="", marker=">", label="published: at least", **HOLLOW))
    if any(mark.noted is not None for mark in marks):
        legend.append(Line2D([], [], label="2012 run notes", **NOTE))
    note = "bars: 95% intervals"
    if any(mark.estimate.images_only for mark in marks):
        note += "; dotted: one or two runs, of images only"
    figure.legend(handles=legend, loc="outside upper center", ncols=min(4, len(legend)), title=note, title_fontsize=10)
    return figure


def figure_1(frame: pd.DataFrame, fast: str, slow: str, target: float, said: str = "") -> Figure:
    """The paper's Figure 1 from our runs: training error rate against epochs, `fast` solid, `slow` dashed; the ratio
    of their epochs as `said`.

    A thin line a seed; the thick line is the seed that reaches the target in the median number of epochs.
    """
    figure = canvas(4.6)
    axes = figure.subplots()
    some = frame.dropna(subset=["train_error"])
    for arm, dash, color in ((fast, "-", OURS), (slow, "--", PUBLISHED)):
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
        f"{words.number(target, 0)}%", (0.0, target), xycoords=("axes fraction", "data"), xytext=(5, 4),
        textcoords="offset points",
    )  # fmt: skip
    axes.set(xlabel="epochs", ylabel="training error rate (%)", xlim=(0, None), ylim=(0, None))
    axes.legend(loc="upper right", title=said, title_fontsize=10)
    return figure


def figure_3(kernels: np.ndarray, towers: int = 2) -> Figure:
    """The paper's Figure 3: first-layer kernels (maps, 3, k, k), tower 1 above tower 2, 16 a row at 96 kernels.

    Each kernel is stretched on its own to the full range.
    """
    import numpy as np

    maps, _, side, _ = kernels.shape
    columns = 16 if maps >= 64 else 8
    lowest = kernels.min(axis=(1, 2, 3), keepdims=True)
    highest = kernels.max(axis=(1, 2, 3), keepdims=True)
    scaled = ((kernels - lowest) / np.maximum(highest - lowest, 1e-12)).transpose(0, 2, 3, 1)
    enlarged = scaled.repeat(max(1, 72 // side), axis=1).repeat(max(1, 72 // side), axis=2)
    rows = math.ceil(maps / towers / columns)
    figure = canvas(WIDTH * towers * rows / columns + 0.45 * towers)
    panels = figure.subplots(towers, 1, squeeze=False)[:, 0]
    for tower, axes in enumerate(panels):
        axes.imshow(_mosaic(enlarged[tower * maps // towers : (tower + 1) * maps // towers], columns))
        of = f"tower {tower + 1}: " if towers > 1 else ""
        count = maps // towers
        axes.set_title(f"{of}{count} kernels of {side}{words.TIMES}{side}{words.TIMES}3", loc="left", fontsize=11)
        axes.set_axis_off()
    return figure


def _mosaic(tiles: np.ndarray, columns: int, gap: int = 6) -> np.ndarray:
    """Tiles (n, s, s, 3) of [0, 1] in rows of `columns`, on black."""
    import numpy as np

    side = tiles.shape[1] + gap
    rows = math.ceil(len(tiles) / columns)
    board = np.zeros((rows * side + gap, columns * side + gap, 3))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        top, left = gap + row * side, gap + column * side
        board[top : top + side - gap, left : left + side - gap] = tile
    return board


def figure_4(found: Mapping[str, np.ndarray]) -> Figure:
    """The paper's Figure 4, its halves one above the other: test images with their likeliest classes, and test
    images each followed by the training images with the nearest features.

    `found` holds the arrays of neighbors.npz (repro.training.neighbors).
    """
    names = [str(name).replace("_", " ") for name in found["class_name"]]
    guesses, queries = len(found["guess_picture"]), len(found["query_picture"])
    columns = min(4, guesses)
    rows = math.ceil(guesses / columns)
    heights = [rows * 3.2, queries * 1.28 + 0.5]
    figure = canvas(sum(heights))
    upper, lower = cast("Sequence[Figure]", figure.subfigures(2, 1, height_ratios=heights))
    grid = upper.subplots(2 * rows, columns, squeeze=False, height_ratios=[2.0, 1.0] * rows)
    for axes in grid.flat:
        axes.set_axis_off()
    for place in range(guesses):
        row, column = divmod(place, columns)
        right = int(found["guess_label"][place])
        grid[2 * row, column].imshow(found["guess_picture"][place])
        grid[2 * row, column].set_title(_shortened(names[right]), fontsize=11, fontweight="bold")
        classes = [int(number) for number in found["guess_class"][place]]
        guessed = [(_shortened(names[number]), number == right) for number in classes]
        _bars(grid[2 * row + 1, column], guessed, found["guess_probability"][place])
    panels = lower.subplots(queries, 1 + found["near_picture"].shape[1], squeeze=False)
    for line, query, near in zip(panels, found["query_picture"], found["near_picture"], strict=True):
        for axes, image in zip(line, [query, *near], strict=True):
            axes.imshow(image)
            axes.set_axis_off()
    lower.suptitle("left: test images; the rest of a row: the training images with the nearest features", fontsize=11)
    return figure


def _shortened(name: str, most: int = 22) -> str:
    """A class name that fits its bar: the first of several synonyms, cut where it is still too long."""
    first = name.split(",")[0]
    return first if len(first) <= most else f"{first[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _bars(axes: Axes, guessed: Sequence[tuple[str, bool]], probability: np.ndarray) -> None:
    """The likeliest classes, the most probable on top; the right one in orange and hatched."""
    axes.set_axis_on()
    for place, ((name, right), value) in enumerate(zip(guessed, probability, strict=True)):
        color, hatch = ("#f5c98a", "///") if right else ("#bcd9ee", None)
        axes.barh(place, float(value), color=color, hatch=hatch, edgecolor="white", height=0.9)
        axes.text(0.02, place, name, va="center", fontsize=10, fontweight="bold" if right else "normal")
    axes.set(xlim=(0, 1), ylim=(len(guessed) - 0.5, -0.5), yticks=[], xticks=[0, 1])
    axes.set_xticklabels(["0", "1"], fontsize=9)
    axes.grid(visible=False)
