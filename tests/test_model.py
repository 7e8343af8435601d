"""The network against other arithmetic: direct loops, plain torch operations by hand, and torchvision's own module."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from repro.config.architecture import Pool
from repro.config.config import Config
from repro.config.keys import override
from repro.config.presets import PRESETS, preset
from repro.extensions import load
from repro.network.model import Network, Pooling, build

SMALL = [name for name in PRESETS if preset(name).augment.crop <= 64]


def made_images(config: Config, count: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    crop = config.augment.crop
    values = torch.randn(count, 3, crop, crop, generator=torch.Generator().manual_seed(7), dtype=dtype)
    return (60 * values).contiguous(memory_format=torch.channels_last)


def gradients(model: torch.nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradient of every parameter for labels 0, 1, 2, ..."""
    model.zero_grad()
    logits = model(images)
    F.cross_entropy(logits, torch.arange(len(images)) % logits.shape[1]).backward()
    return logits, {name: parameter.grad for name, parameter in model.named_parameters()}


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert found.shape == expected.shape
    found, expected = found.detach(), expected.detach()
    assert (found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def by_hand(weights: dict[str, Tensor], x: Tensor, *, code: bool) -> Tensor:
    """The reduced 2012 net in test mode from plain torch operations, tower by tower: text or code reading.

    torch's LocalResponseNorm divides alpha by n, so the text's alpha is n times as large there.
    """
    halves = lambda t: t.chunk(2, 1)  # noqa: E731
    both = lambda parts: torch.cat(parts, 1)  # noqa: E731

    def conv(name: str, parts: tuple[Tensor, ...], pad: int) -> tuple[Tensor, ...]:
        filters = zip(weights[f"{name}.weight"].chunk(2), weights[f"{name}.bias"].chunk(2), strict=True)
        return tuple(F.conv2d(part, w, b, 1, pad) for part, (w, b) in zip(parts, filters, strict=True))

    def normalize(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if code:
            return tuple(F.local_response_norm(part, 5, 1e-4, 0.75, 2.0) for part in parts)
        return halves(F.local_response_norm(both(parts), 5, 5e-4, 0.75, 2.0))

    def pool(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(F.max_pool2d(part, 3, 2, ceil_mode=True) for part in parts)

    def relu(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(F.relu(part) for part in parts)

    parts = conv("conv1", (x, x), 2)
    parts = relu(pool(normalize(parts))) if code else pool(normalize(relu(parts)))
    parts = normalize(relu(conv("conv2", parts, 1)))
    if code:  # cnorm2: the mean of squares over 5x5 in the same map is their sum over 25
        parts = tuple(p / (1 + 1e-3 * F.avg_pool2d(p * p, 5, 1, 2)) ** 0.75 for p in parts)
    parts = pool(parts)
    parts = relu(conv("conv3", (both(parts),) * 2, 1))
    parts = relu(conv("conv4", parts, 1))
    parts = relu(pool(conv("conv5", parts, 1)))
    units = both(parts).flatten(1)
    for name in ("fc6", "fc7"):
        units = 0.5 * F.relu(F.linear(units, weights[f"{name}.weight"], weights[f"{name}.bias"]))
    return F.linear(units, weights["fc8.weight"], weights["fc8.bias"])


@pytest.mark.parametrize(("name", "code"), [("smoke", False), ("code-2012-smoke", True)])
def test_both_readings_equal_plain_torch_by_hand(name: str, code: bool) -> None:
    config = preset(name)
    model = build(config, 0).double().eval()
    images = made_images(config)
    weights = {key: value.detach().clone().requires_grad_() for key, value in model.state_dict().items()}
    expected = by_hand(weights, images, code=code)
    F.cross_entropy(expected, torch.arange(len(images)) % expected.shape[1]).backward()
    logits, found = gradients(model, images)
    close(logits, expected)
    for key, gradient in found.items():
        close(gradient, weights[key].grad)


def single(layer: dict[str, Any], side: int, **model: Any) -> Network:
    """A net of one convolution without activation and normalization, in float64."""
    changes = {
        "model.layers": {**dict.fromkeys(("conv1", "conv2", "conv3", "fc4")), "conv1": layer},
        "model.norm": None, "model.activation": "none",
        "augment.crop": side, "data.size": side,
    }  # fmt: skip
    changes["model.layers"]["fc9"] = {"maps": None}
    return build(override(preset("cifar-19"), {**changes, **model}), 3).double()


def direct(image: Tensor, weight: Tensor, bias: Tensor, stride: int, positions: int) -> Tensor:
    """A convolution as the 2012 kernel wrote it: a window sums the pixels that exist. (maps, positions, positions)."""
    _, height, width = image.shape
    out = torch.empty(len(weight), positions, positions, dtype=image.dtype)
    kernel = weight.shape[-1]
    for y in range(positions):
        for x in range(positions):
            rows = [row for row in range(y * stride, y * stride + kernel) if row < height]
            columns = [column for column in range(x * stride, x * stride + kernel) if column < width]
            window = image[:, rows][:, :, columns]
            out[:, y, x] = (window * weight[..., : len(rows), : len(columns)]).sum((1, 2, 3)) + bias
    return out


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "positions"),
    [(224, 11, 4, 55), (12, 5, 4, 3), (13, 5, 4, 3), (14, 5, 4, 4), (9, 3, 3, 3)],
)
def test_ceil_mode_equals_a_direct_loop(side: int, kernel: int, stride: int, positions: int) -> None:
    model = single({"maps": 2, "kernel": kernel, "stride": stride, "ceil_mode": True}, side)
    image = made_images(model.config, 1)
    layer = model.layer("conv1")
    close(layer(image)[0], direct(image[0], layer.weight, layer.bias, stride, positions))


def test_locally_connected_equals_a_direct_loop() -> None:
    model = single({"kind": "local", "maps": 3, "kernel": 3, "pad": 1}, 8)
    layer, image = model.layer("conv1"), made_images(model.config, 2)
    layer.bias.data.normal_(generator=torch.Generator().manual_seed(1))
    padded = F.pad(image, (1, 1, 1, 1))
    found = layer(image)
    assert layer.weight.numel() + layer.bias.numel() == 64 * 3 * (27 + 1)
    for y in range(8):
        for x in range(8):
            window = padded[:, :, y : y + 3, x : x + 3].flatten(1)
            expected = window @ layer.weight[:, 8 * y + x].T + layer.bias[:, 8 * y + x]
            close(found[:, :, y, x], expected)


def test_a_tie_in_a_max_pool_sends_the_gradient_to_one_position() -> None:
    """F32 of docs/fidelity.md: the 2012 code sends it to every position that holds the maximum."""
    x = torch.ones(1, 1, 3, 3, requires_grad=True)
    Pooling(Pool(size=3, stride=2))(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).sum() == 1


def test_average_pool_counts_only_what_is_inside_the_map() -> None:
    pool = {"kind": "avg", "size": 3, "stride": 2, "ceil_mode": True}
    model = single({"maps": 2, "kernel": 1, "pool": pool}, 8)
    layer, image = model.layer("conv1"), made_images(model.config, 1)
    sums = layer.connect(image)[0]
    found = layer(image)[0]
    assert found.shape == (2, 4, 4)
    for y in range(4):
        for x in range(4):
            close(found[:, y, x], sums[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3].mean((1, 2)))


@pytest.mark.parametrize("name", [*SMALL, "paper"])
def test_shapes_and_parameters_are_those_of_the_table(name: str) -> None:
    config = preset(name)
    model = build(config, 0).eval()
    x = made_images(config, 1, torch.float32)
    for shape in config.shapes():
        layer = model.layer(shape.name)
        sums = layer.connect(x)
        assert sums.shape[1:] == ((shape.maps,) if shape.kind == "full" else (shape.maps, shape.side, shape.side))
        assert layer.weight.numel() + layer.bias.numel() == shape.parameters
        assert sums[0].numel() == shape.neurons
        x = layer(x)
        assert x.shape[2:] == (() if shape.kind == "full" else (shape.pooled, shape.pooled))


def test_forward_is_the_last_layer_of_the_features() -> None:
    config = preset("smoke")
    model = build(config, 0).eval()
    images = made_images(config, 3, torch.float32)
    features = model.features(images)
    assert features.shape == (3, 64)
    assert torch.equal(F.linear(features, model.layer("fc8").weight, model.layer("fc8").bias), model(images))
    assert model.kernels().shape == (16, 3, 5, 5)


def test_weights_are_float32_on_the_cpu_in_channels_last_memory() -> None:
    model = build(preset("smoke"), 0)
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.device.type == "cpu"
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last)


def test_initial_weights_follow_the_config() -> None:
    config = override(
        preset("cifar10"),
        {
            "model.layers.conv2.init_std": "kaiming", "model.layers.conv3.init_std": "torch",
            "model.layers.conv3.init_bias": "torch", "model.layers.fc8.init_bias": -7.0,
        },
    )  # fmt: skip
    model = build(config, 0)
    for name, std in (("fc6", config.model.layer("fc6").init_std), ("conv2", math.sqrt(2 / (16 * 9)))):
        weight = model.layer(name).weight.detach()
        assert abs(weight.mean()) < 5 * std / math.sqrt(weight.numel())
        assert weight.std() == pytest.approx(std, rel=5 / math.sqrt(2 * weight.numel()))
    uniform, bound = model.layer("conv3"), 1 / math.sqrt(64 * 9)
    assert 0.99 * bound < uniform.weight.detach().abs().max() <= bound
    assert 0.8 * bound < uniform.bias.detach().abs().max() <= bound
    assert (model.layer("conv2").bias == 1).all()
    assert (model.layer("fc8").bias == -7).all()


def test_arms_share_the_initial_weights_of_layers_that_they_share() -> None:
    """Same seed, same name, same shape: same weights, whatever else an arm changes; scaled where its spread differs."""
    base = build(preset("smoke"), 5).state_dict()
    arm = build(
        override(
            preset("smoke"),
            {"model.norm": None, "model.layers.conv4": None, "model.layers.fc6.maps": 32,
             "model.layers.conv1.init_std": 2 * preset("smoke").model.layer("conv1").init_std},
        ),
        5,
    ).state_dict()  # fmt: skip
    for name in ("conv2", "conv3", "conv5", "fc8"):
        assert torch.equal(base[f"{name}.weight"], arm[f"{name}.weight"])
    assert torch.equal(2 * base["conv1.weight"], arm["conv1.weight"])
    assert base["fc6.weight"].shape != arm["fc6.weight"].shape
    other = build(preset("smoke"), 6).state_dict()
    assert not torch.equal(base["conv2.weight"], other["conv2.weight"])
    assert not torch.equal(base["conv3.weight"].flatten()[:32], base["conv5.weight"].flatten()[:32])


@pytest.mark.parametrize(("inverted", "factor"), [(False, 1.0), (True, 1 / 0.7)])
def test_dropout_masks_in_training_and_settings_in_test(inverted: bool, factor: float) -> None:
    config = override(preset("smoke"), {"model.dropout.inverted": inverted, "model.dropout.probability": 0.3})
    drop = build(config, 0).layer("fc6").drop
    x = torch.rand(200, 64) + 1
    drop.seed = 1
    kept = drop.train()(x)
    dropped = (kept == 0).double().mean()
    assert dropped == pytest.approx(0.3, abs=5 * math.sqrt(0.3 * 0.7 / x.numel()))
    torch.testing.assert_close(kept, torch.where(kept == 0, 0, factor * x))
    torch.testing.assert_close(drop.eval()(x), x if inverted else 0.7 * x)


def test_dropout_is_a_function_of_the_seed_and_the_step() -> None:
    config = preset("smoke")
    model = build(config, 0).train()
    images = made_images(config, 4, torch.float32)

    def logits(*keys: int) -> Tensor:
        model.reseed(*keys)
        return model(images)

    first = logits(0, 0)
    torch.rand(3)  # the global generator has no say
    assert torch.equal(first, logits(0, 0))
    assert not torch.equal(first, logits(0, 1))
    assert not torch.equal(first, logits(1, 0))
    masks = []
    for name in ("fc6", "fc7"):
        drop = model.layer(name).drop
        masks.append(drop(torch.ones(4, 64)))
    assert not torch.equal(*masks)


def test_dropout_without_a_seed_is_a_mistake() -> None:
    config = preset("smoke")
    with pytest.raises(AssertionError, match="reseed"):
        build(config, 0).train()(made_images(config, 1, torch.float32))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0.0, 0.0, 2.0]),
        ("tanh", [math.tanh(-1), 0.0, math.tanh(2)]),
        ("abs-tanh", [math.tanh(1), 0.0, math.tanh(2)]),
        ("sigmoid", [1 / (1 + math.e), 0.5, 1 / (1 + math.exp(-2))]),
        ("leaky-relu", [-0.01, 0.0, 2.0]),
        ("elu", [math.exp(-1) - 1, 0.0, 2.0]),
        ("gelu", [-(1 + math.erf(-1 / math.sqrt(2))) / 2, 0.0, 1 + math.erf(math.sqrt(2))]),
    ],
)
def test_activations(name: str, expected: list[float]) -> None:
    found = load("repro.activations", name)(torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64))
    close(found, torch.tensor(expected, dtype=torch.float64), 1e-15)


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_later_normalizations_leave_unit_spread_where_they_count(kind: str) -> None:
    config = override(preset("smoke"), {"model.norm.kind": kind, "model.layers.conv2.maps": 64})
    model = build(config, 0).double().train()
    layer, x = model.layer("conv2"), torch.rand(4, 16, 12, 12, dtype=torch.float64)
    norm = layer.steps[1]
    values = norm(5 * layer.connect(x) + 3)
    over = {
        "batch": values.transpose(0, 1),
        "group": values.reshape(16, 16, 12, 12),
        "layer": values.reshape(8, 32, 12, 12),
    }
    flat = over[kind].reshape(len(over[kind]), -1)
    close(flat.mean(1), torch.zeros(len(flat), dtype=torch.float64), 1e-8)
    torch.testing.assert_close(
        flat.var(1, unbiased=False), torch.ones(len(flat), dtype=torch.float64), atol=1e-2, rtol=0
    )


def test_torchvision_weights_load_and_give_torchvisions_logits() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet().eval()
    ours = build(preset("torchvision"), 0)
    layers = [f"conv{number}" for number in range(1, 6)] + ["fc6", "fc7", "fc8"]
    names = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    ours.load_state_dict(dict(zip(names, theirs.state_dict().values(), strict=True)))
    ours.eval()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-6)
    assert expected.abs().max() > 1e-3
