"""CIFAR-10: the same from every form, nothing but the published batches, and no code out of a pickle."""

import hashlib
import io
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from made_up_images import add
from PIL import Image

from repro.data.load.beton import open_beton
from repro.data.prepare import cifar
from repro.data.prepare.prepare import prepare


def test_without_a_network_cifar_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", offline)
    with pytest.raises(ValueError, match=r"no route to host.*cifar-10-binary.tar.gz.*--source"):
        prepare("cifar10", directory=tmp_path)


def test_cifar_reads_the_same_from_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = np.random.default_rng(0).integers(0, 256, (200, 3073), np.uint8)
    records[:, 0] = np.arange(200) % 10
    md5 = {name: hashlib.md5(records.tobytes()).hexdigest() for name in ("data_batch_1", "test_batch")}
    monkeypatch.setattr(cifar, "CIFAR_MD5", md5)
    binary, python, sheets = (tmp_path / form for form in ("cifar-10-batches-bin", "cifar-10-batches-py", "sheets"))
    for folder in (binary, python, sheets):
        folder.mkdir()
    for name in md5:
        (binary / f"{name}.bin").write_bytes(records.tobytes())
        batch = {"data": records[:, 1:], "labels": records[:, 0].tolist(), "batch_label": name}
        (python / name).write_bytes(pickle.dumps(batch, protocol=2))
        with tarfile.open(sheets / f"{name}.tar", "w") as tar:
            add(tar, "labels.bin", records[:, 0].tobytes())
            for number in range(2):
                part = records[100 * number : 100 * number + 100, 1:].reshape(10, 10, 3, 32, 32)
                sheet = np.ascontiguousarray(part.transpose(0, 3, 1, 4, 2).reshape(320, 320, 3))
                content = io.BytesIO()
                Image.fromarray(sheet).save(content, "WEBP", lossless=True)
                add(tar, f"{number:03d}.webp", content.getvalue())
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(binary, binary.name)
    made = [
        prepare("cifar10", source=source, directory=tmp_path / f"data{number}", classes=10, per_class=20)
        for number, source in enumerate((binary, python, sheets, tmp_path / "cifar-10-binary.tar.gz", tmp_path))
    ]
    assert len({each.digest for each in made}) == 1
    assert made[0].train_per_class == [20] * 10 and made[0].test_count == 200
    beton = open_beton(tmp_path / "data0" / made[0].name / "test.beton", "raw")
    stored = {(int(label), beton.encoded(index).tobytes()) for index, label in enumerate(beton.labels)}
    record = records[123]
    assert (int(record[0]), record[1:].reshape(3, 32, 32).transpose(1, 2, 0).tobytes()) in stored
    monkeypatch.setattr(cifar, "CIFAR_MD5", {**md5, "test_batch": "0" * 32})
    with pytest.raises(ValueError, match="test_batch is not the official CIFAR-10 batch"):
        prepare("cifar10", source=binary, directory=tmp_path / "other")


def test_a_pickle_from_elsewhere_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch " + str(tmp_path / "ran"),)

    for name in cifar.CIFAR_MD5:
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="has no place in a CIFAR-10 batch"):
        prepare("cifar10", source=tmp_path, directory=tmp_path / "data")
    assert not (tmp_path / "ran").exists()


def _laughing(depth: int) -> list[object]:
    """A list whose parts are the same list again and again: few bytes of a pickle, and 10^depth values as an array."""
    values: list[object] = [1] * 10
    for _ in range(depth):
        values = [values] * 10
    return values


class _Huge:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return np.ndarray, ((1 << 33,), "u1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps({"labels": _Huge(), "data": 0}, 2), "not callable"),
        (b"\x80\x02N" + b"r\xff\xff\xff\x7f" + b".", "it numbers a value 2147483647, and has 9 bytes"),
        (pickle.dumps({"labels": _laughing(8), "data": 0}, 2), "labels is no list of numbers"),
        (pickle.dumps({"labels": [1], "data": np.zeros((1, 3072), np.uint16)}, 2), "data is no table of bytes"),
    ],
)  # fmt: skip
def test_a_pickle_takes_no_more_memory_than_it_has_bytes(tmp_path: Path, content: bytes, reason: str) -> None:
    for name in cifar.CIFAR_MD5:
        (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"data_batch_1 cannot be read: .*{reason}"):
            prepare("cifar10", source=tmp_path, directory=tmp_path / "data")
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
