"""Fair tuning: each arm finds its own rate, on images that nothing else reads; and plans that are frozen before."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as changed

from repro import store
from repro.config.config import Config, digest, to_dict
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import open_data, training_indices
from repro.experiments import registry
from repro.experiments.experiment import Arm, Claim, Experiment, Search
from repro.experiments.paper import NOT_SAID
from repro.planning import frozen, plan
from repro.planning.search import choose, trials
from repro.records import Errors, Images, RunRecord
from repro.terms import EPOCHS_TO_TARGET, HELD_OUT

ALL = list(registry.load().experiments.values())


def asked(name: str = "asked", **others: Any) -> Experiment:
    arms = [Arm("with"), Arm("without", {"model.norm": None}), Arm("conv1", {"model.norm.layers": ["conv1"]})]
    claims = [Claim.effect(arm, "with", top1=1.4, source="here", measured=NOT_SAID) for arm in ("without", "conv1")]
    values = {"question": "Is it?", "factor": "model.norm", "section": "3.3", "presets": ["cifar10", "smoke"]}
    return Experiment(name, arms=arms, claims=claims, search=Search(), **{**values, **others})


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
def test_every_experiment_that_compares_trained_arms_tunes_each(experiment: Experiment) -> None:
    pairs = {pair for name in experiment.presets for pair in plan.contrasts(experiment, name)}
    if not pairs:
        return
    assert experiment.search is not None
    if experiment.search.metric == EPOCHS_TO_TARGET:
        assert all(EPOCHS_TO_TARGET in claim.published for claim in experiment.claims), "the claim's own measure"
        return
    assert experiment.search.metric == HELD_OUT
    assert len(experiment.search.seeds) >= 2
    assert experiment.search.epochs is None, "at full length"
    grid = experiment.search.grid(0.01)
    assert [two / one for one, two in itertools.pairwise(grid)] == pytest.approx([2.0] * (len(grid) - 1))


def test_a_best_value_at_an_edge_extends_the_grid_three_times_at_most() -> None:
    search = Search()
    tried = list(search.grid(0.01))
    assert tried == [0.005, 0.01, 0.02]
    assert search.beyond(tried, 0.01, 0.01) is None
    for expected in (0.0025, 0.00125, 0.000625):
        assert search.beyond(tried, min(tried), 0.01) == expected
        tried.append(expected)
    assert search.beyond(tried, min(tried), 0.01) is None
    assert search.beyond([0.005, 0.01, 0.02], 0.02, 0.01) == 0.04
    at_smoke = search.at("code-2012-smoke")
    assert (at_smoke.grid(0.01), at_smoke.seeds, at_smoke.extensions) == ((0.005, 0.01), (1000,), 0)


def tried_run(held_out: float, *, diverged: bool = False, train: float = 30.0) -> RunRecord:
    return RunRecord(
        digest="aaaaaaaaaaaa", seed=1000, config={"precision": "float32", "data": {}}, data=Images("x", "d"), epochs=2,
        epochs_to_target=None, censored=False, seconds=1.0, images_per_second=1.0, diverged=diverged,
        train_error=train, held_out=Errors(held_out, None), errors={}, provenance={}, placement="cpu",
    )  # fmt: skip


def test_the_value_with_the_lowest_mean_error_on_held_out_images_is_taken() -> None:
    runs = {
        "0.005": [tried_run(40.0), tried_run(41.0)],
        "0.01": [tried_run(36.0), tried_run(42.0)],
        "0.02": [tried_run(35.0), tried_run(35.0, diverged=True)],  # a rate that kills a run
    }
    assert choose(Search(), runs) == 0.01
    assert choose(Search(), runs | {"0.04": [tried_run(30.0), None]}) is None, "one is not finished"
    level = {"0.005": [tried_run(40.0, train=20.0)] * 2, "0.01": [tried_run(40.0, train=10.0)] * 2}
    assert choose(Search(), level) == 0.01, "among equals the lower training error"


def test_a_search_holds_out_images_where_the_setting_does_not() -> None:
    whole = override(preset("cifar10"), {"data.held_out": 0})
    found = trials(Search(), whole, [0.01], 5000)[0.01]
    assert (found.data.held_out, found.data.per_class, found.schedule.epochs) == (500, None, 30)
    part = trials(Search(), override(whole, {"data.per_class": 4800}), [0.01], 5000)[0.01]
    assert (part.data.held_out, part.data.per_class) == (500, 4500)
    own = trials(Search(), preset("cifar10"), [0.01], 5000)[0.01]
    assert own == override(preset("cifar10"), {"eval.views": ["center"]}), "the runs of the arm itself"


def test_training_parts_are_disjoint_and_held_out_images_are_in_none() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 50))
    data = override(
        preset("cifar10"), {"data.per_class": 12, "data.held_out": 10, "data.subsets": "by-seed"}
    ).data  # fmt: skip
    parts = [training_indices(labels, data, seed) for seed in range(4)]
    used = [{*np.concatenate(trained).tolist()} for trained, _ in parts]
    held_out = {*np.concatenate(parts[0][1]).tolist()}
    assert [len(part) for part in used] == [120] * 4 and len(held_out) == 100
    assert not used[0] & used[1] and not used[0] & used[2] and not used[1] & used[2]
    assert used[3] == used[0], "three parts of 12 fit into 40 images a class"
    assert all(part.isdisjoint(held_out) for part in used)
    first = training_indices(labels, override_data(data, subsets="first"), 2)[0]
    assert {*np.concatenate(first).tolist()} == used[0]


def override_data(data: Any, **changes: Any) -> Any:
    return data.model_copy(update=changes)


def test_a_set_that_is_too_small_for_what_is_held_out_is_refused(photos: Path) -> None:
    config = override(preset("smoke"), {"data.per_class": 240, "data.held_out": 30})
    with pytest.raises(ValueError, match=r"data.per_class 240 and data.held_out 30: class .* has only 256"):
        open_data(config.data, photos)
    with pytest.raises(ValueError, match="by-seed takes parts of per_class images"):
        override(preset("smoke"), {"data.subsets": "by-seed"})


# --- plans --------------------------------------------------------------------------------------------------------


def finish(results: Path, config: Config, name: str, seed: int, held_out: float) -> None:
    center = {"center": Errors(50.0, 10.0)}
    record = changed(
        tried_run(float(held_out), train=20.0), digest=name, seed=seed, config=to_dict(config), errors=center
    )
    store.write_run(results, record)
    for view in ("center", "ten"):
        (store.run_directory(results, name, seed) / f"predictions-{view}.npz").touch()


def test_a_reference_has_more_runs_and_arms_run_at_its_rate_too(tmp_path: Path) -> None:
    """`without` is best at 0.0025, past the edge of its grid; the others at 0.01."""

    def made() -> plan.Plan:
        return plan.make([asked()], "cifar10", 3, {}, data=tmp_path / "none", results=tmp_path, first_seed=10)

    for _ in range(4):  # the grid of `without` grows twice
        for run in made().todo:
            if run.search:
                rate = run.config.optim.learning_rate
                own = 0.0025 if run.used_by == ("asked/without",) else 0.01
                finish(tmp_path, run.config, run.digest, run.seed, 30 + abs(math.log2(rate / own)))
    found = made()
    assert found.waiting == ()
    (setting,) = found.settings
    assert sorted(map(float, setting.searches["without"])) == [0.00125, 0.0025, 0.005, 0.01, 0.02]
    assert setting.seeds_of == {"with": 5}  # ceil(3 * sqrt(2))
    assert [setting.seeds_for(arm) for arm in ("with", "without")] == [range(10, 15), range(10, 13)]
    assert list(setting.common) == ["without@with"], "conv1 found the reference's rate, and is compared at it anyway"
    todo = [run for run in found.todo if not run.search]
    assert len(todo) == 5 + 3 + 3 + 3
    assert [run.common for run in todo] == [False] * 11 + [True] * 3, "what the verdict needs comes first"
    untuned = plan.make([asked()], "cifar10", 3, {}, data=tmp_path / "none", results=tmp_path, tuned=False)
    assert not any(run.search for run in untuned.runs) and untuned.settings[0].name == "cifar10-untuned"


def test_a_frozen_plan_says_beforehand_what_will_be_judged(tmp_path: Path) -> None:
    one, path = asked(), tmp_path / "plans" / "round.json"
    finish(tmp_path, preset("cifar10"), digest(preset("cifar10"), "d"), 14, 30.0)
    seed = frozen.first_fresh_seed(tmp_path)
    assert seed == 20
    arms = plan.choose_arms([one], "cifar10", "claimed")
    made = plan.make([one], "cifar10", 4, {}, data=tmp_path / "none", results=tmp_path, first_seed=seed, arms=arms)
    frozen.freeze(path, [one], made, arms or ())
    found = frozen.read(path)
    assert (found.name, found.first_seed, found.seeds, found.rule) == ("round", 20, 4, 2)
    assert found.seeds_of == {"asked/with": 6}
    assert found.searches["asked"]["grid"] == [0.005, 0.01, 0.02]
    assert [(end["arm"], end["metric"], end["published"]) for end in found.endpoints] == [
        ("without", "top1_error", 1.4), ("conv1", "top1_error", 1.4),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="a frozen plan does not change"):
        frozen.freeze(path, [one], made, arms or ())
    with pytest.raises(ValueError, match="reports look in results/plans/"):
        frozen.freeze(tmp_path / "elsewhere.json", [one], made, arms or ())
    path.write_text(json.dumps({"schema": 1}))
    with pytest.raises(ValueError, match="is no frozen plan"):
        frozen.read(path)
    with pytest.raises(ValueError, match="there is no such plan; did you mean"):
        frozen.read(tmp_path / "plans" / "rounds.json")


def test_arms_are_chosen_by_name(tmp_path: Path) -> None:
    assert plan.choose_arms([asked()], "cifar10", None) is None
    assert plan.choose_arms([asked()], "cifar10", "asked/with") == {"asked/with"}
    with pytest.raises(ValueError, match=r"--arms asked/wih: write .claimed. or EXPERIMENT"):
        plan.choose_arms([asked()], "cifar10", "claimed,asked/wih")
