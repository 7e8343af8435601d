"""The 2012 update rule against arithmetic by hand, and the schedules against the published numbers."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from repro.config.config import Config, Optim, Schedule
from repro.config.keys import override
from repro.config.presets import preset
from repro.network.model import build
from repro.training.optim import Optimizer, PlateauState, Rates, learning_rates, make_optimizer, update_plateau

RATES = [0.01] * 4 + [0.001] * 4  # a change in the middle, where the two forms part


def small(**changes: object) -> Config:
    return override(preset("smoke"), {"model.dropout": None, **changes})


def train(config: Config, rates: list[float], biases: float = 1.0) -> list[dict[str, np.ndarray]]:
    """Weights before the first and after each step with our optimizer, and the gradients of each, in float64."""
    model = build(config, 0).double()
    optimizer = make_optimizer(model, config)
    images = 60 * torch.randn(8, 3, 24, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    history = []
    for rate in rates:
        optimizer.set_learning_rate(rate, biases * rate)
        optimizer.zero_grad()
        F.cross_entropy(model(images), torch.arange(8)).backward()
        before = {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
        steepness = {f"{name} gradient": parameter.grad.numpy().copy() for name, parameter in model.named_parameters()}
        optimizer.step()
        history.append(before | steepness)
    history.append({name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()})
    return history


def by_hand(history: list[dict[str, np.ndarray]], name: str, rates: list[float], form: str, decay: float) -> np.ndarray:
    """The last weights, from the first ones and the gradients, as section 5 prints the rule or as torch has it."""
    weight, velocity = history[0][name].copy(), 0.0
    for step, rate in enumerate(rates):
        gradient = history[step][f"{name} gradient"]
        if form == "paper":
            velocity = 0.9 * velocity - decay * rate * weight - rate * gradient
            weight = weight + velocity
        else:
            velocity = 0.9 * velocity + gradient + decay * weight
            weight = weight - rate * velocity
    return weight


@pytest.mark.parametrize("form", ["paper", "torch"])
def test_update_rule_across_a_change_of_the_learning_rate(form: str) -> None:
    config = small(**{"optim.momentum_form": form, "optim.bias_weight_decay": False})
    history = train(config, RATES, biases=2.0)
    for name in ("conv1.weight", "conv4.weight", "fc6.weight", "fc8.weight"):
        expected = by_hand(history, name, RATES, form, 5e-4)
        np.testing.assert_allclose(history[-1][name], expected, rtol=0, atol=1e-12)
        other = by_hand(history, name, RATES, "torch" if form == "paper" else "paper", 5e-4)
        assert np.abs(other - expected).max() > 1e-5 * np.abs(expected).max(), "the two forms must part here"
    for name in ("conv1.bias", "fc6.bias"):
        expected = by_hand(history, name, [2 * rate for rate in RATES], form, 0.0)
        np.testing.assert_allclose(history[-1][name], expected, rtol=0, atol=1e-12)


def test_the_two_forms_agree_while_the_rate_stands() -> None:
    ends = [train(small(**{"optim.momentum_form": form}), [0.01] * 5)[-1] for form in ("paper", "torch")]
    for name, weight in ends[0].items():
        np.testing.assert_allclose(ends[1][name], weight, rtol=0, atol=1e-12)


def test_torch_form_is_torchs_sgd() -> None:
    config = small(**{"optim.momentum_form": "torch"})
    ours, theirs = build(config, 0).double(), build(config, 0).double()
    optimizer = make_optimizer(ours, config)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = 60 * torch.randn(8, 3, 24, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for rate in RATES:
        for model, chosen in ((ours, optimizer), (theirs, reference)):
            chosen.zero_grad()
            F.cross_entropy(model(images), torch.arange(8)).backward()
        optimizer.set_learning_rate(rate, rate)
        reference.param_groups[0]["lr"] = rate
        optimizer.step()
        reference.step()
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight, theirs.get_parameter(name), rtol=0, atol=1e-12)


def test_decay_is_the_layers_own_where_it_has_one() -> None:
    optimizer = make_optimizer(build(preset("cifar-18"), 0), preset("cifar-18"))
    decays = {name: slot.decay for name, slot in optimizer.slots.items()}
    assert decays["conv1.weight"] == 0.004
    assert decays["fc4.weight"] == 1.0
    assert all(decay == 0 for name, decay in decays.items() if name.endswith(".bias"))
    assert all(slot.decay == 5e-4 for slot in make_optimizer(build(small(), 0), small()).slots.values())


def test_a_frozen_layer_stands_still_and_keeps_its_velocity() -> None:
    """weights.cuh of cuda-convnet 1: no update at all where epsW is zero, so old momentum does not carry on."""
    config = small()
    model = build(config, 0)
    optimizer = make_optimizer(model, config)
    images = 60 * torch.randn(8, 3, 24, 24, generator=torch.Generator().manual_seed(2))

    def step(**layers: float) -> None:
        optimizer.set_learning_rate(0.01, 0.01, {name: (rate, rate) for name, rate in layers.items()})
        optimizer.zero_grad()
        F.cross_entropy(model(images), torch.arange(8)).backward()
        optimizer.step()

    step()
    before, velocity = {n: p.detach().clone() for n, p in model.named_parameters()}, optimizer.state_dict()
    velocity = {name: value.clone() for name, value in velocity.items()}
    assert velocity["conv1.weight"].abs().max() > 0
    step(conv1=0.0)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("conv1.")
    assert torch.equal(optimizer.state_dict()["conv1.weight"], velocity["conv1.weight"])
    step(conv1=1e-5)
    moved = (model.get_parameter("conv1.weight") - before["conv1.weight"]).abs().max()
    assert 0 < moved <= 1.01 * (0.9 * velocity["conv1.weight"]).abs().max() + 1e-3


def test_velocities_round_trip() -> None:
    config = small()
    model = build(config, 0)
    optimizer = make_optimizer(model, config)
    optimizer.set_learning_rate(0.01, 0.01)
    F.cross_entropy(model(torch.randn(4, 3, 24, 24)), torch.arange(4)).backward()
    optimizer.step()
    stored = {name: value.clone() for name, value in optimizer.state_dict().items()}
    fresh: Optimizer = make_optimizer(build(config, 1), config)
    fresh.load_state_dict(stored)
    assert all(torch.equal(value, stored[name]) for name, value in fresh.state_dict().items())


def at(name: str, epoch: int) -> Rates:
    config = preset(name)
    return learning_rates(config.schedule, config.optim, epoch, PlateauState())


def test_schedule_of_run_145() -> None:
    """Epochs 25, 51, 67, 72 and 79 of its log, which counts from 1; its conv1 also has slower biases, not as slow."""
    found = {epoch: at("code-2012", epoch) for epoch in (0, 23, 24, 49, 50, 65, 66, 70, 71, 77, 78, 90)}
    weights = {epoch: rates.weights for epoch, rates in found.items()}
    assert weights == pytest.approx(
        {0: 0.01, 23: 0.01, 24: 1e-3, 49: 1e-3, 50: 1e-4, 65: 1e-4, 66: 1e-4, 70: 1e-4, 71: 1e-4, 77: 1e-4,
         78: 1e-5, 90: 1e-5}
    )  # fmt: skip
    assert all(rates.biases == 0.02 for rates in found.values())
    slow, frozen = {"conv1": (1e-5, 0.002)}, {"conv1": (0.0, 0.0)}
    assert {epoch: dict(rates.layers) for epoch, rates in found.items() if rates.layers} == {
        66: slow, 70: slow, 71: frozen, 77: frozen, 78: frozen, 90: frozen,
    }  # fmt: skip


def test_the_endgame_slows_weights_and_biases_alike_unless_told_otherwise() -> None:
    """The reading of Configs that lack the key."""
    alike = override(preset("code-2012"), {"schedule.endgame.slow_bias_learning_rate": None})
    assert learning_rates(alike.schedule, alike.optim, 70, PlateauState()).layers == {"conv1": (1e-5, 1e-5)}


def test_a_layers_own_rates_reach_its_weights_and_its_biases() -> None:
    optimizer = make_optimizer(build(small(), 0), small())
    optimizer.set_learning_rate(0.01, 0.02, {"conv1": (1e-5, 0.002)})
    rates = {name: slot.rate for name, slot in optimizer.slots.items()}
    assert (rates["conv1.weight"], rates["conv1.bias"]) == (1e-5, 0.002)
    assert (rates["conv2.weight"], rates["conv2.bias"]) == (0.01, 0.02)


def test_biases_have_steps_of_their_own_beside_any_schedule_of_the_weights() -> None:
    """So that F10 (biases) and F12 (schedule) can be flipped one at a time."""
    optim = Optim(bias_learning_rate_factor=2.0)
    for kind in ("plateau", "steps", "dexp", "constant"):
        schedule = Schedule(kind=kind, epochs=8, bias_steps=(3, 6))
        state = PlateauState(40.0, 0, 2)
        biases = [learning_rates(schedule, optim, epoch, state).biases for epoch in (0, 2, 3, 5, 6, 7)]
        assert biases == pytest.approx([0.02, 0.02, 2e-3, 2e-3, 2e-4, 2e-4]), kind


def test_schedule_of_cuda_convnet2() -> None:
    """Its stairs are 0.01, 0.001587, 0.000252, 0.00004 for weights and 0.02, 0.002 for biases."""
    stairs = [at("cuda-convnet2", epoch) for epoch in (0, 22, 23, 44, 45, 67, 68, 89)]
    assert [rates.weights for rates in stairs] == pytest.approx(
        [0.01, 0.01, 0.001587, 0.001587, 0.000252, 0.000252, 0.00004, 0.00004], rel=1e-3
    )
    assert [rates.biases for rates in stairs] == pytest.approx([0.02] * 4 + [0.002] * 4)


def test_steps_move_the_biases_too_unless_told_otherwise() -> None:
    assert at("cifar-26", 7) == Rates(0.001, 0.002)
    assert at("cifar-26", 8).biases == pytest.approx(0.0002)


def test_plateau_drops_when_the_error_stops_improving_and_three_times_at_most() -> None:
    schedule, optim = Schedule(kind="plateau", patience=2, drops=3), Optim()
    state, rates = PlateauState(), []
    errors = [50, 40, 41, 40, 39, 39, 39, 45, 45, 45, 45, 45, 45]
    for epoch, error in enumerate(errors):
        rates.append(learning_rates(schedule, optim, epoch, state).weights)
        state = PlateauState(**json.loads(json.dumps(asdict(update_plateau(schedule, state, error)))))
    #        50    40    41    40    39    39    39    45    45    45    45    45    45
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.01, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5, 1e-5])
    assert state.drops == 3
    assert state.best_error == 39


def test_plateau_counts_epochs_not_tests() -> None:
    schedule = Schedule(kind="plateau", patience=4)
    state = update_plateau(schedule, PlateauState(), 50.0, 2)
    state = update_plateau(schedule, state, 51.0, 2)
    assert state.drops == 0
    assert update_plateau(schedule, state, 51.0, 2).drops == 1


@pytest.mark.parametrize(("rule", "factor"), [("fixed", 1.0), ("sqrt", 2.0), ("linear", 4.0)])
def test_rates_grow_with_the_batch_where_they_are_told_to(rule: str, factor: float) -> None:
    """From those of 128 images, weights and biases alike; at 128 every rule is the same."""
    for size, expected in ((128, 1.0), (512, factor), (32, 1 / factor)):
        optim = Optim(learning_rate=0.01, bias_learning_rate_factor=2.0, batch_size=size, rate_rule=rule)
        assert learning_rates(Schedule(kind="constant"), optim, 3, PlateauState()) == Rates(
            0.01 * expected, 0.02 * expected
        )


def test_constant_stays() -> None:
    assert at("figure-1", 0) == at("figure-1", 59) == Rates(0.001, 0.002)
