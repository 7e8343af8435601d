"""The training loop: section 5 of the paper, one epoch after another. It emits events; no listener can change it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch.nn import functional as F

from repro.config.config import Config
from repro.data.load.loading import Loader
from repro.network.model import Network
from repro.network.towers import TwoTowers
from repro.training import notice
from repro.training.checkpoint import Position
from repro.training.evaluate import autocast, center_errors
from repro.training.events import EpochDone, Listener, Started, Stepped
from repro.training.optim import Optimizer, learning_rates, update_plateau

READ_EVERY = 25  # batches between two readings of the loss for the progress bar: reading waits for the device
SAVE_SECONDS = 60.0  # at most so much work is lost when a run is killed


def train(
    run: str,
    config: Config,
    seed: int,
    model: Network | TwoTowers,
    optimizer: Optimizer,
    position: Position,
    training: Loader,
    testing: Loader,
    validation: Loader | None,
    *,
    device: torch.device,
    emit: Listener,
    save: Callable[[Position], None],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Train from `position` to the end of the schedule, changing `model`, `optimizer` and `position` in place.

    The run ends with the last epoch, with the first epoch whose training error is at most schedule.stop_train_error,
    or when the loss is no longer finite: such a run is recorded as diverged, at the error it then has.
    `validation` has the images that are held out, None where there are none: they are tested at the end, and drive the
    plateau in place of the test images. `save` is called after each epoch and each SAVE_SECONDS, and where notice was
    given to end (`notice.Ended`, raised then); `check` after each step, and ends the run where it raises.
    """
    schedule = config.schedule
    emit(
        Started(run, schedule.epochs, len(training), position.epoch, position.batch, tuple(map(dict, position.history)))
    )
    while not position.ended:
        rates = learning_rates(schedule, config.optim, position.epoch, position.plateau)
        optimizer.set_learning_rate(rates.weights, rates.biases, rates.layers)
        train_epoch(
            run, config, seed, model, optimizer, position, training,
            device=device, emit=emit, save=save, check=check,
        )  # fmt: skip
        metrics = _metrics(position, rates.weights, rates.biases)
        finite = metrics["train_loss"] is not None
        reached = schedule.stop_train_error is not None and metrics["train_error"] <= schedule.stop_train_error
        last = position.epoch + 1 == schedule.epochs or reached or not finite
        plateau = position.plateau
        if last or (position.epoch + 1) % config.eval.every == 0:
            with notice.saving(lambda: save(position)):  # after the epoch's last batch: resumed, the run tests first
                watched = test = center_errors(model, testing, precision=config.precision, device=device)
                metrics |= {f"test_{name}": value for name, value in test.items()}
                if validation and (last or schedule.kind == "plateau"):
                    watched = center_errors(model, validation, precision=config.precision, device=device)
                    metrics |= {f"held_out_{name}": value for name, value in watched.items()}
            plateau = update_plateau(schedule, plateau, watched["top1_error"], config.eval.every)
        with notice.until_a_step():
            position.plateau = plateau
            position.history.append(metrics)
            position.ended = last
            position.epoch += 1
            position.batch = position.pictures = 0
            position.loss_sum = position.error_sum = position.seconds = 0.0
            save(position)
            emit(EpochDone(run, dict(metrics)))  # a copy: the record is made from the history


def train_epoch(
    run: str,
    config: Config,
    seed: int,
    model: Network | TwoTowers,
    optimizer: Optimizer,
    position: Position,
    training: Loader,
    *,
    device: torch.device,
    emit: Listener,
    save: Callable[[Position], None],
    check: Callable[[], None] = lambda: None,
) -> None:
    """The batches of one epoch, from `position.batch` on. Each takes one step against the mean loss of its images."""
    endgame = config.schedule.endgame
    color = endgame is None or position.epoch < endgame.color_off_epoch
    loss_sum = torch.tensor(position.loss_sum, dtype=torch.float64, device=device)
    error_sum = torch.tensor(position.error_sum, dtype=torch.float64, device=device)
    began = saved = time.perf_counter()
    before = position.seconds
    model.train()

    def save_between_steps() -> None:
        position.loss_sum, position.error_sum = float(loss_sum), float(error_sum)
        position.seconds = before + time.perf_counter() - began
        save(position)

    with (
        notice.saving(save_between_steps),
        closing(training.epoch(position.epoch, start=position.batch, color=color)) as batches,
        closing(notice.steps(batches)) as steps,
    ):
        for batch in steps:
            images = batch.image.to(device, non_blocking=True)
            labels = batch.label.to(device, non_blocking=True)
            model.reseed(config.seed_of("dropout", seed), position.step)
            optimizer.zero_grad()
            with autocast(config.precision, device):
                logits = model(images)
            loss = F.cross_entropy(logits.float(), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss = loss.detach()
            loss_sum += loss * len(labels)
            error_sum += (logits.detach().argmax(1) != labels).sum()
            position.batch += 1
            position.step += 1
            position.pictures += len(labels)
            shown = float(loss) if position.batch % READ_EVERY == 0 else None
            emit(Stepped(run, position.epoch, position.batch, position.pictures, shown))
            check()
            now = time.perf_counter()
            if now - saved > SAVE_SECONDS:
                position.loss_sum, position.error_sum = float(loss_sum), float(error_sum)
                position.seconds = before + now - began
                save(position)
                saved = time.perf_counter()
                began += saved - now  # seconds of training alone
    position.loss_sum, position.error_sum = float(loss_sum), float(error_sum)
    position.seconds = before + time.perf_counter() - began


def _metrics(position: Position, weights: float, biases: float) -> dict[str, Any]:
    loss = position.loss_sum / position.pictures
    return {
        "epoch": position.epoch + 1,
        "train_loss": loss if math.isfinite(loss) else None,  # JSON has no word for it
        "train_error": 100 * position.error_sum / position.pictures,
        "learning_rate": weights,
        "bias_learning_rate": biases,
        "seconds": round(position.seconds, 3),
        "images_per_second": round(position.pictures / position.seconds, 1),
    }


def epochs_to_target(history: list[dict[str, Any]], target: float | None) -> float | None:
    """Epochs until the training error was `target` percent, read between epoch ends on a straight line.

    The training error of an epoch is that of its batches as they were trained on, as the 2012 program printed it.
    None where there is no target or it was never reached.
    """
    if target is None:
        return None
    before: float | None = None
    for metrics in history:
        error: float = metrics["train_error"]
        if error <= target:
            part = 1.0 if before is None else (before - target) / (before - error)
            return int(metrics["epoch"]) - 1 + part
        before = error
    return None
