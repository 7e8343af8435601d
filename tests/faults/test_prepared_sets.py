"""Damage of prepared sets (issue 16): row 1, damaged files; row 14, a damaged stored JPEG."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import loops_data
import numpy as np
import pytest
from conftest import QUICK, Repro
from loops_data import config_of

from repro.data import manifest as manifests
from repro.data.load.beton import ALLOCATION, HEADER, open_beton
from repro.data.load.loading import Prepared, ffcv_installed, make_loader, open_data
from repro.data.manifest import Manifest
from repro.data.prepare import verify

KINDS = ["torch", pytest.param("ffcv", marks=pytest.mark.skipif(not ffcv_installed(), reason="FFCV is not installed"))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Manifest]]:
    place = tmp_path_factory.mktemp("sets")
    return place, loops_data.sets(place)


@pytest.fixture
def copied(prepared: tuple[Path, dict[str, Manifest]], tmp_path: Path) -> Callable[[str], Path]:
    """Copies the set of a storage into the test's own data directory; returns its folder."""

    def copy(storage: str) -> Path:
        name = prepared[1][storage].name
        return Path(shutil.copytree(prepared[0] / storage / name, tmp_path / name))

    return copy


def opened(folder: Path, storage: str, *, verify: bool = True) -> Prepared:
    return open_data(config_of(storage).data, folder.parent, verify=verify)


# --- row 1


def test_row_1_a_run_on_the_test_images_in_place_of_the_training_images_ends_with_2_and_names_the_file(
    repro: Repro, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(photos, tmp_path / "copy"))
    monkeypatch.setenv("REPRO_DATA_DIR", str(data))
    (folder,) = (path for path in data.iterdir() if path.is_dir())
    shutil.copy(folder / "test.beton", folder / "train.beton")
    for more in ((), ("--no-verify",)):
        code, out, err = repro("run", "baseline", "--preset", "smoke", "--seeds", "1", *QUICK, *more)
        assert code == 2 and "epoch" not in out
        assert err.splitlines()[-1].startswith(f"error: {folder / 'train.beton'}: a copy of test.beton; delete")


def test_row_1_hashes_are_compared_at_the_first_open_and_again_when_size_or_time_changed(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hashed = copied("raw"), []
    hash_file = verify.hash_file
    monkeypatch.setattr(verify, "hash_file", lambda path: hashed.append(path.name) or hash_file(path))
    opened(folder, "raw", verify=False)
    assert hashed == []
    opened(folder, "raw")
    assert sorted(hashed) == sorted(manifests.FILES)
    opened(folder, "raw")
    assert len(hashed) == 3
    content = (folder / "mean.npy").read_bytes()
    (folder / "mean.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(folder / "mean.npy", ns=(1, 1))
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"mean.npy: changed: its SHA-256 differs .*; delete its folder and prepare"
        ):
            opened(folder, "raw")
    (folder / "mean.npy").write_bytes(content)
    opened(folder, "raw")


def test_row_1_where_nothing_can_be_noted_every_open_looks(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    folder = copied("raw")
    monkeypatch.setattr(verify, "write_atomically", refuse)
    opened(folder, "raw")
    opened(folder, "raw")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("header num_samples", 2**40), ("header num_samples", 11), ("header alloc_table_ptr", 0),
        ("header alloc_table_ptr", 2**63), ("header page_size", 3), ("header num_fields", 1), ("table ptr", 2**62),
        ("table ptr", 1), ("table size", 2**40), ("table size", 0), ("table sample_id", 5), ("record data_ptr", 2**50),
        ("record label", -1), ("record label", 3), ("record width", 39), ("record height", 41), ("record mode", 7),
    ],
)  # fmt: skip
def test_row_1_no_number_of_a_set_is_followed_out_of_it_even_unverified(
    copied: Callable[[str], Path], place: str, value: int
) -> None:
    folder = copied("raw")
    path = folder / "train.beton"
    beton = open_beton(path, "raw")
    content = bytearray(path.read_bytes())
    where, name = place.split()
    if where == "header":
        start, dtype = 0, HEADER
    elif where == "table":
        start, dtype = len(content) - len(beton.labels) * ALLOCATION.itemsize, ALLOCATION
    else:
        fields = [
            ("mode", "<u1"),
            ("width", "<u2"),
            ("height", "<u2"),
            ("data_ptr", "<u8"),
            ("gap", "<u1", 3),
            ("label", "<i8"),
        ]
        start, dtype = 24 + 2 * 1041, np.dtype(fields)
    rows = np.frombuffer(content, dtype, 1, start)
    rows[name][0] = np.array(value).astype(rows[name].dtype) if value < 0 else value
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=rf"{path} (is no whole|has not the images)"):
        opened(folder, "raw", verify=False)


def test_row_1_a_manifest_that_was_changed_is_named_and_an_older_one_without_a_checksum_is_read(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("raw")
    file = folder / manifests.NAME
    values = json.loads(file.read_text())
    for change in ({"covariance": [[1.0] * 3] * 3}, {"train_count": 5}, {"size": 39}, {"notes": ["x"]}):
        file.write_text(json.dumps(values | change))
        with pytest.raises(ValueError, match=f"{file} is damaged; delete the folder"):
            manifests.load(folder)
    del values["checksum"], values["seal"]
    file.write_text(json.dumps(values))
    assert opened(folder, "raw").manifest.seal == ""
    file.write_text(json.dumps(values | {"train_per_class": [1, 2]}))
    with pytest.raises(ValueError, match="is damaged"):
        manifests.load(folder)


# --- row 14


def damage(folder: Path, storage: str, index: int) -> None:
    """Cut a stored JPEG short by an end mark in its middle."""
    beton = open_beton(folder / "train.beton", storage)
    with open(folder / "train.beton", "r+b") as file:
        file.seek(int(beton.pointers[index]) + 30)
        file.write(bytes(int(beton.lengths[index]) - 30))


@pytest.mark.parametrize("kind", KINDS)
def test_row_14_a_damaged_stored_jpeg_stops_either_loader_which_names_set_index_and_class(
    copied: Callable[[str], Path], kind: str
) -> None:
    folder = copied("jpeg")
    damage(folder, "jpeg", 4)
    name = manifests.load(folder).classes[int(open_beton(folder / "train.beton", "jpeg").labels[4])]["name"]  # type: ignore[union-attr]
    says = rf"{folder / 'train.beton'}: .*stored image 4, of class {name}, is damaged \(.*\); delete its folder"
    with pytest.raises(ValueError, match=says):
        opened(folder, "jpeg")
    loader = make_loader(opened(folder, "jpeg", verify=False), config_of("jpeg"), "train", seed=0, kind=kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=says), loader.epoch(0) as batches:
        list(batches)
