"""Where a number came from: the commit, and whether the code was that commit's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from repro.machine import provenance


def test_it_says_whether_the_code_differs_from_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    for name in ("repro/machine/provenance.py", "ablations/one.py", "results/runs.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("before")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "repro" / "machine" / "provenance.py"))
    assert provenance.git_state() == {"commit": None, "changed": None}
    git("init")
    git("add", ".")
    git("commit", "-m", "First")
    commit = provenance.git_state()["commit"]
    assert len(commit) == 40
    (tmp_path / "results" / "runs.csv").write_text("results do not change what a run computes")
    assert provenance.git_state() == {"commit": commit, "changed": False}
    for changed in ("repro/machine/provenance.py", "ablations/one.py"):
        (tmp_path / changed).write_text("after")
        assert provenance.git_state() == {"commit": commit, "changed": True}
        (tmp_path / changed).write_text("before")
