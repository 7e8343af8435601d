"""results/: finished means the record is there, damage is listed, the table has units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from repro import folders, store
from repro.config.config import digest_of
from repro.planning import asked
from repro.records import RUN_SCHEMA, RunRecord, Setting

CONFIG = {"precision": "float32", "data": {}}
NAME = digest_of(CONFIG, "d")


def values(digest: str = NAME, seed: int = 0, **changes: Any) -> dict[str, Any]:
    made = {
        "schema": RUN_SCHEMA,
        "digest": digest, "seed": seed, "config": CONFIG,
        "data": {"name": "photos", "digest": "d", "train": 10, "test": 4}, "epochs": 2, "epochs_to_target": None,
        "censored": False, "seconds": 1.5, "images_per_second": 13.3, "diverged": False, "train_error": 20.0,
        "held_out": None,
        "errors": {"center": {"top1_error": 50.0, "top5_error": 10.0}, "ten": {"top1_error": 45.0, "top5_error": 9.0}},
        "provenance": {}, "placement": "cpu",
    }  # fmt: skip
    return {**made, **changes}


def record(digest: str = NAME, seed: int = 0) -> RunRecord:
    return msgspec.convert(values(digest, seed), RunRecord)


def test_a_run_is_finished_when_its_record_is_there(tmp_path: Path) -> None:
    assert not store.is_finished(tmp_path, NAME, 0)
    store.write_run(tmp_path, record())
    assert store.is_finished(tmp_path, NAME, 0)
    read = store.read_run(tmp_path, NAME, 0)
    assert read == record() and read.errors["ten"].top1_error == 45.0


def test_finishing_clears_an_earlier_failure(tmp_path: Path) -> None:
    failed = store.run_directory(tmp_path, NAME, 0) / "failed.json"
    store.write_json(failed, {"reason": "out of memory"})
    store.write_run(tmp_path, record())
    assert not failed.exists()


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.json"
    store.write_json(path, {"a": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        store.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read"),
        ('{"schema": NaN}', "cannot be read"),
        ('{"schema": 0}', "schema that this version cannot read"),
        ("[]", "schema that this version cannot read"),
        ('{"schema": 1, "digest": "a"}', "missing required field `seed`"),
    ],
)
def test_a_damaged_record_is_listed_and_left_out(content: str, reason: str, tmp_path: Path) -> None:
    store.write_run(tmp_path, record())
    bad = store.run_directory(tmp_path, "bbbbbbbbbbbb", 3) / "run.json"
    bad.parent.mkdir(parents=True)
    bad.write_text(content)
    records, damaged = store.finished_runs(tmp_path)
    assert records == [store.read_run(tmp_path, *record().key)]
    assert [one.path for one in damaged] == [bad] and reason in damaged[0].reason


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"errors": []}, "$.errors"),
        ({"errors": {"ten": 45.0}}, "$.errors[...]"),
        ({"errors": {"ten": {"top1_error": 45.0}}}, "top5_error"),
        ({"provenance": None}, "$.provenance"),
        ({"provenance": {"git": []}}, "$.provenance[...]"),
        ({"seconds": "1.5"}, "$.seconds"),
        ({"epochs": 2.5}, "$.epochs"),
        ({"data": {"name": None, "digest": "d"}}, "$.data.name"),
        ({"data": {}}, "`name`"),
        ({"config": {"precision": "float32"}}, "config: lacks precision or data"),
    ],
)
def test_a_record_of_wrong_types_is_named_and_left_out(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    store.write_json(store.run_directory(tmp_path, NAME, 0) / "run.json", values(**changes))
    found, damaged = store.finished_runs(tmp_path)
    assert not found and "cannot be read" in damaged[0].reason and named in damaged[0].reason


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"changes": []}, "$.changes"),
        ({"seeds": "3"}, "$.seeds"),
        ({"searches": {"relu": {"0.1": 1}}}, "$.searches[...][...]"),
        ({"searches": {"relu": "0.1"}}, "$.searches[...]"),
        ({"schema": 2, "changes": None}, "cannot be read"),
    ],
)
def test_a_setting_of_wrong_types_is_named_and_left_out(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = store.write_setting(tmp_path, Setting("activations", "smoke", {}, 3, {"relu": NAME}))
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    settings, damaged = store.read_settings(tmp_path)
    assert not settings and damaged[0].path == path and named in damaged[0].reason


def test_collect_has_a_row_a_run_and_view_with_units(tmp_path: Path) -> None:
    for seed in (1, 0):
        store.write_run(tmp_path, record(seed=seed))
    frame = store.collect(tmp_path)
    assert list(zip(frame["seed"], frame["view"], strict=True)) == [
        (0, "center"),
        (0, "ten"),
        (1, "center"),
        (1, "ten"),
    ]
    center = frame[frame["view"] == "center"].iloc[0]
    assert center["top1_error_percent"] == 50.0 and center["gap_points"] == 30.0


def test_collect_of_nothing_is_an_empty_table_with_its_columns(tmp_path: Path) -> None:
    frame = store.collect(tmp_path)
    assert frame.empty and "top5_error_percent" in frame.columns


def test_the_published_table_is_the_same_bytes_twice_and_holds_every_run(tmp_path: Path) -> None:
    import pandas as pd

    store.write_run(tmp_path, record())
    csv = store.publish(tmp_path)
    before = csv.read_bytes()
    store.publish(tmp_path)
    assert csv.read_bytes() == before
    read, collected = pd.read_csv(csv), store.collect(tmp_path)
    assert list(read) == list(collected) and len(read) == len(collected) == 2  # a row a view
    given = [name for name in collected if collected[name].notna().all()]
    assert read[given].to_dict("records") == collected[given].to_dict("records")


def test_predictions_come_back_exactly(tmp_path: Path) -> None:
    arrays = {
        "index": np.arange(3), "label": np.array([1, 0, 2]),
        "probability": np.array([[0.1, 0.9, 0], [1, 0, 0], [0.2, 0.2, 0.6]], np.float16),
    }  # fmt: skip
    store.write_predictions(tmp_path, NAME, 0, "ten", arrays)
    read = store.read_predictions(tmp_path, NAME, 0, "ten")
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
    with pytest.raises(ValueError, match="predictions-center"):
        store.read_predictions(tmp_path, NAME, 0, "center")


def test_metrics_end_before_the_first_line_that_is_no_epoch(tmp_path: Path) -> None:
    path = store.run_directory(tmp_path, NAME, 0) / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    for end in ('{"epo', '{}\n{"epoch": 4}\n', "3\n", '{"epoch": 3, "train_error": "20"}\n'):
        path.write_text('{"epoch": 1}\n{"epoch": 2}\n' + end)
        assert [one.epoch for one in store.read_metrics(tmp_path, NAME, 0)] == [1, 2]


def test_changes_make_another_setting(tmp_path: Path) -> None:
    plain = Setting("lrn-ablation", "smoke", {}, 1, {})
    changed = Setting("lrn-ablation", "smoke", {"optim.batch_size": 64}, 1, {})
    assert plain.name == "smoke" and changed.name.startswith("smoke+")
    for setting in (plain, changed):
        store.write_setting(tmp_path, setting)
    (tmp_path / "experiments" / "lrn-ablation" / "broken.json").write_text("{")
    settings, damaged = store.read_settings(tmp_path)
    assert {setting.name for setting in settings} == {plain.name, changed.name} and len(damaged) == 1


ARMS = {"with-lrn": NAME, "no-lrn": "bbbbbbbbbbbb"}


def noted(results: Path, seeds: int, arms: dict[str, str] = ARMS) -> tuple[int, ...]:
    """Looks on record once a setting is asked for."""
    looks = asked.note(results, Setting("lrn-ablation", "smoke", {}, seeds, arms)).looks
    assert store.read_settings(results)[0][0].looks == looks
    return looks


def test_a_second_look_is_noted_where_a_verdict_could_be_seen(tmp_path: Path) -> None:
    assert noted(tmp_path, 3) == (3,)
    for seed in range(2):
        store.write_run(tmp_path, record(seed=seed))
    assert noted(tmp_path, 5) == (5,)  # two runs have no verdict
    store.write_run(tmp_path, record(seed=2))
    assert noted(tmp_path, 3) == (5, 3)


def test_looks_outlive_a_search_and_a_new_arm_but_not_other_runs(tmp_path: Path) -> None:
    for seed in range(3):
        store.write_run(tmp_path, record(seed=seed))
    assert noted(tmp_path, 3) == (3,)
    assert noted(tmp_path, 5, arms={}) == (3, 5)  # a search is open again, and its arms are not known
    assert noted(tmp_path, 5, arms={**ARMS, "third": "cccccccccccc"}) == (3, 5)
    assert noted(tmp_path, 3, arms={"with-lrn": "dddddddddddd"}) == (3,)


@pytest.mark.parametrize(
    ("max_seeds", "raised_from", "looks"),
    [
        (None, None, (5,)),
        (5, None, (5,)),
        (30, None, (30, 5)),
        (5, {"seeds": 3, "max_seeds": None}, (3, 5)),
        (50, {"seeds": 3, "max_seeds": None}, (50, 3, 5)),
        (30, {"seeds": 4, "max_seeds": 30}, (30, 4, 5)),
    ],
)
def test_a_setting_of_schema_2_keeps_its_looks(
    max_seeds: int | None, raised_from: dict[str, int | None] | None, looks: tuple[int, ...], tmp_path: Path
) -> None:
    before = {
        "experiment": "lrn-ablation", "preset": "smoke", "changes": {}, "seeds": 5, "arms": ARMS, "searches": {},
        "data_digest": "d", "max_seeds": max_seeds, "raised_from": raised_from, "search_seeds": [], "common": {},
        "seeds_of": {}, "first_seed": 0, "untuned": False, "frozen": "", "schema": 2,
    }  # fmt: skip
    store.write_json(tmp_path / "experiments" / "lrn-ablation" / "smoke.json", before)
    found = store.read_settings(tmp_path)[0][0]
    assert found == Setting("lrn-ablation", "smoke", {}, 5, ARMS, looks=looks)


@pytest.mark.parametrize("name", ["data", "results", "reports"])
def test_the_three_folders_follow_one_rule(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = getattr(folders, f"{name}_directory")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(f"REPRO_{name.upper()}_DIR", "")  # empty means unset
    assert folder(None) == Path(name)
    monkeypatch.setenv(f"REPRO_{name.upper()}_DIR", "~/there")
    assert folder(None) == tmp_path / "there"
    assert folder(Path("~/here")) == tmp_path / "here"
