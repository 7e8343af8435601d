"""The store at scale: what a plan, its bill and a report read of thousands of runs, and when they read again."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from repro import files, index, store
from repro.bench import made_up
from repro.experiments.registry import load
from repro.planning import cost, frozen, plan
from repro.report.gather import gather

NAME = "lrn-ablation"


def planned(results: Path, photos: Path, seeds: int = 6, names: tuple[str, ...] = (NAME,)) -> plan.Plan:
    experiments = [load().get(name) for name in names]
    return plan.make(experiments, "smoke", seeds, {}, data=photos, results=results, tuned=False)


@pytest.fixture
def results(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder in which all runs of an experiment are finished, long ago."""
    monkeypatch.setattr(index, "RECENT", 0.0)
    folder = tmp_path / "results"
    made = planned(folder, photos)
    made_up.write_runs(folder, made.runs, photos, images=40)
    for setting in made.settings:
        store.write_setting(folder, setting)
    return folder


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files of runs that are read, by a process that has just begun."""
    read: list[str] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def note(path: Path | str, *more: Any) -> Any:
            read.append(os.path.basename(path))
            return function(path, *more)

        return note

    for name in ("read_bytes", "read_arrays", "sha256"):
        monkeypatch.setattr(files, name, noting(getattr(files, name)))
    return read


def begin_again() -> None:
    """As a process that has read nothing yet."""
    index._open.clear()


def test_the_second_plan_reads_no_record_and_no_prediction(results: Path, photos: Path, looked: list[str]) -> None:
    first = planned(results, photos)
    assert not first.todo and len(first.runs) > 20
    assert looked.count("run.json") >= len(first.runs) and looked.count("predictions-ten.npz") == len(first.runs)
    looked.clear()
    begin_again()
    assert planned(results, photos) == first
    assert looked == []


def test_a_bill_reads_one_record_of_each_config(results: Path, photos: Path, looked: list[str]) -> None:
    made = planned(results, photos)
    configs = {run.digest for run in made.runs}
    begin_again()
    looked.clear()
    assert cost.here(results).runs == len(made.runs)
    assert looked == ["run.json"] * len(configs)
    looked.clear()
    assert frozen.first_fresh_seed(results) == 10 and looked == []


def test_a_plan_names_a_config_as_often_as_it_has_seeds_or_not(photos: Path, tmp_path: Path) -> None:
    calls = []
    for seeds in (2, 50):
        with patch.object(plan, "digest", side_effect=plan.digest) as named:
            made = planned(tmp_path, photos, seeds, (NAME, "pretrain"))
        calls.append(named.call_count)
    assert calls[0] == calls[1] < len(made.runs)


@pytest.mark.parametrize("name", ["run.json", "predictions-ten.npz"])
def test_what_is_damaged_after_a_plan_is_seen_by_the_next(results: Path, photos: Path, name: str) -> None:
    run = planned(results, photos).runs[0]
    path = store.run_directory(results, run.digest, run.seed) / name
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.unlink()  # others may have links to it
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # even by somebody who hides it
    for _ in range(2):
        begin_again()
        (todo,) = planned(results, photos).todo
        assert todo.name == run.name and str(path) in todo.damaged[0]


def test_a_file_that_changed_just_now_is_not_trusted(
    results: Path, photos: Path, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "RECENT", 3600.0)
    for _ in range(2):
        looked.clear()
        begin_again()
        made = planned(results, photos)
        assert looked.count("predictions-ten.npz") == len(made.runs)


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x93\x01\x02\x03", msgspec.msgpack.encode([99, {}])])
def test_a_damaged_index_is_made_again(results: Path, photos: Path, content: bytes) -> None:
    first = planned(results, photos)
    there = (results / index.FILE).read_bytes()
    (results / index.FILE).write_bytes(content)
    begin_again()
    assert planned(results, photos) == first
    assert len((results / index.FILE).read_bytes()) == len(there)


def test_an_index_that_cannot_be_written_is_done_without(
    results: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomically", full)
    assert not planned(results, photos).todo and not (results / index.FILE).exists()


def test_what_two_processes_learned_is_kept_together(results: Path, photos: Path) -> None:
    one, other = index.Index(results), index.Index(results)
    (first, *_), (_, *rest) = (list(store.run_folders(results)) for _ in range(2))
    assert one.entry(first[0], 0) and other.entry(rest[0][0], 0)
    one.save()
    other.save()
    assert index.Index(results)._entries.keys() == {first[0], rest[0][0]}


def test_a_run_that_is_gone_is_forgotten(results: Path, photos: Path) -> None:
    run = planned(results, photos).runs[0]
    (store.run_directory(results, run.digest, run.seed) / "run.json").unlink()
    begin_again()
    (todo,) = planned(results, photos).todo
    assert todo.name == run.name and not todo.finished


def test_a_report_reads_each_record_once(results: Path, looked: list[str]) -> None:
    runs = len(store.finished_runs(results)[0])
    gather([load().get(NAME)], results)
    begin_again()
    looked.clear()
    found = gather([load().get(NAME)], results)
    assert not found.damaged
    assert looked.count("run.json") == runs


def test_the_records_of_a_config_share_its_values(results: Path) -> None:
    records, _ = store.finished_runs(results)
    assert len({id(one.config) for one in records}) == len({one.digest for one in records}) < len(records)
    assert len({id(one.provenance) for one in records}) == 1


def _publish(results: Path, times: int) -> None:
    for _ in range(times):
        store.publish(results)


def test_two_processes_that_publish_at_once_leave_a_whole_table(results: Path) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=_publish, args=(results, 5)) for _ in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(120)
    assert [one.exitcode for one in processes] == [0, 0]
    whole = store.collect(results).to_csv(index=False, lineterminator="\n")
    assert (results / "runs.csv").read_text() == whole
    assert not list(results.glob(files.TEMPORARY))


@pytest.mark.slow
def test_ten_thousand_finished_runs_are_planned_and_billed_in_seconds(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processor time on a machine that others load. Without the index such a plan took 41 s."""
    monkeypatch.setattr(index, "RECENT", 0.0)
    names = tuple(
        one.name
        for one in load().experiments.values()
        if "smoke" in one.presets
        and not one.artifacts
        and all({*run.views} <= {"center", "ten"} for run in planned(tmp_path, photos, 1, (one.name,)).runs)
    )  # what made-up runs have
    made = planned(tmp_path, photos, 90, names)
    assert len(made.runs) > 10_000
    with patch.object(os, "fsync", lambda handle: None):
        made_up.write_runs(tmp_path, made.runs, photos, images=20)

    def took(do: Callable[[], Any]) -> tuple[float, Any]:
        begin_again()
        began = time.process_time()
        found = do()
        return time.process_time() - began, found

    assert not planned(tmp_path, photos, 90, names).todo
    seconds, again = took(lambda: planned(tmp_path, photos, 90, names))
    assert not again.todo and seconds < 4
    seconds, bill = took(lambda: cost.cost(again, data=photos, results=tmp_path))
    assert bill.runs == 0 and seconds < 2
    seconds, (records, damaged) = took(lambda: store.finished_runs(tmp_path))
    assert len(records) == len(made.runs) and not damaged and seconds < 5
