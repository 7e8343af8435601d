"""Results that nobody trained, written through repro.store, for `repro bench desk` and the tests of the desk half.

Errors are drawn from a fixed generator around a level for each arm, so that a test knows what a report must say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from repro import store
from repro.config import config, keys, presets
from repro.data.manifest import find
from repro.experiments.experiment import Experiment
from repro.planning.plan import UNPREPARED, Run
from repro.records import Epoch, Errors, Images, RunRecord, Setting

DISTINCT = 8  # runs of a Config that `write_runs` makes up, each with its own numbers
PROVENANCE: dict[str, dict[str, Any] | str] = {
    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "changed": False},
    "packages": {"torch": "2.14.1", "numpy": "2.4.6", "ffcv": None},
    "python": "3.11.7",
    "hardware": {"processor": "Made Up 3000", "capability": "AVX2", "cores": 2, "threads": 2, "accelerators": []},
}


def write_setting(
    results: Path,
    experiment: Experiment,
    preset: str,
    levels: Mapping[str, float],
    *,
    seeds: int = 3,
    finished: int | None = None,
    changes: Mapping[str, Any] | None = None,
    epochs: int = 6,
    spread: float = 0.3,
    images: int = 400,
    predictions: bool = True,
    target_epochs: Mapping[str, float] | None = None,
) -> Setting:
    """Write a setting and its runs: arm -> level, the top-1 error in percent of the ten views around which runs
    scatter.

    `finished` runs of each arm are written, all by default. `target_epochs` makes every run stop there.
    """
    base = keys.override(presets.preset(preset), changes or {})
    digests = {
        arm: config.digest(keys.override(base, experiment.arm(arm).changes_at(preset)), "made-up") for arm in levels
    }
    setting = Setting(experiment.name, preset, changes or {}, seeds, digests)
    store.write_setting(results, setting)
    for place, (arm, level) in enumerate(levels.items()):
        settings = keys.override(base, experiment.arm(arm).changes_at(preset))
        for seed in range(seeds if finished is None else finished):
            write_run(
                results, settings, digests[arm], seed, level, place=place, epochs=epochs, spread=spread,
                images=images, predictions=predictions, target=(target_epochs or {}).get(arm),
            )  # fmt: skip
    return setting


def write_run(
    results: Path,
    settings: config.Config,
    digest: str,
    seed: int,
    level: float,
    *,
    place: int = 0,
    epochs: int = 6,
    spread: float = 0.3,
    images: int = 400,
    predictions: bool = True,
    target: float | None = None,
    of_images: str = "made-up",
) -> None:
    """A finished run on images of digest `of_images`: metrics, predictions of center and ten views, kernels, record."""
    noise = np.random.default_rng([seed, place])
    top1 = level + spread * float(noise.standard_normal())
    top5 = top1 * 0.4
    directory = store.run_directory(results, digest, seed)
    last = epochs if target is None else max(2, round(target))
    lines = []
    for epoch in range(1, last + 1):
        fall = float(np.exp(-3 * (epoch - 1) / last))
        train = top1 - 5 + 50 * fall if target is None else 25 + 60 * fall - 60 * float(np.exp(-3 * (last - 1) / last))
        train += spread * float(noise.standard_normal()) * 3 * fall
        lines.append(
            Epoch(
                epoch=epoch,
                train_loss=2.3 * fall + 0.5,
                train_error=train,
                test_top1_error=top1 + 1.5 + (40 + 5 * spread * float(noise.standard_normal())) * fall,
                test_top5_error=top5 + 0.7 + 20 * fall,
                learning_rate=0.01,
                bias_learning_rate=0.02,
                seconds=20.0,
                images_per_second=2500.0,
            )
        )
    store.write_atomically(directory / "metrics.jsonl", "".join(json.dumps(line.numbers) + "\n" for line in lines))
    errors = {"center": top1 + 1.5, "ten": top1}
    if predictions:
        for view, error in errors.items():
            store.write_predictions(results, digest, seed, view, made_up_predictions(images, error, noise))
    maps = settings.model.layers[0].maps
    kernel = getattr(settings.model.layers[0], "kernel", 5)
    np.save(directory / "kernels.npy", noise.standard_normal((int(maps or 1), 3, kernel, kernel)).astype(np.float32))
    record = RunRecord(
        digest=digest,
        seed=seed,
        config=config.to_dict(settings),
        data=Images(settings.data.source, of_images),
        epochs=last,
        epochs_to_target=target,
        censored=False,
        seconds=20.0 * last,
        images_per_second=2500.0,
        diverged=False,
        train_error=top1 - 5,
        held_out=Errors(top1 + 1.5, top5 + 0.7),
        errors={view: Errors(error, error * 0.4) for view, error in errors.items()},
        provenance=PROVENANCE,
        placement="cpu",
    )
    store.write_run(results, record)


def write_runs(results: Path, runs: Iterable[Run], data: Path, *, epochs: int = 6, images: int = 100) -> None:
    """Finish the runs of a plan that was made with the sets prepared in `data`. Of each Config DISTINCT runs are
    written, and the seeds after them have links to their files and the same numbers: thousands a second."""
    of_digest: dict[str, list[int]] = {}
    for run in runs:
        seeds = of_digest.setdefault(run.digest, [])
        if run.seed in seeds:
            continue
        if len(seeds) < DISTINCT:
            level = 20 + int(run.digest, 16) % 100 / 5
            manifest = find(run.config.data, data)
            write_run(
                results, run.config, run.digest, run.seed, level, epochs=epochs, images=images,
                of_images=manifest.digest if manifest else UNPREPARED,
            )  # fmt: skip
        else:
            _write_again(results, run, seeds[len(seeds) % DISTINCT])
        seeds.append(run.seed)


def _write_again(results: Path, run: Run, like: int) -> None:
    """The files of a run as those of seed `like` of its Config."""
    before, folder = (store.run_directory(results, run.digest, seed) for seed in (like, run.seed))
    folder.mkdir(parents=True)
    for path in before.iterdir():
        if path.name != "run.json":
            os.link(path, folder / path.name)
    text = (before / "run.json").read_text()
    (folder / "run.json").write_text(text.replace(f'"seed": {like},', f'"seed": {run.seed},', 1))


def made_up_predictions(images: int, error: float, noise: np.random.Generator, classes: int = 10) -> dict[str, Any]:
    """Softmax outputs whose top-1 error is `error` percent up to rounding."""
    label = np.arange(images) % classes
    probability = np.full((images, classes), 0.05, dtype=np.float16)
    difficulty = np.random.default_rng(0).standard_normal(images) + noise.standard_normal(images)  # half of it shared
    wrong = difficulty.argsort().argsort() >= images - round(images * error / 100)
    said = np.where(wrong, (label + 1) % classes, label)
    probability[np.arange(images), said] = 0.5
    return {"index": np.arange(images), "label": label, "probability": probability}
