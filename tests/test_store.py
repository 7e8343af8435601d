"""results/: finished means the record is there, damage is listed, the table has units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro import store
from repro.store import Setting


def record(digest: str = "aaaaaaaaaaaa", seed: int = 0, **changes: Any) -> dict[str, Any]:
    made = {
        "digest": digest, "seed": seed, "config": {"precision": "float32", "data": {}},
        "data": {"name": "photos", "digest": "d", "train": 10, "test": 4}, "epochs": 2, "epochs_to_target": None,
        "censored": False, "seconds": 1.5, "images_per_second": 13.3, "diverged": False, "train_error": 20.0,
        "held_out": None,
        "errors": {"center": {"top1_error": 50.0, "top5_error": 10.0}, "ten": {"top1_error": 45.0, "top5_error": 9.0}},
        "provenance": {}, "placement": "cpu",
    }  # fmt: skip
    return {**made, **changes}


def test_a_run_is_finished_when_its_record_is_there(tmp_path: Path) -> None:
    assert not store.is_finished(tmp_path, "aaaaaaaaaaaa", 0)
    store.write_run(tmp_path, record())
    assert store.is_finished(tmp_path, "aaaaaaaaaaaa", 0)
    read = store.read_run(tmp_path, "aaaaaaaaaaaa", 0)
    assert read["errors"]["ten"]["top1_error"] == 45.0 and read["schema"] == store.SCHEMA


def test_a_record_with_other_fields_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        store.write_run(tmp_path, {**record(), "extra": 1})


def test_finishing_clears_an_earlier_failure(tmp_path: Path) -> None:
    failed = store.run_directory(tmp_path, "aaaaaaaaaaaa", 0) / "failed.json"
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
        ('{"schema": 1, "digest": "a"}', "lacks seed"),
    ],
)
def test_a_damaged_record_is_listed_and_left_out(content: str, reason: str, tmp_path: Path) -> None:
    store.write_run(tmp_path, record())
    bad = store.run_directory(tmp_path, "bbbbbbbbbbbb", 3) / "run.json"
    bad.parent.mkdir(parents=True)
    bad.write_text(content)
    records, damaged = store.finished_runs(tmp_path)
    assert [one["digest"] for one in records] == ["aaaaaaaaaaaa"]
    assert [one.path for one in damaged] == [bad] and reason in damaged[0].reason


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"errors": []}, "errors"),
        ({"errors": {"ten": 45.0}}, "errors.ten"),
        ({"provenance": None}, "provenance"),
        ({"provenance": {"git": []}}, "provenance.git"),
        ({"seconds": "1.5", "images_per_second": None}, "seconds, images_per_second"),
        ({"epochs": 2.5}, "epochs"),
        ({"data": {"name": None, "digest": "d"}}, "data.name"),
        ({"data": {}}, "data.name, data.digest"),
        ({"config": {"precision": "float32"}}, "config.data"),
        ({"errors": {"ten": {"top1_error": 45.0}}}, "errors.ten"),
    ],
)
def test_a_record_of_wrong_types_is_named_and_left_out(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    store.write_run(tmp_path, record(**changes))
    records, damaged = store.finished_runs(tmp_path)
    assert not records and f"cannot be read ({named}: wrong type)" in damaged[0].reason


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"changes": []}, "changes: wrong type"),
        ({"arms": None, "seeds": "3"}, "seeds, arms: wrong type"),
        ({"searches": {"relu": {"0.1": 1}}}, "a digest is no text"),
        ({"searches": {"relu": "0.1"}}, "cannot be read"),
    ],
)
def test_a_setting_of_wrong_types_is_named_and_left_out(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = store.write_setting(tmp_path, Setting("activations", "smoke", {}, 3, {"relu": "aaaaaaaaaaaa"}))
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


def test_published_tables_are_the_same_bytes_twice(tmp_path: Path) -> None:
    import pandas as pd

    store.write_run(tmp_path, record())
    csv, parquet = store.publish(tmp_path)
    before = csv.read_bytes()
    store.publish(tmp_path)
    assert csv.read_bytes() == before
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), store.collect(tmp_path))


def test_predictions_come_back_exactly(tmp_path: Path) -> None:
    arrays = {
        "index": np.arange(3), "label": np.array([1, 0, 2]),
        "probability": np.array([[0.1, 0.9, 0], [1, 0, 0], [0.2, 0.2, 0.6]], np.float16),
    }  # fmt: skip
    store.write_predictions(tmp_path, "aaaaaaaaaaaa", 0, "ten", arrays)
    read = store.read_predictions(tmp_path, "aaaaaaaaaaaa", 0, "ten")
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
    assert store.has_predictions(tmp_path, "aaaaaaaaaaaa", 0, "ten")
    with pytest.raises(ValueError, match="predictions-center"):
        store.read_predictions(tmp_path, "aaaaaaaaaaaa", 0, "center")


def test_metrics_end_before_the_first_line_that_is_no_epoch(tmp_path: Path) -> None:
    path = store.run_directory(tmp_path, "aaaaaaaaaaaa", 0) / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    for end in ('{"epo', '{}\n{"epoch": 4}\n', "3\n", '{"epoch": 3, "train_error": "20"}\n'):
        path.write_text('{"epoch": 1}\n{"epoch": 2}\n' + end)
        assert [metrics["epoch"] for metrics in store.read_metrics(tmp_path, "aaaaaaaaaaaa", 0)] == [1, 2]


def test_fewer_seeds_replace_more_only_where_no_run_beyond_them_is_finished(tmp_path: Path) -> None:
    arms = {"with-lrn": "aaaaaaaaaaaa"}
    for seed in range(4):
        store.write_run(tmp_path, record(seed=seed))
    store.write_setting(tmp_path, Setting("lrn-ablation", "smoke", {}, 5, arms))
    path = store.write_setting(tmp_path, Setting("lrn-ablation", "smoke", {}, 2, arms))
    assert (store.read_setting(path).seeds, store.read_setting(path).max_seeds) == (5, None)
    path = store.write_setting(tmp_path, Setting("lrn-ablation", "smoke", {}, 4, arms))
    assert (store.read_setting(path).seeds, store.read_setting(path).max_seeds) == (4, 5), (
        "the first number was announced"
    )
    store.write_setting(tmp_path, Setting("lrn-ablation", "smoke", {}, 2, {"with-lrn": "bbbbbbbbbbbb"}))
    assert store.read_setting(path).seeds == 2


ARMS = {"with-lrn": "aaaaaaaaaaaa", "no-lrn": "bbbbbbbbbbbb"}


def asked(results: Path, *settings: tuple[int, int | None], arms: dict[str, str] = ARMS) -> tuple[int, int | None]:
    """Seeds and max_seeds on record after settings of (seeds, max_seeds) were asked for one after the other."""
    for seeds, max_seeds in settings:
        path = store.write_setting(results, Setting("lrn-ablation", "smoke", {}, seeds, arms, max_seeds=max_seeds))
    read = store.read_setting(path)
    return read.seeds, read.max_seeds


@pytest.mark.parametrize(
    ("before", "then", "on_record"),
    [
        ((3, None), (3, None), (3, None)),  # one look, taken again
        ((3, None), (10, None), (10, 10)),  # more seeds after a verdict
        ((10, None), (3, None), (10, None)),
        ((5, None), (3, 20), (5, 20)),  # --until-decided from fewer seeds than there are
        ((5, 30), (20, 4), (20, 30)),
        ((3, 4), (20, None), (20, 20)),
        ((4, 20), (4, None), (4, 20)),
        ((2, None), (5, None), (5, None)),  # two seeds have no verdict: the five are the first look
    ],
)
def test_looks_once_taken_stay_on_record(
    tmp_path: Path, before: tuple[int, int | None], then: tuple[int, int | None], on_record: tuple[int, int | None]
) -> None:
    for seed in range(before[0]):
        store.write_run(tmp_path, record(seed=seed))
    assert asked(tmp_path, before, then) == on_record


def test_more_seeds_can_be_taken_back_until_one_is_finished(tmp_path: Path) -> None:
    for seed in range(5):
        store.write_run(tmp_path, record(seed=seed))
    assert asked(tmp_path, (5, None), (50, None), (50, None)) == (50, 50)
    assert asked(tmp_path, (60, None), (5, None)) == (5, None)
    assert asked(tmp_path, (50, None)) == (50, 50)
    store.write_run(tmp_path, record(seed=5))
    assert asked(tmp_path, (5, None)) == (50, 50)
    assert asked(tmp_path, (6, None)) == (6, 50)


def test_seeds_that_were_never_finished_were_never_looked_at(tmp_path: Path) -> None:
    for seed in range(2):
        store.write_run(tmp_path, record(seed=seed))
    assert asked(tmp_path, (3, None), (10, None)) == (10, None)


def test_looks_outlive_a_search_and_a_new_arm_but_not_other_runs(tmp_path: Path) -> None:
    for seed in range(3):
        store.write_run(tmp_path, record(seed=seed))
    assert asked(tmp_path, (3, None)) == (3, None)
    assert asked(tmp_path, (5, None), arms={}) == (5, 5)  # a search is open again, and its arms are not known
    assert asked(tmp_path, (5, None), arms={**ARMS, "third": "cccccccccccc"}) == (5, 5)
    assert asked(tmp_path, (3, None), arms={"with-lrn": "dddddddddddd"}) == (3, None)


def test_changes_make_another_setting(tmp_path: Path) -> None:
    plain = Setting("lrn-ablation", "smoke", {}, 1, {})
    changed = Setting("lrn-ablation", "smoke", {"optim.batch_size": 64}, 1, {})
    assert plain.name == "smoke" and changed.name.startswith("smoke+")
    for setting in (plain, changed):
        store.write_setting(tmp_path, setting)
    (tmp_path / "experiments" / "lrn-ablation" / "broken.json").write_text("{")
    settings, damaged = store.read_settings(tmp_path)
    assert {setting.name for setting in settings} == {plain.name, changed.name} and len(damaged) == 1
