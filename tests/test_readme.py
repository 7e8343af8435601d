"""The README is always true: its commands run, its links lead somewhere, its files exist."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from repro import report, stats, store
from repro.experiments import registry
from repro.report import contents
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
    tour = (ROOT / "CONTRIBUTING.md").read_text().split("## A tour of the files")[1]
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


ROWS = (  # experiment, setting, arm, metric, what it is, what the paper says
    (
        "relu-vs-tanh", "figure-1", "tanh", "epochs_to_target",
        "Figure 1: tanh units take so many times the epochs of ReLUs to 25% training error", "6 times",
    ),
    ("lrn-ablation", "cifar10+229bc5", "no-lrn", "top1_error", "3.3: top-1 error without normalization", "+1.4 points"),
    (
        "one-vs-two-gpus", "cifar10+229bc5", "one-gpu", "top1_error",
        "3.2: top-1 error of one tower with half the kernels", "+1.7 points",
    ),
    (
        "overlapping-pooling", "cifar10+229bc5", "no-overlap", "top1_error",
        "3.4: top-1 error without overlap", "+0.4 points",
    ),
    (
        "augmentation-ablation", "cifar10+229bc5", "color-only", "gap",
        "4.1: test minus training error without crops and mirrors", "larger",
    ),
    (
        "dropout-ablation", "cifar10+229bc5", "no-dropout", "gap",
        "4.2: test minus training error without dropout", "larger",
    ),
    (
        "augmentation-ablation", "cifar10+229bc5", "crops-mirrors-only", "top1_error",
        "4.1: top-1 error without color noise", "over +1.0 points",
    ),
    (
        "ten-view", "cifar10+229bc5", "ten", "top1_error",
        "4.1: top-1 error of ten views, against one", "\N{MINUS SIGN}1.5 points",
    ),
    (
        "ensemble", "cifar10+229bc5", "five", "top1_error",
        "6: top-1 error of five nets averaged, against one", "\N{MINUS SIGN}2.6 points",
    ),
)  # fmt: skip
BEGIN = "<!-- results: python -m tests.test_readme writes this table -->\n"
END = "<!-- end of results -->\n"
HOURS = re.compile(r"(?<=<!-- hours -->).*?(?= hours<!-- -->)")


def results_table() -> str:
    """The README's table, from results."""
    lines = ["| claim | the paper | here [95% interval] | verdict at our setting |", "| :-- | :-- | :-- | :-- |"]
    for name, setting_name, arm, metric, what, paper in ROWS:
        setting = store.read_setting(ROOT / "results" / "experiments" / name / f"{setting_name}.json")
        judged = stats.judge(registry.load().get(name), setting, ROOT / "results")
        (one,) = [each for each in judged if (each.arm, each.metric) == (arm, metric) and each.claim]
        shown = f"{with_interval(one.estimate, one.unit)} ({contents.runs_of(one)})"
        verdict = contents.verdict(one) + (", not all of its runs are there" if one.waits else "")
        lines.append(f"| [{what}](reports/{name}.md) | {paper} | {shown} | {verdict} |")
    return "\n".join(lines) + "\n"


def core_hours() -> str:
    return f"{sum(record.seconds for record in store.finished_runs(ROOT / 'results')[0]) / 3600:.1f}"


def test_the_cost_of_the_results_is_that_of_their_records() -> None:
    (said,) = HOURS.findall((ROOT / "results" / "README.md").read_text())
    assert said == core_hours()


def test_its_numbers_are_those_of_results() -> None:
    said = README.split(BEGIN)[1].split(END)[0]
    assert said == results_table(), "write it again: python -m tests.test_readme"


if __name__ == "__main__":
    before, _, after = README.partition(BEGIN)
    (ROOT / "README.md").write_text(before + BEGIN + results_table() + END + after.partition(END)[2])
    costs = ROOT / "results" / "README.md"
    costs.write_text(HOURS.sub(core_hours(), costs.read_text()))
