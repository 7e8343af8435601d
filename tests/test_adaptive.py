"""Constants that are learned start where the fixed ones stand, have the right gradients, and escape the decay."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from repro.config.config import Config, digest
from repro.config.keys import override
from repro.config.presets import preset
from repro.network.adaptive import FIRST_POWER, LearnedPooling, LearnedResponseNorm
from repro.network.model import Pooling, build
from repro.training.optim import make_optimizer


def small(changes: dict[str, Any]) -> Config:
    return override(preset("smoke"), changes)


def maps(count: int = 32, side: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return 40 * torch.randn(3, count, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("learned", ["layer", "map"])
@pytest.mark.parametrize("base", ["smoke", "code-2012-smoke"])
def test_a_net_that_learns_its_constants_starts_as_the_net_of_fixed_ones(base: str, learned: str) -> None:
    fixed = preset(base)
    changes: dict[str, Any] = {"model.norm.learned": learned}
    if fixed.model.spatial_norm:
        changes["model.spatial_norm.learned"] = learned
    images = torch.randn(2, 3, fixed.augment.crop, fixed.augment.crop, dtype=torch.float64) * 50
    one, two = (build(config, 3).double().eval() for config in (fixed, override(fixed, changes)))
    assert torch.allclose(one(images), two(images), rtol=1e-12, atol=0)


@pytest.mark.parametrize("learned", ["layer", "map"])
@pytest.mark.parametrize("scope", ["tower", "all"])
@pytest.mark.parametrize("same_map", [False, True])
def test_gradients_of_the_constants_agree_with_differences(learned: str, scope: str, same_map: bool) -> None:
    norm = small({"model.norm": {"learned": learned, "scope": scope, "same_map": same_map, "alpha": 1e-3}}).model.norm
    assert norm is not None
    module = LearnedResponseNorm(norm, 8, 2, 0, 1).double()
    x = maps(8, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *module.parameters()), atol=1e-6)


def test_a_set_a_layer_is_one_number_a_tower_and_a_set_a_map_one_a_map() -> None:
    for learned, sizes in (("layer", {2}), ("map", {48, 128})):
        network = build(
            small({"model.norm.learned": learned, "model.layers.conv1.maps": 48, "model.layers.conv2.maps": 128}), 0
        )
        found = {name: parameter.numel() for name, parameter in network.named_parameters() if "log_" in name}
        assert len(found) == 2 * 3
        assert set(found.values()) == sizes


def test_mixed_pooling_lies_between_the_maximum_and_the_average() -> None:
    pool = small({"model.pool.kind": "mixed"}).model.pool
    module, x = LearnedPooling(pool, 2).double(), maps()
    highest, average = (Pooling(pool.model_copy(update={"kind": kind}))(x) for kind in ("max", "avg"))
    assert torch.allclose(module(x), (highest + average) / 2)
    with torch.no_grad():
        module.logit_or_log_p.copy_(torch.tensor([40.0, -40.0]))
    assert torch.allclose(module(x)[:, :16], highest[:, :16])
    assert torch.allclose(module(x)[:, 16:], average[:, 16:])


@pytest.mark.parametrize("power", [1.0, 3.0, 12.0])
def test_a_generalized_mean_is_what_its_formula_says(power: float) -> None:
    pool = small({"model.pool": {"kind": "generalized", "ceil_mode": False}}).model.pool
    module, x = LearnedPooling(pool, 1).double(), maps().abs() + 1
    with torch.no_grad():
        module.logit_or_log_p.fill_(math.log(power / FIRST_POWER))
    windows = x.unfold(2, pool.size, pool.stride).unfold(3, pool.size, pool.stride)
    assert torch.allclose(module(x), (windows**power).mean((4, 5)) ** (1 / power), rtol=1e-6)


@pytest.mark.parametrize("kind", ["mixed", "generalized"])
def test_gradients_of_learned_pooling_agree_with_differences(kind: str) -> None:
    module = LearnedPooling(small({"model.pool.kind": kind}).model.pool, 2).double()
    x = (maps(4, 5).abs() + 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *module.parameters()), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_of_zeros_and_of_huge_values_have_finite_gradients(dtype: torch.dtype) -> None:
    module = LearnedPooling(small({"model.pool.kind": "generalized"}).model.pool, 1)
    for fill in (0.0, -3.0, 1e30):
        x = torch.full((2, 3, 7, 7), fill, dtype=dtype, requires_grad=True)
        module(x).sum().backward()
        assert x.grad is not None
        assert module.logit_or_log_p.grad is not None
        assert x.grad.isfinite().all()
        assert module.logit_or_log_p.grad.isfinite().all()


def test_weight_decay_leaves_the_constants_alone() -> None:
    config = small({"model.norm.learned": "layer", "model.pool.kind": "mixed", "optim.weight_decay": 0.1})
    optimizer = make_optimizer(build(config, 0), config)
    constants = {name: slot for name, slot in optimizer.slots.items() if "log_" in name}
    assert len(constants) == 2 * 3 + 3
    assert all(slot.decay == 0 for slot in constants.values())
    assert optimizer.slots["conv1.bias"].decay == 0.1  # the text decays biases as it decays weights


def test_the_constants_move_when_the_net_is_trained() -> None:
    config = small({"model.norm.learned": "map", "model.pool.kind": "generalized"})
    network = build(config, 0)
    optimizer = make_optimizer(network, config)
    optimizer.set_learning_rate(0.01, 0.02)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters() if "log_" in name}
    network.reseed(0, 0)
    images = torch.randn(4, 3, config.augment.crop, config.augment.crop) * 60
    nn.functional.cross_entropy(network(images), torch.arange(4) % config.data.classes).backward()
    optimizer.step()
    after = dict(network.named_parameters())
    assert all((after[name] != value).any() for name, value in before.items())


def test_fixed_constants_keep_the_names_of_their_runs() -> None:
    fixed, learned = preset("smoke"), small({"model.norm.learned": "map"})
    assert digest(override(fixed, {"model.norm.learned": "no"}), "d") == digest(fixed, "d")
    assert digest(learned, "d") != digest(fixed, "d")


def test_other_kinds_have_no_constants_to_learn() -> None:
    with pytest.raises(ValueError, match=r'model\.norm\.learned: kind "batch" learns what it needs by itself'):
        small({"model.norm.kind": "batch", "model.norm.learned": "map"})
