"""The training loop: section 5 of the paper, one epoch after another. It emits events; no listener can change it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

import torch
from msgspec.structs import replace

from repro.data.load.loading import Loader
from repro.machine import notice
from repro.records import Epoch, Errors
from repro.training.checkpoint import Position, Training
from repro.training.evaluate import center_errors
from repro.training.events import EpochDone, Listener, Started, Stepped, Warned
from repro.training.optim import learning_rates, update_plateau
from repro.training.ranks import ALONE, Ranks
from repro.training.step import Step, make_step

READ_EVERY = 25  # batches between two readings of the loss for the progress bar: reading waits for the device
AT_CHANCE_EPOCHS = 5  # so many epochs after which a net that still guesses is told of
SAVE_SECONDS = 60.0  # at most so much work is lost when a run is killed


@dataclass(frozen=True)
class Loaders:
    """The images of a run: those that are trained on, those that are tested on, and those held out, if any."""

    train: Loader
    test: Loader
    held_out: Loader | None = None


def train(
    training: Training,
    loaders: Loaders,
    *,
    emit: Listener,
    save: Callable[[], None],
    check: Callable[[], None] = lambda: None,
    graph: bool = False,
    ranks: Ranks = ALONE,
) -> None:
    """Train from `training.position` to the end of the schedule, changing what `training` holds in place.

    The run ends with the last epoch, with the first epoch whose training error is at most schedule.stop_train_error,
    or when the loss is no longer finite: such a run is recorded as diverged, at the error it then has. That is seen at
    the next batch whose loss is read (READ_EVERY), at the latest when the epoch ends.
    Images that are held out are tested at the end, and drive the plateau in place of the test images. `save` is called
    after each epoch and each SAVE_SECONDS. `check` is called after each step, and ends the run by what it raises.
    `graph`: see `make_step`. `ranks` that share the run all call this, from the same position, and have the same
    numbers after each step; `save` and `emit` are to do something on rank 0 only.
    """
    config, position = training.config, training.position
    schedule = config.schedule
    step = make_step(training.model, training.optimizer, config.precision, training.device, graph, ranks)
    emit(
        Started(
            training.name, schedule.epochs, len(loaders.train), position.epoch, position.batch, tuple(position.history)
        )
    )
    while not position.ended:
        rates = learning_rates(schedule, config.optim, position.epoch, position.plateau)
        training.optimizer.set_learning_rate(rates.weights, rates.biases, rates.layers)
        with notice.at_steps():
            train_epoch(training, loaders.train, step, emit=emit, save=save, check=check, ranks=ranks)
        epoch, images = _epoch(position, rates.weights, rates.biases), position.pictures
        finite = epoch.train_loss is not None
        reached = schedule.stop_train_error is not None and epoch.train_error <= schedule.stop_train_error
        last = position.epoch + 1 == schedule.epochs or reached or not finite
        if last or (position.epoch + 1) % config.eval.every == 0:
            watched = test = _tested(training, loaders.test, ranks)
            epoch = replace(epoch, test_top1_error=test.top1_error, test_top5_error=test.top5_error)
            if loaders.held_out and (last or schedule.kind == "plateau"):
                watched = held = _tested(training, loaders.held_out, ranks)
                epoch = replace(epoch, held_out_top1_error=held.top1_error, held_out_top5_error=held.top5_error)
            assert watched.top1_error is not None
            position.plateau = update_plateau(schedule, position.plateau, watched.top1_error, config.eval.every)
        position.history.append(epoch)
        position.ended = last
        position.epoch += 1
        position.batch = position.pictures = 0
        position.loss_sum = position.error_sum = position.seconds = 0.0
        emit(EpochDone(training.name, epoch))
        if position.epoch == AT_CHANCE_EPOCHS and finite and (line := at_chance(epoch, config.data.classes, images)):
            emit(Warned(training.name, line))
        save()


def _tested(training: Training, loader: Loader, ranks: Ranks) -> Errors:
    return center_errors(
        training.model, loader, precision=training.config.precision, device=training.device, ranks=ranks
    )


def train_epoch(
    training: Training,
    loader: Loader,
    step: Step,
    *,
    emit: Listener,
    save: Callable[[], None],
    check: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
) -> None:
    """The batches of one epoch, from `position.batch` on. Each takes one step against the mean loss of its images."""
    config, model, position, device = training.config, training.model, training.position, training.device
    dropout = config.seed_of("dropout", training.seed)
    endgame = config.schedule.endgame
    color = endgame is None or position.epoch < endgame.color_off_epoch
    loss_sum = torch.tensor(position.loss_sum, dtype=torch.float64, device=device)
    error_sum = torch.tensor(position.error_sum, dtype=torch.float64, device=device)
    began = saved = time.perf_counter()
    before = position.seconds
    model.train()
    with closing(loader.epoch(position.epoch, start=position.batch, color=color)) as batches:
        for batch in batches:
            images = batch.image.to(device, non_blocking=True)
            labels = batch.label.to(device, non_blocking=True)
            size = loader.size(position.batch) if ranks.world > 1 else len(labels)
            model.reseed(dropout, position.step, rows=ranks.rows(size))
            loss, wrong = step(images, labels)
            loss_sum += loss * size
            error_sum += wrong
            position.batch += 1
            position.step += 1
            position.pictures += size
            shown = float(loss) if position.batch % READ_EVERY == 0 else None
            emit(Stepped(training.name, position.epoch, position.batch, position.pictures, shown))
            check()
            if shown is not None and not math.isfinite(shown):  # the sum of the epoch is not finite either
                break
            now, asked = time.perf_counter(), ranks.any_of(notice.asked())
            if now - saved > SAVE_SECONDS or asked:
                position.loss_sum, position.error_sum = float(loss_sum), float(error_sum)
                position.seconds = before + now - began
                save()
                if asked:
                    raise notice.Stopped(asked)
                saved = time.perf_counter()
                began += saved - now  # seconds of training alone
    position.loss_sum, position.error_sum = float(loss_sum), float(error_sum)
    position.seconds = before + time.perf_counter() - began


def _epoch(position: Position, weights: float, biases: float) -> Epoch:
    loss = position.loss_sum / position.pictures
    return Epoch(
        epoch=position.epoch + 1,
        train_loss=loss if math.isfinite(loss) else None,  # JSON has no word for it
        train_error=100 * position.error_sum / position.pictures,
        learning_rate=weights,
        bias_learning_rate=biases,
        seconds=round(position.seconds, 3),
        images_per_second=round(position.pictures / position.seconds, 1),
    )


def at_chance(epoch: Epoch, classes: int, images: int) -> str | None:
    """One line where the training error of an epoch of so many images is that of guessing one of the classes, within
    three standard deviations; None where the net has learned."""
    chance = 1 - 1 / classes
    if epoch.train_error < 100 * (chance - 3 * math.sqrt(chance * (1 - chance) / images)):
        return None
    return (
        f"after {epoch.epoch} epochs the training error is {epoch.train_error:.1f}%, and guessing has "
        f"{100 * chance:.1f}%: it may not learn at this rate and initialization"
    )


def epochs_to_target(history: Iterable[Epoch], target: float | None) -> float | None:
    """Epochs until the training error was `target` percent, read between epoch ends on a straight line.

    The training error of an epoch is that of its batches as they were trained on, as the 2012 program printed it.
    None where there is no target or it was never reached.
    """
    if target is None:
        return None
    before: float | None = None
    for one in history:
        if one.train_error <= target:
            part = 1.0 if before is None else (before - target) / (before - one.train_error)
            return one.epoch - 1 + part
        before = one.train_error
    return None
