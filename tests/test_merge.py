"""Two results folders as one: `repro import` copies, `repro report` reads several; nothing is lost or hidden."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from repro import door, store
from repro.bench.made_up import write_run, write_setting
from repro.config import keys, presets
from repro.experiments.registry import load
from repro.merge import merge, together
from repro.records import Setting
from tests.conftest import Repro

NAME = "lrn-ablation"


def content(folder: Path) -> dict[str, bytes]:
    """Every file but locks and the index."""
    every = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in every if not path.name.startswith(".")}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Folders A with seeds 0 and 1 of both arms, and B with seeds 0 to 3 of them; seeds 0 and 1 are the same runs."""
    a, b = tmp_path / "A", tmp_path / "B"
    experiment = load().get(NAME)
    for folder, seeds in ((a, 2), (b, 4)):
        write_setting(folder, experiment, "smoke", {"with-lrn": 30.0, "no-lrn": 33.0}, seeds=seeds, images=40)
    return a, b


def runs_of(folder: Path) -> set[tuple[str, int]]:
    return {one.key for one in store.finished_runs(folder)[0]}


def test_what_is_new_comes_over_and_what_both_have_stays(two: tuple[Path, Path], repro: Repro) -> None:
    a, b = two
    before = content(a)
    code, out, _ = repro("import", str(b), "--results-dir", str(a))
    assert (code, out) == (0, f"4 runs and 1 setting imported from {b} to {a}; 4 runs were there before\n")
    assert runs_of(a) == runs_of(b) and len(runs_of(a)) == 8
    after = content(a)
    assert all(after[name] == value for name, value in before.items() if name.startswith("runs/"))
    assert {name for name in after if name.startswith("runs/")} == {n for n in content(b) if n.startswith("runs/")}
    (setting,) = store.read_settings(a)[0]
    assert setting.seeds == 4 and (a / "runs.csv").is_file()
    assert len(store.collect(a)) == 16 == len((a / "runs.csv").read_text().splitlines()) - 1
    assert repro("verify", "--results-dir", str(a))[0] == 0


def test_to_import_twice_changes_nothing(two: tuple[Path, Path], repro: Repro) -> None:
    a, b = two
    repro("import", str(b), "--results-dir", str(a))
    before = content(a)
    code, out, _ = repro("import", str(b), "--results-dir", str(a))
    assert (code, out) == (0, f"0 runs and 0 settings imported from {b} to {a}; 8 runs were there before\n")
    assert content(a) == before


def test_a_run_with_other_numbers_is_refused_and_ours_stays(two: tuple[Path, Path], repro: Repro) -> None:
    a, b = two
    (setting,) = store.read_settings(b)[0]
    digest = setting.arms["no-lrn"]
    config = keys.override(presets.preset("smoke"), load().get(NAME).arm("no-lrn").changes_at("smoke"))
    write_run(b, config, digest, 1, 50.0, images=40)
    before = content(a)
    code, out, _ = repro("import", str(b), "--results-dir", str(a))
    place = store.run_directory(a, digest, 1)
    first, last = out.splitlines()
    assert code == 1 and first == (
        f"refused {store.run_directory(b, digest, 1)}: {place} is the same run with other numbers, and stays"
    )
    assert last.endswith(
        "4 runs and 1 setting imported from " + f"{b} to {a}; 3 runs were there before, 1 place refused"
    )
    assert all(content(a)[name] == value for name, value in before.items() if name.startswith("runs/"))


@pytest.mark.parametrize("name", ["predictions-ten.npz", "kernels.npy", "metrics.jsonl", "run.json"])
def test_a_damaged_run_is_refused(two: tuple[Path, Path], repro: Repro, name: str) -> None:
    a, b = two
    digest = store.read_settings(b)[0][0].arms["no-lrn"]
    path = store.run_directory(b, digest, 3) / name
    damaged = bytearray(path.read_bytes())
    damaged[10] ^= 1
    path.write_bytes(damaged)
    code, out, _ = repro("import", str(b), "--results-dir", str(a))
    assert code == 1 and out.startswith(f"refused {path}: ") and "3 runs and 1 setting imported" in out
    assert (digest, 3) not in runs_of(a) and not (store.run_directory(a, digest, 3) / "run.json").exists()


def test_a_setting_that_contradicts_ours_is_refused(two: tuple[Path, Path]) -> None:
    a, b = two
    (theirs,) = store.read_settings(b)[0]
    store.write_setting(b, replace(theirs, arms={**theirs.arms, "no-lrn": "0" * 12}))
    before = content(a / "experiments")
    done = merge(b, a)
    assert done.settings == 0 and content(a / "experiments") == before
    assert [one.path for one in done.refused] == [store.setting_path(b, theirs)]
    assert "other runs for an arm of the same name" in done.refused[0].reason


def test_a_run_whose_copy_was_cut_short_is_no_run(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, repro: Repro
) -> None:
    a, b = two
    new = sorted(runs_of(b) - runs_of(a))
    written = store.files.write_atomically

    def cut(path: Path, value: bytes | str, **options: Path) -> None:
        if path.name == "run.json":
            raise OSError(28, "No space left on device", str(path))
        written(path, value, **options)

    with monkeypatch.context() as patched:
        patched.setattr(store.files, "write_atomically", cut)
        with pytest.raises(OSError, match="No space"):
            merge(b, a)
    assert store.run_directory(a, *new[0]).is_dir() and new[0] not in runs_of(a)
    assert repro("import", str(b), "--results-dir", str(a))[0] == 0 and runs_of(a) == runs_of(b)


def test_seeds_arms_and_looks_of_both_are_kept() -> None:
    one = Setting("e", "smoke", {}, 3, {"x": "1" * 12}, looks=(3,))
    other = replace(one, seeds=5, arms={"x": "1" * 12, "y": "2" * 12}, looks=(4, 5), seeds_of={"y": 7})
    both = together(one, other)
    assert (both.seeds, both.looks, both.arms, both.seeds_of) == (5, (4, 3, 5), other.arms, {"y": 7})
    assert together(both, other) == together(both, one) == both


@pytest.mark.parametrize("said", ["is no results folder", "is the results folder itself"])
def test_what_cannot_be_imported_is_one_line(two: tuple[Path, Path], repro: Repro, said: str, tmp_path: Path) -> None:
    a, _ = two
    source = a if "itself" in said else tmp_path / "nothing"
    code, _, err = repro("import", str(source), "--results-dir", str(a))
    assert code == 2 and said in err and err.count("\n") == 1


def test_a_report_of_two_folders_is_that_of_the_merged_one(
    two: tuple[Path, Path], repro: Repro, tmp_path: Path
) -> None:
    a, b = two
    for key in sorted(runs_of(a)):
        shutil.rmtree(store.run_directory(b, *key))
    before = content(a), content(b)
    code, out, err = repro(
        "report", NAME, "--results-dir", str(a), "--results-dir", str(b), "--reports-dir", "together", "--json"
    )
    assert code == 0, err
    assert (content(a), content(b)) == before
    merge(b, a)
    assert repro("report", NAME, "--results-dir", str(a), "--reports-dir", "merged")[0] == 0
    assert content(Path("together")) == content(Path("merged"))
    judged = json.loads(out)["settings"][0]["judgements"]
    assert max(one["seeds"] for one in judged) == 4


def test_tables_of_two_folders_are_one(two: tuple[Path, Path]) -> None:
    a, b = two
    rows = door.collect([a, b])
    merge(b, a)
    assert rows.equals(door.collect(a)) and len(rows) == 16
