"""Images as people keep them: links, stray and hidden files, several sets, archives of every kind, tables of hubs."""

import hashlib
import io
import json
import os
import shutil
import struct
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from made_up_images import SIZE, add, class_tree, image
from PIL import Image

from repro.data import manifest as manifests
from repro.data.load.beton import open_beton
from repro.data.manifest import Manifest
from repro.data.prepare import cifar, convert, files
from repro.data.prepare.prepare import prepare

CLASSES = ["n00000000", "n00000001", "n00000002", "n00000003"]


@pytest.fixture(scope="module")
def wanted(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The set that `tree` makes."""
    return prepare("made-up", source=tree, directory=tmp_path_factory.mktemp("wanted"), size=SIZE)


def made(source: Path, directory: Path, **how: object) -> Manifest:
    return prepare("made-up", source=source, directory=directory / "data", size=SIZE, **how)  # type: ignore[arg-type]


def refused(source: Path, directory: Path, **how: object) -> str:
    """The one line that preparation ends with."""
    with pytest.raises(ValueError) as error:  # noqa: PT011  (its text is looked at)
        made(source, directory, **how)
    assert "\n" not in str(error.value)
    return str(error.value)


def stored(directory: Path, found: Manifest, split: str) -> set[tuple[bytes, int]]:
    beton = open_beton(directory / "data" / found.name / f"{split}.beton", found.storage)
    return {(beton.encoded(index).tobytes(), int(label)) for index, label in enumerate(beton.labels)}


def packed(path: Path, tree: Path, names: dict[str, str]) -> Path:
    """A tar of files of `tree`, by the names that they have in it."""
    mode = "w:gz" if path.suffix in (".gz", ".tgz") else "w"
    with tarfile.open(path, mode, compresslevel=1) if mode == "w:gz" else tarfile.open(path, mode) as tar:
        for name, inside in names.items():
            add(tar, inside, (tree / name).read_bytes())
    return path


def names_below(tree: Path, folder: str) -> list[str]:
    return sorted(path.relative_to(tree).as_posix() for path in (tree / folder).rglob("*") if path.is_file())


# --- digests of the versions before

GOLDEN = {  # as the code made them before sources were read by one walk (22b0596)
    "photos": "db2e852f0805f3c2d3b158aa0bfcaa8ebe3bd3473a4c46c99766b2186e2b3942",
    "cifar10": "2f47ef3e72e2b1d37d4ad3310ede11c431b9ace905d3082f2cfacebe3e6b0ad5",
    "folders": "2eed45b14fcb90704f024947944851ad5cafa54ea9c7d635cb17be00a2f9e1dc",
    "warped": "6719a50feb2fd89a10969093a73daa38822b8056087e3f1b46524d1a7d558a03",
    "subset": "cf80e5b6e867a317b04d801e98a0597cf32d59c1e17da292cceedac9a7e3c94b",
}


def test_sets_of_good_sources_have_the_digests_that_they_always_had(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(7)
    for split, count in (("train", 5), ("val", 2)):
        for wnid in CLASSES[1:]:
            (tmp_path / "tree" / split / wnid).mkdir(parents=True)
            for number in range(count):
                height, width = (int(side) for side in generator.integers(20, 90, 2))
                noise = Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))
                noise.save(tmp_path / "tree" / split / wnid / f"{number}.png")
    records = np.random.default_rng(0).integers(0, 256, (200, 3073), np.uint8)
    records[:, 0] = np.arange(200) % 10
    md5 = hashlib.md5(records.tobytes()).hexdigest()
    monkeypatch.setattr(cifar, "CIFAR_MD5", dict.fromkeys(("data_batch_1", "test_batch"), md5))
    (tmp_path / "binary").mkdir()
    for name in cifar.CIFAR_MD5:
        (tmp_path / "binary" / f"{name}.bin").write_bytes(records.tobytes())

    def prepared(name: str, source: str, **how: object) -> str:
        return prepare(name, source=tmp_path / source, directory=tmp_path, **how).digest  # type: ignore[arg-type]

    assert {
        "photos": manifests.prepared(photos)[0].digest,
        "cifar10": prepared("cifar10", "binary"),
        "folders": prepared("golden", "tree", size=40),
        "warped": prepared("golden", "tree", size=40, resize="warp"),
        "subset": prepared("golden", "tree", size=40, classes=2, per_class=3),
    } == GOLDEN


# --- links


def test_links_to_splits_to_classes_and_to_files_are_followed(tree: Path, tmp_path: Path, wanted: Manifest) -> None:
    splits, classes, single = (tmp_path / name for name in ("splits", "classes", "files"))
    for split in ("train", "val"):
        for folder in (splits, classes / split):
            folder.mkdir(parents=True, exist_ok=True)
        (splits / split).symlink_to(tree / split)
        for name in CLASSES:
            (classes / split / name).symlink_to(os.path.relpath(tree / split / name, classes / split))
            (single / split / name).mkdir(parents=True)
            for path in (tree / split / name).iterdir():
                (single / split / name / path.name).symlink_to(path)
    for number, source in enumerate((splits, classes, single)):
        assert made(source, tmp_path / str(number)).digest == wanted.digest


def test_links_that_lead_back_or_nowhere_end_and_are_counted(tree: Path, tmp_path: Path, wanted: Manifest) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    place = tree / "train" / CLASSES[0]
    (place / "up").symlink_to(tree)
    (place / "self").symlink_to("self")
    (place / "gone.JPEG").symlink_to("nothing.JPEG")
    for one, other in (("a", "b"), ("b", "a")):
        (tree / one).mkdir()
        (tree / one / "in").symlink_to(tree / other)
    os.mkfifo(place / "pipe.JPEG")  # reading it would wait for ever
    found = made(tree, tmp_path)
    assert found.digest == wanted.digest
    assert [note.partition(" (")[0] for note in found.notes] == [
        "not read: 1 entries that are neither files nor folders",
        "not read: 3 links that lead back to a folder that they are in",
        "not read: 2 links that lead nowhere",
    ]


def test_a_folder_that_may_not_be_read_is_an_error_that_names_it(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(path: object) -> object:
        if str(path).endswith(CLASSES[1]):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)  # type: ignore[call-overload]

    monkeypatch.setattr(files.os, "scandir", refuse)
    assert f"train/{CLASSES[1]} cannot be read: Permission denied; give yourself the right" in refused(tree, tmp_path)


# --- what is a class, and what is not looked at


def test_only_a_folder_is_a_class_and_hidden_parts_do_not_count_in_folders_tars_and_zips(
    tree: Path, tmp_path: Path, wanted: Manifest
) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    some = (tree / "train" / CLASSES[0] / "train_0.JPEG").read_bytes()
    for name in (
        "train/montage.png", "val/contact sheet.JPEG", "figure.png", "train/._1.JPEG", ".Trash-1000/train/x/1.JPEG",
        f"train/{CLASSES[0]}/.ipynb_checkpoints/1.JPEG", "train/.ipynb_checkpoints/1.JPEG", "__MACOSX/train/y/1.JPEG",
        f"train/{CLASSES[1]}/@eaDir/1.JPEG",
    ):  # fmt: skip
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(some)
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(tree, ".")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as whole:
        for name in names_below(tree, "."):
            whole.write(tree / name, name)
    for number, source in enumerate((tree, tmp_path / "set.tar", tmp_path / "set.zip")):
        found = made(source, tmp_path / str(number))
        assert found.digest == wanted.digest
        assert found.notes == [
            "not read: 1 images of train that are in no class folder (train/montage.png)",
            "not read: 1 images of val that are in no class folder (val/contact sheet.JPEG)",
            "not read: 1 images outside train, val and test (figure.png)",
        ]


def test_folders_of_images_alone_make_no_classes_of_their_file_names(tree: Path, tmp_path: Path) -> None:
    for number, name in enumerate(names_below(tree, "train")):
        for place in ("flat/train", "flat/val", f"inside-out/{name.split('/')[1]}/train"):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / name, tmp_path / place / f"{number}.JPEG")
    says = refused(tmp_path / "flat", tmp_path)
    assert "holds no training images; wanted: a folder with train/CLASS" in says
    assert "not read: 48 images of train that are in no class folder" in says
    assert f"{CLASSES[0]}/train and " in refused(tmp_path / "inside-out", tmp_path)


@pytest.mark.parametrize("second", ["copy", "old", "as an archive"])
def test_more_than_one_folder_that_holds_train_is_an_error_that_names_two(
    tree: Path, tmp_path: Path, second: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tree, source if second == "old" else source / "set-160")
    if second == "as an archive":
        names = names_below(tree, ".")
        shutil.rmtree(source)
        source.mkdir()
        for name in ("set-160", "set-320"):
            packed(source / f"{name}.tar", tree, {each: f"{name}/{each}" for each in names})
        assert "set-160/train and" in (says := refused(source, tmp_path)) and "set-320/train both hold" in says
        return
    shutil.copytree(tree, source / ("old" if second == "old" else "set-320"))
    says = refused(source, tmp_path)
    assert "/train both hold images" in says and ("old/train" in says or "set-320/train" in says)


def test_one_image_in_two_archives_is_an_error_and_twice_in_one_the_last_counts(tree: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    every = {name: name for name in names_below(tree, ".")}
    packed(source / "one.tar", tree, every)
    shutil.copy(source / "one.tar", source / "two.tar")
    assert "is in both" in refused(source, tmp_path)
    (source / "two.tar").unlink()
    with tarfile.open(source / "one.tar", "a") as tar:
        add(tar, next(iter(every)), (tree / next(iter(every))).read_bytes())
    found = made(source, tmp_path)
    assert (found.train_count, found.test_count) == (48, 12)
    assert "not read: 1 earlier members of the same name in archives" in found.notes[0]


def test_endings_that_are_images_are_read_and_others_are_counted(tree: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    some, place = image(np.random.default_rng(0), 50, 50), tree / "train" / CLASSES[0]
    for ending, format_ in (("jfif", "JPEG"), ("jpe", "JPEG"), ("ppm", "PPM"), ("PNG", "PNG")):
        some.save(place / f"more.{ending}", format_)
    some.convert("L").save(place / "more.pgm", "PPM")
    for name in ("raw.heic", "raw2.heic", "noending", "notes.txt", "list.md5"):
        (place / name).write_bytes(b"x")
    found = made(tree, tmp_path)
    assert found.train_count == 48 + 5 and list(found.converted) == ["gray made RGB"]
    assert found.notes == [
        f"not read: 2 files with the ending .heic (train/{CLASSES[0]}/raw.heic)",
        f"not read: 1 files without an ending (train/{CLASSES[0]}/noending)",
    ]


# --- archives


def split_tars(tree: Path, source: Path) -> None:
    for split in ("train", "val"):
        packed(
            source / f"my_{split}.tar", tree, {name: f"./{name[len(split) + 1 :]}" for name in names_below(tree, split)}
        )


def a_tar_a_class(tree: Path, source: Path) -> None:
    for name in CLASSES:
        members = {each: f"./{each.rsplit('/', 1)[1]}" for each in names_below(tree, f"train/{name}")}
        packed(source / f"{name}.tar", tree, members)
    shutil.copytree(tree / "val", source / "val")


def a_tar_a_class_in_splits(tree: Path, source: Path) -> None:
    for split in ("train", "val"):
        (source / split).mkdir()
        for name in CLASSES:
            members = {each: each.rsplit("/", 1)[1] for each in names_below(tree, f"{split}/{name}")}
            packed(source / split / f"{name}.tar.gz", tree, members)


def hub_shards(tree: Path, source: Path) -> None:
    (source / "data").mkdir()
    for split in ("train", "val"):
        every = names_below(tree, split)
        for shard in range(2):
            members = {name: f"{name.rsplit('/', 1)[1][:-5]}_{name.split('/')[1]}.JPEG" for name in every[shard::2]}
            packed(source / "data" / f"{split}_images_{shard}.tar.gz", tree, members)


def a_zip(tree: Path, source: Path) -> None:
    with zipfile.ZipFile(source / "set.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole:
        for name in names_below(tree, "."):
            whole.write(tree / name, f"tiny-imagenet-200/{name}")


def a_zip_of_windows(tree: Path, source: Path) -> None:
    with zipfile.ZipFile(source / "train.zip", "w") as train, zipfile.ZipFile(source / "val.zip", "w") as val:
        for name in names_below(tree, "."):
            whole = train if name.startswith("train") else val
            whole.write(tree / name, name.split("/", 1)[1].replace("/", "\\"))


def archive_kept_beside(tree: Path, source: Path) -> None:
    shutil.copytree(tree, source, dirs_exist_ok=True)
    packed(source / "my_train.tar", tree, {name: name for name in names_below(tree, "train")})


@pytest.mark.parametrize(
    "form",
    [split_tars, a_tar_a_class, a_tar_a_class_in_splits, hub_shards, a_zip, a_zip_of_windows, archive_kept_beside],
)
def test_archives_as_people_keep_them_hold_the_set_of_the_folders(
    tree: Path, tmp_path: Path, wanted: Manifest, form: Callable[[Path, Path], None]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    form(tree, source)
    for name in (
        "my_train.tar.md5", "x.tar.aria2", "my_val.tar.torrent", "ILSVRC2012_devkit_t12.tar.gz.md5",
        "ILSVRC2012_devkit_t12.txt", "README.md",
    ):  # fmt: skip
        (source / name).write_text("no archive at all")
    for kit in ("ILSVRC2012_devkit_t3.tar.gz", "ILSVRC2010_devkit-1.0.tar.gz"):
        packed(source / kit, tree, {"train/n00000000/train_0.JPEG": "kit/data/readme.txt"})
    found = made(source, tmp_path)
    assert (found.train_per_class, found.test_per_class) == (wanted.train_per_class, wanted.test_per_class)
    assert [entry["wnid"] for entry in found.classes] == CLASSES
    if form is not hub_shards:  # whose order is that of other file names
        assert found.digest == wanted.digest
    kept = "not read: 1 archives, for their images are there as files (my_train.tar)"
    assert found.notes == ([kept] if form is archive_kept_beside else [])
    assert made(source, tmp_path) == found


def test_label_files_are_read_out_of_archives_too(tree: Path, tmp_path: Path, wanted: Manifest) -> None:
    lines = []
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as whole:
        for name in names_below(tree, "train"):
            _, wnid, file = name.split("/")
            whole.write(tree / name, f"tiny-imagenet-200/train/{wnid}/images/{file}")
        for number, name in enumerate(names_below(tree, "val")):
            whole.write(tree / name, f"tiny-imagenet-200/val/images/val_{number}.JPEG")
            lines.append(f"val_{number}.JPEG\t{name.split('/')[1]}\t0\t0\t1\t1\n")
        whole.writestr("tiny-imagenet-200/val/val_annotations.txt", "".join(lines))
    found = made(tmp_path / "tiny-imagenet-200.zip", tmp_path)
    assert found.test_per_class == wanted.test_per_class
    assert found.files["train.beton"] == wanted.files["train.beton"]


def test_links_and_archives_inside_archives_are_counted(tree: Path, tmp_path: Path, wanted: Manifest) -> None:
    source = tmp_path / "set.tar"
    packed(source, tree, {name: name for name in names_below(tree, ".")})
    with tarfile.open(source, "a") as tar:
        for name, type_ in (("train/n00000000/s.JPEG", tarfile.SYMTYPE), ("train/n00000000/h.JPEG", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = type_, "train_0.JPEG"
            tar.addfile(link)
        add(tar, "train/more.tar.gz", b"x")
    found = made(source, tmp_path)
    assert found.digest == wanted.digest and found.notes == [
        "not read: 1 archives in archives; unpack the outer one (set.tar: train/more.tar.gz)",
        "not read: 2 links in archives (set.tar: train/n00000000/s.JPEG)",
    ]


# --- a hub's tables


def table(path: Path, rows: list[tuple[bytes | None, int]], names: list[str], image_column: str = "image") -> None:
    schema = pa.schema(
        [(image_column, pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        {"huggingface": json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": names}}}})},
    )
    images = [{"bytes": content, "path": None} for content, _ in rows]
    columns = [pa.array(images, schema[0].type), pa.array([label for _, label in rows], pa.int64())]
    path.parent.mkdir(exist_ok=True, parents=True)
    pyarrow.parquet.write_table(pa.Table.from_arrays(columns, schema=schema), path, row_group_size=5)


@pytest.mark.parametrize("image_column", ["image", "img"])
def test_a_hubs_parquet_tables_are_read_with_the_names_of_their_schema(
    tree: Path, tmp_path: Path, wanted: Manifest, image_column: str
) -> None:
    names = ["tench, Tinca tinca", "goldfish", "great white shark", "tiger shark"]
    for split, called, shards in (("train", "train", 3), ("val", "validation", 1)):
        every = [((tree / name).read_bytes(), CLASSES.index(name.split("/")[1])) for name in names_below(tree, split)]
        for shard in range(shards):
            path = tmp_path / "hub/data" / f"{called}-{shard:05d}-of-{shards:05d}.parquet"
            table(path, every[shard::shards], names, image_column)
    table(tmp_path / "hub/data/test-00000-of-00001.parquet", [(b"x", -1)], names, image_column)
    found = made(tmp_path / "hub", tmp_path)
    assert [entry["name"] for entry in found.classes] == names
    assert (found.train_per_class, found.test_per_class) == (wanted.train_per_class, wanted.test_per_class)
    again = made(tree, tmp_path / "tree")
    for split in ("train", "test"):
        assert stored(tmp_path, found, split) == stored(tmp_path / "tree", again, split)
    (tmp_path / "hub/data/train-00001-of-00003.parquet").unlink()
    fewer = prepare("fewer", source=tmp_path / "hub", directory=tmp_path, size=SIZE)
    assert "2 of the 3 archives of data/train are there" in fewer.notes


def test_a_table_without_the_columns_of_images_and_labels_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pa.table({"text": ["a"], "target": [1]}), path)
    assert "it wants the columns image (or img) and label, and has text, target" in refused(path, tmp_path)


def test_cifar_from_a_hubs_tables_is_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    batches = {
        name: generator.integers(0, 256, (20, 3073), np.uint8)
        for name in ("data_batch_1", "data_batch_2", "test_batch")
    }
    for records in batches.values():
        records[:, 0] = np.arange(20) % 10
    md5 = {name: hashlib.md5(records.tobytes()).hexdigest() for name, records in batches.items()}
    monkeypatch.setattr(cifar, "CIFAR_MD5", md5)
    monkeypatch.setattr(cifar, "RECORDS", 20)

    def rows(names: list[str]) -> list[tuple[bytes | None, int]]:
        found: list[tuple[bytes | None, int]] = []
        for record in np.concatenate([batches[name] for name in names]):
            file = io.BytesIO()
            Image.fromarray(record[1:].reshape(3, 32, 32).transpose(1, 2, 0)).save(file, "PNG")
            found.append((file.getvalue(), int(record[0])))
        return found

    (tmp_path / "binary").mkdir()
    for name, records in batches.items():
        (tmp_path / "binary" / f"{name}.bin").write_bytes(records.tobytes())
    folder = tmp_path / "hub" / "plain_text"
    table(folder / "train-00000-of-00001.parquet", rows(["data_batch_2", "data_batch_1"]), list("abcdefghij"), "img")
    table(folder / "test-00000-of-00001.parquet", rows(["test_batch"]), list("abcdefghij"), "img")
    binary = prepare("cifar10", source=tmp_path / "binary", directory=tmp_path / "1")
    assert prepare("cifar10", source=tmp_path / "hub", directory=tmp_path / "2").digest == binary.digest


# --- one image


def exif_with(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An Exif block of one directory: tag, type, count, value."""
    at, rest = 8 + 2 + 12 * len(entries) + 4, b""
    head = struct.pack("<H", len(entries))
    for tag, type_, count, value in sorted(entries):
        short = len(value) <= 4
        head += struct.pack("<HHL", tag, type_, count) + (
            value.ljust(4, b"\0") if short else struct.pack("<L", at + len(rest))
        )
        rest += b"" if short else value
    return b"Exif\0\0II*\0\x08\0\0\0" + head + b"\0\0\0\0" + rest


@pytest.mark.parametrize("orientation", range(10))
def test_an_orientation_is_followed_whatever_else_the_exif_holds_and_only_real_turns_are_said(orientation: int) -> None:
    upright = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8))
    exif = exif_with((0x112, 3, 1, struct.pack("<H", orientation)), (282, 2, 6, b"72dpi\0"))  # a text for a number
    file = io.BytesIO()
    upright.save(file, "PNG", exif=exif)
    found, unusual = convert.decode(file.getvalue(), "x.png")
    turned = upright.transpose(convert.TURNS[orientation]) if orientation in convert.TURNS else upright
    assert found.tobytes() == turned.tobytes()
    assert unusual == (("turned upright as its EXIF says",) if 2 <= orientation <= 8 else ())


def test_an_image_that_makes_its_reader_raise_anything_is_left_out_and_named(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    kinds = (
        RuntimeError,
        struct.error,
        KeyError,
        MemoryError,
        RecursionError,
        TypeError,
        ZeroDivisionError,
        OverflowError,
    )
    for number, _ in enumerate(kinds):
        (tree / "train" / CLASSES[0] / f"bad_{number}.jpg").write_bytes(b"x")
    decode = convert.decode

    def failing(content: bytes, name: str) -> object:
        if "bad_" in name:
            raise kinds[int(name[-5])]("made up")
        return decode(content, name)

    monkeypatch.setattr(convert, "decode", failing)
    found = made(tree, tmp_path, allow_bad=len(kinds))
    assert sorted(entry["file"] for entry in found.bad) == [
        f"train/{CLASSES[0]}/bad_{n}.jpg" for n in range(len(kinds))
    ]
    assert all("made up" in entry["reason"] for entry in found.bad) and found.train_count == 48


@pytest.mark.parametrize("side", [(30_000, 1), (2, 20_000)])
def test_a_line_of_pixels_is_cropped_before_it_is_resized(
    side: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *a, **k: sizes.append(size) or resize(self, size, *a, **k)
    )
    line = Image.new("RGB", side, (10, 20, 30))
    assert np.asarray(convert.to_square(line, 640, "short-crop")).tolist()[0][0] == [10, 20, 30]
    assert sizes == [(640, 640)]


def test_cropping_first_gives_what_cropping_last_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = image(np.random.default_rng(3), 300, 80)
    last = np.asarray(convert.to_square(photo, 64, "short-crop")).astype(int)
    monkeypatch.setattr(convert, "MOST_PIXELS", 1)
    first = np.asarray(convert.to_square(photo, 64, "short-crop")).astype(int)
    assert abs(first - last).max() <= 2


def test_a_file_too_large_to_be_an_image_is_left_out_unread(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    with open(tree / "train" / CLASSES[0] / "huge.JPEG", "wb") as file:
        file.truncate(files.LARGEST + 1)  # a hole: it takes no room
    (bad,) = made(tree, tmp_path, allow_bad=1).bad
    assert bad["file"].endswith("huge.JPEG") and "268.4 MB are more than an image takes" in bad["reason"]


@pytest.mark.parametrize("storage", ["raw", "png"])
def test_every_size_has_a_page_that_holds_an_image(tmp_path: Path, storage: str) -> None:
    size = 837  # FFCV's smallest page, which small sets have, holds 836
    tree = class_tree(tmp_path / "tree", classes=2, train=1, test=1)
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(noise).save(tree / "train/n00000000/noise.png")
    found = prepare("made-up", source=tree, directory=tmp_path, size=size, storage=storage)
    beton = open_beton(tmp_path / found.name / "train.beton", storage, size)
    assert len(beton.labels) == 3 and beton.lengths.max() >= size * size * 3 * 0.99


# --- a set is known by what was read


def test_a_set_is_known_by_the_files_it_was_read_from(tree: Path, tmp_path: Path) -> None:
    one = Path(shutil.copytree(tree, tmp_path / "one" / "images"))
    first = made(one, tmp_path)
    moved = Path(shutil.copytree(tree, tmp_path / "two" / "images"))  # with its times
    (one / "README.md").write_text("says nothing about images")
    (one / "ILSVRC2012_devkit_t3.tar.gz.md5").write_text("x")
    assert made(moved, tmp_path) == made(one, tmp_path) == first
    touched = one / "train" / CLASSES[0] / "train_0.JPEG"
    content = touched.read_bytes()
    for change in (
        lambda: shutil.copy(touched, touched.with_name("added.JPEG")),
        lambda: touched.write_bytes(content[:-1] + b"x"),  # of the same size
        lambda: touched.unlink(),
    ):
        shutil.rmtree(one)
        shutil.copytree(tree, one)
        change()
        if touched.exists():
            os.utime(touched, ns=(1, 1))
        says = refused(one, tmp_path)
        assert "already prepared, from images as it was then" in says and f"--source {one} was not read: delete" in says


def test_no_place_refuses_the_set_for_its_rights(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)  # what CIFS and exFAT answer
    assert made(tree, tmp_path).train_count == 48


def test_names_that_are_no_text_are_shown_with_escapes(tree: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    for split in ("train", "val"):
        os.rename(tree / split / CLASSES[0], os.fsencode(tree / split) + b"/caf\xe9")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = made(tree, tmp_path)
    assert found.classes[0]["name"] == "caf\\udce9"


def test_an_archive_among_class_folders_is_an_error_and_one_that_is_unpacked_there_is_not(
    tree: Path, tmp_path: Path, wanted: Manifest
) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    members = {each: each.rsplit("/", 1)[1] for each in names_below(tree, f"train/{CLASSES[0]}")}
    packed(tree / "train" / f"{CLASSES[0]}.tar", tree, members)
    assert made(tree, tmp_path).digest == wanted.digest
    packed(tree / "train" / "backup.tar.gz", tree, members)
    assert "train/backup.tar.gz is among class folders; unpack it there" in refused(tree, tmp_path / "other")


def test_splits_of_different_folders_are_said(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree / "train", tmp_path / "source/set-160/train")
    shutil.copytree(tree / "val", tmp_path / "source/set-320/val")
    (note,) = made(tmp_path / "source", tmp_path).notes
    assert "train is of" in note and "set-160, the test images of" in note and "set-320" in note


def test_a_table_where_arrow_is_not_installed_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pa.table({"image": [b"x"], "label": [0]}), path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "needs the extra: pip install 'alexnet-repro[arrow]'" in refused(path, tmp_path)
