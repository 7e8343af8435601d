"""docs/new_experiment.md, followed word by word: its file is saved and its commands are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from repro.experiments.experiment import Claim

PAGE = (Path(__file__).parents[1] / "docs" / "new_experiment.md").read_text()
SMALL = ["--set", "schedule.epochs=1", "--set", "data.per_class=16", "--set", "data.test_per_class=8"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_page_leads_to_a_verdict(tmp_path: Path) -> None:
    """Only the size of each run is cut, so that the page's three seeds take no minutes here."""
    (code,) = blocks("python")
    named = re.search(r"Save this as `(\w+\.py)`", PAGE)
    assert named
    (tmp_path / named[1]).write_text(code)
    places = {f"REPRO_{name}_DIR": name.lower() for name in ("DATA", "RESULTS", "REPORTS")}
    said = {}
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    for line in commands:
        program, command, *arguments = shlex.split(line)
        assert program == "repro"
        small = SMALL if command in ("plan", "run") else []
        done = subprocess.run(
            [sys.executable, "-m", "repro", command, *arguments, *small],
            cwd=tmp_path, env={**os.environ, **places}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said[command] = " ".join(done.stdout.split())
    assert list(said) == ["show", "plan", "run", "report"]
    assert "model.dropout.probability=0.2" in said["show"]
    assert "6 runs, 0 finished" in said["plan"]
    assert "verdict" in said["report"]
    report = (tmp_path / "reports" / "dropout-rate.md").read_text()
    assert "Is the error lower with less dropout than the paper's 0.5?" in report
    row = next(line for line in report.splitlines() if line.startswith("| fifth against half | top-1 error |"))
    assert "2.3 points" in row
    verdict = row.split("|")[6].strip()  # so few images that a net may not train at all
    assert verdict == "not evaluated" or verdict.endswith("(at this setting)"), (
        "never evidence about the published setting"
    )


def test_every_kind_of_claim_that_the_page_lists_exists() -> None:
    listed = set(re.findall(r"^\| `Claim\.(\w+)\(", PAGE, flags=re.MULTILINE))
    made = {name for name, value in vars(Claim).items() if isinstance(value, classmethod)}
    assert listed == made
