"""From a drawing to a file: PNG for Markdown, SVG for HTML. The same numbers give the same bytes.

A drawing is a matplotlib Figure that a function makes of plain values. PNGs are made at 150 dots an inch, so that a
width of nine inches reads well in a column of 900 pixels. In an SVG, text is text, and black, white and the gray of
grids are the colors of the page, which follow light and dark.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

LOCAL = "local"  # below reports/: figures that show images of other data
DOTS = 150  # an inch
MADE_OF = "repro:made-of"
FONTS = "'DejaVu Sans', Verdana, sans-serif"  # DejaVu ships with matplotlib: PNGs are the same everywhere
OF_PAGE = {  # color of a drawing -> color of the page around it
    "#262626": "currentColor", "#000000": "currentColor", "#404040": "currentColor",
    "#ffffff": "var(--back, #fff)", "#cccccc": "var(--line, #ccc)", "#f5f5f5": "var(--stripe, #f5f5f5)",
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A picture with its place below reports/, what it shows (for those who cannot see it), and its caption."""

    path: str
    png: bytes
    alt: str
    caption: str
    svg: Callable[[], str] | None = None  # None: it consists of pixels

    @property
    def published(self) -> bool:
        """Whether the figure may leave this machine."""
        return not self.path.startswith(f"{LOCAL}/")


def figure(
    path: str,
    reports: Path,
    alt: str,
    caption: str,
    draw: Callable[..., Drawing],
    *arguments: Any,
    pixels: bool = False,
    **options: Any,
) -> Figure:
    """The figure that `draw` makes of the arguments; `pixels`: it shows images, of which no SVG is made."""
    vector = None if pixels else partial(svg, draw, *arguments, **options)
    return Figure(path, png(reports / path, draw, *arguments, **options), alt, caption, vector)


def png(path: Path, draw: Callable[..., Drawing], *arguments: Any, **options: Any) -> bytes:
    """A drawing as PNG; the file at `path` where that was made of the same.

    A PNG carries a digest of what it was made of, so that rebuilding a report draws only what changed.
    """
    from PIL import Image, UnidentifiedImageError

    drawn_by = (Path(inspect.getfile(draw)).read_bytes(), Path(__file__).read_bytes())
    mark = _digest(*drawn_by, draw.__name__, *arguments, *sorted(options.items()))
    try:
        with Image.open(path) as there:
            if there.info.get(MADE_OF) == mark:
                return path.read_bytes()
    except (OSError, UnidentifiedImageError):  # not there, or damaged: it is drawn again
        pass
    buffer = io.BytesIO()
    with style():
        draw(*arguments, **options).savefig(buffer, format="png", dpi=DOTS, metadata={"Software": None, MADE_OF: mark})
    return buffer.getvalue()


def svg(draw: Callable[..., Drawing], *arguments: Any, **options: Any) -> str:
    """A drawing as an `<svg>` element for a page of ours."""
    import matplotlib

    buffer = io.StringIO()
    with style(), matplotlib.rc_context({"svg.fonttype": "none"}):
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        draw(*arguments, **options).savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("'DejaVu Sans'", FONTS)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[0-9.]+pt"', "", text, count=2)  # the page gives the width
    return re.sub("|".join(OF_PAGE), lambda found: OF_PAGE[found[0]], text).strip()


@contextmanager
def style() -> Iterator[None]:
    """How all drawings look."""
    import matplotlib
    import seaborn

    extra: dict[str, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.labelsize": 11,
        "legend.fontsize": 10,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "repro",
    }
    with matplotlib.rc_context(cast("Any", {**seaborn.axes_style("whitegrid"), **extra})):
        yield


def _digest(*values: Any) -> str:
    import numpy as np
    import pandas as pd

    summed = hashlib.sha256()
    for value in values:
        if isinstance(value, pd.DataFrame):
            summed.update(repr(list(value.columns)).encode())
            summed.update(pd.util.hash_pandas_object(value, index=False).to_numpy().tobytes())
        elif isinstance(value, np.ndarray):
            summed.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        elif isinstance(value, Mapping):
            summed.update("".join(f"{key}{_digest(part)}" for key, part in value.items()).encode())
        else:
            summed.update(repr(value).encode())
    return summed.hexdigest()
