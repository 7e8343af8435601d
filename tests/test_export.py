"""A finished run's network as a file that gives the same logits, and what it sees in images of all kinds."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image

from repro import store
from repro.config.config import digest
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import open_data
from repro.network.model import build
from repro.records import Errors, Images, RunRecord
from repro.training import export as exporting
from repro.training.export import FORMATS, export
from repro.training.trained import Askable, Trained, guesses, samples, stored, subtracted, trained
from tests.conftest import QUICK, Repro
from tests.test_commands import on_terminal

NETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "contrast": {"data.contrast": "local", "data.mean": "picture", "data.color_order": "bgr", "data.scale": 0.5},
    "channels": {"data.mean": "channel", "data.channel_mean": [120, 110, 100], "data.channel_std": [60, 50, 40]},
    "offset": {"data.mean_at": "offset", "model.norm.scope": "all", "model.norm.same_map": True},
    "learned": {"model.norm.learned": "map", "model.pool.kind": "generalized"},
    "one tower": {"model.towers": 1, "model.norm.kind": "batch", "model.activation": "tanh"},
}


def made(changes: Mapping[str, Any], photos: Path) -> Trained:
    """A network of the smoke preset with its first weights, as if it had been trained."""
    config = override(preset("smoke"), changes)
    prepared = open_data(config.data, photos)
    record = RunRecord(
        digest=digest(config, prepared.manifest.digest), seed=1, config=config.model_dump(mode="json"),
        data=Images("photos", prepared.manifest.digest), epochs=1, epochs_to_target=None, censored=False, seconds=1.0,
        images_per_second=1.0, diverged=False, train_error=1.0, held_out=None, errors={"center": Errors(50.0, 25.0)},
        provenance={}, placement="cpu",
    )  # fmt: skip
    model = Askable(config, *subtracted(config, prepared.mean))
    model.network.load_state_dict(build(config, 1).state_dict())
    for buffer in (value for name, value in model.network.state_dict().items() if "running" in name):
        buffer.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return Trained(record, config, ["lrn-ablation/with-lrn"], prepared, model)


def metadata(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, "pt") as file:
            text = file.metadata()["repro"]
    elif path.suffix == ".pt":
        files = {"repro": ""}
        torch.jit.load(path, _extra_files=files)
        text = files["repro"]
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        text = session.get_modelmeta().custom_metadata_map["repro"]
    found: dict[str, Any] = json.loads(text)
    return found


CASES = [
    *(("safetensors", net) for net in NETS),
    *(("torchscript", net) for net in NETS),
    *(pytest.param("onnx", net, marks=pytest.mark.slow) for net in ("plain", "contrast")),
]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize(("name", "net"), CASES)
def test_an_exported_network_gives_the_logits_of_the_run(name: Any, net: str, photos: Path, tmp_path: Path) -> None:
    """Read as a stranger would, for a number of images that it was not written with."""
    if name == "onnx":
        for package in FORMATS["onnx"].packages:
            pytest.importorskip(package)
    found = made(NETS[net], photos)
    path = tmp_path / f"net{FORMATS[name].ending}"
    assert export(found, name, path) < 1e-3
    images, wanted = samples(found, 3)
    assert len(images) == 3 and wanted.std() > 0
    if name == "safetensors":
        tensors = safetensors.torch.load_file(path)
        assert torch.equal(tensors["preprocessing.mean"], found.model.mean)
        assert torch.equal(tensors["conv1.weight"], found.model.network.state_dict()["conv1.weight"])
        given = FORMATS[name].read(path.read_bytes(), found)(images)
    elif name == "torchscript":
        given = torch.jit.load(path)(images).detach()
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = torch.from_numpy(session.run(["logits"], {"image": images.numpy()})[0])
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
    about = metadata(path)
    assert (about["digest"], about["seed"], about["arms"]) == (found.record.digest, 1, ["lrn-ablation/with-lrn"])
    assert about["preprocessing"]["crop"] == 24 and len(about["classes"]) == found.config.data.classes
    assert about["errors_percent"]["center"] == {"top1": 50.0, "top5": 25.0}


def test_a_file_that_gives_other_logits_is_not_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, path = made({}, photos), tmp_path / "net.safetensors"

    def wrong(found: Trained, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, logits = samples(found, count)
        return images, logits + 0.01

    monkeypatch.setattr(exporting, "samples", wrong)
    with pytest.raises(ValueError, match="gives other logits than the run's network"):
        export(found, "safetensors", path)
    assert not path.exists()


@pytest.fixture
def run(repro: Repro) -> str:
    """A finished run in the current folder."""
    code, _, err = repro("run", "ten-view", "--preset", "smoke", "--seeds", "1", "--untuned", *QUICK)
    assert code == 0, err
    ((name, seed),) = [one.key for one in store.finished_runs(Path("results"))[0]]
    return f"{name}/seed-{seed}"


def picture() -> Image.Image:
    generator = np.random.default_rng(0)
    return Image.fromarray(generator.integers(0, 256, (6, 9, 3), np.uint8)).resize((90, 60), Image.Resampling.BICUBIC)


def test_the_commands_take_a_run_away(
    run: str, repro: Repro, monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    code, out, err = repro("export", run)
    path = Path(f"{run.replace('/', '-')}.safetensors")
    assert code == 0 and out.startswith(f"wrote {path}: run {run}, ten-view/center"), err
    found = trained(Path("results"), photos, run)
    assert metadata(path)["digest"] == found.record.digest

    picture().save("a.png")
    code, out, err = repro("predict", run, "a.png", "a.png", "--json")
    first, second = json.loads(out)["images"]
    assert code == 0 and first == second, err
    shares = [one["probability"] for one in first["top5"]]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    code, out, _ = repro("predict", run, "a.png")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and rows[0] == ["image", "class", "probability"]
    assert rows[1] == ["a.png", first["top5"][0]["class"], f"{100 * shares[0]:.2f}%"]
    on_terminal(monkeypatch, 60)
    code, out, _ = repro("predict", run, "a.png")
    lines = out.splitlines()
    assert code == 0 and lines[0].strip() == "a.png" and max(map(len, lines)) <= 60
    assert first["top5"][0]["class"] in lines[1] and "\N{FULL BLOCK}" in out

    for image in Path("results").rglob("checkpoint*.pt"):
        image.unlink()
    for command in (("export", run), ("predict", run, "a.png")):
        code, out, err = repro(*command)
        assert code == 2 and not out and err.count("\n") == 1
        assert f"delete results/runs/{run}, then run: repro run --again results/experiments/ten-view/smoke" in err


def test_a_prediction_is_that_of_the_test_set_on_the_test_set(run: str, photos: Path, tmp_path: Path) -> None:
    """An image as it is stored, as a file, has the probabilities that the run stored of it."""
    found = trained(Path("results"), photos, run)
    kept = store.read_predictions(Path("results"), *found.record.key, "center")
    pixels = found.prepared.pixels("test", int(kept["index"][0]))
    Image.fromarray(pixels).save(tmp_path / "one.png")
    (likeliest,) = guesses(found, [tmp_path / "one.png"], most=8)
    by_class = {one["class"]: one["probability"] for one in likeliest}
    told = [by_class[each["name"]] for each in found.classes]
    np.testing.assert_allclose(told, kept["probability"][0].astype(np.float64), atol=1e-3)


def test_images_of_all_kinds_are_read_as_the_project_reads_them(photos: Path, tmp_path: Path) -> None:
    found, whole = made({}, photos), picture()
    files = {
        "rgb.png": whole, "gray.png": whole.convert("L"), "cmyk.jpg": whole.convert("CMYK"),
        "palette.png": whole.quantize(16), "tiny.png": whole.resize((1, 3)), "wide.png": whole.resize((900, 5)),
        "bits.png": whole.convert("1"),
    }  # fmt: skip
    alpha = whole.convert("RGBA")
    alpha.putalpha(7)
    for name, image in {**files, "alpha.png": alpha}.items():
        image.save(tmp_path / name)
    turned = whole.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    pixels = {path.name: stored(path, found) for path in tmp_path.iterdir()}
    assert {image.shape for image in pixels.values()} == {(32, 32, 3)} and len(pixels) == 9
    assert np.array_equal(pixels["turned.png"], pixels["rgb.png"]), "upright, as its EXIF says"
    assert np.array_equal(pixels["alpha.png"], pixels["rgb.png"])
    assert (pixels["gray.png"] == pixels["gray.png"][..., :1]).all()
    assert all(len(one) == 5 for one in guesses(found, sorted(tmp_path.iterdir())))


def test_a_stored_jpeg_is_a_jpeg_here_too(photos: Path, tmp_path: Path) -> None:
    found = made({}, photos)
    jpeg = override(found.config, {"data.storage": "jpeg", "data.quality": 50})
    picture().save(tmp_path / "a.png")
    one, plain = (
        stored(tmp_path / "a.png", Trained(found.record, config, [], found.prepared, found.model))
        for config in (jpeg, found.config)
    )
    file = io.BytesIO()
    Image.fromarray(plain).save(file, "JPEG", quality=50, subsampling="4:2:0")
    assert np.array_equal(one, np.asarray(Image.open(file))) and not np.array_equal(one, plain)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict", "RUN", "."], "error: .: is a folder; give images, as ./*.jpg"),
        (["predict", "RUN", "no.png"], "error: no.png: there is no such file"),
        (["predict", "RUN", "text.png"], "error: text.png cannot be read: no image format that Pillow knows; give an"),
        (["predict", "RUN", "empty.png"], "error: empty.png cannot be read: the file is empty; give an"),
        (["predict", "RUN", "deep.png"], "error: deep.png cannot be read: I;16 pixels are no 8-bit gray or color"),
        (["predict", "fff", "no.png"], "error: fff: no run in results is called so"),
        (["export", "fff"], "error: fff: no run in results is called so"),
        (["export", "RUN", "--out", "."], "error: --out .: is a folder; give the name of a file"),
        (["export", "RUN", "--out", "a/b"], "error: --out a/b: there is no folder a"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], expected: str, run: str, repro: Repro) -> None:
    Path("text.png").write_text("no image")
    Path("empty.png").touch()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save("deep.png")
    code, out, err = repro(*(run if word == "RUN" else word for word in arguments))
    assert code == 2 and not out and err.startswith(expected) and err.count("\n") == 1


def test_a_format_that_is_not_installed_says_what_to_install(
    run: str, repro: Repro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda package: None)
    code, out, err = repro("export", run, "--format", "onnx")
    assert (code, out) == (2, "")
    assert err == "error: --format onnx: needs onnx; run: pip install 'alexnet-repro[onnx]'\n"
    assert not list(Path().glob("*.onnx"))
