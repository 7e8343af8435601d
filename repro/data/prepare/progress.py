"""How far a preparation is: what it tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`stage` is what is being done, `done` of `total` images (or bytes, of a file that is hashed) are."""

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]
