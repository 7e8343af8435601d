"""Whether torchrun started this process as one of several, and as which: from its variables, without torch."""

from __future__ import annotations

import os
from typing import NamedTuple


class Place(NamedTuple):
    """Where torchrun put this process."""

    rank: int
    world: int
    local: int  # rank among the processes of this machine
    locals: int  # how many these are


def place() -> Place | None:
    """Where torchrun put this process; None where it is not one of several."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or "RANK" not in os.environ:
        return None
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return Place(rank, world, int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", world)))
