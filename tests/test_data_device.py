"""Images finished on a device, here the CPU as one, are bitwise those of the fused pass; and when memory is let go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from test_data_loading import COLOR, KINDS, collected, directory, loader, same
from test_data_loading import config_of as made_up

from repro.config import config
from repro.data.load import device
from repro.data.load.render import Buffers

__all__ = ["directory"]  # the fixture
CPU = torch.device("cpu")
MEANS = get_args(config.Data.model_fields["mean"].annotation)


def config_of(storage: str = "raw", **changes: object) -> config.Config:
    return made_up(storage, data__held_out=0, **changes)


@pytest.mark.parametrize("storage", ["raw", "jpeg", "png"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_device_finishes_images_bitwise_as_the_fused_pass_does(directory: Path, storage: str, kind: str) -> None:
    if storage == "png" and kind == "ffcv":
        return  # FFCV does not decode it
    cfg = config_of(storage, augment__color=COLOR, augment__chunk=4, data__scale=0.3)
    one, other = loader(directory, cfg, kind=kind), loader(directory, cfg, kind=kind, workers=2, device=CPU)
    assert same(collected(one.epoch(2, start=1)), collected(other.epoch(2, start=1)))
    assert same(collected(one.epoch(2, color=False)), collected(other.epoch(2, color=False)))


@pytest.mark.parametrize("mean", MEANS)
def test_a_device_subtracts_every_mean(directory: Path, mean: str) -> None:
    cfg = config_of(data__mean=mean, data__contrast="local")
    one, other = loader(directory, cfg), loader(directory, cfg, device=CPU)
    assert same(collected(one.epoch(0)), collected(other.epoch(0)))


BOXES = {"augment__resized_crop": {"area": [0.1, 1.0]}}
OFFSET = {"data__mean": "pixel", "data__mean_at": "offset"}


@pytest.mark.parametrize(
    "changes",
    [
        {"data__mean": "channel", "data__channel_std": [50.0, 60.0, 70.0], "data__color_order": "bgr"},
        OFFSET,
        BOXES,
        {**BOXES, **OFFSET, "data__color_order": "bgr"},
        {"data__mean": "picture", "data__channel_std": [50.0, 60.0, 70.0], "data__color_order": "bgr"},
    ],
    ids=["channels", "offset", "boxes", "boxes-offset", "picture"],
)
def test_a_device_reads_the_other_recipes(directory: Path, changes: dict[str, object]) -> None:
    cfg = config_of(augment__color=COLOR, **changes)
    one, other = loader(directory, cfg), loader(directory, cfg, device=CPU)
    assert same(collected(one.epoch(0)), collected(other.epoch(0)))
    assert same(collected(one.views("ten")), collected(other.views("ten")))


@pytest.mark.parametrize("view", ["center", "flips", "ten", "dense"])
def test_a_device_cuts_every_view(directory: Path, view: Any) -> None:
    one, other = (loader(directory, config_of(), "test", device=where) for where in (None, CPU))
    assert same(collected(one.views(view)), collected(other.views(view)))
    with other.views(view) as batches:
        image = next(batches).image
    assert image.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_the_next_batch_is_begun_before_the_step_and_the_hosts_memory_kept_until_it_was_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Told(device.Lane):
        """Says what a stream would be asked."""

        marks = 0

        def mark(self) -> int:
            self.marks += 1
            said.append(f"copy {self.marks}")
            return self.marks

        def take(self, image: torch.Tensor, mark: int) -> None:
            said.append(f"wait for copy {mark}, {len(buffers.free)} free")

        def used(self) -> None:
            said.append("step")

    monkeypatch.setattr(device, "Lane", Told)
    cfg = config_of(optim__batch_size=16)
    made = loader(directory, cfg, device=CPU)
    buffers: Buffers = made._images.buffers
    collected(made.epoch(0))
    assert said == [
        "copy 1", "copy 2", "wait for copy 1, 0 free", "step",
        "copy 3", "wait for copy 2, 0 free", "step",
        "wait for copy 3, 1 free", "step",
    ]  # fmt: skip


def test_closing_early_ends_the_loader(directory: Path) -> None:
    made = loader(directory, config_of(), kind="torch", workers=2, device=CPU)
    with made.epoch(0) as batches:
        first = next(batches)
    assert same([first], collected(made.epoch(0))[:1])


def test_memory_is_of_the_kind_that_is_asked_for_and_used_again() -> None:
    buffers = Buffers()
    first = buffers.take((2, 3), np.float32)
    assert (first.shape, first.dtype) == ((2, 3), np.float32)
    address = first.ctypes.data
    del first
    again = buffers.take((24,), np.uint8)
    assert (again.ctypes.data, again.dtype) == (address, np.uint8)
