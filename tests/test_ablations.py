"""The contract: what holds for every registered experiment, ours and others', at every preset that it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import torch

from repro import paper
from repro.config.config import Config, to_dict
from repro.config.keys import diff, override
from repro.config.presets import preset
from repro.experiments.experiment import Arm, Claim, Ensemble, Experiment
from repro.experiments.registry import load
from repro.network.model import build
from repro.training.evaluate import autocast
from repro.training.optim import PlateauState, learning_rates, make_optimizer

THIRD_PARTY = Path(__file__).parent / "third_party" / "repro_width" / "__init__.py"
REGISTRY = load([THIRD_PARTY])
ALL = list(REGISTRY.experiments.values())
AT = [
    pytest.param(experiment, name, id=f"{experiment.name}-{name}") for experiment in ALL for name in experiment.presets
]


def config_of(arm: Arm, name: str) -> Config:
    return _config(name, json.dumps(arm.changes_at(name)))


@cache
def _config(name: str, changes: str) -> Config:
    return override(preset(name), json.loads(changes))


def text_of(config: Config) -> str:
    return json.dumps(to_dict(config), sort_keys=True)


def trained(experiment: Experiment, name: str) -> list[Arm]:
    """The arms that are runs of their own: neither another view of a run nor an average of runs."""
    return [arm for arm in experiment.arms_at(name) if arm.view is None and arm.ensemble is None]


def under(key: str, declared: str) -> bool:
    return key == declared or key.startswith(declared + ".")


def test_nothing_is_refused() -> None:
    assert REGISTRY.refused == ()


@pytest.mark.parametrize(("experiment", "name"), AT)
def test_arms_change_what_they_declare(experiment: Experiment, name: str) -> None:
    base = preset(name)
    for arm in experiment.arms_at(name):
        changed = diff(base, config_of(arm, name))
        declared = arm.changes_at(name)
        for key in changed:
            assert any(under(key, whole) for whole in declared), f"{arm.name} changes {key}, which it does not declare"
        for key in declared:
            assert any(under(one, key) for one in changed), (
                f"{arm.name} declares {key}, which is {name}'s value already"
            )


@pytest.mark.parametrize(("experiment", "name"), AT)
def test_arms_differ_from_each_other(experiment: Experiment, name: str) -> None:
    runs: dict[str, str] = {}
    for arm in trained(experiment, name):
        same = runs.setdefault(f"{text_of(config_of(arm, name))} at {arm.seeds}", arm.name)
        assert same == arm.name, f"{same} and {arm.name} are one run at {name}"
    for arm in experiment.arms_at(name):
        if arm.view is not None or arm.ensemble is not None:
            assert not arm.changes_at(name), f"{arm.name} reads runs of other arms and may not change keys"


@pytest.mark.parametrize(("experiment", "name"), AT)
def test_something_is_asked_at_every_preset(experiment: Experiment, name: str) -> None:
    names = {arm.name for arm in experiment.arms_at(name)}
    for arm in experiment.arms_at(name):
        for member in arm.ensemble.of if arm.ensemble else ():
            assert member in names, f"{arm.name} averages {member}, which does not run at {name}"
    if experiment.claims:
        assert experiment.claims_at(name), f"no claim can be asked at {name}"


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
def test_the_card_is_complete(experiment: Experiment) -> None:
    assert experiment.section == "-" or experiment.section in paper.SECTIONS
    assert "smoke" in experiment.presets
    for claim in experiment.claims:
        assert claim.source
        assert claim.measured.text
        assert experiment.confounds, "a published number was never measured quite as it is here: say what differs"


@pytest.mark.parametrize(("experiment", "name"), AT)
def test_an_arm_that_changes_more_than_the_factor_says_why(experiment: Experiment, name: str) -> None:
    factor = [key for key in experiment.factor.split(", ") if " " not in key]
    arms = trained(experiment, name)
    for arm in arms[1:] if factor else ():
        changed = diff(config_of(arms[0], name), config_of(arm, name))
        beside = [key for key in changed if not any(fnmatch(key, whole) or under(key, whole) for whole in factor)]
        assert arm.note or not beside, f"{arm.name} changes {beside} beside {experiment.factor}: give it a note"


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
def test_claims_agree_with_the_run_notes_behind_them(experiment: Experiment) -> None:
    """Up to the paper's rounding of each of the two errors."""
    for claim in experiment.claims:
        notes = [paper.RUNS[run] for run in claim.runs]
        assert len(notes) in (0, 1 if claim.reference is None else 2)
        if notes:
            assert claim.measured in [note.measured for note in notes]
        for metric, published in claim.published.items() if notes else ():
            errors = [getattr(note, metric) for note in notes]
            assert published == pytest.approx(errors[0] - sum(errors[1:]), abs=0.1)


@pytest.mark.parametrize("name", ["paper", "code-2012", "smoke", "code-2012-smoke"])
def test_fidelity_rows_hold_every_difference_between_the_readings_once(name: str) -> None:
    fidelity = REGISTRY.get("fidelity")
    other = name.replace("code-2012-", "") if name != "code-2012" else "paper"
    other = {"paper": "code-2012", "smoke": "code-2012-smoke"}[name] if other == name else other
    assert config_of(fidelity.arm("all-rows"), name) == preset(other)
    rows = [arm for arm in fidelity.arms_at(name) if name in arm.at and arm.name != "all-rows"]
    keys = [key for arm in rows for key in arm.changes_at(name)]
    assert sorted(keys) == sorted(diff(preset(name), preset(other)))


@pytest.mark.parametrize("name", ["paper", "code-2012", "smoke", "code-2012-smoke"])
def test_the_arms_of_the_schedule_and_of_the_biases_change_nothing_of_each_other(name: str) -> None:
    """F12 and F10: `schedule.bias_steps` belongs to the biases."""
    fidelity, own = REGISTRY.get("fidelity"), preset(name)
    changed = {
        row: set(diff(own, config_of(fidelity.arm(row), name)))
        for row in ("f12-schedule", "f10-biases-while-training")
    }  # fmt: skip
    assert changed["f12-schedule"] == {"schedule.kind", "schedule.steps"} | (
        {"schedule.epochs"} if name in ("paper", "code-2012") else set()
    )
    biases = {"optim.bias_learning_rate_factor", "optim.bias_weight_decay", "schedule.bias_steps"}
    assert changed["f10-biases-while-training"] == biases


def test_the_released_cifar_nets_are_the_presets_of_that_name() -> None:
    """So that the runs of one are those of the other."""
    lrn_cifar = REGISTRY.get("lrn-cifar")
    for arm, name in (("clean", "cifar-13-lrn"), ("as-released", "cifar-11")):
        assert config_of(lrn_cifar.arm(arm), "cifar-13") == preset(name)
    assert config_of(lrn_cifar.arm("as-19pct"), "cifar-18") == preset("cifar-19")


BUILT = {
    text_of(config_of(arm, name)): pytest.param(config_of(arm, name), id=f"{experiment.name}-{arm.name}-{name}")
    for experiment in ALL
    for name in ("smoke", "code-2012-smoke")
    if name in experiment.presets
    for arm in trained(experiment, name)
}  # arms that several experiments share are built once


@pytest.mark.parametrize("config", BUILT.values())
def test_every_arm_builds_and_trains_two_finite_steps(config: Config) -> None:
    """On random images; the second step's loss shows that the first left finite weights behind."""
    model = build(config, seed=0)
    optimizer = make_optimizer(model, config)
    rates = learning_rates(config.schedule, config.optim, 0, PlateauState())
    optimizer.set_learning_rate(rates.weights, rates.biases, rates.layers)
    generator = torch.Generator().manual_seed(0)
    crop, classes = config.augment.crop, config.data.classes
    images = 58 * config.data.scale * torch.randn(8, 3, crop, crop, generator=generator)
    labels = torch.randint(classes, (8,), generator=generator)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for step in range(2):
        model.reseed(0, step)
        optimizer.zero_grad()
        with autocast(config.precision, torch.device("cpu")):
            logits = model(images)
        assert logits.shape == (8, classes)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        assert torch.isfinite(loss)
        loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert not torch.equal(parameter, before[name]), f"{name} did not move"


@pytest.mark.parametrize("name", ["smoke", "cifar10", "paper"])
def test_experiments_share_the_run_of_the_preset_itself(name: str) -> None:
    """So that it is trained once for all of them."""
    plain = text_of(preset(name))
    alone = {
        experiment.name
        for experiment in ALL
        if name in experiment.presets
        and experiment.arms_at(name)
        and plain not in [text_of(config_of(arm, name)) for arm in experiment.arms_at(name)]
    }
    assert alone <= {"pretrain", "relu-vs-tanh", "lrn-cifar", "sources-of-variance"}, (
        "these have a baseline of their own"
    )


def made(*arms: Arm, **values: object) -> Experiment:
    card = {"name": "made-up", "question": "Is it caught?", "factor": "optim.momentum", "section": "-"}
    return Experiment(**{**card, "arms": arms, "presets": ["smoke", "cifar10"], **values})  # type: ignore[arg-type]


SLOW = Arm("slow", {"optim.momentum": 0.5})
CLAIM = Claim.worse("slow", "as-preset", source="a paper", measured=paper.NOT_SAID)


@pytest.mark.parametrize(
    ("rule", "experiment"),
    [
        (test_arms_change_what_they_declare, made(Arm("as-preset"), Arm("same", {"optim.momentum": 0.9}))),
        (test_arms_differ_from_each_other, made(Arm("as-preset"), Arm("also-as-preset"))),
        (test_arms_differ_from_each_other, made(Arm("as-preset"), Arm("ten", {"optim.momentum": 0.5}, view="ten"))),
        (
            test_something_is_asked_at_every_preset,
            made(Arm("as-preset"), Arm("slow", {"optim.momentum": 0.5}, presets=("cifar10",)), claims=[CLAIM]),
        ),
        (
            test_something_is_asked_at_every_preset,
            made(
                Arm("as-preset"), Arm("slow", {"optim.momentum": 0.5}, presets=("cifar10",)),
                Arm("three", ensemble=Ensemble(of=("slow",), seeds=3)),
            ),
        ),
        (test_an_arm_that_changes_more_than_the_factor_says_why, made(Arm("as-preset"), SLOW, factor="precision")),
    ],
)  # fmt: skip
def test_the_contract_catches(rule: Callable[[Experiment, str], None], experiment: Experiment) -> None:
    with pytest.raises(AssertionError):
        rule(experiment, "smoke")
    rule(made(Arm("as-preset"), SLOW, claims=[CLAIM]), "smoke")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "Made up"}, "use lower-case letters, digits and hyphens"),
        ({"question": "It is not."}, "must be a question"),
        ({"arms": ()}, "give at least one of each"),
        ({"presets": ()}, "give at least one of each"),
        ({"arms": (Arm("as-preset"), Arm("as-preset"))}, "names are unique"),
        ({"arms": (Arm("as-preset", presets=("tiny",)),)}, "'tiny' is not among the presets"),
        ({"arms": (Arm("as-preset", at={"tiny": {}}),)}, "'tiny' is not among the presets"),
        ({"claims": [CLAIM], "arms": (Arm("as-preset"), Arm("slower"))}, "no arm 'slow'; did you mean 'slower'"),
        ({"claims": [Claim.value("slow", source="a paper", measured=paper.NOT_SAID)]}, "no number and no metric"),
        ({"arms": (Arm("as-preset"), Arm("five", ensemble=Ensemble(of=("all",))))}, "cannot average arm 'all'"),
        ({"arms": (SLOW, Arm("both", ensemble=Ensemble(of=("slow",), seeds=(1, 2))))}, "one number of seeds, or one"),
        ({"arms": (SLOW, Arm("both", ensemble=Ensemble(of=("slow",), seeds=(0,))))}, "at least one seed of each"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        made(*values.pop("arms", (Arm("as-preset"), SLOW)), **values)  # type: ignore[misc]
