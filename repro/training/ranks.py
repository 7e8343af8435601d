"""What the processes that share a run tell each other. Each is a rank and has its rows of every batch.

One process alone exchanges nothing, and computes what it computed before there were ranks. Small values go over gloo,
which also finds out who is gone; gradients of CUDA devices go over NCCL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import Store  # type: ignore[attr-defined]

Value = TypeVar("Value")
Given = ParamSpec("Given")


class ExchangeError(Exception):
    """A rank did not answer: it is gone, or it hangs."""


class Rows(NamedTuple):
    """The rows of a batch that a rank has: from `first` on, of `size` in all ranks."""

    first: int
    size: int


@dataclass(frozen=True)
class Ranks:
    """The ranks of a run, seen from one of them."""

    rank: int = 0
    world: int = 1
    nccl: dist.ProcessGroup | None = None  # for gradients on CUDA devices

    def rows(self, size: int) -> Rows | None:
        """The own rows of a batch of `size` images, as a loader cuts them; None where there is one rank."""
        return Rows(size * self.rank // self.world, size) if self.world > 1 else None

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks; all on one device, of one kind. Bitwise the same in each.

        They go as one, each in the order of its indices: the memory of a gradient may be laid out otherwise elsewhere.
        """
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        _told(dist.all_reduce, flat, group=self.nccl if flat.is_cuda else None)
        totals = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The sum of each number over the ranks."""
        if self.world == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64)
        _told(dist.all_reduce, sums)
        return sums.tolist()

    def any_of(self, number: int | None) -> int | None:
        """The largest number that a rank has; None where each has None."""
        if self.world == 1:
            return number
        largest = torch.tensor(number or 0)
        _told(dist.all_reduce, largest, op=dist.ReduceOp.MAX)
        return int(largest) or None

    def agreed(self, value: Value) -> Value:
        """What rank 0 has."""
        if self.world == 1:
            return value
        values = [value]
        _told(dist.broadcast_object_list, values, src=0)
        return values[0]

    def gathered(self, parts: list[Value]) -> list[Value]:
        """On rank 0 the parts of all ranks, rank after rank; none on the others."""
        if self.world == 1:
            return parts
        everyone: list[Any] | None = [None] * self.world if self.rank == 0 else None
        _told(dist.gather_object, parts, everyone)
        return [part for parts in everyone or () for part in parts]


ALONE = Ranks()


def meet(store: Store, rank: int, world: int, seconds: float, *, cuda: bool) -> Ranks:
    """Connect the ranks of a run, all of which call this; a rank that answers nothing for so long ends it."""
    patience = timedelta(seconds=seconds)
    _told(dist.init_process_group, "gloo", store=store, rank=rank, world_size=world, timeout=patience)
    # gloo is to find out first: where NCCL does, it ends the process without a word
    nccl: Any = _told(dist.new_group, backend="nccl", timeout=2 * patience) if cuda else None
    return Ranks(rank, world, nccl)


def part() -> None:
    """End the connections of this process, so that whoever waits for it is told at once."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _told(exchange: Callable[Given, Value], *arguments: Given.args, **options: Given.kwargs) -> Value:
    try:
        return exchange(*arguments, **options)
    except RuntimeError as error:  # torch has no narrower one for a peer that is gone
        raise ExchangeError(" ".join(str(error).split())) from error
