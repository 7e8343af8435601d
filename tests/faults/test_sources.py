"""Damage of sources (issue 16): row 2, another source on the way; row 3, damaged tars; row 11, one line for each;
row 16, bombs; row 17, the smaller ones."""

import errno
import lzma
import shutil
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Repro
from filelock import FileLock
from loops_data import ilsvrc_tar
from made_up_images import SIZE, add, class_tree

from repro import folders
from repro.data.load.beton import Writer
from repro.data.prepare import files, split_writer
from repro.data.prepare.prepare import prepare
from repro.data.prepare.progress import Progress


def stop_at(stage: str, number: int) -> Callable[[Progress], None]:
    def listen(at: Progress) -> None:
        if (at.stage, at.done) == (stage, number):
            raise KeyboardInterrupt

    return listen


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return class_tree(tmp_path / "small", classes=2, train=4, test=2)


def tar_of(tree: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for file in sorted(each for each in tree.rglob("*") if each.is_file()):
            add(tar, file.relative_to(tree).as_posix(), file.read_bytes())
    return path


# --- row 2


@pytest.mark.parametrize("form", ["folder", "tgz"])
def test_row_2_a_preparation_that_another_source_goes_on_with_starts_anew(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(split_writer, "SAVE_BYTES", 2 * SIZE * SIZE * 3)
    other = class_tree(tmp_path / "other", classes=2, train=4, test=2, seed=1)  # the same names
    one, two = (small, other) if form == "folder" else (tmp_path / "1/set.tgz", tmp_path / "2/set.tgz")
    if form == "tgz":
        for tree, path in ((small, one), (other, two)):
            path.parent.mkdir()
            tar_of(tree, path)
    with pytest.raises(KeyboardInterrupt):
        prepare("x", source=one, directory=tmp_path / "d", size=SIZE, progress=stop_at("train", 6))
    found = prepare("x", source=two, directory=tmp_path / "d", size=SIZE)
    assert found.digest == prepare("x", source=two, directory=tmp_path / "fresh", size=SIZE).digest
    assert found.digest != prepare("x", source=one, directory=tmp_path / "first", size=SIZE).digest


def test_row_2_an_archive_that_was_mended_is_read_anew(small: Path, tmp_path: Path) -> None:
    whole = tar_of(small, tmp_path / "set.tgz")
    content = whole.read_bytes()
    for bad in (content[:-500], content[:300] + b"x" + content[301:], b"<html>"):
        whole.write_bytes(bad)
        with pytest.raises(ValueError, match=r"set.tgz cannot be read: .*; fetch it again"):
            prepare("x", source=whole, directory=tmp_path / "d", size=SIZE)
    whole.write_bytes(content)
    assert prepare("x", source=whole, directory=tmp_path / "d", size=SIZE).train_count == 8
    assert not list((tmp_path / "d").glob("*.part")) and not list((tmp_path / "d").glob(".*.seal"))


# --- row 3


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("fault", ["header", "last header", "end mark", "between"])
def test_row_3_a_tar_that_is_damaged_or_cut_where_tarfile_sees_its_end_is_named(
    small: Path, tmp_path: Path, fault: str, inner: bool
) -> None:
    source = tmp_path / "source"
    shutil.copytree(small / "val", source / "val")
    content = bytearray(ilsvrc_tar(small) if inner else tar_of(small, tmp_path / "x.tar").read_bytes())
    headers = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    if fault == "between":  # cut in front of a member: a whole number of members, and no end mark
        del content[headers[-1] :]
    else:
        content[{"header": headers[2], "last header": headers[-1], "end mark": len(content) - 700}[fault] + 10] ^= 4
    (source / "train.tar").write_bytes(content)
    if not inner:
        shutil.rmtree(source / "val")
    with pytest.raises(
        ValueError, match=r"train.tar(: n0000000\d.tar)? cannot be read: it is (damaged|cut).*; fetch it again"
    ):
        prepare("x", source=source, directory=tmp_path / "d", size=SIZE)


# --- row 11


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cifar-10-python.tar.gz", b"<html>403 Forbidden</html>", "it is a web page, no archive; fetch it again"),
        ("cifar-10-python.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0", "fetch it again"),
        ("cifar-10-binary.tar", b"", "it is no whole tar, zip or Parquet table (empty file); fetch it again"),
        ("data_batch_1.bin", b"\0" * 1000, "cannot reshape array of size 1000 into shape (3073)"),
        ("data_batch_1", b"", "pickle exhausted before seeing STOP; get cifar-10-binary.tar.gz from https"),
        ("data_batch_1.tar", b"x" * 3000, "get cifar-10-binary.tar.gz from https"),
    ],
)
def test_row_11_a_damaged_source_of_cifar_is_one_line_with_file_fault_and_mend(
    repro: Repro, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    code, _, err = repro("data", "prepare", "cifar10", "--source", name, "--data-dir", "d")
    assert code == 2 and err.count("\n") == 1
    assert err.startswith(f"error: {name} cannot be read: ") and says in err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("LOC_val_solution.csv", b"ImageId,PredictionString\nv_0,n1 1 2 3 4\nv_1,\n", "line 3 is not IMAGE,CLASS BOX"),
        ("LOC_val_solution.csv", b"ImageId,PredictionString\nno comma\n", "line 2 is not IMAGE,CLASS BOX"),
        ("val_annotations.txt", b"v_0.JPEG n1 0 0 1 1\n", "line 1 is not FILE, a tab, CLASS"),
        ("val_annotations.txt", "v_0.JPEG\tn1\n".encode("utf-16"), "line 1 is no text"),
        ("classes.tsv", b"wnid\tname\nn00000000\n", "line 2 is not as its heading says"),
        ("ILSVRC2012_devkit_t12/data/meta.mat", b"MATLAB 5.0", "fetch the development kit again"),
    ],
)
def test_row_11_a_damaged_label_file_is_one_line_that_names_the_line(
    small: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (small / name).parent.mkdir(parents=True, exist_ok=True)
    (small / name).write_bytes(content)
    with pytest.raises(ValueError, match=name) as error:
        prepare("x", source=small, directory=tmp_path / "d", size=SIZE)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_row_11_labels_with_a_byte_order_mark_and_windows_line_ends_are_read(small: Path, tmp_path: Path) -> None:
    lines = []
    for number, path in enumerate(sorted((small / "val").rglob("*.JPEG"))):
        path.rename(small / "val" / f"v_{number}.JPEG")
        lines.append(f"v_{number}.JPEG\t{path.parent.name}\r\n")
    (small / "val/val_annotations.txt").write_bytes(b"\xef\xbb\xbf" + "".join(lines).encode())
    assert prepare("x", source=small, directory=tmp_path / "d", size=SIZE).test_per_class == [2, 2]


# --- row 16


@pytest.mark.parametrize("bound", ["its size", "the disk"])
def test_row_16_an_archive_bomb_is_stopped_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    bomb = tmp_path / "set.tar.xz"
    bomb.write_bytes(lzma.compress(bytes(40 << 20), preset=0))
    if bound == "its size":
        monkeypatch.setattr(files, "SWOLLEN_FROM", 1 << 20)
        says = r"it swells from \S+ kB to more than \S+ MB"
    else:
        usage = SimpleNamespace(free=1 << 20, total=1 << 30)
        monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
        says = r"does not fit unpacked into .*, where 1.0 MB are left; choose another --data-dir"
    with pytest.raises(ValueError, match=says):
        prepare("x", source=bomb, directory=tmp_path / "d", size=SIZE)
    left = [path for path in (tmp_path / "d").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 1000


def test_row_16_very_many_empty_members_take_little_memory_and_end_in_one_line(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for number in range(4000):
            tar.addfile(tarfile.TarInfo(f"{('train', 'val')[number % 2]}/{number % 7}/{number}.JPEG"))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"2000 of 2000 train images cannot be read, and 2 may be") as error:
            prepare("x", source=tmp_path / "set.tar", directory=tmp_path / "d", size=8)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 500
    assert most < 4000 * 1000 + (4 << 20)  # of a million: 1 GB before, a quarter now


# --- row 17


def test_row_17_a_full_disk_is_named_with_its_path(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Writer, "append", full)
    with pytest.raises(ValueError, match=rf"^{tmp_path / 'd'}/x-40-short-crop-raw: No space left on device; what is"):
        prepare("x", source=small, directory=tmp_path / "d", size=SIZE)


def test_row_17_preparation_says_that_it_waits_for_another(small: Path, tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "d").mkdir()
    held, end = threading.Event(), threading.Event()

    def other() -> None:
        with FileLock(tmp_path / "d" / ".x-40-short-crop-raw.lock"):
            held.set()
            end.wait(60)

    def tell(line: str) -> None:
        told.append(line)
        end.set()

    threading.Thread(target=other).start()
    held.wait(60)
    prepare("x", source=small, directory=tmp_path / "d", size=SIZE, tell=tell)
    prepare("x", source=small, directory=tmp_path / "d", size=SIZE, tell=tell)
    assert told == [f"waiting for another process that prepares {tmp_path / 'd' / 'x-40-short-crop-raw'}"]


def test_row_17_a_data_directory_without_permission_is_said(
    repro: Repro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    for command in (("list",), ("verify",)):
        code, out, err = repro("data", *command, "--data-dir", "d")
        assert (code, out) == (
            2,
            "",
        ) and err == "error: d: Permission denied; mend that, or choose another --data-dir\n"


def test_row_17_the_home_folder_and_an_empty_variable_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REPRO_DATA_DIR", "~/sets")
    assert folders.data_directory(None) == tmp_path / "sets"
    assert folders.data_directory(Path("~/here")) == tmp_path / "here"
    monkeypatch.setenv("REPRO_DATA_DIR", "")
    assert folders.data_directory(None) == Path("data")
