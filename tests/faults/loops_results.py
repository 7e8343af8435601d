"""The long loops over damage of results: predictions, records, settings' files and checkpoints.

As in loops_data: each tries as often as it is asked to, with a seed, and counts what came out wrong. Wrong is another
number without a word, a run that vanishes unnamed, or any error but a ValueError.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from loops_data import Count, counted, workplace

from repro import report, store
from repro.bench.made_up import write_setting
from repro.config.keys import override
from repro.config.presets import preset
from repro.experiments import registry
from repro.network.model import build
from repro.training import checkpoint
from repro.training.optim import make_optimizer

ODD: tuple[Any, ...] = (None, True, -1, 10**30, 1.5, "x" * 300, [], [[]], {}, {"a": {}}, "<script>", float("inf"))


def published(results: Path) -> tuple[str, Path]:
    """A setting of two arms with made-up runs: the digest of an arm, and the folder of its first run."""
    setting = write_setting(
        results, registry.load().get("overlapping-pooling"), "smoke", {"overlapping": 30.0, "no-overlap": 31.0}
    )
    digest = setting.arms["overlapping"]
    return digest, store.run_directory(results, digest, 0)


def flipped(content: bytes, generator: np.random.Generator) -> bytes:
    """The same but for one bit."""
    changed = bytearray(content)
    at = int(generator.integers(len(changed)))
    changed[at] ^= 1 << int(generator.integers(8))
    return bytes(changed)


def bits_of_predictions(trials: int, seed: int) -> Count:
    """Row 5: one bit of stored predictions, of a record with hashes and of one without."""
    generator, wrong = np.random.default_rng(seed), []
    with workplace() as results:
        digest, folder = published(results)
        path, record = folder / "predictions-ten.npz", store.read_run(results, digest, 0)
        content, before = path.read_bytes(), store.read_predictions(results, digest, 0, "ten", record)
        for trial in range(trials):
            path.write_bytes(flipped(content, generator))
            try:
                after = store.read_predictions(results, digest, 0, "ten", record)
                if any((after[name] != before[name]).any() for name in before):
                    wrong.append(f"trial {trial}: other numbers in silence")
            except ValueError as error:
                if str(path) not in str(error):
                    wrong.append(f"trial {trial}: unnamed: {error}")
    return counted("bits_of_predictions", trials, wrong)


def values_of_records(trials: int, seed: int) -> Count:
    """Rows 6, 9 and 12: a value of run.json is another, of a wrong type, or gone; the file is cut or empty."""
    generator, wrong = np.random.default_rng(seed), []
    with workplace() as results:
        digest, folder = published(results)
        path = folder / "run.json"
        content = path.read_text()
        for trial in range(trials):
            path.write_text(damaged_json(content, generator))
            changed = path.read_text() != content
            try:
                records, damaged = store.finished_runs(results)
                read = [one for one in records if one.key == (digest, 0)]
                if changed and not read and not any(one.path == path for one in damaged):
                    wrong.append(f"trial {trial}: vanished unnamed: {path.read_text()[:80]}")
            except Exception as error:
                wrong.append(f"trial {trial}: {type(error).__name__}: {error}")
        path.write_text(content)
    return counted("values_of_records", trials, wrong)


def values_of_settings(trials: int, seed: int) -> Count:
    """Rows 12 and 16: the same of a setting's file, and a whole report after it."""
    generator, wrong = np.random.default_rng(seed), []
    with workplace() as results:
        published(results)
        (path,) = (results / "experiments").glob("*/*.json")
        content, known = path.read_text(), [registry.load().get("overlapping-pooling")]
        for trial in range(trials):
            path.write_text(damaged_json(content, generator))
            try:
                report.build(known, None, results, results / "reports")
            except Exception as error:
                wrong.append(f"trial {trial}: {type(error).__name__}: {error} for {path.read_text()[:300]}")
    return counted("values_of_settings", trials, wrong)


def damaged_json(content: str, generator: np.random.Generator) -> str:
    """A file whose JSON holds something else somewhere, or is none any more."""
    kind = generator.integers(5)
    if kind == 0:
        return content[: int(generator.integers(len(content)))]
    if kind == 1:
        return "".join(chr(int(code)) for code in generator.integers(32, 127, size=40))
    values = json.loads(content)
    inside: Any = values
    while True:
        key = list(inside)[int(generator.integers(len(inside)))]
        if isinstance(inside[key], dict) and inside[key] and generator.integers(2):
            inside = inside[key]
            continue
        if kind == 2:
            del inside[key]
        else:
            inside[key] = ODD[int(generator.integers(len(ODD)))]
        return json.dumps(values)


def bits_of_checkpoints(trials: int, seed: int) -> Count:
    """Row 4: one bit of a checkpoint; the one before is used and both are named, or the state is what it was."""
    generator, wrong = np.random.default_rng(seed), []
    config = override(preset("smoke"), {"model.layers.fc6.maps": 16, "model.layers.fc7.maps": 16})

    def training(name: str = "aaaaaaaaaaaa/seed-0") -> checkpoint.Training:
        model = build(config, 0)
        return checkpoint.Training(name, config, 0, model, make_optimizer(model, config), torch.device("cpu"))

    with workplace() as folder:
        path = folder / checkpoint.FILE
        checkpoint.save(path, training())
        last = training()
        last.position.epoch = 1
        checkpoint.save(path, last)
        content = path.read_bytes()
        weights = {name: value.clone() for name, value in last.model.state_dict().items()}
        for trial in range(trials):
            path.write_bytes(flipped(content, generator))
            found = training()
            try:
                told = checkpoint.load(path, found)
            except ValueError as error:
                wrong.append(f"trial {trial}: the one before was not used: {error}")
                continue
            same = all(torch.equal(value, weights[name]) for name, value in found.model.state_dict().items())
            if told is None or str(checkpoint.before(path)) not in told or not same or found.position.epoch != 0:
                wrong.append(f"trial {trial}: {told}, epoch {found.position.epoch}, same weights: {same}")
        path.write_bytes(content)
        other = training("bbbbbbbbbbbb/seed-3")
        try:
            checkpoint.load(path, other)
            wrong.append("a checkpoint of another run was loaded")
        except ValueError as error:
            if "is of run aaaaaaaaaaaa/seed-0, not of bbbbbbbbbbbb/seed-3" not in str(error):
                wrong.append(str(error))
    return counted("bits_of_checkpoints", trials, wrong)


LOOPS: dict[Callable[[int, int], Count], int] = {  # with how often each is tried by `make faults`
    bits_of_predictions: 300,
    values_of_records: 1000,
    values_of_settings: 100,
    bits_of_checkpoints: 100,
}
