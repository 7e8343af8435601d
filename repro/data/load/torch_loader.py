"""The plain loader: the same files and the same pass without FFCV, on any system that has torch and numba."""

from __future__ import annotations

from collections.abc import Generator

import torch

from repro.data.load.beton import Beton
from repro.data.load.render import Ahead, Buffers, Pass, decode_with_pillow, fill


class TorchImages:
    """Makes the images of a pass when they are asked for (workers 0 or 1), or ahead in `workers` threads."""

    def __init__(self, beton: Beton, side: int, workers: int, pinned: bool = False) -> None:
        self.beton, self.side, self.workers, self.buffers = beton, side, workers, Buffers(pinned)

    def images(self, run: Pass) -> Generator[torch.Tensor]:
        """The images of every batch of `run`, in order."""
        if self.workers > 1:
            ahead = Ahead(self.beton, self.side, run, self.buffers, decode_with_pillow, self.workers)
            try:
                for _ in run.batches:
                    yield torch.from_numpy(ahead.take()[1]).movedim(-1, -3)
            finally:
                ahead.close()
            return
        for indices in run.batches:
            out = self.buffers.take(*run.made(len(indices)))
            fill(self.beton, self.side, run, indices, out, decode_with_pillow)
            image = torch.from_numpy(out).movedim(-1, -3)
            del out
            yield image
            del image
