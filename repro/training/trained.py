"""A finished run's network, ready to be asked: what `repro export` writes and `repro predict` shows.

Nothing is trained. The weights are those of the run's checkpoint, the images pass as those of the test set do.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from repro import store
from repro.config.config import Config, digest, from_dict
from repro.data.load import augment
from repro.data.load.contrast import normalize_contrast
from repro.data.load.loading import Prepared, open_data
from repro.data.prepare.convert import FILTER_NAME, Form, convert_image, quiet
from repro.data.prepare.files import File, reading
from repro.network.model import Network
from repro.planning.settings import askers
from repro.records import RunRecord
from repro.training import checkpoint

Pixels = npt.NDArray[np.uint8]
AT_ONCE = 64  # images that pass the network together


class Askable(nn.Module):
    """A network of `config` and what comes before it.

    forward: (N, 3, crop, crop) float32, red first, 0-255, the center of a stored image -> logits (N, classes). `mean`
    (3, crop, crop) is subtracted, `factors` (3, 1, 1) multiply what is left, both red first.
    """

    mean: Tensor
    factors: Tensor

    def __init__(self, config: Config, mean: Tensor, factors: Tensor) -> None:
        super().__init__()
        self.config, self.network = config, Network(config)
        self.register_buffer("mean", mean)
        self.register_buffer("factors", factors)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        data = self.config.data
        x = image - self.mean
        if data.mean == "picture" or data.contrast != "none":
            x = normalize_contrast(x, data.mean == "picture", data.contrast)
        x = x * self.factors
        logits: Tensor = self.network(x.flip(1) if data.color_order == "bgr" else x)
        return logits


@dataclass(frozen=True)
class Trained:
    """A finished run with its network, on the CPU in test mode and float32, and the set that it was trained on."""

    record: RunRecord
    config: Config
    users: Sequence[str]  # experiment/arm
    prepared: Prepared
    model: Askable

    @property
    def name(self) -> str:
        """`<digest>/seed-<n>`."""
        return f"{self.record.digest}/seed-{self.record.seed}"

    @property
    def classes(self) -> list[dict[str, str]]:
        """`wnid` and `name` of each class, in the order of the logits."""
        first = self.config.data.first_class
        return self.prepared.manifest.classes[first : first + self.config.data.classes]

    def about(self) -> dict[str, Any]:
        """What a reader of the network has to know, as plain values."""
        from repro import __version__

        data, record = self.config.data, self.record
        return {
            "written_by": f"repro {__version__}",
            "digest": record.digest,
            "seed": record.seed,
            "arms": list(self.users),
            "config": self.config.model_dump(mode="json"),
            "data": {"name": record.data.name, "digest": record.data.digest},
            "classes": self.classes,
            "errors_percent": {
                view: {"top1": found.top1_error, "top5": found.top5_error} for view, found in record.errors.items()
            },
            "preprocessing": {
                "decode": "upright as EXIF says, RGB",
                "resize": data.resize,
                "size": data.size,
                "filter": FILTER_NAME,
                "stored_as": f"{data.storage}{'' if data.quality is None else f' {data.quality}'}",
                "crop": self.config.augment.crop,
                "place": "center",
                "input": "(N, 3, crop, crop) float32, red first, 0-255",
                "then": "minus mean, contrast, times factors, color order: the first steps of the network",
                "mean": data.mean,
                "contrast": data.contrast,
                "color_order": data.color_order,
            },
        }

    def center(self, pixels: Iterable[Pixels]) -> Tensor:
        """(N, 3, crop, crop) float32, what the network reads of stored images (size, size, 3)."""
        crop = self.config.augment.crop
        first = (self.config.data.size - crop) // 2
        cut = [image[first : first + crop, first : first + crop].transpose(2, 0, 1) for image in pixels]
        return torch.from_numpy(np.stack(cut).astype(np.float32))


def trained(results: Path, data: Path, name: str) -> Trained:
    """The network of the run that `name` is, or begins. Raises ValueError, one line, for a run that is not finished,
    has no checkpoint here, or whose set is not prepared."""
    run_digest, seed = store.find_run(results, name)
    run = f"{run_digest}/seed-{seed}"
    if not store.is_finished(results, run_digest, seed):
        raise ValueError(f"{run}: is not finished; `repro logs {run}` shows how far it is")
    record = store.read_run(results, run_digest, seed)
    try:
        config = from_dict(record.config)
    except ValueError as error:
        raise ValueError(f"{run}: its Config is not of this version ({error})") from None
    users = askers(results, run_digest, seed)
    path = store.run_directory(results, run_digest, seed) / checkpoint.FILE
    if not path.is_file():
        raise ValueError(_how_to_get_it(results, record, [setting for setting, _ in users], path))
    prepared = open_data(config.data, data, config.seed_of("subset", seed))
    if digest(config, prepared.manifest.digest) != run_digest:
        raise ValueError(f"{run}: was trained on other images than {data / prepared.manifest.name} has now")
    model = Askable(config, *subtracted(config, prepared.mean))
    try:
        model.network.load_state_dict(checkpoint.read(path, run)["model"])
    except (RuntimeError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: does not fit the network of its run ({type(error).__name__})") from None
    arms = list(dict.fromkeys(f"{setting.experiment}/{arm}" for setting, arm in users))
    return Trained(record, config, arms, prepared, model)


def _how_to_get_it(results: Path, record: RunRecord, settings: Sequence[Any], path: Path) -> str:
    if record.config.get("weights"):
        return f"{path.parent}: its weights were not trained here but read from a file; use that file"
    again = "run what made it again"
    if frozen := next((setting.frozen for setting in settings if setting.frozen), ""):
        again = f"run: repro run --plan {results / 'plans' / frozen}.json"
    elif settings:
        again = f"run: repro run --again {store.setting_path(results, settings[0])}"
    return (
        f"{path}: is not here; checkpoints are not published, and `repro gc` deletes them. To train the run again, "
        f"delete {path.parent}, then {again}"
    )


def subtracted(config: Config, mean: npt.NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """`mean` (3, crop, crop) and `factors` (3, 1, 1) of `Askable`, from the mean image (size, size, 3) of the set."""
    data, crop = config.data, config.augment.crop
    image = augment.mean_crop(data, mean, crop)
    if augment.is_cropped_with_the_image(data):
        image = augment.center(image, crop)
    factors = (data.scale / np.array(data.channel_std or (1.0, 1.0, 1.0))).astype(np.float32)
    return torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.from_numpy(factors).view(3, 1, 1)


def samples(found: Trained, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` test images: what the network reads of them (N, 3, crop, crop), and the logits (N, classes)
    that the run's own way to them, its loader and its network, gives."""
    from repro.data.load.loading import make_loader

    loader = make_loader(found.prepared, found.config, "test", seed=found.record.seed, kind="torch")
    indices = found.prepared.test.indices[:count]
    read: list[Tensor] = []
    with loader.views("center") as batches:
        for batch in batches:
            read.append(batch.image[:, 0])
            if sum(map(len, read)) >= len(indices):
                break
    with torch.inference_mode():
        logits = found.model.network(torch.cat(read)[: len(indices)].contiguous(memory_format=torch.channels_last))
    return found.center(found.prepared.pixels("test", index) for index in indices), logits


def stored(path: Path, found: Trained) -> Pixels:
    """A file as the set would store it: (size, size, 3). Raises ValueError, one line, for what is no image."""
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give images, as {path}/*.jpg")
    if not path.exists():
        raise ValueError(f"{path}: there is no such file")
    data = found.config.data
    form = Form(data.size, data.resize, data.storage, data.quality)
    with reading(path, "give an image file that another program shows"), quiet():
        image = convert_image(File(path.name, path, path.stat().st_size).read(), path.name, form)
        if data.storage != "jpeg":
            return image.pixels
        assert isinstance(image.encoded, bytes)
        with Image.open(io.BytesIO(image.encoded)) as again:
            return np.asarray(again)


def guesses(found: Trained, paths: Sequence[Path], most: int = 5) -> list[list[dict[str, Any]]]:
    """For each file its `most` likeliest classes, the first one first: `class`, `wnid`, `probability`. The center view,
    in the run's precision. Raises ValueError, one line, for the first file that is no image."""
    from repro.training.evaluate import autocast

    images = [stored(path, found) for path in paths]
    told: list[list[dict[str, Any]]] = []
    for first in range(0, len(images), AT_ONCE):
        with torch.inference_mode(), autocast(found.config.precision, torch.device("cpu")):
            probability = found.model(found.center(images[first : first + AT_ONCE])).float().softmax(1)
        told += [_likeliest(found.classes, row, most) for row in probability.numpy()]
    return told


def _likeliest(
    classes: Sequence[Mapping[str, str]], probability: npt.NDArray[np.float32], most: int
) -> list[dict[str, Any]]:
    order = np.argsort(-probability, kind="stable")[:most]
    return [
        {"class": classes[at]["name"], "wnid": classes[at]["wnid"], "probability": float(probability[at])}
        for at in order
    ]
