"""What every source gives: the images of both splits with their labels, each to be read by its number.

Nothing is decoded that is not asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def called(source: Path) -> str:
    """What a folder or archive is called where images from it are described, also when it was given as `.`."""
    return Path(os.path.abspath(source)).name


def first_few(names: Sequence[str]) -> str:
    """Three of the names at most, in one line."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@dataclass(frozen=True)
class SourceSplit:
    """N images: a name for messages, a label, and a way to read each, as an encoded file or as RGB pixels."""

    names: list[str]
    labels: list[int]
    read: Callable[[int], bytes | Pixels]


@dataclass(frozen=True)
class Source:
    """Both splits and their classes, {"wnid", "name"} in label order; `origin` says where they came from."""

    origin: str
    classes: list[dict[str, str]]
    train: SourceSplit
    test: SourceSplit
    notes: tuple[str, ...] = ()
