"""Splits on their way to disk: interruption, states that cannot be read, what is synced, images in flight."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_images import SIZE, class_tree, prepared_files

from repro.data import manifest
from repro.data.prepare import files, split_writer
from repro.data.prepare.prepare import prepare
from repro.data.prepare.progress import Progress
from repro.machine.provenance import usable_cores


def test_an_interrupted_preparation_goes_on_and_ends_in_the_same_bytes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = prepare("made-up", source=tree, directory=tmp_path / "whole", size=SIZE, storage="png")
    monkeypatch.setattr(split_writer, "SAVE_BYTES", 5 * SIZE * SIZE * 3)  # save every 5 images
    reads: list[str] = []
    read = files.File.read
    monkeypatch.setattr(files.File, "read", lambda entry: reads.append(entry.name) or read(entry))

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


def test_images_are_on_the_disk_before_the_state_and_the_manifest_say_so(
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


@pytest.mark.parametrize(
    ("stage", "number", "lost"),
    [("train", 20, "train.beton"), ("train", 20, "train.journal"), ("test", 2, "train.beton")],
)
def test_a_split_whose_file_was_deleted_starts_anew(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, number: int, lost: str
) -> None:
    wanted = prepare("made-up", source=tree, directory=tmp_path / "whole", size=SIZE)
    monkeypatch.setattr(split_writer, "SAVE_BYTES", 5 * SIZE * SIZE * 3)

    def listen(at: Progress) -> None:
        if (at.stage, at.done) == (stage, number):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE, progress=listen)
    next(tmp_path.glob(f"*.part/{lost}")).unlink()
    assert prepare("made-up", source=tree, directory=tmp_path, size=SIZE) == wanted


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


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """The images in flight are bounded, however slow the writer is."""
    alive, most = 0, 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return number

    order = []
    for number, future in split_writer.in_order(work, list(range(500))):  # type: ignore[arg-type]
        assert future.result() == number
        with lock:
            alive -= 1
        order.append(number)
    assert order == list(range(500))
    assert most <= 5 * usable_cores() + 2
