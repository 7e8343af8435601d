"""The README is always true: its commands run, its links lead somewhere, its files exist."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from repro import report, stats, store
from repro.experiments import registry
from repro.report.words import with_interval
from tests.conftest import QUICK, Repro

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ repro (.*)$", README, flags=re.MULTILINE)


def test_the_readme_has_its_commands() -> None:
    assert {shlex.split(command)[0] for command in COMMANDS} >= {"list", "show", "plan", "run", "report"}


def test_its_commands_run_in_order(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in COMMANDS:
        arguments = shlex.split(command)
        if arguments[0] == "run":  # the same command on few images
            arguments += QUICK
        code, out, err = repro(*arguments)
        assert code == 0, (command, out, err)
        assert out.strip(), command


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
)
def test_its_links_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text()
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if target and not (ROOT / page.parent / target).exists()]
    assert not missing


def test_the_tour_names_what_is_there() -> None:
    tour = README.split("## A tour of the files")[1]
    named = re.findall(r"\b([a-z_]+\.py)\b", tour.split("```")[1])
    assert len(named) > 15
    assert [name for name in named if not [*(ROOT / "repro").rglob(name)]] == []
    for folder in ("ablations", "repro/data", "repro/stats", "repro/report", "repro/bench", "bench", "tests"):
        assert (ROOT / folder).is_dir()


def test_the_published_pages_are_what_results_give(tmp_path: Path) -> None:
    unpublished = shutil.ignore_patterns("checkpoint*", "neighbors.npz", ".lock")
    results = shutil.copytree(ROOT / "results", tmp_path / "results", ignore=unpublished)
    report.build(list(registry.load().experiments.values()), None, results, tmp_path / "reports")
    published = {path.name: path.read_text() for path in (ROOT / "reports").glob("*.md")}
    assert {path.name: path.read_text() for path in (tmp_path / "reports").glob("*.md")} == published


def test_the_cost_of_the_results_is_that_of_their_records() -> None:
    (said,) = re.findall(r"<!-- hours -->(.*?) hours<!-- -->", (ROOT / "results" / "README.md").read_text())
    seconds = sum(record.seconds for record in store.finished_runs(ROOT / "results")[0])
    assert said == f"{seconds / 3600:.1f}"


def test_its_numbers_are_those_of_results() -> None:
    """What stands between the marks: mean and standard deviation over seeds of a net's errors; for `experiment setting
    arm metric` an effect with its interval. No line begins with a mark: Markdown would end the paragraph there."""
    assert not re.search(r"^\s*<!--", README, flags=re.MULTILINE)
    marked = dict(re.findall(r"<!-- ([^/]+?) -->(.*?)<!-- -->", " ".join(README.split())))
    frame = store.collect(ROOT / "results")
    expected = {}
    for mark in marked:
        name, *of = mark.split()
        if of:
            setting_name, arm, metric = of
            setting = store.read_setting(ROOT / "results" / "experiments" / name / f"{setting_name}.json")
            judged = stats.judge(registry.load().get(name), setting, ROOT / "results")
            (found,) = [one for one in judged if (one.arm, one.metric) == (arm, metric)]
            expected[mark] = f"{with_interval(found.estimate, found.unit)} ({found.seeds} runs of each arm)"
        else:
            setting = store.read_setting(ROOT / "results" / "experiments" / "baseline" / f"{name}.json")
            errors = frame[(frame["digest"] == setting.arms[name]) & (frame["view"] == "center")]["top1_error_percent"]
            spread = f" ± {errors.std():.1f}" if len(errors) > 1 else ""
            expected[mark] = f"{errors.mean():.1f}%{spread} ({len(errors)} run{'s' * (len(errors) > 1)})"
    assert len(marked) >= 6
    assert marked == expected
