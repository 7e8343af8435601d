"""Images finished on the device that trains: the host sends stored pixels, a quarter of the bytes of finished images,
and the device crops, mirrors, subtracts the mean, adds the color noise and scales.

The draws are those of `augment`, made on the host. The sums are float32 in the order of `augment.fused`, one operation
after the other, so the images are bitwise the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from repro.data.load.render import Pass

AHEAD = 1  # batches that are copied and finished beside the step


def finish(run: Pass, pixels: Tensor, mean: Tensor, factors: Tensor, places: Tensor, colors: Tensor) -> Tensor:
    """Images (B, 3, crop, crop), or (B, V, 3, crop, crop) of a pass over V views, float32 in channels-last memory.

    pixels: (B, side, side, 3) uint8; mean, factors: those of `run`; places: (B * V, 3) row offset, column offset,
    mirrored, or (B, 5) of `box_draws`; colors: (B * V, 3) float32; all on one device. What `augment.fused` and
    `augment.fused_boxes` compute for the same pass.
    """
    which = torch.arange(len(places), device=pixels.device) // (len(places) // len(pixels))
    if run.boxes:  # in the order of `augment.fused_boxes`, so that rounding is the same
        images = _boxes(pixels.float() - mean if run.mean_at_offset else pixels, which, places, run.crop)
        images.add_(colors[:, None, None])
        if not run.mean_at_offset:
            images -= mean
    else:
        images = _crops(pixels, which, places, run.crop)
        images -= _crops(mean[None], torch.zeros_like(which), places, run.crop) if run.mean_at_offset else mean
        images.add_(colors[:, None, None])
    images.mul_(factors)
    if run.swapped:
        images = images.flip(-1)
    return images.view(run.shape(len(pixels))).movedim(-1, -3)


def _crops(source: Tensor, which: Tensor, places: Tensor, crop: int) -> Tensor:
    """(N, crop, crop, 3) float32 of `source` (K, side, side, 3), the n-th of `which[n]`."""
    step = torch.arange(crop, device=source.device)
    rows, columns = places[:, 0, None] + step, places[:, 1, None] + step
    columns = torch.where(places[:, 2, None] == 1, columns.flip(1), columns)
    return source[which[:, None, None], rows[:, :, None], columns[:, None, :]].float()


def _boxes(source: Tensor, which: Tensor, boxes: Tensor, crop: int) -> Tensor:
    """As `_crops`, of boxes (N, 5) resized to the crop."""
    top, left, height, width, mirrored = boxes[:, :, None].unbind(1)
    upper, lower, down = _between(height, crop)
    near, far, part = (torch.where(mirrored == 1, each.flip(1), each) for each in _between(width, crop))
    part, down = part[:, None, :, None], down[:, :, None, None]

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        return source[which[:, None, None], (top + rows)[:, :, None], (left + columns)[:, None, :]].float()

    def between(columns: Tensor) -> Tensor:
        start = at(upper, columns)
        return start + down * (at(lower, columns) - start)

    before = between(near)
    return before + part * (between(far) - before)


def _between(length: Tensor, crop: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `crop` points along (N, 1) `length` pixels: the pixel before, the one after, and the part of the way
    from one to the other, each (N, crop)."""
    point = (torch.arange(crop, dtype=torch.float64, device=length.device) + 0.5) * length / crop - 0.5
    point = point.clamp_min(0.0)
    near = torch.minimum(point.long(), length - 1)
    return near, torch.minimum(near + 1, length - 1), (point - near).float()


def on_device(made: Generator[Tensor], run: Pass, device: torch.device) -> Generator[Tensor]:
    """The images of every batch of `run`, finished on `device`, from `made`: the stored pixels, (B, 3, side, side).

    On CUDA the next batch is copied and finished on a stream of its own while the step runs.
    """
    lane = CudaLane(device) if device.type == "cuda" else Lane()
    mean, factors = (torch.from_numpy(each).to(device) for each in (run.mean, run.factors))
    coming = iter(run.batches)
    begun: deque[tuple[Tensor, Tensor, Any]] = deque()

    def begin() -> None:
        indices = next(coming, None)
        if indices is None:
            return
        stored, draws = next(made).movedim(-3, -1), (run.places(indices), run.colors(indices))
        with lane.beside():
            places, colors = (lane.send(torch.from_numpy(each), device) for each in draws)
            image = finish(run, stored.to(device, non_blocking=True), mean, factors, places, colors)
            begun.append((image, stored, lane.mark()))  # the host's memory is kept until it was read

    try:
        for _ in range(AHEAD):
            begin()
        for _ in run.batches:
            begin()
            image, stored, mark = begun.popleft()
            lane.take(image, mark)
            del stored
            yield image
            del image
            lane.used()
    finally:
        made.close()


class Lane:
    """Where the copies run: here, in the order of everything else."""

    def beside(self) -> AbstractContextManager[object]:
        """What is launched inside runs beside the step."""
        return nullcontext()

    def send(self, values: Tensor, device: torch.device) -> Tensor:
        """A few numbers, on the device."""
        return values.to(device)

    def mark(self) -> Any:
        """What `take` waits for: all that was launched so far."""

    def take(self, image: Tensor, mark: Any) -> None:
        """Hand `image` over to the step."""

    def used(self) -> None:
        """Everything that works on the last image has been launched."""


class CudaLane(Lane):
    """A stream of its own, before the step's where both could run."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
        self.steps: deque[torch.cuda.Event] = deque()

    def beside(self) -> AbstractContextManager[object]:
        """See Lane."""
        return torch.cuda.stream(self.stream)

    def send(self, values: Tensor, device: torch.device) -> Tensor:
        """From pinned memory: a copy from any other waits for the stream."""
        return values.pin_memory().to(device, non_blocking=True)

    def mark(self) -> torch.cuda.Event:
        """See Lane."""
        done: torch.cuda.Event = self.stream.record_event()
        return done

    def take(self, image: Tensor, mark: torch.cuda.Event) -> None:
        """Wait here, so that the memory that was copied from can be filled again: the copy began a batch ago."""
        mark.synchronize()
        image.record_stream(torch.cuda.current_stream(self.device))

    def used(self) -> None:
        """Wait for the step before the last: images whose step is only launched take up memory."""
        self.steps.append(torch.cuda.current_stream(self.device).record_event())
        if len(self.steps) > 2:
            self.steps.popleft().synchronize()
