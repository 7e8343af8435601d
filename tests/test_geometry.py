"""The arithmetic of the layers against counting one by one, and against the published counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.architecture import Pool
from repro.config.geometry import output_side, pooled_side
from repro.config.keys import override
from repro.config.presets import preset

SIDES = st.integers(1, 60)


def starts(side: int, kernel: int, stride: int, pad: int) -> list[int]:
    """Where windows start, one after another, until the padded map is covered (cuda-convnet's rule)."""
    found = [-pad]
    while found[-1] + kernel < side + pad:
        found.append(found[-1] + stride)
    return found


@given(side=SIDES, kernel=st.integers(1, 11), stride=st.integers(1, 5), pad=st.integers(0, 5))
def test_ceil_mode_covers_the_whole_map(side: int, kernel: int, stride: int, pad: int) -> None:
    if kernel > side + 2 * pad:
        return
    positions, after = output_side(side, kernel, stride, pad, ceil_mode=True)
    windows = starts(side, kernel, stride, pad)
    assert positions == len(windows)
    assert after == max(pad, windows[-1] + kernel - side)


@given(side=SIDES, kernel=st.integers(1, 11), stride=st.integers(1, 5), pad=st.integers(0, 5))
def test_without_ceil_mode_no_window_hangs_over(side: int, kernel: int, stride: int, pad: int) -> None:
    if kernel > side + 2 * pad:
        return
    positions, after = output_side(side, kernel, stride, pad, ceil_mode=False)
    inside = [start for start in range(-pad, side + pad, stride) if start + kernel <= side + pad]
    assert positions == len(inside)
    assert after == pad


@given(side=SIDES, size=st.integers(1, 6), stride=st.integers(1, 6), ceil_mode=st.booleans())
def test_pools_start_inside_the_map(side: int, size: int, stride: int, ceil_mode: bool) -> None:
    if size > side:
        return
    positions = pooled_side(side, Pool(size=size, stride=stride, ceil_mode=ceil_mode))
    assert (positions - 1) * stride < side
    covered = (positions - 1) * stride + size
    assert covered >= side - stride + 1 or not ceil_mode
    assert covered <= side or ceil_mode


def test_the_papers_maps() -> None:
    """55, 27, 13, 13, 13 and a last pool of 6 (Figure 2, section 3.5); conv1 by the code's ceil, 3 zeros after."""
    shapes = preset("paper").shapes()
    assert [shape.side for shape in shapes] == [55, 27, 13, 13, 13, 1, 1, 1]
    assert [shape.pooled for shape in shapes] == [27, 13, 13, 13, 6, 1, 1, 1]
    assert shapes[0].pad == (0, 3)
    floor = override(preset("paper"), {"model.layers.conv1.ceil_mode": False}).shapes()
    assert floor[0].side == 54


def test_the_papers_neurons_and_parameters_layer_by_layer() -> None:
    """Figure 2's neurons, but for its 253,440 in layer 1, which is 55 x 48 x 96; parameters are
    (reads x kernel x kernel + 1) x maps."""
    shapes = {shape.name: shape for shape in preset("paper").shapes()}
    assert {name: shape.neurons for name, shape in shapes.items()} == {
        "conv1": 55 * 55 * 96, "conv2": 186_624, "conv3": 64_896, "conv4": 64_896, "conv5": 43_264,
        "fc6": 4096, "fc7": 4096, "fc8": 1000,
    }  # fmt: skip
    assert {name: shape.parameters for name, shape in shapes.items()} == {
        "conv1": 34_944, "conv2": 307_456, "conv3": 885_120, "conv4": 663_936, "conv5": 442_624,
        "fc6": 37_752_832, "fc7": 16_781_312, "fc8": 4_097_000,
    }  # fmt: skip


def test_run_147_reaches_six_by_another_way() -> None:
    """55, 28, 26, 13, 11, 6 with 2x2 pools and less padding in conv2 and conv5."""
    changes = {"model.pool.size": 2, "model.layers.conv2.pad": 1, "model.layers.conv5.pad": 0}
    shapes = override(preset("code-2012"), changes).shapes()
    assert [side for shape in shapes[:5] for side in (shape.side, shape.pooled)] == [
        55, 28, 26, 13, 13, 13, 13, 13, 11, 6,
    ]  # fmt: skip


def test_multiply_adds_are_windows_times_positions() -> None:
    shapes = {shape.name: shape for shape in preset("paper").shapes()}
    assert shapes["conv2"].multiply_adds == 27 * 27 * 256 * 48 * 5 * 5
    assert shapes["fc6"].multiply_adds == 9216 * 4096
    local = {shape.name: shape for shape in preset("cifar-13").shapes()}["local3"]
    assert local.multiply_adds == 36 * 32 * 64 * 9
    assert local.parameters == 36 * 32 * (64 * 9 + 1)


@pytest.mark.parametrize(("crop", "layer"), [(16, "conv1"), (64, "conv5")])
def test_a_map_that_vanishes_is_an_error_that_names_the_layer(crop: int, layer: str) -> None:
    changes = {"augment.crop": crop, **({"model.layers.conv5.kernel": 9} if layer == "conv5" else {})}
    if layer == "conv1":
        changes["model.layers.conv1.kernel"] = 17
    with pytest.raises(ValueError, match=rf"model\.layers\.{layer}: nothing is left .* augment\.crop"):
        override(preset("paper"), changes)


def test_what_crosses_between_the_towers() -> None:
    """All of the other tower's maps before conv3, fc6 and fc7; half of the last hidden units to the classes' device."""
    crossing = {shape.name: shape.floats_exchanged for shape in preset("code-2012").shapes()}
    assert crossing == {
        "conv1": 0, "conv2": 0, "conv3": 13 * 13 * 256, "conv4": 0, "conv5": 0, "fc6": 9216, "fc7": 4096, "fc8": 2048,
    }  # fmt: skip
    one = override(preset("code-2012"), {"model.towers": 1}).shapes()
    assert not any(shape.floats_exchanged or shape.crosses for shape in one)
