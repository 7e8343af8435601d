"""The contract: what holds for every registered experiment, ours and others', at every preset that it names."""

from __future__ import annotations

from itertools import combinations

import pytest

from repro.ablation import Ablation, Arm
from repro.config import Config, diff, override
from repro.presets import preset
from repro.registry import load

REGISTRY = load()
ALL = list(REGISTRY.experiments.values())
AT = [pytest.param(ablation, name, id=f"{ablation.name}-{name}") for ablation in ALL for name in ablation.presets]


def config_of(arm: Arm, name: str) -> Config:
    return override(preset(name), arm.changes_at(name))


def trained(ablation: Ablation, name: str) -> list[Arm]:
    """The arms that are runs of their own: neither another view of a run nor an average of runs."""
    return [arm for arm in ablation.arms_at(name) if arm.view is None and arm.ensemble is None]


def under(key: str, declared: str) -> bool:
    return key == declared or key.startswith(declared + ".")


def test_nothing_is_refused() -> None:
    assert REGISTRY.refused == ()


@pytest.mark.parametrize(("ablation", "name"), AT)
def test_arms_change_what_they_declare(ablation: Ablation, name: str) -> None:
    base = preset(name)
    for arm in ablation.arms_at(name):
        changed = diff(base, config_of(arm, name))
        declared = arm.changes_at(name)
        for key in changed:
            assert any(under(key, whole) for whole in declared), f"{arm.name} changes {key}, which it does not declare"
        for key in declared:
            assert any(under(one, key) for one in changed), (
                f"{arm.name} declares {key}, which is {name}'s value already"
            )


@pytest.mark.parametrize(("ablation", "name"), AT)
def test_arms_differ_from_each_other(ablation: Ablation, name: str) -> None:
    arms = trained(ablation, name)
    for one, two in combinations(arms, 2):
        assert diff(config_of(one, name), config_of(two, name)), f"{one.name} and {two.name} are the same run at {name}"
    for arm in ablation.arms_at(name):
        if arm.view is not None or arm.ensemble is not None:
            assert not arm.changes_at(name), f"{arm.name} reads runs of other arms and may not change keys"


@pytest.mark.parametrize(("ablation", "name"), AT)
def test_something_is_asked_at_every_preset(ablation: Ablation, name: str) -> None:
    names = {arm.name for arm in ablation.arms_at(name)}
    assert names, f"no arm runs at {name}"
    for arm in ablation.arms_at(name):
        for member in arm.ensemble.of if arm.ensemble else ():
            assert member in names, f"{arm.name} averages {member}, which does not run at {name}"
    if ablation.claims:
        assert ablation.claims_at(name), f"no claim can be asked at {name}"


def test_fidelity_rows_hold_every_difference_between_the_readings_once() -> None:
    fidelity = REGISTRY.get("fidelity")
    for name, other in (("paper", "code-2012"), ("code-2012", "paper"), ("smoke", "code-2012-smoke")):
        rows = [
            key for arm in fidelity.arms_at(name) if arm.at and arm.name != "all-rows" for key in arm.changes_at(name)
        ]
        differ = {key.removesuffix(".kind").removesuffix(".divide") for key in diff(preset(name), preset(other))}
        assert len(rows) == len(set(rows))
        assert differ == {key.removesuffix(".kind").removesuffix(".divide") for key in rows}
        assert config_of(fidelity.arm("all-rows"), name) == preset(other)


def test_the_released_cifar_nets_are_the_presets_of_that_name() -> None:
    """So that the runs of one are those of the other."""
    lrn_cifar = REGISTRY.get("lrn-cifar")
    for arm, name in (("clean", "cifar-13-lrn"), ("as-released", "cifar-11")):
        assert config_of(lrn_cifar.arm(arm), "cifar-13") == preset(name)
    assert config_of(lrn_cifar.arm("as-19pct"), "cifar-18") == preset("cifar-19")
