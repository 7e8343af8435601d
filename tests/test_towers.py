"""Two devices compute what one computes: logits, every gradient, training, checkpoints; and the bytes between them."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repro.config.config import Config
from repro.config.keys import override
from repro.config.presets import preset
from repro.network.model import Network, build
from repro.network.towers import TwoTowers, place
from repro.training.optim import make_optimizer

PAIR = ("cpu", "cpu")

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("smoke", {}),
    "code-2012": ("code-2012-smoke", {}),
    "conv1-norm-after-pool": ("smoke", {"model.layers.conv1.order": ["activation", "pool", "norm"]}),
    "norm-before-relu": ("smoke", {"model.layers.conv2.order": ["norm", "activation", "pool"]}),
    "wide-window": ("smoke", {"model.norm.size": 23}),  # reaches past the whole other tower of conv1
    "no-communication": (
        "smoke",
        {f"model.layers.{name}.connect": "tower" for name in ("conv3", "fc6", "fc7")},
    ),
    "all-connected": ("smoke", {f"model.layers.{name}.connect": "all" for name in ("conv2", "conv4", "conv5")}),
    "inverted": ("smoke", {"model.dropout.inverted": True, "model.dropout.layers": ["conv5", "fc6"]}),
    "batch": ("smoke", {"model.norm.kind": "batch"}),
    "group": ("smoke", {"model.norm.kind": "group", "model.layers.conv2.maps": 64}),
    "layer": ("smoke", {"model.norm.kind": "layer"}),
    "learned-a-layer": ("smoke", {"model.norm.learned": "layer"}),
    "learned-a-map": ("smoke", {"model.norm.learned": "map", "model.norm.size": 9}),
    "learned-a-tower": ("code-2012-smoke", {"model.norm.learned": "map", "model.spatial_norm.learned": "layer"}),
    "mixed-pooling": ("smoke", {"model.pool.kind": "mixed"}),
    "generalized-pooling": ("smoke", {"model.pool.kind": "generalized"}),
    "local": ("smoke", {"model.layers.conv4.kind": "local", "model.layers.conv5.kind": "local"}),
}


def config_of(name: str) -> Config:
    base, changes = NETS[name]
    return override(preset(base), changes)


def batch(config: Config, count: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    images = 60 * torch.randn(count, 3, config.augment.crop, config.augment.crop, generator=generator, dtype=dtype)
    labels = torch.randint(config.data.classes, (count,), generator=generator)
    return images.contiguous(memory_format=torch.channels_last), labels


def both(name: str, dtype: torch.dtype = torch.float64) -> tuple[Config, Network, TwoTowers]:
    """The same network on one device and on two."""
    config = config_of(name)
    one, two = place(build(config, 3).to(dtype), ("cpu",)), place(build(config, 3).to(dtype), PAIR)
    assert isinstance(one, Network)
    assert isinstance(two, TwoTowers)
    return config, one, two


def gradients(model: Network | TwoTowers) -> dict[str, Tensor]:
    return {name: torch.cat([part.grad for part in parts]) for name, parts in model.parts().items()}


@pytest.mark.parametrize("name", NETS)
def test_logits_and_every_gradient_are_equal(name: str) -> None:
    config, one, two = both(name)
    images, labels = batch(config)
    for model in (one, two):
        model.train()
        model.reseed(0, 17)
        F.cross_entropy(model(images), labels).backward()
    expected, found = gradients(one), gradients(two)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        assert gradient.abs().max() > 0, f"{key} has no gradient: the comparison would prove nothing"
        assert (found[key] - gradient).abs().max() <= 1e-10 * gradient.abs().max()
    for model in (one, two):
        model.eval()
    assert (one(images) - two(images)).abs().max() < 1e-10
    assert (one.features(images) - two.features(images)).abs().max() < 1e-10
    assert (one.kernels() == two.kernels()).all()


ORDERS = [list(order) for order in permutations(("activation", "norm", "pool"))]
CONNECT = st.sampled_from(["tower", "all"])


@settings(max_examples=15)
@given(
    connect=st.fixed_dictionaries(dict.fromkeys(("conv2", "conv3", "conv4", "conv5", "fc6", "fc7"), CONNECT)),
    orders=st.fixed_dictionaries({name: st.sampled_from(ORDERS) for name in ("conv1", "conv2")}),
    norm=st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["lrn", "lrn", "batch", "group", "layer"]), "scope": CONNECT,
            "size": st.sampled_from([1, 3, 9]), "over_n": st.booleans(), "same_map": st.booleans(),
            "alpha": st.just(0.01),
        }
    ),
    pool=st.fixed_dictionaries({"kind": st.sampled_from(["max", "avg"]), "size": st.sampled_from([2, 3])}),
    activation=st.sampled_from(["relu", "tanh", "abs-tanh", "gelu", "none"]),
    dropped=st.sets(st.sampled_from(["conv2", "conv5", "fc6", "fc7"]), min_size=1).map(sorted),
)  # fmt: skip
def test_any_network_is_the_same_on_two_devices(
    connect: dict[str, str],
    orders: dict[str, list[str]],
    norm: dict[str, Any],
    pool: dict[str, Any],
    activation: str,
    dropped: list[str],
) -> None:
    changes = {
        **{f"model.layers.{name}.connect": value for name, value in connect.items()},
        **{f"model.layers.{name}.order": order for name, order in orders.items()},
        "model.norm": norm, "model.pool": pool, "model.activation": activation, "model.dropout.layers": dropped,
    }  # fmt: skip
    config = override(preset("smoke"), changes)
    one, two = build(config, 1).double(), place(build(config, 1).double(), PAIR)
    images, labels = batch(config, 3)
    for model in (one, two):
        model.train()
        model.reseed(4)
        F.cross_entropy(model(images), labels).backward()
    expected, found = gradients(one), gradients(two)
    for key, gradient in expected.items():
        scale = max(1e-3, float(gradient.abs().max()))  # a bias before batch normalization has no gradient but rounding
        assert (found[key] - gradient).abs().max() <= 1e-10 * scale
    assert two.exchanged == {
        shape.name: 8 * shape.floats_exchanged for shape in config.shapes() if shape.floats_exchanged
    }


@pytest.mark.parametrize("name", ["paper", "code-2012"])
def test_twenty_training_steps_stay_within_rounding(name: str) -> None:
    """Dropout, momentum, a slowed and a frozen first layer: twenty steps on, weights agree to rounding. In float64: the
    rounding of float32 moves numbers across the bend of a ReLU on some processors, and from there weights part."""
    config, one, two = both(name)
    images, labels = batch(config, 16)
    losses = []
    for model in (one, two):
        optimizer = make_optimizer(model, config)
        model.train()
        for step in range(20):
            slowed = (1e-5, 1e-5) if step < 15 else (0.0, 0.0)
            optimizer.set_learning_rate(0.01, 0.02, {} if step < 10 else {"conv1": slowed})
            optimizer.zero_grad()
            model.reseed(0, step)
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:20] == pytest.approx(losses[20:], rel=1e-10)
    start, trained, other = build(config, 3).state_dict(), one.state_dict(), two.state_dict()
    for key, weight in trained.items():
        moved = (weight - start[key]).abs().max()
        assert moved > 0
        assert (weight - other[key]).abs().max() <= 1e-10 * moved


@pytest.mark.parametrize("name", ["paper", "code-2012", "batch", "no-communication"])
def test_a_checkpoint_of_one_placement_loads_in_the_other(name: str) -> None:
    config, one, two = both(name, torch.float32)
    images, labels = batch(config, 6, torch.float32)
    states = []
    for model in (one, two):
        optimizer = make_optimizer(model, config)
        optimizer.set_learning_rate(0.01, 0.01)
        model.train()
        model.reseed(0, 0)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        states.append((model.state_dict(), optimizer.state_dict()))
    (weights, velocity), (weights_of_two, velocity_of_two) = states
    assert list(weights) == list(weights_of_two)
    assert list(velocity) == list(velocity_of_two)
    for written, wrote in ((weights, weights_of_two), (velocity, velocity_of_two)):
        assert all(written[key].shape == wrote[key].shape for key in written)
    fresh = place(build(config, 9), PAIR)
    optimizer = make_optimizer(fresh, config)
    fresh.load_state_dict(weights)
    optimizer.load_state_dict(velocity)
    assert all(torch.equal(value, weights[key]) for key, value in fresh.state_dict().items())
    assert all(torch.equal(value, velocity[key]) for key, value in optimizer.state_dict().items())
    back = build(config, 9)
    back.load_state_dict(weights_of_two)
    assert all(torch.equal(value, weights_of_two[key]) for key, value in back.state_dict().items())


@pytest.mark.parametrize("name", NETS)
def test_bytes_exchanged_are_those_of_the_table(name: str) -> None:
    config, _, two = both(name, torch.float32)
    two.eval()(batch(config, 5, torch.float32)[0])
    expected = {shape.name: 4 * shape.floats_exchanged for shape in config.shapes() if shape.floats_exchanged}
    assert two.exchanged == expected


def test_the_code_exchanges_only_where_the_paper_says() -> None:
    """Section 3.5: the third convolution and the full layers read both GPUs."""
    crossing = {shape.name for shape in preset("code-2012").shapes() if shape.floats_exchanged}
    assert crossing == {"conv3", "fc6", "fc7", "fc8"}


def test_the_texts_normalization_over_all_kernels_crosses_in_every_normalized_layer() -> None:
    """N is "the total number of kernels in the layer" (section 3.3): two maps beside the border go each way."""
    exchanged = {shape.name: shape.floats_exchanged for shape in preset("paper").shapes()}
    assert exchanged["conv1"] == 2 * 2 * 55 * 55
    assert exchanged["conv2"] == 2 * 2 * 27 * 27


def test_placing_says_what_cannot_be() -> None:
    model = build(preset("smoke"), 0)
    with pytest.raises(ValueError, match="no device 'gpu9'"):
        place(model, ("gpu9",))
    with pytest.raises(ValueError, match="one or two, not 3"):
        place(model, ("cpu", "cpu", "cpu"))
    with pytest.raises(ValueError, match=r"model\.towers is 1"):
        place(build(preset("cifar-26"), 0), PAIR)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no device 'cuda:0'"):
            place(model, ("cuda:0", "cuda:0"))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_cuda_devices_equal_one() -> None:
    config = config_of("code-2012")
    images, labels = batch(config)
    one, two = place(build(config, 3).double(), ("cuda:0",)), place(build(config, 3).double(), ("cuda:0", "cuda:1"))
    for model in (one, two):
        model.train()
        model.reseed(0, 17)
        F.cross_entropy(model(images.to("cuda:0")), labels.to("cuda:0")).backward()
    expected, found = gradients(one), {n: torch.cat([p.grad.to("cuda:0") for p in ps]) for n, ps in two.parts().items()}
    for key, gradient in expected.items():
        assert (found[key] - gradient).abs().max() <= 1e-8 * gradient.abs().max()
