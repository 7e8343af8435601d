"""What the commands print for a person, a narrow terminal, a pipe and a program, and the commands beside the five."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from repro.bench.made_up import write_setting
from repro.commands import terminal, verdicts
from repro.experiments.registry import load
from tests.conftest import Repro

ROOT = Path(__file__).parent.parent


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A copy of the published results, as the commands find them in the current folder."""
    unpublished = shutil.ignore_patterns("checkpoint*", "neighbors.npz", "*.lock")
    return Path(shutil.copytree(ROOT / "results", tmp_path / "results", ignore=unpublished))


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    console = Console(width=width, force_terminal=True, color_system=None, emoji=False)
    monkeypatch.setattr(terminal, "console", console)


def test_the_version_is_that_of_the_package(repro: Repro) -> None:
    import repro as package

    assert repro("--version") == (0, f"repro {package.__version__}\n", "")


def test_list_is_one_line_an_experiment_on_a_terminal_of_80_columns(
    repro: Repro, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / verdicts.FILE).write_text('{"ten-view": "same direction"}')
    on_terminal(monkeypatch, 80)
    code, out, _ = repro("list")
    lines = out.splitlines()
    names = load().experiments
    assert code == 0 and max(map(len, lines)) <= 80
    for name in names:
        assert len([line for line in lines if line.split() and line.split()[0] == name]) == 1, name
    (line,) = [line for line in lines if line.strip().startswith("ten-view")]
    assert "4.1" in line and "Is the error low" in line and line.rstrip().endswith("same direction")


def test_a_narrow_terminal_gets_lists_of_whole_words(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, 40)
    code, out, _ = repro("list")
    lines = [line.rstrip() for line in out.splitlines()]
    assert code == 0 and max(map(len, lines)) <= 40
    assert "lrn-ablation" in lines and "  section: 3.3" in lines
    at = lines.index("lrn-ablation")
    assert " ".join(line.strip() for line in lines[at + 2 : at + 4]).startswith("question: Does local response")


def test_a_pipe_gets_tab_separated_values(repro: Repro) -> None:
    code, out, _ = repro("list")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and rows[0] == ["name", "section", "question", "verdict so far"]
    assert {len(row) for row in rows} == {4} and len(rows) == 1 + len(load().experiments)
    assert ["lrn-ablation", "3.3", load().get("lrn-ablation").question, ""] in rows
    code, out, _ = repro("data", "list")
    assert code == 0 and out.startswith("name\tpixels\tclasses\ttrain\ttest\ton disk\tunreadable\nphotos-32-")


def test_plan_of_all_is_a_line_an_experiment_and_the_total(repro: Repro) -> None:
    code, out, _ = repro("plan", "--all", "--preset", "cifar10")
    lines = out.splitlines()
    of_preset = [one for one in load().experiments.values() if "cifar10" in one.presets]
    assert code == 0 and [line.split("\t")[0] for line in lines[1 : 1 + len(of_preset)]] == [
        one.name for one in of_preset
    ]
    total, hint = lines[1 + len(of_preset) :]
    assert "runs (shared ones once), 0 finished. Missing: " in total and "repro data prepare cifar10" in hint
    distinct = int(total.split()[0])
    assert sum(int(line.split("\t")[1]) for line in lines[1 : 1 + len(of_preset)]) > distinct
    code, out, _ = repro("plan", "--all", "--preset", "cifar10", "--runs")
    assert code == 0 and sum(line.count("\t") == 3 for line in out.splitlines()) == 1 + distinct


def test_a_bill_names_the_processor_and_a_unit_for_people(repro: Repro, published: Path) -> None:
    code, out, _ = repro("show", "lrn-ablation", "--preset", "paper")
    (line,) = [line for line in " ".join(out.split()).split("cost ") if "one after another" in line]
    assert code == 0 and "years one after another (from finished runs on Intel Xeon" in line and " h " not in line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(89, "89 s"), (90, "2 min"), (5400, "1.5 h"), (172800, "2.0 days"), (15084.3 * 3600, "628.5 days")],
)
def test_a_time_is_in_the_unit_that_a_person_would_use(seconds: float, shown: str) -> None:
    assert terminal.span(seconds) == shown


def test_show_compare_and_report_speak_json(repro: Repro, tmp_path: Path) -> None:
    experiment = load().get("overlapping-pooling")
    levels = {"overlapping": 40.0, "no-overlap": 43.0}
    write_setting(tmp_path / "results", experiment, "smoke", levels)
    code, out, _ = repro("show", "overlapping-pooling", "--preset", "smoke", "--json")
    card = json.loads(out)
    assert code == 0 and card["claims"][0]["published"]["top1_error"] == 0.4
    assert [arm["name"] for arm in card["arms"]] == [arm.name for arm in experiment.arms_at("smoke")]
    code, out, _ = repro("report", "overlapping-pooling", "--json")
    made = json.loads(out)
    (found,) = [one for one in made["settings"][0]["judgements"] if one["claimed"] and one["metric"] == "top1_error"]
    assert code == 0 and made["settings"][0]["setting"] == "smoke" and found["seeds"] == 3
    assert found["low"] < found["mean"] < found["high"] and 2 < found["mean"] < 4
    assert str(tmp_path / "reports" / "index.md").endswith(made["files"][0]) or "reports/index.md" in made["files"]
    assert verdicts.read(tmp_path / "reports").keys() == {"overlapping-pooling"}
    code, out, _ = repro("compare", "--presets", "paper", "code-2012", "--json")
    rows = json.loads(out)[0]["rows"]
    assert code == 0 and {row["key"] for row in rows} >= {"model.norm.scope", "model.spatial_norm"}


def test_doctor_speaks_json(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    from repro.commands import doctor

    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Finding("torch", "ok", "2.14.1")])
    code, out, _ = repro("doctor", "--json")
    assert code == 0 and json.loads(out)[0]["found"] == "2.14.1"


def test_a_run_as_json_keeps_its_progress_off_standard_output(
    repro: Repro, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from repro.training.events import Failed

    def sweep(*_: object, do: object, **__: object) -> list[Failed]:
        sys.stdout.write("progress")
        return [Failed("0a1b2c3d4e5f/seed-0", "made up: out of memory")]

    monkeypatch.setattr("repro.commands.sweep.sweep", sweep)
    code, out, err = repro("run", "lrn-ablation", "--json")
    assert code == 1 and "progress" in err
    assert json.loads(out)["failed"] == [{"run": "0a1b2c3d4e5f/seed-0", "reason": "made up: out of memory"}]
