"""Weights of others: both layouts against a reference of their own in float64, files, refusals, and the command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from conftest import Repro
from msgspec.structs import replace
from torch import Tensor

from repro import paper, store
from repro.config.presets import preset
from repro.planning.frozen import first_fresh_seed
from repro.planning.hardware import measured
from repro.records import Errors, Images, RunRecord
from repro.report import words
from repro.report.weights import cells, rows_of
from repro.training.weights import LAYOUTS, TORCHVISION, fitting, network, read

FILE = Path("weights.safetensors")


def images(side: int, spread: float) -> Tensor:
    return spread * torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_float64")
def test_torchvisions_layout_gives_torchvisions_own_logits() -> None:
    """Random weights of its own initialization, 100 classes, float64."""
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet(num_classes=100).eval()
    state = theirs.state_dict()
    ours = network(fitting("torchvision", state), state, "torchvision", FILE).eval()
    with torch.inference_mode():
        expected, found = theirs(images(224, 1.0)), ours(images(224, 1.0))
    assert expected.shape == (2, 100) and expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def blobs(classes: int) -> dict[str, Tensor]:
    """Random blobs as Caffe holds them: (num_output, channels / group, kernel, kernel) and (num_output, inputs)."""
    shapes = {
        "conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 192, 3, 3),
        "conv5": (256, 192, 3, 3), "fc6": (4096, 9216), "fc7": (4096, 4096), "fc8": (classes, 4096),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name, shape in shapes.items():
        spread = 0.5 / np.prod(shape[1:]) ** 0.5 if name == "conv1" else 1.5 / np.prod(shape[1:]) ** 0.5
        made[f"{name}.0"] = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
        made[f"{name}.1"] = torch.rand(shape[0], generator=generator, dtype=torch.float64)
    return made


def caffe(b: dict[str, Tensor], x: Tensor, *, pool_first: bool) -> Tensor:
    """models/bvlc_alexnet/deploy.prototxt, or with `pool_first` models/bvlc_reference_caffenet/deploy.prototxt, written
    down again: groups of 2, LRN of lrn_layer.cpp (alpha / size, k 1) term by term, pools that cover the whole map."""

    def lrn(x: Tensor) -> Tensor:
        squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
        sums = sum(squares[:, near : near + x.shape[1]] for near in range(5))
        return x / (1 + 1e-4 / 5 * sums) ** 0.75

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def end(x: Tensor) -> Tensor:
        return lrn(pool(x)) if pool_first else pool(lrn(x))

    x = end(F.relu(F.conv2d(x, b["conv1.0"], b["conv1.1"], stride=4)))
    x = end(F.relu(F.conv2d(x, b["conv2.0"], b["conv2.1"], padding=2, groups=2)))
    x = F.relu(F.conv2d(x, b["conv3.0"], b["conv3.1"], padding=1))
    x = F.relu(F.conv2d(x, b["conv4.0"], b["conv4.1"], padding=1, groups=2))
    x = pool(F.relu(F.conv2d(x, b["conv5.0"], b["conv5.1"], padding=1, groups=2)))
    x = x.reshape(len(x), -1)  # map after map, row after row
    x = F.relu(x @ b["fc6.0"].T + b["fc6.1"])
    x = F.relu(x @ b["fc7.0"].T + b["fc7.1"])
    return x @ b["fc8.0"].T + b["fc8.1"]


def test_caffes_layout_gives_the_logits_of_its_prototxt() -> None:
    """Both published networks, in float64."""
    made = blobs(100)
    x = images(227, 58.0)
    for name in ("caffe-alexnet", "caffenet"):
        ours = network(fitting("caffe", made, name), made, "caffe", FILE).eval()
        with torch.inference_mode():
            expected, found = caffe(made, x, pool_first=name == "caffenet"), ours(x)
        assert expected.shape == (2, 100) and expected.std() > 1e-2
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert preset("caffe-alexnet").data.color_order == preset("caffenet").data.color_order == "bgr"


SMALL = {
    "data.size": 32, "data.resize": "short-crop", "augment.crop": 24, "optim.batch_size": 16,
    "model.layers.conv1.kernel": 5, "model.layers.conv1.stride": 1, "model.layers.conv1.pad": 2,
    **{f"model.layers.{name}.maps": 16 for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")},
}  # fmt: skip
OPTIONS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


def small(layout: str, classes: int = 8) -> dict[str, Tensor]:
    """Random weights of the reduced network, with a file's names."""
    names = LAYOUTS[layout].names
    last = {names["fc8"][1]: torch.zeros(classes)}
    config = fitting(layout, last, changes=SMALL)
    generator = torch.Generator().manual_seed(0)
    made = {}
    for shape in config.shapes():
        kernel = getattr(config.model.layer(shape.name), "kernel", 0)
        size = (shape.maps, shape.maps_in, kernel, kernel) if kernel else (shape.maps, shape.maps_in * shape.side_in**2)
        weight, bias = names[shape.name]
        made[weight] = torch.randn(size, generator=generator) / np.prod(size[1:]) ** 0.5
        made[bias] = torch.rand(size[0], generator=generator)
    return made


def test_a_file_is_read_alike_in_every_format(tmp_path: Path) -> None:
    made = small("caffe")
    safetensors.torch.save_file(made, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **{name: value.numpy() for name, value in made.items()})
    torch.save(made, tmp_path / "a.pt")
    for ending in ("safetensors", "npz", "pt"):
        found = read(tmp_path / f"a.{ending}")
        assert found.keys() == made.keys()
        assert all(torch.equal(found[name], value) for name, value in made.items())


class Code:
    """What a pickle could bring along."""


def test_a_file_that_is_no_tensors_by_name_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.save({"conv1.0": Code()}, tmp_path / "code.pt")
    torch.save({"model": small("caffe")}, tmp_path / "nested.pth")
    np.savez(tmp_path / "code.npz", **{"conv1.0": np.array([Code()], dtype=object)})
    for name in ("text.pt", "text.npz", "text.safetensors"):
        (tmp_path / name).write_text("<html>404</html>")
    for name, reason in {
        "code.pt": "cannot be read as .pt", "code.npz": "cannot be read as .npz", "nested.pth": "the state_dict alone",
        "text.pt": "cannot be read as .pt", "text.npz": "cannot be read as .npz",
        "text.safetensors": "cannot be read as .safetensors", "gone.pt": "there is no such file",
        "bvlc_alexnet.caffemodel": "convert it to .npz", "weights.h5": "none of .safetensors, .npz, .pt, .pth",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(reason)) as refused:
            read(tmp_path / name)
        assert "\n" not in str(refused.value)
        assert name in str(refused.value)


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    made = small("caffe")

    def refused(tensors: dict[str, Tensor], layout: str = "caffe", **changes: object) -> str:
        with pytest.raises(ValueError, match=r"\S") as error:
            network(fitting(layout, tensors, changes=SMALL | changes), tensors, layout, FILE)
        return str(error.value)

    assert "lacks conv3.1" in refused({name: value for name, value in made.items() if name != "conv3.1"})
    assert "has also conv9.0, conv9.1;" in refused(made | {"conv9.0": torch.zeros(1), "conv9.1": torch.zeros(1)})
    assert "lacks features.0.weight, features.0.bias, features.3.weight and 13 more" in refused(made, "torchvision")
    whole = made | {"conv2.0": torch.zeros(16, 16, 5, 5)}  # not grouped
    assert "conv2.0 is (16, 16, 5, 5), and the network's conv2 needs (16, 8, 5, 5)" in refused(whole)
    assert "conv1.1 holds torch.int64" in refused(made | {"conv1.1": torch.zeros(16, dtype=torch.int64)})
    conv6 = {"model.layers.conv6": {"maps": 16, "kernel": 3, "pad": 1}}
    assert "choose a preset that has these" in refused(made, **conv6)


def test_the_command_stores_a_run_of_its_own_and_reports_it(repro: Repro, tmp_path: Path) -> None:
    for layout, ending in (("torchvision", "safetensors"), ("caffe", "npz")):
        made = small(layout)
        path = tmp_path / f"{layout}.{ending}"
        if ending == "npz":
            np.savez(path, **{name: value.numpy() for name, value in made.items()})
        else:
            safetensors.torch.save_file(made, path)
        command = ("evaluate", "--weights", str(path), "--layout", layout, "--data", "photos", *OPTIONS)
        code, out, err = repro(*command, "--set", "data.classes=8", "--set", "data.test_per_class=4")
        assert (code, err.count("evaluating the")) == (0, 2), err
        assert path.name in out
    assert repro(*command, "--set", "data.classes=8", "--set", "data.test_per_class=4")[2] == ""  # predicted already
    results = tmp_path / "results"
    found = store.read_weights(results)
    assert sorted(identity["preset"] for identity in found.values()) == ["caffe-alexnet", "torchvision"]
    for digest, identity in found.items():
        record = store.read_run(results, digest, 0)
        assert record.epochs == 0
        for row in rows_of(record, identity):
            predictions = store.read_predictions(results, digest, 0, row["view"])
            wrong = predictions["probability"].argmax(1) != predictions["label"]
            assert row["top1_error_percent"] == pytest.approx(100 * wrong.mean(), abs=1)  # ties count in part
    assert measured(results) == []  # an evaluation says nothing of how long a training takes
    assert first_fresh_seed(results) == 0  # nor is its seed one of a comparison
    page = (tmp_path / "reports" / "weights.md").read_text()
    assert "torchvision.safetensors" in page and "caffe.npz" in page
    assert "weights.md" in (tmp_path / "reports" / "index.md").read_text()
    assert repro("report")[0] == 0
    assert (tmp_path / "reports" / "weights.md").read_text() == page


def test_the_command_refuses_in_one_line(repro: Repro, tmp_path: Path) -> None:
    safetensors.torch.save_file(small("caffe", 9), tmp_path / "nine.safetensors")
    command = ("evaluate", "--weights", "nine.safetensors", "--layout", "caffe", *OPTIONS)
    for options, reason in (((), "data imagenet"), (("--data", "photos"), "tells 9 classes apart, and photos has")):
        code, out, err = repro(*command, *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert reason in err
    assert not (tmp_path / "results").exists()


def test_a_config_with_weights_is_not_trained(repro: Repro) -> None:
    code, out, err = repro("run", "baseline", "--preset", "smoke", "--seeds", "1", "--set", "weights=abc")
    assert code == 1
    assert "repro evaluate --weights FILE" in out + err


def test_published_errors_stand_beside_the_whole_validation_set_only() -> None:
    record = RunRecord(
        digest="a", seed=0, config={"precision": "float32", "data": {"source": "imagenet"}, "weights": "abc"},
        data=Images("imagenet-256", "d", 0, 50_000), epochs=0, epochs_to_target=None, censored=False, seconds=0.0,
        images_per_second=0.0, diverged=False, train_error=None, held_out=None, provenance={}, placement="cpu",
        errors={view: Errors(43.5, 21.0) for view in ("center", "ten")},
    )  # fmt: skip
    identity = {"file": "a.pt", "layout": "torchvision", "preset": "torchvision"}
    center, ten = (cells(row) for row in rows_of(record, identity))
    assert center[-2:] == ["43.48% / 20.93%", "+0.02 / +0.07"]
    assert ten[-2:] == [words.NOTHING] * 2
    assert paper.PUBLIC_WEIGHTS["caffe-alexnet"].top1_error == 42.9
    part = replace(record, data=Images("imagenet-256", "d", 0, 49_999))
    assert cells(rows_of(part, identity)[0])[-1] == words.NOTHING
    assert len(TORCHVISION) == 8
