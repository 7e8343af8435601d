"""What happens to an image between the file and the network: draws, crop, mirror, color noise, mean, in one pass.

Every draw is a hash of (seed, epoch, key), so an image meets the same fate whichever loader or worker reads it.
Pixels are float32, draws float64, neither with fast-math, so batches are bitwise equal everywhere on one machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from repro.config import config
from repro.machine.compiled import keep_compiled

keep_compiled()

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# The "lighting" constants in common use: eigenvalues (not their square roots) and eigenvectors, one a column, of the
# covariance of ImageNet's RGB pixels in [0, 1] (see F13; for example tensorpack's ImageNetModels/alexnet.py).
LIGHTING_VALUES = (0.2175, 0.0188, 0.0045)
LIGHTING_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))

# What a draw is for: the third word of the hash.
OFFSET_Y, OFFSET_X, MIRROR, NORMAL, ORDER, BOX = 1, 2, 3, 4, 16, 32
BOX_TRIES = 10  # torchvision's: boxes that are tried before the whole image is taken


@njit(cache=True, nogil=True)
def mix(value: Any) -> Any:
    """One step of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), uint64 to uint64."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def hashed(seed: int, epoch: int, purpose: int, key: int) -> Any:
    """64 random bits for one purpose of one image in one epoch of one run."""
    return mix(mix(mix(mix(np.uint64(seed)) + np.uint64(epoch)) + np.uint64(purpose)) + np.uint64(key))


@njit(cache=True, nogil=True)
def uniform(bits: Any) -> float:
    """A float64 in [0, 1) from the upper 53 bits."""
    return np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def order_hashes(seed: int, epoch: int, keys: Ints) -> Any:
    """(N,) uint64 that `epoch_order` sorts by."""
    out = np.empty(len(keys), np.uint64)
    for i in range(len(keys)):
        out[i] = hashed(seed, epoch, ORDER, keys[i])
    return out


@njit(cache=True, nogil=True)
def place_draws(seed: int, epoch: int, keys: Ints, choices: int, crops: bool, mirrors: bool) -> Any:
    """(B, 3) int64: row offset, column offset, mirrored; of `choices` offsets an axis, the middle one without crops."""
    out = np.empty((len(keys), 3), np.int64)
    for i in range(len(keys)):
        out[i, 0] = out[i, 1] = (choices - 1) // 2
        if crops:
            out[i, 0] = np.int64(uniform(hashed(seed, epoch, OFFSET_Y, keys[i])) * choices)
            out[i, 1] = np.int64(uniform(hashed(seed, epoch, OFFSET_X, keys[i])) * choices)
        out[i, 2] = np.int64(hashed(seed, epoch, MIRROR, keys[i]) >> np.uint64(63)) if mirrors else 0
    return out


@njit(cache=True, nogil=True)
def color_draws(seed: int, epoch: int, keys: Ints, axes: Any) -> Any:
    """(B, 3) float32 to add to red, green and blue: `axes` (3, 3), one a row, times normal draws (Box-Muller)."""
    out = np.zeros((len(keys), 3), np.float32)
    for i in range(len(keys)):
        red = green = blue = 0.0
        for axis in range(3):
            radius = np.sqrt(-2.0 * np.log(1.0 - uniform(hashed(seed, epoch, NORMAL + 2 * axis, keys[i]))))
            normal = radius * np.cos(2.0 * np.pi * uniform(hashed(seed, epoch, NORMAL + 2 * axis + 1, keys[i])))
            red += normal * axes[axis, 0]
            green += normal * axes[axis, 1]
            blue += normal * axes[axis, 2]
        out[i, 0], out[i, 1], out[i, 2] = red, green, blue
    return out


@njit(cache=True, nogil=True)
def box_draws(seed: int, epoch: int, keys: Ints, side: int, area: Any, ratio: Any, mirrors: bool) -> Any:
    """(B, 5) int64: top, left, height and width of a random box, mirrored (F29).

    The law of torchvision's RandomResizedCrop.make_params on a square image: the box's share of the image is even in
    `area`, the logarithm of width over height even in that of `ratio`, the place even among those inside the image; a
    box that does not fit is drawn again, BOX_TRIES times, and then it is the largest central one of an allowed ratio.
    """
    out = np.empty((len(keys), 5), np.int64)
    low, high = np.log(ratio[0]), np.log(ratio[1])
    for i in range(len(keys)):
        height = np.int64(np.rint(side / max(ratio[0], 1.0)))
        width = np.int64(np.rint(side * min(ratio[1], 1.0)))
        top, left = (side - height) // 2, (side - width) // 2
        for attempt in range(BOX_TRIES):
            use = BOX + 4 * attempt
            size = area[0] + (area[1] - area[0]) * uniform(hashed(seed, epoch, use, keys[i]))
            shape = np.exp(low + (high - low) * uniform(hashed(seed, epoch, use + 1, keys[i])))
            wide = np.int64(np.rint(np.sqrt(side * side * size * shape)))
            tall = np.int64(np.rint(np.sqrt(side * side * size / shape)))
            if 0 < wide <= side and 0 < tall <= side:
                height, width = tall, wide
                top = np.int64(uniform(hashed(seed, epoch, use + 2, keys[i])) * (side - tall + 1))
                left = np.int64(uniform(hashed(seed, epoch, use + 3, keys[i])) * (side - wide + 1))
                break
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = top, left, height, width
        out[i, 4] = np.int64(hashed(seed, epoch, MIRROR, keys[i]) >> np.uint64(63)) if mirrors else 0
    return out


@njit(cache=True, nogil=True)
def fused(
    pixels: Any,
    starts: Ints,
    side: int,
    places: Ints,
    mean: Floats,
    at_offset: bool,
    colors: Floats,
    factors: Floats,
    swapped: bool,
    out: Any,
) -> None:
    """The one pass: crop, mirror, minus the mean, plus color noise, times `factors`.

    pixels (any,) uint8 with image i as (side, side, 3) from starts[i] on; places (N, 3) of `place_draws`; mean
    (crop, crop, 3) float32, the same for every offset and not mirrored, as convdata.py does it, or with `at_offset`
    (side, side, 3), cropped and mirrored with the image, as Caffe's data_transformer.cpp does it; colors (N, 3) and
    factors (3,) float32 of red, green and blue; `swapped` writes blue first; out (N, crop, crop, 3) float32. Row by row
    and with unsigned indices, so that it vectorizes: 2 to 5 times faster.
    """
    crop = out.shape[1]
    width = crop * 3
    added, times = np.empty(width, np.float32), np.empty(width, np.float32)
    for x in range(crop):
        times[3 * x], times[3 * x + 1], times[3 * x + 2] = factors[0], factors[1], factors[2]
    flat, means = out.reshape(-1), mean.reshape(-1)
    one, two = np.uint64(1), np.uint64(2)
    for i in range(out.shape[0]):
        red, green, blue = colors[i, 0], colors[i, 1], colors[i, 2]
        for x in range(crop):
            added[3 * x], added[3 * x + 1], added[3 * x + 2] = red, green, blue
        for y in range(crop):
            inside = ((places[i, 0] + y) * side + places[i, 1]) * 3
            first = starts[i] + inside
            row = pixels[first : first + width]
            lower = inside if at_offset else y * width
            below = means[lower : lower + width]
            at = (i * crop + y) * width
            target = flat[at : at + width]
            if places[i, 2]:
                for x in range(crop):
                    to, come = np.uint64(3 * x), np.uint64(width - 3 - 3 * x)
                    less = come if at_offset else to
                    target[to] = (np.float32(row[come]) - below[less] + red) * factors[0]
                    target[to + one] = (np.float32(row[come + one]) - below[less + one] + green) * factors[1]
                    target[to + two] = (np.float32(row[come + two]) - below[less + two] + blue) * factors[2]
            else:
                for k in range(width):
                    target[k] = (np.float32(row[k]) - below[k] + added[k]) * times[k]
            if swapped:
                swap(target)


@njit(cache=True, nogil=True)
def fused_boxes(
    pixels: Any,
    starts: Ints,
    side: int,
    boxes: Ints,
    mean: Floats,
    at_offset: bool,
    colors: Floats,
    factors: Floats,
    swapped: bool,
    out: Any,
) -> None:
    """`fused` for boxes (N, 5) of `box_draws`, each resized to the crop.

    Bilinear between the four pixels around a point, those of the box only, with pixel centers at halves
    (torch.nn.functional.interpolate with align_corners False); no low-pass before, as boxes are hardly larger than the
    crop. With `at_offset` the mean image is cut and resized like the image: each pixel loses its own mean.
    """
    crop = out.shape[1]
    near, far, part = np.empty(crop, np.uint64), np.empty(crop, np.uint64), np.empty(crop, np.float32)
    between = np.empty(3 * side, np.float32)  # the row of the box at the height of a row of the crop
    means = mean.reshape(-1)
    one, two = np.uint64(1), np.uint64(2)
    for i in range(out.shape[0]):
        top, left, height, width, mirrored = boxes[i]
        red, green, blue = colors[i, 0], colors[i, 1], colors[i, 2]
        for x in range(crop):
            first, second, part[x] = around(x, width, crop)
            near[x], far[x] = np.uint64(3 * first), np.uint64(3 * second)
        for y in range(crop):
            first, second, down = around(y, height, crop)
            first, second = ((top + first) * side + left) * 3, ((top + second) * side + left) * 3
            upper = pixels[starts[i] + first : starts[i] + first + 3 * width]
            lower = pixels[starts[i] + second : starts[i] + second + 3 * width]
            if at_offset:
                mean_upper, mean_lower = means[first : first + 3 * width], means[second : second + 3 * width]
                for k in range(3 * width):
                    start = np.float32(upper[k]) - mean_upper[k]
                    between[k] = start + down * (np.float32(lower[k]) - mean_lower[k] - start)
            else:
                for k in range(3 * width):
                    start = np.float32(upper[k])
                    between[k] = start + down * (np.float32(lower[k]) - start)
            target = out[i, y].reshape(-1)
            for x in range(crop):
                a, b, right = near[x], far[x], part[x]
                to = np.uint64(3 * (crop - 1 - x) if mirrored else 3 * x)
                target[to] = between[a] + right * (between[b] - between[a]) + red
                target[to + one] = between[a + one] + right * (between[b + one] - between[a + one]) + green
                target[to + two] = between[a + two] + right * (between[b + two] - between[a + two]) + blue
            for x in range(crop):
                for channel in range(3):
                    k = 3 * x + channel
                    if not at_offset:
                        target[k] -= mean[y, x, channel]
                    target[k] *= factors[channel]
            if swapped:
                swap(target)


@njit(cache=True, nogil=True)
def around(step: int, length: int, steps: int) -> Any:
    """Of `length` pixels resized to `steps`: the two pixels around the center of one step, and how far it is from the
    first to the second, float32."""
    place: Any = max((step + 0.5) * length / steps - 0.5, 0.0)
    first: Any = min(np.int64(place), length - 1)
    return first, min(first + 1, length - 1), np.float32(place - first)


@njit(cache=True, nogil=True)
def swap(row: Floats) -> None:
    """Red for blue, in place: row (3 * pixels,)."""
    for x in range(0, len(row), 3):
        row[x], row[x + 2] = row[x + 2], row[x]


def epoch_order(seed: int, epoch: int, indices: Ints) -> Ints:
    """`indices` (N,) in the order of one epoch: a function of seed, epoch and the indices alone."""
    return indices[np.argsort(order_hashes(seed, epoch, indices), kind="stable")]


def color_axes(color: config.Color, covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(3, 3): the RGB step of one standard normal draw along each eigenvector, one a row, in 0-255 units.

    "stddev": square roots of the eigenvalues, as the 2012 code does; "eigenvalue": what section 4.1 prints, with
    pixels in [0, 1], the only unit in which it is possible; "lighting": the constants in common use.
    """
    if color.kind == "lighting":
        values, vectors = np.array(LIGHTING_VALUES), np.array(LIGHTING_VECTORS)
        return np.asarray(color.strength * 255 * values[:, None] * vectors.T)
    values, vectors = eigen(covariance)
    steps = np.sqrt(np.maximum(values, 0)) if color.kind == "stddev" else values / 255
    return np.asarray(color.strength * steps[:, None] * vectors.T)


def eigen(covariance: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rising eigenvalues (3,) and their eigenvectors (3, 3), one a column, each with its largest part positive."""
    values, vectors = np.linalg.eigh(covariance)
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), range(3)])
    return values, vectors * signs


def view_places(view: str, side: int, crop: int) -> Ints:
    """(V, 3) int64 row offset, column offset, mirrored; V = 1, 2, 10, 50.

    "ten": four corners and center, then their mirror images (section 4.1; offsets 0, 16, 32 in convdata.py); "dense":
    five offsets an axis, evenly spread, and mirror images.
    """
    last, middle = side - crop, (side - crop) // 2
    if view == "dense":
        steps = [round(last * step / 4) for step in range(5)]
        offsets = [(y, x) for y in steps for x in steps]
    elif view == "ten":
        offsets = [(0, 0), (0, last), (middle, middle), (last, 0), (last, last)]
    else:
        assert view in ("center", "flips"), view
        offsets = [(middle, middle)]
    mirrors = (0,) if view == "center" else (0, 1)
    return np.array([(y, x, mirror) for mirror in mirrors for y, x in offsets], np.int64)


def center(mean: Floats, crop: int) -> Floats:
    """The (crop, crop, 3) center of a (size, size, 3) mean image."""
    first = (mean.shape[0] - crop) // 2
    return np.ascontiguousarray(mean[first : first + crop, first : first + crop])


def mean_crop(data: config.Data, mean: Floats, crop: int) -> Floats:
    """What `fused` subtracts, float32: (crop, crop, 3), or all of `mean`, (size, size, 3), where it is cropped with the
    image. "picture" is subtracted later, so here it is zero."""
    if data.mean == "pixel":
        return mean if is_cropped_with_the_image(data) else center(mean, crop)
    out = np.zeros((crop, crop, 3), np.float32)
    if data.mean == "channel":
        own = mean.mean(axis=(0, 1), dtype=np.float64)
        out[:] = own if data.channel_mean is None else data.channel_mean
    elif data.mean == "scalar":
        out[:] = mean.mean(dtype=np.float64)
    return out


def is_cropped_with_the_image(data: config.Data) -> bool:
    """Whether each pixel loses its own mean, wherever the crop is (F17)."""
    return data.mean == "pixel" and data.mean_at == "offset"
