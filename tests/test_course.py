"""docs/course.md: each `repro` command of the class runs, and published numbers say what the page expects of them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUICK, Repro

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "course.md").read_text()
TYPED = re.findall(r"^\$ repro (.+)$", TEXT, re.MULTILINE)
PUBLISHED = [line for line in TYPED if "--results-dir results" in line]


def test_the_commands_that_train_run(repro: Repro) -> None:
    trained = [line for line in TYPED if line.startswith("run ")]
    assert len(trained) == 2
    for line in trained:
        words = shlex.split(line)
        code, out, err = repro(*words, "--seeds", "1", "--untuned", *QUICK)
        assert code == 0, (line, out, err)
        assert "Verdicts in full" in Path(f"reports/{words[1]}.md").read_text()
    (imported,) = [line for line in TYPED if line.startswith("import ")]
    shutil.move("results", "theirs")
    code, out, err = repro(*imported.replace("DIR", "theirs").split())
    assert code == 0 and "imported from theirs" in out, (out, err)


def published(experiment: str, to: Path) -> list[dict[str, Any]]:
    """What each command that reads published results prints of an experiment's first claim, in order."""
    found = []
    for line in PUBLISHED:
        if shlex.split(line)[1] != experiment:
            continue
        command = [sys.executable, "-m", "repro", *shlex.split(line), "--json"]
        done = subprocess.run([*command, "--reports-dir", str(to)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found += [setting["judgements"][0] for setting in json.loads(done.stdout)["settings"]]
    return found


@pytest.mark.slow
def test_a_common_rate_and_rates_of_their_own_say_the_opposite(tmp_path: Path) -> None:
    common, own = published("lrn-ablation", tmp_path)
    assert {one["arm"] for one in (common, own)} == {"no-lrn"}
    assert common["low"] * common["high"] > 0 and own["low"] * own["high"] > 0 and common["mean"] * own["mean"] < 0


@pytest.mark.slow
def test_a_gap_that_excludes_zero_is_not_evaluated_where_nothing_overfits(tmp_path: Path) -> None:
    (gap,) = published("dropout-ablation", tmp_path)
    assert gap["metric"] == "gap" and gap["low"] > 0 and gap["verdict"] == "not evaluated"
