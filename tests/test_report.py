"""Reports: what stands on the pages is what stands in results/, and the same results give the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_up_results import write_block

from repro import registry, report, store
from repro.ablation import Ablation

LEVELS = {"with-lrn": 30.0, "no-lrn": 33.0, "conv1-only": 31.0, "conv2-only": 32.0}


@pytest.fixture(scope="module")
def experiments() -> list[Ablation]:
    return list(registry.load().experiments.values())


def lrn(experiments: list[Ablation]) -> Ablation:
    return next(one for one in experiments if one.name == "lrn-ablation")


def test_no_results_writes_nothing(experiments: list[Ablation], tmp_path: Path) -> None:
    assert report.build(experiments, None, tmp_path / "results", tmp_path / "reports") == []
    assert not (tmp_path / "reports").exists()


def test_unknown_format_is_refused(experiments: list[Ablation], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--format word: known are latex, csv"):
        report.build(experiments, None, tmp_path, tmp_path / "reports", formats=["word"])


def test_pages_and_pictures_are_written_once(experiments: list[Ablation], tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    write_block(results, lrn(experiments), "smoke", LEVELS)
    written = report.build(experiments, None, results, reports)
    assert {path.relative_to(reports).as_posix() for path in written} >= {
        "index.md",
        "lrn-ablation.md",
        "lrn-ablation/smoke-curves.png",
    }
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in written}
    assert report.build(experiments, None, results, reports) == written
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in written} == before


def test_every_link_of_a_page_leads_somewhere(experiments: list[Ablation], tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    write_block(results, lrn(experiments), "smoke", LEVELS)
    for page in report.build(experiments, None, results, reports):
        if page.suffix == ".md":
            for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
                assert (page.parent / target).is_file(), (page, target)


def test_partial_blocks_say_so(experiments: list[Ablation], tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    write_block(results, lrn(experiments), "smoke", LEVELS, seeds=5, finished=2)
    report.build(experiments, None, results, reports)
    text = (reports / "lrn-ablation.md").read_text()
    assert "8 of 20 runs are finished: **this report is partial**" in text
    assert "| 2 of 5 |" in text
    assert "`repro run lrn-ablation --preset smoke --seeds 5`" in text


def test_damage_is_listed_and_left_out(experiments: list[Ablation], tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    block = write_block(results, lrn(experiments), "smoke", LEVELS)
    cut = store.run_directory(results, block.arms["no-lrn"], 1) / "run.json"
    cut.write_text(cut.read_text()[:100])
    old = store.run_directory(results, block.arms["with-lrn"], 2) / "run.json"
    old.write_text(old.read_text().replace('"schema": 1', '"schema": 0'))
    (results / "experiments" / "lrn-ablation" / "broken.json").write_text("{")
    report.build(experiments, None, results, reports)
    index, page = (reports / "index.md").read_text(), (reports / "lrn-ablation.md").read_text()
    assert f"`runs/{block.arms['no-lrn']}/seed-1/run.json`: cannot be read" in index
    assert "written with schema 0, this version reads 1" in index
    assert "`experiments/lrn-ablation/broken.json`: cannot be read" in index
    assert str(tmp_path) not in index + page
    assert "10 of 12 runs are finished" in page
