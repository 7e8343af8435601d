"""docs/tasks.md: each task is one command that runs, and takes the keys that the page says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from repro import store
from tests.conftest import QUICK, Repro

ROOT = Path(__file__).parent.parent
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| (\d+) \|$", (ROOT / "docs" / "tasks.md").read_text(), re.MULTILINE)
TYPED = {task: code[0] for task, text, _ in ROWS if (code := re.findall(r"^`([^`]+)`$", text))}


def test_there_are_ten_and_their_keys_are_counted() -> None:
    assert len(ROWS) == 10
    assert {task: int(keys) for task, _, keys in ROWS} == {task: len(TYPED.get(task, "")) for task, _, _ in ROWS}


def test_the_commands_run_in_this_order(
    repro: Repro, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "results" / "experiments", tmp_path / "results" / "experiments")

    def typed(task: str, *more: str, **instead: str) -> str:
        words = [instead.get(word, word) for word in shlex.split(TYPED[task])]
        assert words[0] == "repro", task
        code, out, err = repro(*words[1:], *more)
        assert code == 0, (task, out, err)
        return out

    typed("a first verdict, in minutes", "--seeds", "1", "--untuned", *QUICK)
    assert "Verdicts in full" in Path("reports/lrn-ablation.md").read_text()
    pictures = typed("pictures of your own, in folders of classes", DIR=str(tree), mine="mine-of-a-test")
    assert "4 classes" in pictures or "48" in pictures
    typed("an experiment of your own")
    assert Path("ablations/dropout_rate.py").is_file()
    assert "model.norm" in typed(
        "compare two arms", "--setting", next(Path("results/experiments/lrn-ablation").glob("smoke*")).stem
    )
    run = store.finished_runs(Path("results"))[0][0]
    assert "1" in typed("what a run cost", RUN=run.digest)
    typed("a table for LaTeX")
    assert "tabular" in Path("reports/scoreboard.tex").read_text()
    exec(re.findall(r'"(.+)"', TYPED["from Python"])[0])
    assert "no-lrn" in capsys.readouterr().out


def test_a_published_setting_is_asked_for_again_as_the_page_types_it(repro: Repro, tmp_path: Path) -> None:
    """As far as a plan: its images are not here."""
    words = shlex.split(TYPED["a published setting again, on your machine"])
    assert words[:2] == ["repro", "run"]
    file = ROOT / words[3]
    assert file.is_file()
    shutil.copytree(ROOT / "results" / "experiments", tmp_path / "results" / "experiments")
    code, _, err = repro(*words[1:])
    assert code == 2 and "cifar10" in err and "repro data prepare cifar10" in err
