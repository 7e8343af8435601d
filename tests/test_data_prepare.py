"""Preparation: every form of source, dirty pictures, interruption, subsets, verification, the embedded photographs."""

import errno
import hashlib
import io
import os
import pickle
import shutil
import tarfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_pictures import SIZE, class_tree, picture
from PIL import Image

from repro.data import manifest, sources
from repro.data import prepare as preparation
from repro.data.beton import open_beton
from repro.data.prepare import Progress, prepare, storage_costs, verify


def prepared_files(directory: Path, name: str) -> dict[str, bytes]:
    """Content of every file of a prepared set."""
    return {path.name: path.read_bytes() for path in (directory / name).iterdir()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_tree(tmp_path_factory.mktemp("source") / "tree", classes=4, train=12, test=3)


def test_a_tree_is_prepared_once_and_described(tree: Path, tmp_path: Path) -> None:
    (tree / "classes.tsv").write_text("index\twnid\tname\n0\tn00000000\tfirst, one\n1\tn00000001\tsecond\n")
    seen: list[Progress] = []
    made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE, progress=seen.append)
    assert (made.train_count, made.test_count) == (48, 12)
    assert (made.train_per_class, made.test_per_class) == ([12] * 4, [3] * 4)
    assert [entry["name"] for entry in made.classes] == ["first, one", "second", "n00000002", "n00000003"]
    assert made.name == "made-up-40-short-crop-raw" and "bicubic" in made.resize_filter
    assert [at.done for at in seen if at.stage == "train"] == list(range(1, 49))
    assert seen[0].total == 48
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / made.name).iterdir()}
    again = prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    assert again == made == manifest.load(tmp_path / made.name)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / made.name).iterdir()}
    assert manifest.prepared(tmp_path) == [made]
    assert made.bytes == sum(
        path.stat().st_size for path in (tmp_path / made.name).iterdir() if path.name != "manifest.json"
    )


def test_the_same_source_gives_the_same_bytes_and_digest(tree: Path, tmp_path: Path) -> None:
    first = prepare("made-up", source=tree, directory=tmp_path / "a", size=SIZE)
    second = prepare("made-up", source=tree, directory=tmp_path / "b", size=SIZE)
    assert first == second
    assert prepared_files(tmp_path / "a", first.name) == prepared_files(tmp_path / "b", first.name)
    warped = prepare("made-up", source=tree, directory=tmp_path / "a", size=SIZE, resize="warp")
    assert warped.digest != first.digest and warped.name != first.name


def test_an_interrupted_preparation_goes_on_and_ends_in_the_same_bytes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = prepare("made-up", source=tree, directory=tmp_path / "whole", size=SIZE, storage="png")
    monkeypatch.setattr(preparation, "SAVE_BYTES", 5 * SIZE * SIZE * 3)  # save every 5 pictures
    reads: list[str] = []
    read = sources.Entry.read
    monkeypatch.setattr(sources.Entry, "read", lambda entry: reads.append(entry.name) or read(entry))

    def stop_at(stage: str, number: int) -> None:
        def listen(at: Progress) -> None:
            if (at.stage, at.done) == (stage, number):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare("made-up", source=tree, directory=tmp_path / "cut", size=SIZE, storage="png", progress=listen)

    for stage, number in (("train", 3), ("train", 17), ("train", 43), ("test", 7)):
        stop_at(stage, number)
    assert manifest.prepared(tmp_path / "cut") == []
    reads.clear()
    made = prepare("made-up", source=tree, directory=tmp_path / "cut", size=SIZE, storage="png")
    assert made == wanted
    assert prepared_files(tmp_path / "cut", made.name) == prepared_files(tmp_path / "whole", made.name)
    assert len(reads) < 12 and not any(
        name.startswith("train") for name in reads
    )  # only what was left of the test split
    assert not list((tmp_path / "cut").glob("*.part"))


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-100], lambda whole: b"\0" * len(whole)])
def test_a_state_that_cannot_be_read_starts_the_split_anew(
    tree: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    def stop(at: Progress) -> None:
        if (at.stage, at.done) == ("test", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("made-up", source=tree, directory=tmp_path / "cut", size=SIZE, progress=stop)
    (state,) = (tmp_path / "cut").glob("*.part/train.state")
    state.write_bytes(damage(state.read_bytes()))
    (state.parent / ".train.state.killed").touch()  # what a process killed inside `save` leaves
    seen: list[Progress] = []
    made = prepare("made-up", source=tree, directory=tmp_path / "cut", size=SIZE, progress=seen.append)
    assert sum(at.stage == "train" for at in seen) == 48
    assert made == prepare("made-up", source=tree, directory=tmp_path / "whole", size=SIZE)
    assert prepared_files(tmp_path / "cut", made.name) == prepared_files(tmp_path / "whole", made.name)


def test_pictures_are_on_the_disk_before_the_state_and_the_manifest_say_so(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bytes]] = []
    sync = os.fsync

    def listed(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        synced.append((path.name, path.read_bytes()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", listed)
    made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    beton, state, mean, last = (
        max(number for number, (name, _) in enumerate(synced) if name.startswith(start))
        for start in ("train.beton", ".train.state", "mean.npy", ".manifest.json")
    )
    assert beton < state < mean < last
    assert synced[beton][1] == (tmp_path / made.name / "train.beton").read_bytes()
    assert synced[mean][1] == (tmp_path / made.name / "mean.npy").read_bytes()


def test_another_source_does_not_go_on_where_the_first_stopped(tree: Path, tmp_path: Path) -> None:
    def listen(at: Progress) -> None:
        if (at.stage, at.done) == ("test", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE, progress=listen)
    other = class_tree(tmp_path / "other", classes=4, train=10, test=3, seed=1)
    made = prepare("made-up", source=other, directory=tmp_path, size=SIZE)
    fresh = prepare("made-up", source=other, directory=tmp_path / "fresh", size=SIZE)
    assert made.train_count == 40 and made.digest == fresh.digest


def test_two_at_once_prepare_it_once(tree: Path, tmp_path: Path) -> None:
    made = []

    def one() -> None:
        made.append(prepare("made-up", source=tree, directory=tmp_path, size=SIZE))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3 and made[0] == made[1] == made[2]
    assert verify(tmp_path) == []


def dirty_tree(folder: Path) -> Path:
    """A tree with what real ImageNet has in it."""
    class_tree(folder, classes=3, train=6, test=2)
    generator = np.random.default_rng(5)
    place = folder / "train" / "n00000001"
    base = picture(generator, 60, 50)
    base.convert("CMYK").save(place / "cmyk.JPEG")
    base.save(place / "really_png.JPEG", format="PNG")
    base.convert("L").save(place / "gray.JPEG")
    base.convert("RGBA").save(place / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    base.save(place / "turned.JPEG", exif=exif, quality=95)
    content = io.BytesIO()
    base.save(content, "JPEG")
    (place / "cut.JPEG").write_bytes(content.getvalue()[:-300])
    (place / "empty.JPEG").write_bytes(b"")
    (place / "words.JPEG").write_text("no picture at all")
    base.save(place / "odd näme\t(1) 'x'.JPEG")
    base.save(Path(os.fsdecode(bytes(place) + b"/latin\xe9.JPEG")))
    (place / ".hidden.JPEG").write_text("left by some other program")
    (place / "notes.txt").write_text("not a picture by its name")
    return folder


def test_dirty_pictures_are_converted_or_listed_with_their_reason(tmp_path: Path) -> None:
    tree = dirty_tree(tmp_path / "tree")
    with pytest.raises(ValueError, match=r"3 of 28 train pictures cannot be read, and 0 may be .*--allow-bad 3"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    with pytest.raises(ValueError, match="3 of 28"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE, allow_bad=2)
    made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE, allow_bad=3)
    with pytest.raises(ValueError, match="3 of 28"):
        prepare("made-up", source=tree, directory=tmp_path / "mended", size=SIZE)
    for name in ("cut", "empty", "words"):
        shutil.copy(tree / "train/n00000001/gray.JPEG", tree / f"train/n00000001/{name}.JPEG")
    assert prepare("made-up", source=tree, directory=tmp_path / "mended", size=SIZE).bad == []
    reasons = {entry["file"].rsplit("/", 1)[1]: entry["reason"] for entry in made.bad}
    assert "truncated" in reasons.pop("cut.JPEG")
    assert reasons == {"empty.JPEG": "the file is empty", "words.JPEG": "no image format that Pillow knows"}
    assert made.train_count == 25 and made.train_per_class == [6, 13, 6]
    examples = {reason: entry["files"] for reason, entry in made.converted.items()}
    assert {reason: [file.rsplit("/", 1)[1] for file in files] for reason, files in examples.items()} == {
        "CMYK made RGB": ["cmyk.JPEG"], "PNG file named .jpeg": ["really_png.JPEG"], "gray made RGB": ["gray.JPEG"],
        "RGBA made RGB": ["alpha.png"], "turned upright as its EXIF says": ["turned.JPEG"],
    }  # fmt: skip
    beton = open_beton(tmp_path / made.name / "train.beton", "raw")
    assert len(beton.labels) == 25
    stored = {beton.encoded(index).tobytes() for index in range(25)}
    with Image.open(tree / "train/n00000001/turned.JPEG") as image:
        upright = preparation.to_square(image.transpose(Image.Transpose.ROTATE_270), SIZE, "short-crop")
    assert np.asarray(upright).tobytes() in stored
    assert verify(tmp_path) == []


def test_a_picture_too_large_to_decode_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = class_tree(tmp_path / "tree", classes=2, train=3, test=1)
    generator = np.random.default_rng(0)
    picture(generator, 300, 200).save(tree / "train/n00000000/large.JPEG")
    picture(generator, 600, 400).save(tree / "train/n00000000/huge.JPEG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # Pillow warns above it and refuses above its double
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE, allow_bad=1)
    assert [entry["file"] for entry in made.bad] == ["train/n00000000/huge.JPEG"]
    assert "decompression bomb" in made.bad[0]["reason"] and made.train_count == 7


def test_verify_names_what_changed_and_what_is_half_written(tree: Path, tmp_path: Path) -> None:
    made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    folder = tmp_path / made.name
    assert verify(tmp_path) == verify(tmp_path, "made-up") == verify(tmp_path, made.name) == []
    with pytest.raises(ValueError, match="nothing called other"):
        verify(tmp_path, "other")
    beton = folder / "train.beton"
    whole = beton.read_bytes()
    beton.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    (problem,) = verify(tmp_path)
    assert problem.file == beton and "changed" in problem.what
    beton.write_bytes(whole[:-1])
    (problem,) = verify(tmp_path)
    assert problem.file == beton and "half-written" in problem.what
    beton.unlink()
    (problem,) = verify(tmp_path)
    assert problem.file == beton and "missing" in problem.what
    beton.write_bytes(whole)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("n00000003", "n00000009"))
    (problem,) = verify(tmp_path)
    assert problem.file == folder / "manifest.json"
    (folder / "manifest.json").write_text(text[:100])
    (problem,) = verify(tmp_path)
    assert "damaged" in problem.what
    (folder / "manifest.json").unlink()
    (problem,) = verify(tmp_path)
    assert problem.file == folder and "half-written" in problem.what


def test_a_subset_is_balanced_and_the_same_for_the_same_seed(tree: Path, tmp_path: Path) -> None:
    how = {"source": tree, "size": SIZE, "classes": 3, "per_class": 5}
    made = prepare("made-up", directory=tmp_path / "a", **how)
    again = prepare("made-up", directory=tmp_path / "b", **how)
    other = prepare("made-up", directory=tmp_path / "a", seed=1, **how)
    assert (made.source, other.source) == ("made-up-3x5", "made-up-3x5-seed1")
    assert made.train_per_class == [5] * 3 and made.test_per_class == [3] * 3
    assert made == again and made.digest != other.digest
    with pytest.raises(ValueError, match="--classes 9: there are only 4"):
        prepare("made-up", directory=tmp_path, source=tree, size=SIZE, classes=9)
    with pytest.raises(ValueError, match=r"--per-class 13: class .* has only 12"):
        prepare("made-up", directory=tmp_path, source=tree, size=SIZE, per_class=13)


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def digest_of(tree: Path, directory: Path) -> tuple[str, list[dict[str, str]]]:
    made = prepare("made-up", source=tree, directory=directory, size=SIZE)
    return made.digest, made.classes


def test_archives_hold_the_same_set_as_the_folder(tree: Path, tmp_path: Path) -> None:
    (tree / "classes.tsv").unlink(missing_ok=True)
    wanted = digest_of(tree, tmp_path / "0")
    shards = tmp_path / "shards"
    shards.mkdir()
    for split in ("train", "val"):
        with tarfile.open(shards / f"{split}-00of01.tar.xz", "w:xz") as tar:
            tar.add(tree / split, split)
    assert digest_of(shards, tmp_path / "1") == wanted
    with tarfile.open(tmp_path / "all.tgz", "w:gz") as tar:
        tar.add(tree, "imagenette2")
    assert digest_of(tmp_path / "all.tgz", tmp_path / "2") == wanted
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ValueError, match="cannot be read as a tar"):
        digest_of(tmp_path / "bad.tar", tmp_path / "3")


def test_ilsvrcs_own_archives_are_read_with_their_ground_truth(tree: Path, tmp_path: Path) -> None:
    from scipy.io import savemat

    wanted = prepare("made-up", source=tree, directory=tmp_path / "tree", size=SIZE)
    folder = tmp_path / "ilsvrc"
    folder.mkdir()
    wnids = [path.name for path in sorted((tree / "train").iterdir())]
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as tar:
        for wnid in wnids:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as one:
                for path in sorted((tree / "train" / wnid).iterdir()):
                    add(one, path.name, path.read_bytes())
            add(tar, f"{wnid}.tar", inner.getvalue())
    ids = {wnid: len(wnids) - number for number, wnid in enumerate(wnids)}  # ILSVRC's ids are in another order
    pictures = sorted((tree / "val").glob("*/*"), key=lambda path: path.name)
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as tar:
        for number, path in enumerate(pictures, 1):
            add(tar, f"ILSVRC2012_val_{number:08d}.JPEG", path.read_bytes())
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array([(ids[wnid], wnid, f"name of {wnid}") for wnid in wnids], kind).reshape(-1, 1)})
    truth = "\n".join(str(ids[path.parent.name]) for path in pictures) + "\n"
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth.encode())
    with pytest.raises(ValueError, match="is not the published archive"):
        prepare("imagenet", source=folder, directory=tmp_path, size=SIZE)
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in sources.ARCHIVE_MD5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "ARCHIVE_MD5", md5)
        made = prepare("imagenet", source=folder, directory=tmp_path, size=SIZE)
    assert made.files["train.beton"] == wanted.files["train.beton"]
    assert [entry["name"] for entry in made.classes] == [f"name of {wnid}" for wnid in wnids]
    assert made.test_per_class == wanted.test_per_class
    assert "48 + 12 pictures, where imagenet has 1,281,167 + 50,000" in made.notes

    def labeled(directory: Path) -> set[tuple[bytes, int]]:
        beton = open_beton(directory / "test.beton", "raw")
        return {(beton.encoded(index).tobytes(), int(label)) for index, label in enumerate(beton.labels)}

    assert labeled(tmp_path / made.name) == labeled(tmp_path / "tree" / wanted.name)


@pytest.mark.parametrize("form", ["tiny", "kaggle"])
def test_validation_pictures_outside_class_folders_get_their_published_labels(
    tree: Path, tmp_path: Path, form: str
) -> None:
    wanted = prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    place = tmp_path / "flat" / ("ILSVRC/Data/CLS-LOC" if form == "kaggle" else "")
    flat = place / "val" / ("images" if form == "tiny" else "")
    flat.mkdir(parents=True)
    lines = []
    for number, path in enumerate(sorted((tree / "val").glob("*/*"))):
        shutil.copy(path, flat / f"val_{number}.JPEG")
        lines.append((f"val_{number}", path.parent.name))
    for wnid in (tree / "train").iterdir():
        shutil.copytree(wnid, place / "train" / wnid.name / ("images" if form == "tiny" else ""))
    with pytest.raises(ValueError, match="no class is known for val/"):
        prepare("flat", source=tmp_path / "flat", directory=tmp_path, size=SIZE)
    if form == "tiny":
        (place / "val/val_annotations.txt").write_text(
            "".join(f"{file}.JPEG\t{wnid}\t0\t0\t9\t9\n" for file, wnid in lines)
        )
    else:
        rows = "".join(f"{file},{wnid} 1 2 3 4 {wnid} 5 6 7 8\n" for file, wnid in lines)
        (tmp_path / "flat/LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
        (tmp_path / "flat/LOC_synset_mapping.txt").write_text("n00000000 tench, Tinca tinca\n")
    made = prepare("flat", source=tmp_path / "flat", directory=tmp_path, size=SIZE)
    assert made.test_per_class == wanted.test_per_class
    assert (
        sorted(open_beton(tmp_path / made.name / "test.beton", "raw").labels) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    )
    assert made.classes[0]["name"] == ("tench, Tinca tinca" if form == "kaggle" else "n00000000")


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("imagenet", None, r"needs --source: one folder with ILSVRC2012_img_train.tar .*https://image-net.org"),
        ("tiny200", None, r"cs231n.stanford.edu"),
        ("anything", None, r"train/CLASS/\*.jpg"),
        ("anything", "nowhere", r"there is no such file or folder"),
        ("cifar10", "empty", r"holds no CIFAR-10 batch .*cs.toronto.edu"),
        ("anything", "empty", r"holds no training pictures"),
    ],
)
def test_a_source_that_is_missing_is_one_line_that_says_what_is_needed(
    tmp_path: Path, name: str, source: str | None, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=says) as error:
        prepare(name, source=tmp_path / source if source else None, directory=tmp_path / "data")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").glob("[!.]*"))


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
    monkeypatch.setattr(sources, "CIFAR_MD5", md5)
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
    monkeypatch.setattr(sources, "CIFAR_MD5", {**md5, "test_batch": "0" * 32})
    with pytest.raises(ValueError, match="test_batch is not the official CIFAR-10 batch"):
        prepare("cifar10", source=binary, directory=tmp_path / "other")


def test_a_pickle_from_elsewhere_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch " + str(tmp_path / "ran"),)

    for name in sources.CIFAR_MD5:
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="has no place in a CIFAR-10 batch"):
        prepare("cifar10", source=tmp_path, directory=tmp_path / "data")
    assert not (tmp_path / "ran").exists()


def test_photos_train_and_test_windows_share_no_pixel_and_keep_a_gap() -> None:
    source = sources.photos()
    assert len(source.classes) >= 8
    assert np.bincount(source.train.labels).tolist() == [sources.PHOTO_TRAIN] * len(source.classes)
    assert np.bincount(source.test.labels).tolist() == [sources.PHOTO_TEST] * len(source.classes)

    for label, whole in enumerate(sources.photographs()):
        axis = 0 if whole.shape[0] >= whole.shape[1] else 1

        def pixels(split: sources.Split, label: int = label, axis: int = axis) -> set[int]:
            places = [
                name.split(" at ")[1].split(",")[axis]
                for name, of in zip(split.names, split.labels, strict=True)
                if of == label
            ]
            return {int(place) + step for place in places for step in range(sources.WINDOW)}

        train, test = pixels(source.train), pixels(source.test)
        assert not {place + step for place in test for step in range(-sources.GAP, sources.GAP + 1)} & train
        assert len(train) > 150 and len(test) > 120
    assert all(source.test.read(number).shape == (64, 64, 3) for number in (0, 639))
    assert sources.photos().train.names == source.train.names


def test_storage_has_its_cost_and_a_full_disk_is_told_first(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {(cost.storage, cost.quality): cost for cost in storage_costs(1_331_167, 256)}
    assert costs["raw", None].bytes == 1_331_167 * 256 * 256 * 3
    assert costs["jpeg", 85].bytes < costs["jpeg", 95].bytes < costs["png", None].bytes < costs["raw", None].bytes
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match=r"GB free; 60 raw pictures take"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE)


def test_an_interrupted_preparation_needs_room_for_the_rest_only(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_half_way(at: Progress) -> None:
        if (at.stage, at.done) == ("train", 30):
            raise KeyboardInterrupt

    def free(pictures: int) -> None:
        usage = SimpleNamespace(free=pictures * SIZE * SIZE * 3)
        monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: usage)

    free(40)
    with pytest.raises(ValueError, match=r"60 raw pictures take \S+ GB; choose"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    free(60)
    with pytest.raises(KeyboardInterrupt):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE, progress=stop_half_way)
    free(20)
    with pytest.raises(ValueError, match=r"60 raw pictures take \S+ GB and \S+ GB are written; choose"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    free(40)
    assert prepare("made-up", source=tree, directory=tmp_path, size=SIZE).test_count == 12


def test_a_place_that_cannot_be_written_is_one_line(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preparation.Writer, "append", full)
    with pytest.raises(ValueError, match="No space left on device; what is written already is kept"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE, announce=lambda count, costs: told.append(count))
    assert told == [60]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"storage": "jpeg"}, "--quality: give it exactly when"),
        ({"quality": 90}, "--quality: give it exactly when"),
        ({"storage": "webp"}, "--storage webp: choose"),
        ({"size": 4}, "at least 8 pixels"),
        ({"resize": "stretch"}, "--resize stretch: choose"),
    ],
)
def test_bad_options_are_one_line(tree: Path, tmp_path: Path, how: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        prepare("made-up", source=tree, directory=tmp_path, **how)  # type: ignore[arg-type]


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    """The pictures in flight are bounded, however slow the writer is."""
    alive, most = 0, 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return number

    order = []
    for number, future in preparation.in_order(work, list(range(500))):  # type: ignore[arg-type]
        assert future.result() == number
        with lock:
            alive -= 1
        order.append(number)
    assert order == list(range(500))
    assert most <= 5 * len(os.sched_getaffinity(0)) + 2
