"""Preparation: every form of source, dirty pictures, interruption, subsets, verification, the embedded photographs."""

import errno
import io
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_pictures import SIZE, class_tree, picture
from PIL import Image

from repro.data import folders, manifest
from repro.data import prepare as preparation
from repro.data.beton import open_beton
from repro.data.prepare import Progress, prepare, storage_costs, verify


def prepared_files(directory: Path, name: str) -> dict[str, bytes]:
    """Content of every file of a prepared set."""
    return {path.name: path.read_bytes() for path in (directory / name).iterdir()}


def test_a_tree_is_prepared_once_and_described(tree: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
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
    read = folders.Entry.read
    monkeypatch.setattr(folders.Entry, "read", lambda entry: reads.append(entry.name) or read(entry))

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
