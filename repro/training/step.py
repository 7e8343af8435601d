"""One training step: gradients of the batch's mean loss, then the update. On CUDA also as one graph.

A step of a small network is dozens of launches, each of which takes the host longer than the device takes to run it.
CUDA replays a recorded graph of them in one launch. What changes from step to step then lies in memory that stays:
images, labels and dropout masks; the learning rates are part of the graph, which is recorded again when they change.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.network.model import Drop, Network
from repro.network.towers import TwoTowers
from repro.training.evaluate import autocast
from repro.training.optim import Optimizer
from repro.training.ranks import ALONE, Ranks

Results = tuple[Tensor, Tensor]
Step = Callable[[Tensor, Tensor], Results]
WARM = 3  # steps before a graph is recorded: libraries choose and load their kernels in the first


def make_step(
    model: Network | TwoTowers,
    optimizer: Optimizer,
    precision: str,
    device: torch.device,
    graph: bool = False,
    ranks: Ranks = ALONE,
) -> Step:
    """A function of images and labels on `device` that takes one step, once the model is reseeded.

    It returns the mean loss and the number of images whose first guess was wrong, both on the device, and of the whole
    batch where `ranks` share it. `graph`: as a CUDA graph, for a network on one CUDA device and a run of one rank.
    """
    if ranks.world > 1:
        return partial(shared_step, ranks, model, optimizer, precision, device)
    plain = partial(plain_step, model, optimizer, precision, device)
    if graph and device.type == "cuda" and isinstance(model, Network):
        return GraphStep(plain, model, optimizer, partial(_beside, device), partial(_recorded, device))
    return plain


def plain_step(
    model: Network | TwoTowers,
    optimizer: Optimizer,
    precision: str,
    device: torch.device,
    images: Tensor,
    labels: Tensor,
) -> Results:
    """See `make_step`."""
    optimizer.zero_grad()
    with autocast(precision, device):
        logits = model(images)
    loss = F.cross_entropy(_exact(logits), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach(), (logits.detach().argmax(1) != labels).sum()


def shared_step(
    ranks: Ranks,
    model: Network | TwoTowers,
    optimizer: Optimizer,
    precision: str,
    device: torch.device,
    images: Tensor,
    labels: Tensor,
) -> Results:
    """`plain_step` of a batch of which this rank has some images, or none. What is added up over the ranks are sums
    over images, divided by the size of the whole batch afterwards: the parts may be of unequal sizes."""
    optimizer.zero_grad()
    loss = wrong = torch.zeros((), device=device)
    if len(labels):
        with autocast(precision, device):
            logits = model(images)
        loss = F.cross_entropy(_exact(logits), labels, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        wrong = (logits.detach().argmax(1) != labels).sum()
    gradients = optimizer.gradients()
    numbers = torch.stack([number.detach().to(gradients[0]) for number in (loss, wrong, torch.tensor(len(labels)))])
    ranks.add([*gradients, numbers])
    total, wrongs, size = numbers
    torch._foreach_div_(gradients, size)
    optimizer.step()
    return total / size, wrongs


def _exact(logits: Tensor) -> Tensor:
    """In float32 at least: of bfloat16 the loss would be too coarse."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class GraphStep:
    """A step that is recorded once and replayed; smaller batches, and the first WARM, take the plain one.

    `beside` takes a plain step as recording wants it before; `record` records what a function launches, without doing
    it, and returns what does it. Both are given so that a test without a device can stand in for them.
    """

    def __init__(
        self,
        plain: Step,
        model: Network,
        optimizer: Optimizer,
        beside: Callable[[Callable[[], Results]], Results],
        record: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self.plain, self.optimizer, self.beside, self.record = plain, optimizer, beside, record
        self.drops = [part for part in model.modules() if isinstance(part, Drop) and part.dropout]
        self.taken = 0
        self.recorded: object = None  # the shape and the rates of the graph
        self.replay: Callable[[], None] | None = None
        self.images = self.labels = torch.empty(0)  # the largest batch so far
        self.masks: list[Tensor] = []
        self.results: Results | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> Results:
        wanted = images.shape, tuple(slot.rate for slot in self.optimizer.slots.values())
        self.taken += 1
        if self.taken <= WARM or len(images) < len(self.images):
            return self.beside(lambda: self.plain(images, labels))
        if wanted != self.recorded:
            self._record(images, labels)
            self.recorded = wanted
        self.images.copy_(images)
        self.labels.copy_(labels)
        for drop, mask in zip(self.drops, self.masks, strict=True):
            drop.shape = tuple(mask.shape)
            mask.copy_(drop.mask(mask.device))
        assert self.replay is not None
        self.replay()
        assert self.results is not None
        return self.results

    def _record(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = torch.empty_like(images), torch.empty_like(labels)
        shapes = [(len(images), *drop.shape[1:]) for drop in self.drops]
        self.masks = [torch.empty(shape, dtype=torch.bool, device=images.device) for shape in shapes]

        def work() -> None:
            self.results = self.plain(self.images, self.labels)

        for drop, mask in zip(self.drops, self.masks, strict=True):
            drop.held = mask
        try:
            self.replay = self.record(work)
        finally:
            for drop in self.drops:
                drop.held = None


def _beside(device: torch.device, work: Callable[[], Results]) -> Results:
    """On a stream of its own: what a graph replays may not have been tied to the default stream before."""
    current = torch.cuda.current_stream(device)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        results = work()
    current.wait_stream(stream)
    return results


def _recorded(device: torch.device, work: Callable[[], None]) -> Callable[[], None]:
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # the loader's threads take pinned memory
            work()
    return graph.replay
