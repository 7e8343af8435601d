"""Names that last: a digest names a run for ever, whatever keys come into the Config later.

tests/golden/digests.txt has the digest of every preset, and of every published run. After a new preset or newly
published runs, write it again; a line that changes disowns results and says why in its commit:

    python -m tests.test_digests
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from repro import store
from repro.config import config, keys
from repro.config.config import digest, from_dict
from repro.config.keys import override
from repro.config.presets import PRESETS, preset
from repro.experiments import registry
from repro.planning import plan

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "digests.txt"
RESULTS = ROOT / "results"


def named() -> dict[str, str]:
    """What is named -> its digest: presets, without data, and the folders of the published runs."""
    of_presets = {f"preset {name}": digest(preset(name), "") for name in PRESETS}
    of_runs = {
        f"run {record.digest}": digest(from_dict(record.config), record.data.digest)
        for record in store.finished_runs(RESULTS)[0]
    }
    return of_presets | of_runs


def test_every_preset_and_every_published_run_keeps_its_name() -> None:
    golden = dict(line.rsplit(" ", 1) for line in GOLDEN.read_text().splitlines())
    assert named() == golden


def test_a_published_run_is_named_by_its_record() -> None:
    of_runs = {name: value for name, value in named().items() if name.startswith("run ")}
    assert len(of_runs) > 50
    assert [name for name, value in of_runs.items() if name != f"run {value}"] == []


def test_the_plan_finds_the_published_runs_of_a_setting(tmp_path: Path) -> None:
    asked = store.read_setting(RESULTS / "experiments" / "ten-view" / "cifar10+3c6ba0.json")
    experiment = registry.load().get("ten-view")
    made = plan.make(
        [experiment], asked.preset, asked.seeds, asked.changes, data=tmp_path, results=RESULTS, tuned=False
    )
    assert len(made.runs) == 5
    assert all(run.finished for run in made.runs)


def test_young_keys_are_left_out_at_their_neutral_values_only() -> None:
    values = {"a": 1, "part": {"b": 2, "c": 3}, "none": None, "layers": {"conv1": {"d": 4}, "fc2": {"d": 5}}}
    for key, neutral in {"a": 1, "part.b": 2, "part.c": 0, "none.x": 1, "gone.y": 1, "layers.*.d": 4}.items():
        config._leave_out(values, key.split("."), neutral)
    assert values == {"part": {"c": 3}, "none": None, "layers": {"conv1": {}, "fc2": {"d": 5}}}


@pytest.mark.parametrize("key", config.YOUNG_KEYS)
def test_a_young_key_is_a_key_and_neutral_by_default(key: str) -> None:
    """Default: a record written before the key came is read with it, and has to keep its name."""
    concrete = key.replace("*", "conv1")
    everything = {name: keys.flatten(preset(name)) for name in PRESETS}
    there = [
        name
        for name, values in everything.items()
        if any(one == concrete or one.startswith(f"{concrete}.") for one in values)
    ]
    assert there, f"no preset has {key}"
    before = config.to_dict(preset(there[0]))
    *parts, last = concrete.split(".")
    del functools.reduce(dict.__getitem__, parts, before)[last]
    assert keys.flatten(from_dict(before))[concrete] == config.YOUNG_KEYS[key]


def test_a_young_key_at_another_value_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config.YOUNG_KEYS, "data.scale", 1.0)
    plain = preset("cifar10")
    assert digest(override(plain, {"data.scale": 0.5}), "") != digest(plain, "")


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"{name} {value}\n" for name, value in named().items()))
