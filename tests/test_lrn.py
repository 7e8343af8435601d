"""Response normalization against a formula written out again, in float64 and map by map."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import repro.network.lrn as lrn_module
from repro.network.lrn import _backward, _forward, _Rule, lrn, lrn_same_map

TESTS = Path(__file__).parent
triton_installed = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not triton_installed, reason="Triton is not installed")

RELATIVE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 8e-3}  # bfloat16 keeps 8 bits
PAPER = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}  # section 3.3


def by_definition(x: Tensor, size: int, scale: float, beta: float, k: float, groups: int = 1) -> Tensor:
    """Section 3.3 in the paper's own indices: one map at a time, in float64; N is the maps of one group."""
    x = x.double()
    towers = []
    for tower in x.chunk(groups, 1):
        last = tower.shape[1] - 1
        maps = []
        for i in range(last + 1):
            window = tower[:, max(0, i - size // 2) : min(last, i + size // 2) + 1]
            maps.append(tower[:, i] / (k + scale * (window**2).sum(1)) ** beta)
        towers.append(torch.stack(maps, 1))
    return torch.cat(towers, 1)


def same_map_by_definition(x: Tensor, size: int, scale: float, beta: float, k: float) -> Tensor:
    x = x.double()
    reach = size // 2
    rows = []
    for row in range(x.shape[2]):
        columns = []
        for column in range(x.shape[3]):
            window = x[:, :, max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
            columns.append(x[:, :, row, column] / (k + scale * (window**2).sum((2, 3))) ** beta)
        rows.append(torch.stack(columns, 2))
    return torch.stack(rows, 2)


def image(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Activations as large as those of 0..255 pixels, so that the sum of squares matters beside k."""
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 100).to(dtype)


def with_gradient(function, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = function(x)
    y.backward(g.to(y.dtype))
    assert x.grad is not None
    return y.detach(), x.grad


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return ((found.double() - wanted.double()).abs().max() / wanted.double().abs().max()).item()


@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize(
    ("shape", "size", "groups"),
    [
        ((2, 12, 5, 7), 5, 1),
        ((2, 12, 5, 7), 5, 2),
        ((3, 10, 1, 1), 9, 2),  # the window is wider than a tower
        ((1, 3, 3, 5), 7, 1),
        ((2, 6, 4, 3), 1, 3),
        ((1, 7, 11, 13), 3, 1),
        ((5, 1, 1, 3), 5, 1),
    ],
)
@pytest.mark.parametrize("over_n", [True, False])
@pytest.mark.parametrize(("beta", "k"), [(0.75, 2.0), (0.5, 1.0)])
def test_forward_and_gradient_follow_the_formula(dtype, shape, size, groups, over_n, beta, k):
    x, g = image(shape, dtype), image(shape, dtype, seed=1)
    scale = 1e-4 / size if over_n else 1e-4
    wanted, wanted_gradient = with_gradient(lambda x: by_definition(x, size, scale, beta, k, groups), x.double(), g)
    found, gradient = with_gradient(
        lambda x: lrn(x, size=size, alpha=1e-4, beta=beta, k=k, groups=groups, over_n=over_n), x, g
    )
    assert found.dtype == gradient.dtype == dtype
    assert relative_error(found, wanted) < RELATIVE[dtype]
    assert relative_error(gradient, wanted_gradient) < RELATIVE[dtype]


@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize(
    ("shape", "size"), [((2, 4, 6, 5), 3), ((2, 3, 4, 9), 5), ((1, 2, 1, 3), 5), ((3, 5, 2, 2), 1)]
)
@pytest.mark.parametrize("over_n", [True, False])
def test_same_map_follows_the_formula(dtype, shape, size, over_n):
    x, g = image(shape, dtype), image(shape, dtype, seed=1)
    scale = 1e-3 / size**2 if over_n else 1e-3
    wanted, wanted_gradient = with_gradient(lambda x: same_map_by_definition(x, size, scale, 0.75, 1.0), x.double(), g)
    found, gradient = with_gradient(
        lambda x: lrn_same_map(x, size=size, alpha=1e-3, beta=0.75, k=1.0, over_n=over_n), x, g
    )
    assert relative_error(found, wanted) < RELATIVE[dtype]
    assert relative_error(gradient, wanted_gradient) < RELATIVE[dtype]


@pytest.mark.parametrize("size", [3, 5, 9])
def test_equals_torch_where_torch_divides_alpha_too(size):
    x, g = image((2, 16, 4, 4), torch.float32), image((2, 16, 4, 4), torch.float32, seed=1)
    theirs = torch.nn.LocalResponseNorm(size, alpha=1e-4, beta=0.75, k=2.0)
    wanted, wanted_gradient = with_gradient(theirs, x, g)
    found, gradient = with_gradient(lambda x: lrn(x, **{**PAPER, "size": size}), x, g)
    assert relative_error(found, wanted) < 1e-6
    assert relative_error(gradient, wanted_gradient) < 1e-6


def test_the_two_readings_of_alpha_differ_by_the_window():
    x = image((2, 8, 3, 3))
    as_printed = lrn(x, **PAPER, over_n=False)
    as_run = lrn(x, **{**PAPER, "alpha": 5e-4}, over_n=True)
    assert torch.equal(as_printed, as_run)
    assert relative_error(lrn(x, **PAPER), as_printed) > 0.01


def test_towers_do_not_see_each_other():
    x = image((2, 8, 3, 3), torch.float32)
    alone = torch.cat([lrn(tower, **PAPER) for tower in x.chunk(2, 1)], 1)
    assert torch.equal(lrn(x, **PAPER, groups=2), alone)
    apart = (lrn(x, **PAPER) != alone).any(0).any(1).any(1)
    assert apart.tolist() == [False, False, True, True, True, True, False, False]  # two maps either side of the border


@pytest.mark.parametrize(
    "rule",
    [
        lambda x: lrn(x, size=5, alpha=0.5, beta=0.75, k=1.0, groups=2),
        lambda x: lrn(x, size=3, alpha=0.5, beta=1.2, k=0.5, over_n=False),
        lambda x: lrn_same_map(x, size=3, alpha=0.5, beta=0.75, k=1.0),
    ],
)
def test_gradcheck(rule):
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(rule, x)


@pytest.mark.parametrize("same_map", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", RELATIVE)
def test_the_operations_of_other_devices_agree_with_the_cpu_loops(same_map, dtype, relu):
    x, g = image((2, 12, 5, 7), dtype), image((2, 12, 5, 7), dtype, seed=1)
    if same_map:
        rule = _Rule(3, 1e-3, 0.75, 1.0, 1, True, relu)
        ours = lambda x: lrn_same_map(x, size=3, alpha=1e-3, beta=0.75, k=1.0, over_n=False, relu=relu)  # noqa: E731
    else:
        rule = _Rule(5, 1e-4, 0.75, 2.0, 2, False, relu)
        ours = lambda x: lrn(x, **PAPER, groups=2, over_n=False, relu=relu)  # noqa: E731
    y, gradient = with_gradient(ours, x, g)
    assert relative_error(_forward(rule, x), y) < RELATIVE[dtype]
    assert relative_error(_backward(rule, x, g), gradient) < RELATIVE[dtype]


@pytest.mark.parametrize("rule", [lrn, lrn_same_map])
@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_a_relu_inside_equals_one_in_front(rule, dtype, beta):
    x, g = image((2, 12, 5, 7), dtype), image((2, 12, 5, 7), dtype, seed=1)
    x[0, 0, 0] = 0.0  # where the slope of a ReLU is a choice, both choose 0
    settings = {**PAPER, "beta": beta}
    wanted, wanted_gradient = with_gradient(lambda x: rule(torch.relu(x), **settings), x, g)
    found, gradient = with_gradient(lambda x: rule(x, **settings, relu=True), x, g)
    assert torch.equal(found, wanted)
    assert torch.equal(gradient, wanted_gradient)


@pytest.mark.parametrize("same_map", [False, True])
def test_memory_layout_and_threads_change_no_bit(same_map):
    rule = lrn_same_map if same_map else lrn
    whole = image((16, 32, 40, 40), torch.float32)  # large enough to be shared out between threads
    strided = torch.stack([whole, whole], -1)[..., 0]
    g = image(tuple(whole.shape), torch.float32, seed=1)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for x in (whole, whole.contiguous(memory_format=torch.channels_last), strided):
                results.append(with_gradient(lambda x: rule(x, **PAPER), x, g))
    finally:
        torch.set_num_threads(threads)
    first, first_gradient = results[0]
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(first, y) and torch.equal(first_gradient, gradient) for y, gradient in results)


def test_works_under_autocast_with_a_convolution_before_and_after():
    torch.manual_seed(0)
    convolutions = [torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3)]
    x = torch.randn(2, 3, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        middle = lrn(convolutions[0](x), **PAPER)
        loss = convolutions[1](middle).float().square().mean()
    loss.backward()
    assert middle.dtype == torch.bfloat16
    for convolution in convolutions:
        assert convolution.weight.grad is not None and convolution.weight.grad.isfinite().all()
        assert convolution.weight.grad.abs().sum() > 0


def test_bfloat16_is_rounded_to_nearest():
    x = image((4, 16, 8, 8), torch.bfloat16)
    exact = by_definition(x, 5, 1e-4 / 5, 0.75, 2.0)
    assert (lrn(x, **PAPER) == exact.to(torch.bfloat16)).float().mean() > 0.999  # float32 errs at a few ties


@pytest.mark.parametrize("relu", [False, True])
def test_a_diverged_network_stays_visible(relu):
    x = image((1, 4, 2, 2), torch.float32)
    x[0, 0, 0, 0] = float("nan")
    assert lrn(x, **PAPER, relu=relu).isnan().any()
    assert lrn(x.bfloat16(), **PAPER, relu=relu).isnan().any()


@pytest.mark.parametrize("rule", [lrn, lrn_same_map])
def test_an_even_window_is_a_programming_error(rule):
    with pytest.raises(AssertionError, match="size 4"):
        rule(image((1, 4, 2, 2)), **{**PAPER, "size": 4})


def test_groups_must_divide_the_maps():
    with pytest.raises(AssertionError, match="groups"):
        lrn(image((1, 5, 2, 2)), **PAPER, groups=2)


INTERPRETED = """
import torch
from test_lrn import RELATIVE, image, relative_error
from repro.network import lrn_triton
from repro.network.lrn import _loop, _Rule

f32, b16 = torch.float32, torch.bfloat16
for rule, shape, dtype in [  # window, a, beta, k, towers, same map, ReLU
    (_Rule(3, 1e-4, 0.75, 2.0, 2, False, True), (2, 12, 11, 9), f32),  # more numbers than one program takes
    (_Rule(3, 1e-4, 0.6, 1.0, 1, False, False), (2, 12, 5, 7), b16),
    (_Rule(5, 1e-3, 0.75, 1.0, 2, False, False), (3, 4, 1, 1), f32),  # a window wider than a tower
    (_Rule(3, 1e-3, 0.6, 1.0, 1, True, True), (2, 5, 4, 9), f32),
]:
    x, g = image(shape, dtype), image(shape, dtype, seed=1)
    for given in ((x,), (x, g)):
        error = relative_error(lrn_triton.normalize(rule, *given), _loop(rule, *given))
        assert error < RELATIVE[dtype], (rule, shape, dtype, len(given), error)
x[0, 0, 0, 0] = float("nan")
assert lrn_triton.normalize(rule, x).isnan().any()
"""


@needs_triton
def test_the_cuda_kernel_has_the_numbers_of_the_cpu_loop_in_tritons_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    done = subprocess.run([sys.executable, "-c", INTERPRETED], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@needs_triton
@pytest.mark.parametrize("direction", ["_forward", "_backward"])
def test_the_cuda_kernel_compiles_without_a_device(direction, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from repro.network import lrn_triton

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(lrn_triton, direction)
    constants = {"square_roots": True, "relu": True, "block": lrn_triton.BLOCK}
    kinds = {"x": "*bf16", "g": "*bf16", "out": "*bf16", "scale": "fp32", "beta": "fp32", "k": "fp32"}
    kinds |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, {name: kinds.get(name, "i32") for name in kernel.arg_names}, constants)
    assert triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["cubin"]


def test_where_the_kernel_does_not_run_one_line_says_so_and_torch_operations_do_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "repro.network.lrn_triton", None)  # as where Triton is not installed
    with pytest.warns(UserWarning, match=r"^response normalization is slow on cpu: [^\n]*$"):
        assert lrn_module._kernel.__wrapped__(torch.device("cpu")) is None
    if triton_installed:
        monkeypatch.undo()
        with pytest.warns(UserWarning, match="its kernel does not run"):  # Triton finds no device
            assert lrn_module._kernel.__wrapped__(torch.device("cpu")) is None
    assert lrn_module._way(torch.empty(0, device="meta")) is lrn_module._operations
