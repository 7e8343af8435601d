"""Both loaders: the contract, bitwise equality, the draws, the views, and FFCV's known faults."""

import gc
import os
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_images import SIZE, class_tree
from PIL import Image

from repro.config import config
from repro.config import keys as config_keys
from repro.config.presets import preset
from repro.data import manifest
from repro.data.load import augment
from repro.data.load.loading import Batch, Loader, ffcv_installed, make_loader, open_data
from repro.data.prepare.prepare import prepare

CROP = 32
needs_ffcv = pytest.mark.skipif(not ffcv_installed(), reason="FFCV is not installed")
KINDS = ["torch", pytest.param("ffcv", marks=needs_ffcv)]


def config_of(storage: str = "raw", **changes: object) -> config.Config:
    """The smoke preset on the made-up images: SIZE stored, 32 cropped, batches of 7 out of 45."""
    plain: dict[str, object] = {
        "data.source": "made-up", "data.size": SIZE, "data.classes": 5, "data.storage": storage, "augment.crop": CROP,
        "data.held_out": 0, "augment.color": None,
        "data.quality": 90 if storage == "jpeg" else None, "optim.batch_size": 7,
    }  # fmt: skip
    return config_keys.override(
        preset("smoke"), {**plain, **{key.replace("__", "."): value for key, value in changes.items()}}
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 + 20 images of 5 classes, prepared raw, as JPEG and as PNG."""
    place = tmp_path_factory.mktemp("made-up")
    tree = class_tree(place / "tree", classes=5, train=9, test=4)
    for storage, quality in (("raw", None), ("jpeg", 90), ("png", None)):
        prepare("made-up", source=tree, directory=place, size=SIZE, storage=storage, quality=quality)
    return place


def loader(directory: Path, cfg: config.Config, split: str = "train", **how: object) -> Loader:
    how = {"seed": 3, "kind": "torch", "workers": 1, **how}
    return make_loader(open_data(cfg.data, directory), cfg, split, **how)  # type: ignore[arg-type]


def collected(batches: object) -> list[Batch]:
    with batches as opened:  # type: ignore[attr-defined]
        return [Batch(*(part.clone() for part in batch)) for batch in opened]


def same(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a, b) for first, second in zip(one, two, strict=True) for a, b in zip(first, second, strict=True)
    )


COLOR = {"kind": "stddev", "strength": 0.1, "divide": True}


@needs_ffcv
@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_ffcv_and_torch_give_bitwise_the_same_batches_with_any_workers(directory: Path, storage: str) -> None:
    cfg = config_of(storage, augment__color=COLOR, augment__chunk=4, data__contrast="global", data__mean="picture")
    wanted = collected(loader(directory, cfg).epoch(2))
    views = collected(loader(directory, cfg, "test").views("ten"))
    assert [len(batch.index) for batch in wanted] == [7] * 6 + [3]
    for kind, workers in (("torch", 2), ("ffcv", 1), ("ffcv", 2), ("ffcv", 3)):
        assert same(wanted, collected(loader(directory, cfg, kind=kind, workers=workers).epoch(2))), (kind, workers)
        assert same(views, collected(loader(directory, cfg, "test", kind=kind, workers=workers).views("ten")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_has_the_shapes_types_and_layout_of_the_contract(directory: Path, kind: str) -> None:
    cfg = config_of()
    made = loader(directory, cfg, kind=kind)
    assert (len(made), made.images) == (7, 45)
    first = collected(made.epoch(0))[0]
    assert first.index.dtype == first.label.dtype == torch.int64
    assert first.image.shape == (7, 3, CROP, CROP) and first.image.dtype == torch.float32
    with made.epoch(0) as batches:
        assert next(batches).image.is_contiguous(memory_format=torch.channels_last)
    assert collected(made.views("dense"))[0].image.shape == (1, 50, 3, CROP, CROP)
    assert len(collected(made.views("ten"))) == 45
    labels = open_data(cfg.data, directory).train.labels
    assert all(
        labels[index] == label for batch in collected(made.epoch(0)) for index, label in zip(*batch[::2], strict=True)
    )


@pytest.mark.parametrize("storage", ["raw", "jpeg", "png"])
def test_images_are_cropped_mirrored_and_lose_the_mean_as_plain_numpy_says(directory: Path, storage: str) -> None:
    cfg = config_of(storage, augment__color={"kind": "stddev", "strength": 0.2, "divide": True}, data__scale=0.5)
    data = open_data(cfg.data, directory)
    middle = (SIZE - CROP) // 2
    mean = data.mean[middle : middle + CROP, middle : middle + CROP]
    seen = set()
    for batch in collected(loader(directory, cfg).epoch(5)):
        places = augment.place_draws(3, 5, batch.index.numpy(), SIZE - CROP + 1, True, True)
        noise = augment.color_draws(3, 5, batch.index.numpy(), augment.color_axes(cfg.augment.color, data.covariance))
        for index, image, (top, left, mirrored), added in zip(batch.index, batch.image, places, noise, strict=True):
            crop = data.pixels("train", int(index))[top : top + CROP, left : left + CROP].astype(np.float32)
            crop = crop[:, ::-1] if mirrored else crop
            wanted = (crop - mean + added) * np.float32(0.5 / 1.2)
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), wanted)
            seen.add((int(top), int(left), int(mirrored)))
    assert len(seen) > 30


def test_a_stored_image_is_the_source_resized_and_cropped(directory: Path) -> None:
    data = open_data(config_of().data, directory)
    stored = {data.pixels("train", index).tobytes() for index in data.train.indices}
    for path in list((directory / "tree" / "train").glob("*/*"))[:10]:
        with Image.open(path) as image:
            short = min(image.size)
            width, height = (round(side * SIZE / short) for side in image.size)
            image = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
            left, top = (width - SIZE) // 2, (height - SIZE) // 2
            assert np.asarray(image)[top : top + SIZE, left : left + SIZE].tobytes() in stored


def splitmix(value: int) -> int:
    """The published algorithm in Python's integers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def test_draws_are_the_published_hash_of_seed_epoch_and_index() -> None:
    assert splitmix(1234567) == 6457827717110365317  # the first value that the reference C code gives for this seed
    assert int(augment.mix(np.uint64(1234567))) == 6457827717110365317
    places = augment.place_draws(7, 11, np.array([5, 1000]), 33, True, True)
    for row, key in zip(places, (5, 1000), strict=True):
        bits = [
            splitmix((splitmix((splitmix((splitmix(7) + 11) % 2**64) + use) % 2**64) + key) % 2**64)
            for use in (1, 2, 3)
        ]
        assert list(row) == [int((bits[0] >> 11) / 2**53 * 33), int((bits[1] >> 11) / 2**53 * 33), bits[2] >> 63]


def test_draws_cover_all_offsets_evenly_and_color_is_normal() -> None:
    keys = np.arange(60_000)
    places = augment.place_draws(0, 0, keys, 33, True, True)
    for axis in (0, 1):  # 33 offsets, not the 32 of the text (F16); chi-square with 32 degrees of freedom, p = 1e-6: 84
        counts = np.bincount(places[:, axis], minlength=33)
        assert len(counts) == 33
        assert ((counts - len(keys) / 33) ** 2 / (len(keys) / 33)).sum() < 84
    assert abs(places[:, 2].mean() - 0.5) < 5 * 0.5 / len(keys) ** 0.5
    assert abs(np.corrcoef(places.T.astype(float))[np.triu_indices(3, 1)]).max() < 5 / len(keys) ** 0.5
    axes = augment.color_axes(config.Color(), np.diag([4.0, 100.0, 900.0]))
    noise = augment.color_draws(0, 0, keys, axes)
    np.testing.assert_allclose(noise.std(axis=0), 0.1 * np.array([2, 10, 30]), rtol=0.02)
    assert abs(np.corrcoef(noise.T)[np.triu_indices(3, 1)]).max() < 5 / len(keys) ** 0.5
    assert abs((np.abs(noise / noise.std(axis=0)) < 1).mean() - 0.6827) < 0.01


def test_the_three_readings_of_the_color_noise_have_their_published_sizes() -> None:
    # cuda-convnet2's shipped square roots of the eigenvalues: 19.72, 37.09, 121.78
    stddevs = np.array([19.72, 37.09, 121.78])
    turn = augment.eigen(np.array([[2.0, 1, 0], [1, 3, 1], [0, 1, 4]]))[1]
    covariance = turn @ np.diag(stddevs**2) @ turn.T
    size = {
        kind: np.linalg.norm(augment.color_axes(config.Color(kind=kind), covariance), axis=1)
        for kind in ("stddev", "eigenvalue", "lighting")
    }
    np.testing.assert_allclose(size["stddev"], [1.97, 3.71, 12.18], atol=0.01)
    np.testing.assert_allclose(size["eigenvalue"], 0.1 * stddevs**2 / 255, rtol=1e-6)
    np.testing.assert_allclose(size["lighting"], [5.55, 0.48, 0.11], atol=0.01)


def test_color_can_be_switched_off_for_an_epoch_and_its_division_with_it(directory: Path) -> None:
    cfg = config_of(augment__color=COLOR)
    plain = collected(loader(directory, config_of()).epoch(1))
    off = collected(loader(directory, cfg).epoch(1, color=False))
    on = collected(loader(directory, cfg).epoch(1))
    assert same(plain, off)
    assert not any(torch.equal(a.image, b.image) for a, b in zip(on, off, strict=True))
    views = collected(loader(directory, cfg).views("center")), collected(loader(directory, config_of()).views("center"))
    assert same(*views)  # test images are neither divided nor colored


def test_a_chunk_shares_its_crop_and_mirror_as_the_2012_code_does(directory: Path) -> None:
    cfg = config_of(augment__chunk=32, data__order="fixed", data__mean="none")
    data = open_data(cfg.data, directory)
    batches = collected(loader(directory, cfg).epoch(0))
    order = torch.cat([batch.index for batch in batches]).numpy()
    images = torch.cat([batch.image for batch in batches])
    assert (order == data.train.indices).all()
    for first, last in ((0, 32), (32, 45)):
        top, left, mirrored = augment.place_draws(3, 0, np.array([first // 32]), SIZE - CROP + 1, True, True)[0]
        for place in range(first, last):
            crop = data.pixels("train", order[place])[top : top + CROP, left : left + CROP]
            np.testing.assert_array_equal(images[place].permute(1, 2, 0).numpy(), crop[:, ::-1] if mirrored else crop)


def test_ten_views_are_the_corners_and_the_center_and_their_mirror_images(directory: Path) -> None:
    cfg = config_of(data__mean="none")
    data = open_data(cfg.data, directory)
    last, middle = SIZE - CROP, (SIZE - CROP) // 2
    for batch in collected(loader(directory, cfg, "test").views("ten"))[:5]:
        pixels = data.pixels("test", int(batch.index[0]))
        offsets = [(0, 0), (0, last), (middle, middle), (last, 0), (last, last)]
        crops = [pixels[y : y + CROP, x : x + CROP] for y, x in offsets]
        wanted = np.stack(crops + [crop[:, ::-1] for crop in crops]).astype(np.float32)
        np.testing.assert_array_equal(batch.image[0].permute(0, 2, 3, 1).numpy(), wanted)
    assert [tuple(place[:2]) for place in augment.view_places("ten", 256, 224)[:5]] == [
        (0, 0), (0, 32), (16, 16), (32, 0), (32, 32)
    ]  # fmt: skip
    assert len({tuple(place) for place in augment.view_places("dense", 256, 224)}) == 50


@pytest.mark.parametrize("kind", ["pixel", "channel", "scalar", "none"])
def test_the_mean_that_is_asked_for_is_subtracted(directory: Path, kind: str) -> None:
    cfg = config_of(data__mean=kind, augment__random_crop=False, augment__mirror=False)
    data = open_data(cfg.data, directory)
    middle = slice((SIZE - CROP) // 2, (SIZE + CROP) // 2)
    means = {
        "pixel": data.mean[middle, middle],
        "channel": data.mean.mean(axis=(0, 1)),
        "scalar": data.mean.mean(),
        "none": 0,
    }
    batch = collected(loader(directory, cfg).epoch(0))[0]
    wanted = data.pixels("train", int(batch.index[0]))[middle, middle] - means[kind]
    np.testing.assert_allclose(batch.image[0].permute(1, 2, 0).numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_each_pixel_loses_its_own_mean_where_the_text_is_read_so(directory: Path, storage: str) -> None:
    """F17: the mean image is cropped at the crop's offset and mirrored with it, in training and in every view."""
    cfg = config_of(storage, data__mean_at="offset")
    data = open_data(cfg.data, directory)
    less = [data.pixels("train", index).astype(np.float32) - data.mean for index in range(45)]
    for batch in collected(loader(directory, cfg).epoch(5)):
        places = augment.place_draws(3, 5, batch.index.numpy(), SIZE - CROP + 1, True, True)
        for index, image, (top, left, mirrored) in zip(batch.index, batch.image, places, strict=True):
            crop = less[index][top : top + CROP, left : left + CROP]
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), crop[:, ::-1] if mirrored else crop)
    last, middle = SIZE - CROP, (SIZE - CROP) // 2
    batch = collected(loader(directory, cfg, "test").views("ten"))[0]
    pixels = data.pixels("test", int(batch.index[0])).astype(np.float32) - data.mean
    offsets = [(0, 0), (0, last), (middle, middle), (last, 0), (last, last)]
    crops = [pixels[y : y + CROP, x : x + CROP] for y, x in offsets]
    wanted = np.stack(crops + [crop[:, ::-1] for crop in crops])
    np.testing.assert_array_equal(batch.image[0].permute(0, 2, 3, 1).numpy(), wanted)


def test_literal_means_deviations_and_the_order_of_planes(directory: Path) -> None:
    """As torchvision normalizes, and with blue first, as Caffe's networks read; also where the contrast comes first."""
    mean, std = (124.0, 116.0, 104.0), (58.0, 57.0, 57.5)
    plain = {"data__mean": "channel", "data__channel_mean": list(mean), "data__channel_std": list(std)}
    rgb = config_of(**plain, data__scale=2.0, augment__random_crop=False, augment__mirror=False)
    data = open_data(rgb.data, directory)
    middle = slice((SIZE - CROP) // 2, (SIZE + CROP) // 2)
    batch = collected(loader(directory, rgb).epoch(0))[0]
    wanted = 2 * (data.pixels("train", int(batch.index[0]))[middle, middle] - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(batch.image[0].permute(1, 2, 0).numpy(), wanted, atol=1e-5)
    for contrast in ("none", "global"):
        changes = [{"data.contrast": contrast, "data.color_order": order} for order in ("rgb", "bgr")]
        planes = [collected(loader(directory, config_keys.override(rgb, change)).epoch(1)) for change in changes]
        for one, two in zip(*planes, strict=True):
            torch.testing.assert_close(one.image.flip(1), two.image, atol=1e-5, rtol=1e-5)


def test_boxes_follow_the_law_of_torchvisions_random_resized_crop() -> None:
    """Shares, ratios and places of 2,000 boxes of each, by the largest gap between their distributions, which exceeds
    0.062 once in a thousand times (Kolmogorov and Smirnov)."""
    from torchvision.transforms import v2

    side, count = 256, 2000
    torch.manual_seed(0)
    theirs = v2.RandomResizedCrop(224)
    image = torch.empty(3, side, side)
    params = [theirs.make_params([image]) for _ in range(count)]
    drawn = np.array([[one[key] for key in ("top", "left", "height", "width")] for one in params])
    ours = augment.box_draws(0, 0, np.arange(count), side, (0.08, 1.0), (3 / 4, 4 / 3), True)
    assert (ours[:, :2] >= 0).all() and (ours[:, :2] + ours[:, 2:4] <= side).all()
    assert abs(ours[:, 4].mean() - 0.5) < 0.03

    def sizes(boxes: np.ndarray) -> list[np.ndarray]:
        top, left, height, width = boxes[:, :4].T
        return [height * width / side**2, np.log(width / height), top, left, top + height]

    for one, two in zip(sizes(ours), sizes(drawn), strict=True):
        at = np.concatenate([one, two])
        gaps = [np.searchsorted(np.sort(values), at, side="right") / count for values in (one, two)]
        assert np.abs(gaps[0] - gaps[1]).max() < 0.062


def test_a_box_that_never_fits_is_the_largest_central_one() -> None:
    tall = augment.box_draws(0, 0, np.arange(3), 60, (1.0, 1.0), (2.0, 3.0), False)
    assert (tall == [15, 0, 30, 60, 0]).all()
    wide = augment.box_draws(0, 0, np.arange(3), 60, (1.0, 1.0), (0.25, 0.5), False)
    assert (wide == [0, 15, 60, 30, 0]).all()


@pytest.mark.parametrize("mean_at", ["center", "offset"])
def test_boxes_are_resized_to_the_crop_as_torch_interpolates(directory: Path, mean_at: str) -> None:
    cfg = config_of(augment__resized_crop={"area": [0.1, 1.0]}, data__mean_at=mean_at)
    data = open_data(cfg.data, directory)
    middle = slice((SIZE - CROP) // 2, (SIZE + CROP) // 2)
    center = torch.from_numpy(data.mean[middle, middle]).permute(2, 0, 1)
    sides = set()
    for batch in collected(loader(directory, cfg).epoch(5)):
        boxes = augment.box_draws(3, 5, batch.index.numpy(), SIZE, (0.1, 1.0), (3 / 4, 4 / 3), True)
        for index, image, (top, left, height, width, mirrored) in zip(batch.index, batch.image, boxes, strict=True):
            pixels = data.pixels("train", int(index)).astype(np.float32) - (data.mean if mean_at == "offset" else 0)
            box = torch.from_numpy(pixels[top : top + height, left : left + width].copy()).permute(2, 0, 1)
            wanted = torch.nn.functional.interpolate(box[None], (CROP, CROP), mode="bilinear", align_corners=False)[0]
            wanted = wanted.flip(2) if mirrored else wanted
            torch.testing.assert_close(image, wanted if mean_at == "offset" else wanted - center, atol=1e-3, rtol=0)
            sides.add((int(height), int(width)))
    assert len(sides) > 20
    plain = config_of(data__mean_at=mean_at)
    assert same(*(collected(loader(directory, one, "test").views("ten")) for one in (cfg, plain)))  # training only


@needs_ffcv
@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_boxes_means_and_planes_are_bitwise_the_same_from_both_loaders(directory: Path, storage: str) -> None:
    changes = {"augment.resized_crop": {}, "data.mean_at": "offset", "data.color_order": "bgr"}
    cfg = config_keys.override(config_of(storage, augment__color=COLOR, augment__chunk=4), changes)
    wanted = collected(loader(directory, cfg).epoch(2))
    for kind, workers in (("torch", 2), ("ffcv", 2)):
        assert same(wanted, collected(loader(directory, cfg, kind=kind, workers=workers).epoch(2))), (kind, workers)
    boxes = augment.box_draws(3, 2, np.array([0, 0, 1]), SIZE, (0.08, 1.0), (3 / 4, 4 / 3), True)
    assert (boxes[0] == boxes[1]).all() and (boxes[0] != boxes[2]).any()  # a function of the key


def test_contrast_normalization_gives_unit_spread(directory: Path) -> None:
    cfg = config_of(data__mean="picture", data__contrast="global", data__scale=2.0)
    image = collected(loader(directory, cfg).epoch(0))[0].image
    torch.testing.assert_close(image.mean(dim=(1, 2, 3)), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(image.std(dim=(1, 2, 3), correction=0), torch.full((7,), 2.0))
    local = collected(loader(directory, config_of(data__contrast="local")).epoch(0))[0].image
    assert local.isfinite().all() and 0.3 < local.std() < 3


def test_mean_image_and_covariance_are_those_of_the_stored_training_pixels(directory: Path) -> None:
    data = open_data(config_of().data, directory)
    images = np.stack([data.pixels("train", index) for index in data.train.indices]).astype(np.float64)
    np.testing.assert_allclose(data.mean, images.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(data.covariance, np.cov(images.reshape(-1, 3).T, bias=True), rtol=1e-9)
    values, vectors = np.array(data.manifest.eigenvalues), np.array(data.manifest.eigenvectors)
    rebuilt = vectors @ np.diag(values) @ vectors.T
    np.testing.assert_allclose(rebuilt, data.covariance, rtol=1e-9)


def test_the_order_is_a_function_of_seed_and_epoch(directory: Path) -> None:
    def order(seed: int, epoch: int, **changes: object) -> list[int]:
        made = loader(directory, config_of(**changes), seed=seed)
        return [int(index) for batch in collected(made.epoch(epoch)) for index in batch.index]

    assert sorted(order(1, 0)) == list(range(45))
    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    assert order(1, 0, data__order="fixed") == order(2, 5, data__order="fixed") == list(range(45))
    labels = open_data(config_of().data, directory).train.labels
    assert (np.diff(labels) < 0).sum() > 10  # the stored order was shuffled when the files were written


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_goes_on_from_any_batch(directory: Path, kind: str) -> None:
    made = loader(directory, config_of(augment__color=COLOR), kind=kind)
    whole = collected(made.epoch(4))
    assert same(whole[3:], collected(made.epoch(4, start=3)))
    assert collected(made.epoch(4, start=len(made))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_share_every_batch_and_together_see_the_one_process_epoch(directory: Path, kind: str) -> None:
    cfg = config_of(augment__color=COLOR, augment__chunk=3)
    whole = collected(loader(directory, cfg).epoch(1))
    for world in (2, 3, 5):
        shares = [
            collected(loader(directory, cfg, kind=kind, rank=rank, world=world).epoch(1)) for rank in range(world)
        ]
        assert {len(share) for share in shares} == {7}
        joined = [
            Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True))) for batches in zip(*shares, strict=True)
        ]
        assert same(whole, joined)


def test_classes_and_images_are_chosen_when_the_set_is_opened(directory: Path) -> None:
    everything = open_data(config_of().data, directory)
    cfg = config_of(data__first_class=1, data__classes=3, data__per_class=4, data__test_per_class=2)
    part = open_data(cfg.data, directory)
    assert np.bincount(part.train.labels).tolist() == [4, 4, 4]
    assert np.bincount(part.test.labels).tolist() == [2, 2, 2]
    assert (everything.train.labels[part.train.indices] == part.train.labels + 1).all()
    fewer = open_data(config_of(data__per_class=2).data, directory)
    more = open_data(config_of(data__per_class=5).data, directory)
    assert set(fewer.train.indices) < set(more.train.indices)  # nested, so that learning curves over size compare
    assert part.class_names == [entry["name"] for entry in part.manifest.classes[1:4]]
    labels = [int(label) for batch in collected(loader(directory, cfg).epoch(0)) for label in batch.label]
    assert sorted(labels) == [0] * 4 + [1] * 4 + [2] * 4
    with pytest.raises(ValueError, match=r"data\.per_class 10: class .* has only 9"):
        open_data(config_of(data__per_class=10).data, directory)
    with pytest.raises(ValueError, match="need 6 classes; made-up has 5"):
        open_data(config_of(data__first_class=1).data, directory)


def test_what_is_not_prepared_is_one_line_with_the_command(directory: Path) -> None:
    with pytest.raises(
        ValueError, match=r"run: repro data prepare made-up --size 48 --storage jpeg --quality 80 --source FOLDER"
    ):
        open_data(config_of(data__size=48, data__storage="jpeg", data__quality=80).data, directory)
    with pytest.raises(ValueError, match="did you mean 'made-up'"):
        open_data(config_of(data__source="made-upp").data, directory)


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("made-up-2x4", "made-up --classes 2 --per-class 4 --size 64 --source FOLDER"),
        ("imagenet-allx5-seed3", "imagenet --per-class 5 --seed 3 --size 64 --source FOLDER"),
        ("photos-2xall", "photos --classes 2 --size 64"),
    ],
)
def test_a_missing_subset_is_prepared_from_the_whole_set(tmp_path: Path, source: str, command: str) -> None:
    data = config_of(data__source=source, data__size=64).data
    assert manifest.missing(data, tmp_path).endswith(f"run: repro data prepare {command} --data-dir {tmp_path}")


def test_png_goes_to_the_torch_loader(directory: Path) -> None:
    data = open_data(config_of("png").data, directory)
    raw = collected(loader(directory, config_of()).epoch(0))
    assert same(raw, collected(loader(directory, config_of("png")).epoch(0)))  # lossless
    assert make_loader(data, config_of("png"), "train", seed=0).kind == "torch"
    with pytest.raises(ValueError, match="FFCV does not decode png"):
        make_loader(data, config_of("png"), "train", seed=0, kind="ffcv")


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_is_kept_does_not_change(directory: Path, kind: str) -> None:
    made = loader(directory, config_of(), kind=kind)
    wanted = collected(made.epoch(0))
    with made.epoch(0) as batches:
        assert same(wanted, list(batches))  # all held at once, none cloned


@pytest.mark.parametrize("kind", KINDS)
def test_two_passes_of_one_loader_do_not_disturb_each_other(directory: Path, kind: str) -> None:
    made = loader(directory, config_of(augment__color=COLOR), kind=kind)
    wanted = collected(made.epoch(0)), collected(made.views("flips"))
    with made.epoch(0) as epoch, made.views("flips") as views:
        for batch, view in zip(epoch, views, strict=False):
            assert torch.equal(batch.image, wanted[0].pop(0).image) and torch.equal(view.image, wanted[1].pop(0).image)


def memory() -> float:
    """Resident memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_flat_over_twenty_epochs(directory: Path, kind: str) -> None:
    made = loader(directory, config_of(optim__batch_size=45), kind=kind, workers=1)
    for epoch in range(3):
        collected(made.epoch(epoch))
    before = memory()
    for epoch in range(20):
        collected(made.epoch(epoch))
    gc.collect()
    # one batch is 0.53 MiB: a leak of one batch an epoch would show as 10
    assert memory() - before < 4


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_left_early_gives_its_threads_and_memory_back(directory: Path, kind: str) -> None:
    made = loader(directory, config_of(), kind=kind, workers=2)
    collected(made.epoch(0))
    before, held = threading.active_count(), memory()
    for epoch in range(10):
        with made.epoch(epoch) as batches:
            next(batches)
            assert threading.active_count() > before
    for epoch in range(10):
        next(made.epoch(epoch))  # dropped without closing
    gc.collect()
    assert threading.active_count() == before
    assert memory() - held < 4


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_in_the_pipeline_is_raised_where_the_batch_is_asked_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from repro.data.load import render

    made = loader(directory, config_of(), kind=kind, workers=2)
    calls = []

    def failing(*arguments: object) -> None:
        calls.append(1)
        if len(calls) > 3:
            raise ArithmeticError("made up")

    before = threading.active_count()
    monkeypatch.setattr(render, "fill", failing)
    with made.epoch(0) as batches:
        next(batches)
        with pytest.raises(ArithmeticError, match="made up"):
            list(batches)
    assert threading.active_count() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_stored_jpeg_is_an_error_and_not_a_gray_image(directory: Path, tmp_path: Path, kind: str) -> None:
    import shutil

    shutil.copytree(directory, tmp_path / "copy")
    cfg = config_of("jpeg")
    made = loader(tmp_path / "copy", cfg, kind=kind)
    beton = made.source.beton
    start = int(beton.pointers[0])
    with open(beton.path, "r+b") as file:
        file.seek(start)
        file.write(bytes(300))
    with pytest.raises((ValueError, OSError)):
        collected(made.epoch(0))


@needs_ffcv
def test_ffcv_leaves_threads_alone_and_a_process_may_end_inside_an_epoch_of_either_loader(
    directory: Path,
) -> None:
    code = """
import sys, torch, numba
from pathlib import Path
torch.set_num_threads(3)
from test_data_loading import config_of, loader
made = loader(Path(sys.argv[1]), config_of(), kind="ffcv", workers=2)
batches = made.epoch(0)
next(batches)
inside = torch.get_num_threads()
collected = list(made.epoch(1))
other = loader(Path(sys.argv[1]), config_of(), kind="torch", workers=2).epoch(0)
next(other)
print(inside, torch.get_num_threads(), numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS)
"""
    assert child(code, str(directory)).split() == ["3", "3", "True"]


@needs_ffcv
def test_the_second_start_compiles_nothing(directory: Path) -> None:
    """What numba compiled in this process is in its cache on disk. Counted, not timed: a slow machine is no fault."""
    code = """
import sys
from pathlib import Path
from numba.core import event
compiled = event.RecordingListener()
event.register("numba:compile", compiled)
from test_data_loading import config_of, loader
with loader(Path(sys.argv[1]), config_of(), kind="ffcv").epoch(0) as batches:
    next(batches)
print(len(compiled.buffer))
"""
    collected(loader(directory, config_of(), kind="ffcv").epoch(0))
    assert child(code, str(directory)).split() == ["0"]


def child(code: str, *arguments: str) -> str:
    """What a fresh Python prints; its standard error must be empty."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def test_torchs_own_random_state_is_not_touched(directory: Path) -> None:
    before = torch.get_rng_state()
    collected(loader(directory, config_of(), workers=2).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_files_are_ffcvs_own_format(directory: Path) -> None:
    pytest.importorskip("ffcv")
    import repro.data.load.ffcv_loader  # noqa: F401, I001  (imports FFCV quickly, so it comes first)
    from ffcv.reader import Reader

    for storage in ("raw", "jpeg"):
        data = open_data(config_of(storage).data, directory)
        beton = data.train.beton
        reader = Reader(str(beton.path))
        assert reader.num_samples == 45 and list(reader.handlers) == ["image", "label"]
        assert (reader.metadata["f1"] == beton.labels).all()
        assert set(reader.metadata["f0"]["width"]) == set(reader.metadata["f0"]["height"]) == {SIZE}
        assert (reader.metadata["f0"]["mode"] == {"jpeg": 0, "raw": 1}[storage]).all()
        assert (reader.alloc_table["ptr"] == beton.pointers).all()
        pages = beton.pointers // int(reader.page_size)
        assert (pages == (beton.pointers + beton.lengths - 1) // int(reader.page_size)).all()  # none crosses a page
        assert all(a + length <= b for (a, b), length in zip(pairwise(beton.pointers), beton.lengths, strict=False))


def test_ffcvs_own_pipeline_reads_our_raw_files_exactly(directory: Path) -> None:
    pytest.importorskip("ffcv")
    from repro.data.load import ffcv_loader
    from repro.data.load.ffcv_loader import Compiler

    data = open_data(config_of().data, directory)
    enabled = Compiler.is_enabled
    Compiler.set_enabled(False)  # the same code without minutes of compilation
    try:
        theirs = ffcv_loader.ffcv_loader.Loader(
            str(data.train.beton.path), batch_size=45, num_workers=1, drop_last=False
        )
        for images, labels in theirs:
            assert (images.numpy() == np.stack([data.pixels("train", index) for index in range(45)])).all()
            assert (labels.numpy().ravel() == data.train.labels).all()
    finally:
        Compiler.set_enabled(enabled)


def test_opening_a_prepared_set_is_lazy_about_torch() -> None:
    code = "import sys, repro.data.manifest, repro.data; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert child(code).split() == ["False", "False"]
