"""The plain torch loader: a Dataset of whole batches under torch's DataLoader. Reads the same `.beton` files as FFCV."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch.utils.data import DataLoader, Dataset

from repro.data.beton import Beton, open_beton
from repro.data.loading import Buffers, Pass, decode_with_pillow, render


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

    def __getstate__(self) -> dict[str, object]:
        """For worker processes that are spawned: the file is mapped anew there."""
        return {"path": self.beton.path, "storage": self.beton.storage, "side": self.side, "run": self.run}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(open_beton(state["path"], state["storage"]), state["side"], state["run"], Buffers())  # type: ignore


def images(beton: Beton, side: int, run: Pass, buffers: Buffers, workers: int) -> Generator[torch.Tensor]:
    """The images of every batch of `run`, in order."""
    loader = DataLoader(
        RenderedBatches(beton, side, run, buffers),
        batch_size=None,
        num_workers=workers if workers > 1 else 0,
        generator=torch.Generator(),  # else DataLoader draws from torch's global generator, and dropout would depend on it
    )
    yield from loader
