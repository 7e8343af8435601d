"""Preparation as a whole: once and the same every time, subsets, room on the disk, what cannot be done in one line."""

import errno
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_images import SIZE, prepared_files

from repro.data import manifest
from repro.data.load.beton import Writer
from repro.data.prepare import prepare as preparation
from repro.data.prepare.prepare import prepare, storage_costs
from repro.data.prepare.progress import Progress
from repro.data.prepare.verify import verify


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


def test_a_set_that_is_prepared_from_elsewhere_is_not_passed_off_as_the_one_asked_for(
    tree: Path, tmp_path: Path
) -> None:
    made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    other = Path(shutil.copytree(tree, tmp_path / "other"))
    with pytest.raises(ValueError, match=rf"already prepared, from tree; --source {other} .* folder .*{made.name} or"):
        prepare("made-up", source=other, directory=tmp_path, size=SIZE)
    assert prepare("made-up", directory=tmp_path, size=SIZE) == made

    short = Path(shutil.copytree(tree, tmp_path / "short"))
    next((short / "val").rglob("*.JPEG")).write_bytes(b"")
    prepare("short", source=short, directory=tmp_path, size=SIZE, allow_bad=1)
    prepare("short", source=short, directory=tmp_path, size=SIZE, allow_bad=1)
    with pytest.raises(ValueError, match="with 1 unreadable images of one split left out, and --allow-bad 0"):
        prepare("short", source=short, directory=tmp_path, size=SIZE, allow_bad=0)


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("imagenet", None, r"needs --source: one folder with ILSVRC2012_img_train.tar .*https://image-net.org"),
        ("tiny200", None, r"cs231n.stanford.edu"),
        ("anything", None, r"train/CLASS/\*.jpg"),
        ("anything", "nowhere", r"there is no such file or folder"),
        ("cifar10", "empty", r"holds no CIFAR-10 batch .*cs.toronto.edu"),
        ("anything", "empty", r"holds no training images"),
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
    with pytest.raises(ValueError, match=r"has 1.0 kB free; 60 raw images take 288.0 kB"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE)


def test_an_interrupted_preparation_needs_room_for_the_rest_only(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_half_way(at: Progress) -> None:
        if (at.stage, at.done) == ("train", 30):
            raise KeyboardInterrupt

    def free(images: int) -> None:
        usage = SimpleNamespace(free=images * SIZE * SIZE * 3)
        monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: usage)

    free(40)
    with pytest.raises(ValueError, match=r"60 raw images take \S+ kB; choose"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    free(60)
    with pytest.raises(KeyboardInterrupt):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE, progress=stop_half_way)
    free(20)
    with pytest.raises(ValueError, match=r"60 raw images take \S+ kB and \S+ kB are written; choose"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    free(40)
    assert prepare("made-up", source=tree, directory=tmp_path, size=SIZE).test_count == 12


def test_a_place_that_cannot_be_written_is_one_line(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Writer, "append", full)
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
        ({"name": "../made-up"}, r"the name '../made-up' cannot be a folder's here; choose"),
        ({"name": "a/b"}, "the name 'a/b' cannot be"),
        ({"name": ".hidden"}, "the name '.hidden' cannot be"),
        ({"size": SIZE, "classes": 1}, "tree has one class"),
        ({"name": "own-2x4-seed1"}, "run: repro data prepare own --classes 2 --per-class 4 --seed 1$"),
        ({"seed": 1}, "--seed 1: it chooses a subset"),
        ({"name": "photos"}, "--source .*: photos ship with their packages"),
    ],
)
def test_bad_options_are_one_line(tree: Path, tmp_path: Path, how: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        prepare(**{"name": "made-up", "source": tree, "directory": tmp_path, **how})  # type: ignore[arg-type]
