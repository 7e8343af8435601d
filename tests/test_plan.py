"""The plan: runs named by what they compute, shared arms once, searches first, a bill that adds up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from repro import paper, store
from repro.config.config import Config, digest, to_dict
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import open_data
from repro.data.manifest import find
from repro.experiments.experiment import Arm, Claim, Experiment, Search
from repro.planning import cost, plan
from repro.records import RunRecord


def question(**changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "name": "made-up", "question": "Is this one made up?", "factor": "model.norm", "section": "-",
        "arms": [Arm("with"), Arm("without", {"model.norm": None})], "presets": ["smoke"],
    }  # fmt: skip
    return Experiment(**{**values, **changes})


PHOTOS = "db2e852f0805f3c2d3b158aa0bfcaa8ebe3bd3473a4c46c99766b2186e2b3942"  # of the shipped photographs, at 32 pixels


def made(*experiments: Experiment, photos: Path, results: Path, seeds: int = 2, **changes: Any) -> plan.Plan:
    return plan.make(experiments, None, seeds, changes, data=photos, results=results)


def finish(
    results: Path,
    run: plan.Run,
    *,
    reached: float | None = None,
    rate: float = 1000.0,
    train: float = 20.0,
    held_out: Mapping[str, float] | None = None,
    diverged: bool = False,
    data: Mapping[str, Any] = {"name": "photos", "digest": PHOTOS, "train": 10, "test": 4},
) -> None:
    """Pretend that a run is finished."""
    right = np.full((4, 8), 0.1, dtype=np.float16)
    right[:, 0] = 0.3
    for view in run.views:
        arrays = {"index": np.arange(4), "label": np.zeros(4, dtype=np.int64), "probability": right}
        store.write_predictions(results, run.digest, run.seed, view, arrays)
    store.write_run(results, msgspec.convert(
        {
            "digest": run.digest, "seed": run.seed, "config": to_dict(run.config),
            "data": dict(data), "epochs": 2, "epochs_to_target": reached,
            "censored": reached is None, "seconds": 1.0, "images_per_second": rate, "diverged": diverged,
            "train_error": train, "held_out": held_out,
            "errors": {view: {"top1_error": 0.0, "top5_error": 0.0} for view in run.views},
            "provenance": {}, "placement": "cpu",
        }, RunRecord,
    ))  # fmt: skip


def test_a_run_is_an_arm_and_a_seed(photos: Path, tmp_path: Path) -> None:
    found = made(question(), photos=photos, results=tmp_path)
    assert [(run.used_by, run.seed) for run in found.runs] == [
        (("made-up/with",), 0), (("made-up/without",), 0), (("made-up/with",), 1), (("made-up/without",), 1),
    ]  # fmt: skip
    assert found.todo == found.runs and not found.unprepared
    base = preset("smoke")
    manifest = find(base.data, photos)
    assert manifest is not None and found.runs[0].digest == digest(base, manifest.digest)


def test_a_view_that_no_checkpoint_can_give_is_said(photos: Path, tmp_path: Path) -> None:
    first, *_ = made(question(), photos=photos, results=tmp_path).runs
    finish(tmp_path, first)
    (store.run_directory(tmp_path, first.digest, first.seed) / f"predictions-{first.views[0]}.npz").unlink()
    again = {run.name: run for run in made(question(), photos=photos, results=tmp_path).runs}[first.name]
    assert again.finished and again.missing == (first.views[0],)
    assert again.damaged[-1] == f"{first.name}: {first.views[0]}: its checkpoint is not here; delete it to redo it"


def test_arms_that_read_sets_prepared_in_two_ways_are_named_by_their_own(photos: Path, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    whole = preset("smoke")
    other = override(whole, {"data.storage": "png"})
    digests = {one.data.storage: open_data(one.data, directory).manifest.digest for one in (whole, other)}
    assert len({*digests.values()}) == 2
    one = question(arms=[Arm("raw"), Arm("png", {"data.storage": "png"})], factor="data.storage")
    for experiment in (one, question(arms=one.arms[::-1], factor="data.storage")):
        found = made(experiment, photos=directory, results=tmp_path)
        (setting,) = found.settings
        assert setting.arms == {"raw": digest(whole, digests["raw"]), "png": digest(other, digests["png"])}
        assert {run.digest for run in found.runs} == {*setting.arms.values()}


def test_shared_arms_are_counted_once(photos: Path, tmp_path: Path) -> None:
    other = question(name="other", arms=[Arm("base"), Arm("small", {"optim.batch_size": 8})])
    found = made(question(), other, photos=photos, results=tmp_path, seeds=1)
    assert [run.used_by for run in found.runs] == [
        ("made-up/with", "other/base"),
        ("made-up/without",),
        ("other/small",),
    ]


def test_a_finished_run_is_not_to_do_until_a_view_is_missing(photos: Path, tmp_path: Path) -> None:
    for run in made(question(), photos=photos, results=tmp_path).runs:
        finish(tmp_path, run)
    assert not made(question(), photos=photos, results=tmp_path).todo
    dense = question(arms=[Arm("with"), Arm("dense", view="dense")])
    todo = made(dense, photos=photos, results=tmp_path, seeds=1).todo
    assert [(run.finished, run.missing) for run in todo] == [(True, ("dense",))]


def test_the_order_of_changes_is_preset_set_arm(photos: Path, tmp_path: Path) -> None:
    found = made(question(), photos=photos, results=tmp_path, seeds=1, **{"optim.batch_size": 16})
    assert [run.config.optim.batch_size for run in found.runs] == [16, 16]
    assert [run.config.model.norm is None for run in found.runs] == [False, True]
    assert found.settings[0].name.startswith("smoke+")


@pytest.mark.parametrize("key", ["model.norm", "model.norm.beta", "model"])
def test_set_may_not_touch_what_the_arms_compare(key: str) -> None:
    with pytest.raises(ValueError, match="leave it out"):
        plan.configs(question(), "smoke", {key: 0.5})


def test_a_preset_that_the_ablation_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="does not support preset 'tiny'; known: smoke"):
        plan.configs(question(), "tiny", {})


def test_a_bad_arm_is_named() -> None:
    with pytest.raises(ValueError, match=r"arm 'without' at smoke: unknown key 'model\.nrom'"):
        plan.configs(question(arms=[Arm("with"), Arm("without", {"model.nrom": None})]), "smoke", {})


def test_data_that_is_missing_is_said_with_its_command(tmp_path: Path) -> None:
    found = plan.make([question(presets=["cifar10"])], None, 1, {}, data=tmp_path, results=tmp_path)
    assert len(found.unprepared) == 1 and "repro data prepare cifar10" in found.unprepared[0]
    assert not list(tmp_path.iterdir())


def test_published_runs_are_finished_where_their_data_is_not_prepared(tmp_path: Path) -> None:
    def planned(seeds: int) -> plan.Plan:
        return plan.make([question(presets=["cifar10"])], None, seeds, {}, data=tmp_path / "none", results=tmp_path)

    config = preset("cifar10")
    for arm in (config, plan.override(config, {"model.norm": None})):
        record = {"name": "cifar10-32-short-crop-raw", "digest": "d" * 64, "train": 10, "test": 4}
        run = plan.Run(arm, 0, digest(arm, "d" * 64), ("center", "ten"))
        finish(tmp_path, run, data=record)
    assert not planned(1).todo and not planned(1).unprepared
    assert [run.seed for run in planned(2).todo] == [1, 1] and len(planned(2).unprepared) == 1
    other = plan.Run(config, 5, digest(config, "e" * 64), (), ("center", "ten"), (), False, (), None)
    finish(tmp_path, other, data=record | {"digest": "e" * 64})
    assert len(planned(1).todo) == 2, "runs on other images of that name: nobody can say which are meant"


ONCE = Search(values=(0.1, 0.01), seeds=(1000,), metric="epochs_to_target", extensions=0)


def searched(**options: Any) -> Experiment:
    return question(search=replace(ONCE, **options))


def test_a_search_comes_before_the_arms_and_chooses_for_each(photos: Path, tmp_path: Path) -> None:
    first = made(searched(), photos=photos, results=tmp_path, seeds=2)
    assert [run.seed for run in first.runs] == [1000] * 4 and first.waiting == ("made-up/with", "made-up/without")
    reached = {("with", 0.1): None, ("with", 0.01): 9.0, ("without", 0.1): 4.0, ("without", 0.01): 6.0}
    for run in first.runs:
        arm = run.used_by[0].split("/")[1]
        finish(tmp_path, run, reached=reached[arm, run.config.optim.learning_rate])
    then = made(searched(), photos=photos, results=tmp_path, seeds=2)
    assert not then.waiting
    chosen = {run.used_by[0]: run.config.optim.learning_rate for run in then.todo}
    assert chosen == {"made-up/with": 0.01, "made-up/without": 0.1}
    assert sorted(run.seed for run in then.todo) == [0, 0, 1, 1]
    assert then.settings[0].searches["with"].keys() == {"0.1", "0.01"}


def test_runs_of_a_search_are_tested_on_the_center_view_only(photos: Path, tmp_path: Path) -> None:
    arms = [Arm("with", view="dense"), Arm("without", {"model.norm": None})]
    asked = question(
        search=ONCE,
        arms=arms,
        artifacts=["kernels"],
    )
    first = made(asked, photos=photos, results=tmp_path)
    assert {(run.views, run.artifacts) for run in first.runs} == {(("center",), ())}
    for run in first.runs:
        finish(tmp_path, run)
    read = {run.used_by[0]: (run.views, run.artifacts) for run in made(asked, photos=photos, results=tmp_path).todo}
    assert read["made-up/with"] == (("center", "ten", "dense"), ("kernels",))


def test_the_search_of_a_claim_comes_before_all_else_and_other_searches_after(photos: Path, tmp_path: Path) -> None:
    tried = ONCE
    claim = Claim.worse("without", "with", source="here", measured=paper.NOT_SAID)
    arms = [Arm("with"), Arm("without", {"model.norm": None}), Arm("other", {"model.dropout": None})]
    asked = question(name="searched", arms=arms, claims=[claim], search=tried)
    plain = question(name="plain", arms=[Arm("with"), Arm("smaller", {"optim.batch_size": 16})], claims=[])
    first = made(asked, plain, photos=photos, results=tmp_path)
    assert {run.used_by for run in first.next} == {("searched/with",), ("searched/without",)}
    for run in first.next:
        finish(tmp_path, run)
    then = made(asked, plain, photos=photos, results=tmp_path)
    assert then.waiting == ("searched/other",) and then.next == then.todo
    readers = [run.used_by[0].split("/")[1] for run in then.next]
    assert readers.index("other") > max(at for at, arm in enumerate(readers) if arm in ("with", "without"))


def test_a_short_search_chooses_by_the_error_on_training_images(photos: Path, tmp_path: Path) -> None:
    short = searched(metric="train_error", epochs=1)
    first = made(short, photos=photos, results=tmp_path, seeds=1)
    assert {run.config.schedule.epochs for run in first.runs} == {1}
    for run in first.runs:
        wins = (run.config.optim.learning_rate == 0.1) == run.used_by[0].endswith("/with")
        finish(tmp_path, run, train=40.0 if wins else 50.0)
    then = made(short, photos=photos, results=tmp_path, seeds=1)
    assert {run.used_by[0]: run.config.optim.learning_rate for run in then.todo} == {
        "made-up/with": 0.1,
        "made-up/without": 0.01,
    }
    assert {run.config.schedule.epochs for run in then.todo} == {preset("smoke").schedule.epochs}
    longer = searched(metric="train_error", epochs=1000)  # never longer than the runs themselves
    assert {run.config.schedule.epochs for run in made(longer, photos=photos, results=tmp_path, seeds=1).runs} == {
        preset("smoke").schedule.epochs
    }


@pytest.mark.parametrize("metric", ["epochs_to_target", "train_error", "top1_error"])
def test_a_diverged_run_never_wins_a_search(photos: Path, tmp_path: Path, metric: str) -> None:
    asked = searched(metric=metric)
    for run in made(asked, photos=photos, results=tmp_path).runs:
        fast = run.config.optim.learning_rate == 0.1
        finish(tmp_path, run, diverged=fast, train=1.0 if fast else 60.0, reached=3.0 if fast else None)
    then = made(asked, photos=photos, results=tmp_path)
    assert {run.config.optim.learning_rate for run in then.todo} == {0.01}


def test_the_runs_that_a_claim_needs_come_first(photos: Path, tmp_path: Path) -> None:
    arms = [Arm("idle", {"model.norm": None}), Arm("with"), Arm("without", {"model.dropout": None})]
    claim = Claim.worse("without", "with", source="made up", measured=paper.NOT_SAID)
    found = made(question(arms=arms, claims=[claim]), photos=photos, results=tmp_path, seeds=2)
    assert [run.used_by[0].split("/")[1] for run in found.runs] == [
        "with",
        "without",
        "with",
        "without",
        "idle",
        "idle",
    ]
    assert [run.seed for run in found.runs] == [0, 0, 1, 1, 0, 1]


def test_the_bill_uses_the_rate_of_finished_runs(photos: Path, tmp_path: Path) -> None:
    found = made(question(), photos=photos, results=tmp_path, seeds=2)
    guessed = cost.cost(found, data=photos, results=tmp_path)
    assert not guessed.machine and guessed.runs == 4
    finish(tmp_path, found.runs[0], rate=100.0)
    slow = cost.cost(made(question(), photos=photos, results=tmp_path, seeds=2), data=photos, results=tmp_path)
    manifest = find(found.runs[0].config.data, photos)
    assert manifest is not None and slow.machine == "an unknown processor" and slow.runs == 3
    train = cost.images(found.runs[0].config, manifest)[0]
    training = 3 * found.runs[0].config.schedule.epochs * train / 100.0  # seconds: images over images a second
    assert training < slow.seconds < 1.5 * training  # tests and views come on top


def test_a_record_of_an_older_config_has_no_rate_and_stops_nothing(photos: Path, tmp_path: Path) -> None:
    for run in made(question(), photos=photos, results=tmp_path).runs:
        finish(tmp_path, run)
    for path in tmp_path.glob("runs/*/*/run.json"):
        record = json.loads(path.read_text())
        record["config"]["optim"]["forgotten"] = 1
        path.write_text(json.dumps(record))
    found = made(question(), photos=photos, results=tmp_path, seeds=3)
    assert not cost.cost(found, data=photos, results=tmp_path).machine


def test_the_bill_of_nothing_is_nothing(photos: Path, tmp_path: Path) -> None:
    for run in made(question(), photos=photos, results=tmp_path).runs:
        finish(tmp_path, run)
    bill = cost.cost(made(question(), photos=photos, results=tmp_path), data=photos, results=tmp_path)
    assert (bill.runs, bill.seconds, bill.disk_bytes) == (0, 0.0, 0)


def test_a_run_that_failed_says_why_until_it_is_finished(photos: Path, tmp_path: Path) -> None:
    run = made(question(), photos=photos, results=tmp_path).runs[0]
    place = store.run_directory(tmp_path, run.digest, run.seed)
    store.write_json(place / "failed.json", {"reason": "ValueError: no room"})
    assert made(question(), photos=photos, results=tmp_path).runs[0].failed == "ValueError: no room"
    finish(tmp_path, run)
    assert made(question(), photos=photos, results=tmp_path).runs[0].failed is None


def test_changes_to_what_the_preset_has_anyway_are_none(photos: Path, tmp_path: Path) -> None:
    momentum = preset("smoke").optim.momentum
    nothing = {"optim.momentum": momentum, "model.layers": {}, "schedule.kind": "steps", "schedule.steps": [4]}
    (setting,) = made(question(), photos=photos, results=tmp_path, **nothing).settings
    assert setting.changes == {"schedule.kind": "steps", "schedule.steps": [4]}
    (plain,) = made(question(), photos=photos, results=tmp_path, **{"optim.momentum": momentum}).settings
    assert (plain.name, plain.changes) == ("smoke", {})


def test_what_a_search_chooses_cannot_be_set(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"optim.learning_rate: is what made-up searches for each arm; leave it out"):
        made(searched(), photos=photos, results=tmp_path, **{"optim.learning_rate": 0.5})


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"data.classes": 20}, "need 20 classes; photos has"), ({"data.per_class": 10**6}, "has only")],
)
def test_what_the_images_rule_out_is_not_planned(
    photos: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        made(question(), photos=photos, results=tmp_path, **changes)


def test_what_the_images_rule_out_is_seen_in_every_arm(photos: Path, tmp_path: Path) -> None:
    asked = question(arms=[Arm("with"), Arm("more", {"data.per_class": 10**6})])
    with pytest.raises(ValueError, match="has only"):
        made(asked, photos=photos, results=tmp_path)


def test_planning_changes_nothing(photos: Path, tmp_path: Path) -> None:
    found = made(question(), photos=photos, results=tmp_path)
    cost.cost(found, data=photos, results=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_views_to_read_do_not_name_a_run() -> None:
    one: Config = preset("smoke")
    two = plan.override(one, {"eval.views": ["center"]})
    assert digest(one, "d") == digest(two, "d") != digest(one, "e")
    assert digest(plan.override(one, {"eval.every": 2}), "d") != digest(one, "d")


def test_published_counts_are_those_of_the_prepared_photos(photos: Path, tmp_path: Path) -> None:
    config = preset("smoke")
    assert cost.images(config, None) == cost.images(config, find(config.data, photos))
