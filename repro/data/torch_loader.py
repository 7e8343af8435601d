"""The plain torch loader: a Dataset of whole batches under torch's DataLoader. Reads the files that FFCV reads."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch.utils.data import DataLoader, Dataset

from repro.data.beton import Beton, open_beton
from repro.data.render import Buffers, Pass, decode_with_pillow, render


class RenderedBatches(Dataset[torch.Tensor]):
    """Item b is the images of batch b, channels last."""

    def __init__(self, beton: Beton, side: int, run: Pass, buffers: Buffers) -> None:
        self.beton, self.side, self.run, self.buffers = beton, side, run, buffers

    def __len__(self) -> int:
        return len(self.run.batches)

    def __getitem__(self, number: int) -> torch.Tensor:
        indices = self.run.batches[number]
        out = self.buffers.take(self.run.shape(len(indices)))
        render(self.beton, self.side, self.run, indices, out, decode_with_pillow)
        return torch.from_numpy(out).movedim(-1, -3)

    def __getstate__(self) -> tuple[object, ...]:  # for worker processes that are spawned: they map the file anew
        return (self.beton.path, self.beton.storage, self.side, self.run)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        path, storage, self.side, self.run = state  # type: ignore[assignment]
        self.beton, self.buffers = open_beton(path, storage), Buffers()  # type: ignore[arg-type]


class TorchImages:
    """Makes the images of a pass in place (workers 0 or 1), or in `workers` processes."""

    def __init__(self, beton: Beton, side: int, workers: int) -> None:
        self.beton, self.side, self.workers, self.buffers = beton, side, workers if workers > 1 else 0, Buffers()

    def images(self, run: Pass) -> Generator[torch.Tensor]:
        """The images of every batch of `run`, in order."""
        yield from DataLoader(
            RenderedBatches(self.beton, self.side, run, self.buffers),
            batch_size=None,
            num_workers=self.workers,
            generator=torch.Generator(),  # else DataLoader draws from torch's own, and dropout would depend on it
        )
