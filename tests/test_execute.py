"""One run from start to record, here and in child processes, on one device and two."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from repro import store
from repro.config.config import Config, digest
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import Loader, make_loader
from repro.data.manifest import find
from repro.launch import launch
from repro.planning.plan import Run
from repro.terms import Artifact, View
from repro.training import checkpoint
from repro.training.claim import BusyError, Claim
from repro.training.evaluate import errors
from repro.training.events import Event, Failed, Finished, Started
from repro.training.execute import Machine, choose_devices, execute


def small(**changes: Any) -> Config:
    return override(
        preset("smoke"),
        {
            "data.per_class": 6, "data.test_per_class": 3, "optim.batch_size": 16, "schedule.epochs": 1,
            "eval.views": ["center"], **changes,
        },
    )  # fmt: skip


def job(config: Config, photos: Path, seed: int = 0, **how: Any) -> Run:
    manifest = find(config.data, photos)
    assert manifest is not None
    return Run(config, seed, digest(config, manifest.digest), how.pop("views", config.eval.views), **how)


@pytest.fixture
def machine(photos: Path, tmp_path: Path) -> Machine:
    return Machine(tmp_path, photos, loader="torch")


def quiet(event: Event) -> None:
    """Nobody listens."""


def test_a_run_leaves_its_record_predictions_kernels_and_metrics(machine: Machine, photos: Path) -> None:
    one = job(small(), photos)
    record = execute(one, machine, quiet)
    place = store.run_directory(machine.results, one.digest, 0)
    assert store.read_run(machine.results, one.digest, 0).errors == record.errors
    assert len(store.read_metrics(machine.results, one.digest, 0)) == record.epochs == 1
    assert np.load(place / "kernels.npy").shape == (16, 3, 5, 5)
    stored = store.read_predictions(machine.results, one.digest, 0, "center")
    assert errors(stored) == record.errors["center"], "the record is of what is stored, to the last digit"
    assert record.about("packages")["torch"] and record.train_error is not None


def test_each_source_of_chance_varies_alone_where_the_others_have_seeds_of_their_own(
    machine: Machine, photos: Path
) -> None:
    """The loss of a run follows every source; with all of them given, the run's seed changes nothing."""
    sources = ("weights", "order", "augment", "dropout", "subset")

    def loss(given: dict[str, int] | None, seed: int) -> float:
        one = job(small(**{"data.subsets": "by-seed", "seeds": given}), photos, seed)
        execute(one, machine, quiet)
        return float(store.read_metrics(machine.results, one.digest, seed)[0].train_loss)

    everything = dict.fromkeys(sources, 0)
    plain = loss(None, 0)
    assert loss(everything, 1) == plain
    losses = {source: loss({name: 0 for name in sources if name != source}, 1) for source in sources}
    assert plain not in losses.values()
    assert len(set(losses.values())) == len(sources)


def test_a_finished_run_is_only_read_for_what_it_lacks(machine: Machine, photos: Path) -> None:
    first = job(small(), photos)
    execute(first, machine, quiet)
    weights = checkpoint.read(store.run_directory(machine.results, first.digest, 0) / checkpoint.FILE, first.name)
    again = replace(first, views=("center", "flips"))
    record = execute(again, machine, quiet)
    assert set(record.errors) == {"center", "flips"}
    after = checkpoint.read(store.run_directory(machine.results, first.digest, 0) / checkpoint.FILE, first.name)
    assert after["position"]["step"] == weights["position"]["step"]


def test_a_run_killed_between_predictions_and_record_has_all_its_errors(
    machine: Machine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(small(), photos, views=("center", "flips"))
    stored = store.write_predictions

    def kill_at_second(results: Path, digest: str, seed: int, view: str, arrays: Any) -> None:
        if view == "flips":
            raise KeyboardInterrupt
        stored(results, digest, seed, view, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_predictions", kill_at_second)
        with pytest.raises(KeyboardInterrupt):
            execute(one, machine, quiet)
    assert not store.is_finished(machine.results, one.digest, 0)
    assert list(execute(one, machine, quiet).errors) == ["center", "flips"]


def test_a_run_that_another_process_is_at_is_left_to_it(machine: Machine, photos: Path) -> None:
    one = job(small(), photos)
    place = store.run_directory(machine.results, one.digest, 0)
    with Claim(place).held(), pytest.raises(BusyError, match="another process is at this run"):
        execute(one, machine, quiet)
    assert not list(place.iterdir()), "neither a record nor a failure"


def test_views_of_a_run_whose_checkpoint_is_gone_are_refused_by_name(machine: Machine, photos: Path) -> None:
    one = job(small(), photos)
    execute(one, machine, quiet)
    (store.run_directory(machine.results, one.digest, 0) / checkpoint.FILE).unlink()
    with pytest.raises(ValueError, match=r"checkpoint\.pt: is needed for ten, and is not here"):
        execute(replace(one, views=("center", "ten")), machine, quiet)
    assert store.failure(machine.results, one.digest, 0) is None, "a finished run has not failed"


def test_two_devices_give_the_run_of_one_within_rounding_with_every_view_and_artifact(
    photos: Path, tmp_path: Path
) -> None:
    every = job(small(), photos, views=get_args(View), artifacts=get_args(Artifact))
    one, two = (Machine(tmp_path / "-".join(devices), photos, devices, "torch") for devices in (("cpu",), ("cpu",) * 2))
    records = [execute(every, machine, quiet) for machine in (one, two)]
    assert [record.placement for record in records] == ["cpu", "cpu,cpu"]
    losses = [store.read_metrics(each.results, every.digest, 0)[0].train_loss for each in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for view in every.views:
        a, b = (store.read_predictions(each.results, every.digest, 0, view) for each in (one, two))
        np.testing.assert_array_equal(a["index"], b["index"])
        np.testing.assert_allclose(a["probability"], b["probability"], rtol=1e-3, atol=1e-4)  # stored in float16
    places = [store.run_directory(each.results, every.digest, 0) for each in (one, two)]
    kernels = [np.load(place / "kernels.npy") for place in places]
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-4, atol=1e-6)
    with np.load(places[0] / "neighbors.npz") as a, np.load(places[1] / "neighbors.npz") as b:
        np.testing.assert_array_equal(a["near_picture"], b["near_picture"])
        np.testing.assert_allclose(a["near_distance"], b["near_distance"], rtol=1e-3)
        np.testing.assert_allclose(a["guess_probability"], b["guess_probability"], rtol=1e-3, atol=1e-4)


def test_a_run_whose_images_a_device_finishes_is_the_run_of_the_fused_pass(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(small(), photos, views=("center", "ten"), artifacts=("neighbors",))
    plain, on_device = Machine(tmp_path / "plain", photos, loader="torch"), Machine(tmp_path / "device", photos)
    expected = execute(one, plain, quiet)
    made: list[torch.device | None] = []

    def with_device(*given: Any, **how: Any) -> Loader:
        made.append(how["device"])
        return make_loader(*given, **{**how, "device": torch.device("cpu")})

    monkeypatch.setattr("repro.training.execute.make_loader", with_device)
    found = execute(one, replace(on_device, loader="torch", workers=2), quiet)
    assert set(made) == {None}, "only CUDA devices finish images"
    assert (found.errors, found.train_error) == (expected.errors, expected.train_error)
    losses = [store.read_metrics(each.results, one.digest, 0)[0].train_loss for each in (plain, on_device)]
    assert losses[0] == losses[1]


def test_a_net_of_one_tower_takes_the_first_of_two_devices(machine: Machine, photos: Path) -> None:
    two = replace(machine, devices=("cpu", "cpu"))
    assert execute(job(small(), photos), two, quiet).placement == "cpu,cpu"
    assert execute(job(small(**{"model.towers": 1}), photos), two, quiet).placement == "cpu"


def test_a_record_comes_before_its_artifacts(machine: Machine, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(small(), photos, artifacts=("neighbors",))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("made up")

    with monkeypatch.context() as patch:
        patch.setattr("repro.training.neighbors.write_neighbors", fail)
        with pytest.raises(RuntimeError, match="made up"):
            execute(one, machine, quiet)
    assert store.is_finished(machine.results, one.digest, 0), "what was trained is not lost with an image of it"
    execute(one, machine, quiet)
    assert (store.run_directory(machine.results, one.digest, 0) / "neighbors.npz").is_file()


def test_neighbors_are_the_nearest_in_the_last_hidden_layer(machine: Machine, photos: Path) -> None:
    one = job(small(), photos, artifacts=("neighbors",))
    execute(one, machine, quiet)
    with np.load(store.run_directory(machine.results, one.digest, 0) / "neighbors.npz") as found:
        assert found["guess_probability"].shape == (8, 5) and found["near_picture"].shape[:2] == (5, 6)
        assert (np.diff(found["near_distance"], axis=1) >= 0).all()
        assert (np.diff(found["guess_probability"], axis=1) <= 0).all()
        assert found["near_picture"].dtype == np.uint8 and found["near_picture"].max() > 50


def test_pretraining_hands_over_all_layers_but_the_last(machine: Machine, photos: Path) -> None:
    config = small(
        **{
            "data.first_class": 0, "data.classes": 4, "schedule.stop_train_error": 99.9,
            "pretrain": {"first_class": 4, "classes": 6, "epochs": 1}, "optim.learning_rate": 1e-30,
        }
    )  # fmt: skip
    one = job(config, photos)
    execute(one, machine, quiet)
    runs = {path.parent.parent.name for path in machine.results.glob("runs/*/seed-0/run.json")}
    assert len(runs) == 2, "the run that comes first is a run of its own"
    (first,) = runs - {one.digest}
    before, after = (
        checkpoint.read(store.run_directory(machine.results, name, 0) / checkpoint.FILE, f"{name}/seed-0")["model"]
        for name in (first, one.digest)
    )
    assert all(
        np.allclose(before[name], after[name], atol=1e-6) for name in after if not name.startswith("fc8")
    )  # a rate of almost nothing leaves what was handed over
    assert after["fc8.weight"].shape[0] == 4 and before["fc8.weight"].shape[0] == 6


def test_children_do_what_one_process_does(photos: Path, tmp_path: Path) -> None:
    jobs = [job(small(), photos, seed) for seed in (0, 1)]
    events: list[Event] = []
    together = Machine(tmp_path / "together", photos, loader="torch")
    assert launch(jobs, together, at_once=2, emit=events.append) == []
    assert sum(isinstance(event, Finished) for event in events) == 2
    alone = Machine(tmp_path / "alone", photos, loader="torch")
    assert launch(jobs, alone, at_once=1, emit=quiet) == []
    for one in jobs:
        a, b = (store.read_metrics(place, one.digest, one.seed) for place in (together.results, alone.results))
        assert [line.train_loss for line in a] == pytest.approx([line.train_loss for line in b], rel=1e-5)


def test_a_child_that_fails_is_reported_and_the_others_go_on(photos: Path, tmp_path: Path) -> None:
    good = job(small(), photos)
    bad = replace(job(small(), photos, 1), digest="0" * 12)  # as if the data had changed since the plan
    events: list[Event] = []
    failed = launch([bad, good], Machine(tmp_path, photos, loader="torch"), at_once=2, emit=events.append)
    assert [one.run for one in failed] == [bad.name] and "plan again" in failed[0].reason
    assert sum(isinstance(event, Failed) for event in events) == 1
    assert store.is_finished(tmp_path, good.digest, 0)
    noted = json.loads((store.run_directory(tmp_path, bad.digest, 1) / "failed.json").read_text())
    assert "plan again" in noted["reason"]


def test_a_child_that_is_killed_fails_its_own_run_only(photos: Path, tmp_path: Path) -> None:
    jobs = [job(small(), photos, seed) for seed in range(4)]
    killed: list[BaseProcess] = []

    def kill_one(event: Event) -> None:
        if isinstance(event, Started) and not killed:
            killed.append(multiprocessing.active_children()[0])
            killed[0].kill()

    failed = launch(jobs, Machine(tmp_path, photos, loader="torch"), at_once=2, emit=kill_one)
    assert len(failed) == 1 and "exit code -9" in failed[0].reason
    assert sum(store.is_finished(tmp_path, one.digest, one.seed) for one in jobs) == 3


def test_an_interrupted_sweep_leaves_no_child_behind(photos: Path, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch([job(small(), photos, seed) for seed in (0, 1)], Machine(tmp_path, photos), at_once=2, emit=interrupt)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("asked", "towers", "expected"),
    [(("gpu",), 2, "is no device"), (("cuda:77",), 2, "use cpu"), (("cpu", "cpu"), 1, "1 tower")],
)
def test_devices_that_are_not_there_are_refused(asked: tuple[str, ...], towers: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        choose_devices(asked, towers)
