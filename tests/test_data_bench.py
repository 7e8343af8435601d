"""The loader benchmark: its contenders do the same work on the same images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from repro.bench import loader
from repro.data.load.loading import make_loader, open_data
from repro.data.prepare.prepare import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bench")
    tree = loader.write_tree(place / "tree", 20)
    for storage, quality in (("raw", None), ("jpeg", loader.QUALITY)):
        prepare("bench", source=tree, directory=place, size=loader.SIZE, storage=storage, quality=quality)
    return place


def test_the_stored_images_are_the_files_that_torchvision_reads(folder: Path) -> None:
    data = open_data(loader.benched("raw").data, folder)
    stored = {data.pixels("train", index).tobytes() for index in data.train.indices}
    files = list((folder / "tree" / "train").glob("*/*"))
    assert len(files) == 20
    assert {np.asarray(Image.open(file)).tobytes() for file in files} == stored


def test_both_do_the_same_to_a_image(folder: Path) -> None:
    data = open_data(loader.benched("raw").data, folder)
    edge = (loader.SIZE - loader.CROP) // 2
    middle = slice(edge, edge + loader.CROP)
    mean = torch.from_numpy(data.mean[middle, middle]).permute(2, 0, 1)
    with make_loader(data, loader.benched("raw"), "train", seed=0, kind="torch").views("center") as batches:
        index, image, _ = next(batches)
    crop = torch.from_numpy(data.pixels("train", int(index[0]))[middle, middle].copy()).permute(2, 0, 1)
    torch.testing.assert_close(loader.SubtractMean(mean)(crop), image[0, 0], rtol=0, atol=0)


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_every_contender_runs(folder: Path, storage: str) -> None:
    data = open_data(loader.benched(storage).data, folder)
    works = [loader.our_epochs(data, "torch", 1)]
    works += [loader.moving(data, 2, read=read) for read in (True, False) if storage == "raw"]
    works += [loader.torchvision_epochs(folder / "tree", data.mean, 0, version) for version in (1, 2)]
    if loader.ffcv_installed():
        works.append(loader.our_epochs(data, "ffcv", 2))
        works += [loader.decoding(data, 2)] if storage == "jpeg" else []
    for work in works:
        assert loader.rate(work, 20) > 0
