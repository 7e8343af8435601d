"""The loop: learns, repeats itself bitwise, resumes in the middle of an epoch, stops where it should."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from repro.config.config import Config
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import make_loader, open_data
from repro.network.model import build
from repro.records import Epoch
from repro.training import checkpoint
from repro.training.checkpoint import Training
from repro.training.events import EpochDone, Event, Started, Stepped
from repro.training.optim import make_optimizer
from repro.training.train import Loaders, epochs_to_target, train

SMALL = {
    "data.per_class": 12,
    "data.test_per_class": 4,
    "optim.batch_size": 16,
    "schedule.epochs": 2,
}


class StoppedError(Exception):
    """Stands for a run that is killed."""


def training_of(config: Config) -> Training:
    """The start of a run."""
    model = build(config, seed=0)
    return Training("run", config, 0, model, make_optimizer(model, config), torch.device("cpu"))


def run(
    config: Config,
    photos: Path,
    path: Path,
    *,
    after: int | None = None,
    each: Callable[[Event], None] = lambda event: None,
) -> list[Event]:
    """Train from what `path` holds; `after` batches in all the run is killed, its state saved at that batch."""
    prepared = open_data(config.data, photos)
    training = training_of(config)
    if path.exists():
        checkpoint.load(path, training)
    seen: list[Event] = []

    def listen(event: Event) -> None:
        seen.append(event)
        each(event)

    splits = ("train", "test", "held_out")
    loaders = [make_loader(prepared, config, split, seed=0, kind="torch", workers=0) for split in splits]
    if after is not None:
        loaders[0] = Cut(loaders[0], after)  # type: ignore[call-overload]
    with contextlib.suppress(StoppedError):
        train(training, Loaders(*loaders), emit=listen, save=lambda: checkpoint.save(path, training))
    return seen


class Cut:
    """A loader whose epoch is killed after so many batches."""

    def __init__(self, loader: Any, batches: int) -> None:
        self.loader, self.batches = loader, batches

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, *, start: int = 0, color: bool = True) -> Any:
        for number, batch in enumerate(self.loader.epoch(epoch, start=start, color=color), start):
            if epoch * len(self) + number == self.batches:
                raise StoppedError
            yield batch


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path, "run")["model"]


@pytest.fixture
def config() -> Config:
    return override(preset("smoke"), SMALL)


def test_same_config_and_seed_give_bitwise_the_same_losses(config: Config, photos: Path, tmp_path: Path) -> None:
    losses = []
    for name in ("a.pt", "b.pt"):
        events = run(config, photos, tmp_path / name)
        losses.append([event.metrics.train_loss for event in events if isinstance(event, EpochDone)])
    assert losses[0] == losses[1] and len(losses[0]) == 2
    one, two = weights(tmp_path / "a.pt"), weights(tmp_path / "b.pt")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("batches", [3, 6, 9])  # in the first epoch, between the two (6 batches each), in the second
def test_a_killed_run_resumes_bitwise(
    batches: int, config: Config, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(config, photos, tmp_path / "whole.pt")
    monkeypatch.setattr(
        "repro.training.train.SAVE_SECONDS", -1.0
    )  # save after every batch, so that the kill falls between
    run(config, photos, tmp_path / "cut.pt", after=batches)
    assert checkpoint.read(tmp_path / "cut.pt", "run")["position"]["step"] == batches
    monkeypatch.undo()
    rest = run(config, photos, tmp_path / "cut.pt")
    one, two = weights(tmp_path / "whole.pt"), weights(tmp_path / "cut.pt")
    assert all(torch.equal(one[name], two[name]) for name in one)
    last = [event.metrics for events in (whole, rest) for event in events if isinstance(event, EpochDone)][-1]
    whole_last = [event.metrics for event in whole if isinstance(event, EpochDone)][-1]
    for key in ("train_loss", "train_error", "test_top1_error"):
        assert getattr(last, key) == getattr(whole_last, key)
    started = next(event for event in rest if isinstance(event, Started))
    assert started.epoch * started.batches + started.batch == batches


def test_no_image_is_repeated_or_left_out_over_a_resume(
    config: Config, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.training.train.SAVE_SECONDS", -1.0)
    first = run(config, photos, tmp_path / "cut.pt", after=4)
    second = run(config, photos, tmp_path / "cut.pt")
    steps = [event for event in [*first, *second] if isinstance(event, Stepped)]
    prepared = open_data(config.data, photos)
    assert [step.images for step in steps if step.epoch == 0][-1] == len(prepared.train.labels)
    assert [(step.epoch, step.batch) for step in steps] == [(epoch, batch) for epoch in (0, 1) for batch in range(1, 7)]


def test_the_network_learns(photos: Path, tmp_path: Path) -> None:
    """A net that remembers 80 images is far under the chance error of 87.5%; a broken gradient is not.

    It starts slowly, as such nets with small initial weights do: 88% after 5 epochs, 45% after 30, 10% after 54.
    """
    config = override(
        preset("smoke"),
        {
            "data.per_class": 10, "data.test_per_class": 4, "optim.batch_size": 16, "schedule.epochs": 60,
            "schedule.kind": "constant", "augment.random_crop": False, "augment.mirror": False, "augment.color": None,
            "model.dropout": None, "eval.every": 60,
        },
    )  # fmt: skip
    events = run(config, photos, tmp_path / "a.pt")
    errors = [event.metrics.train_error for event in events if isinstance(event, EpochDone)]
    assert min(errors[-10:]) < 30


def test_training_stops_at_the_target(config: Config, photos: Path, tmp_path: Path) -> None:
    easy = override(config, {"schedule.epochs": 5, "schedule.stop_train_error": 99.0})
    events = run(easy, photos, tmp_path / "a.pt")
    assert [event.metrics.epoch for event in events if isinstance(event, EpochDone)] == [1]


def test_a_diverged_run_ends_and_says_so(config: Config, photos: Path, tmp_path: Path) -> None:
    wild = override(config, {"optim.learning_rate": 1e6, "schedule.epochs": 50})
    events = run(wild, photos, tmp_path / "a.pt")
    done = [event.metrics for event in events if isinstance(event, EpochDone)]
    assert len(done) < 50 and done[-1].train_loss is None
    assert done[-1].test_top1_error == 100.0


def test_a_listener_cannot_change_the_run(config: Config, photos: Path, tmp_path: Path) -> None:
    def meddle(event: Event) -> None:
        torch.rand(3)
        if isinstance(event, EpochDone):
            with pytest.raises(AttributeError):
                event.metrics.train_loss = 0.0  # type: ignore[misc]

    run(config, photos, tmp_path / "quiet.pt")
    run(config, photos, tmp_path / "loud.pt", each=meddle)
    one, two = weights(tmp_path / "quiet.pt"), weights(tmp_path / "loud.pt")
    assert all(torch.equal(one[name], two[name]) for name in one)
    history = checkpoint.read(tmp_path / "loud.pt", "run")["position"]["history"]
    assert [line["train_loss"] for line in history] and all(line["train_loss"] > 0 for line in history)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([60.0, 40.0, 20.0], 2.75),  # from 40 down to 25 is three quarters of the third epoch
        ([20.0], 1.0),
        ([60.0, 25.0], 2.0),
        ([60.0, 30.0], None),
    ],
)
def test_epochs_to_target_reads_between_epochs(errors: list[float], expected: float | None) -> None:
    history = [Epoch(epoch=number, train_error=error) for number, error in enumerate(errors, 1)]
    assert epochs_to_target(history, 25.0) == expected
    assert epochs_to_target(history, None) is None


def test_a_damaged_checkpoint_is_refused_in_one_line(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoint.load(path, training_of(config))


def test_a_checkpoint_of_another_network_is_refused(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, training_of(config))
    wider = override(config, {"model.layers.fc7.maps": 80})
    with pytest.raises(ValueError, match="does not fit this network"):
        checkpoint.load(path, training_of(wider))
