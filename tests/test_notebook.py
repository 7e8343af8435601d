"""docs/notebook.ipynb runs to a verdict through the door alone, and is committed without outputs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import repro

PATH = Path(__file__).parent.parent / "docs" / "notebook.ipynb"
CELLS = nbformat.read(PATH, as_version=4).cells
CODE = [cell for cell in CELLS if cell.cell_type == "code"]


def test_it_is_committed_without_outputs() -> None:
    assert CODE and all(not cell.outputs and cell.execution_count is None for cell in CODE)


def test_it_uses_the_door_alone() -> None:
    source = re.sub(r"^%.*", "", "\n".join(cell.source for cell in CODE), flags=re.MULTILINE)
    nodes = list(ast.walk(ast.parse(source)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"repro"}
    assert {node.module for node in nodes if isinstance(node, ast.ImportFrom)} == {"pathlib"}
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "repro"
    }
    assert used == {"load_experiments", "plan", "run", "collect", "judge", "figure"} <= set(repro.__all__)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_runs_to_a_verdict_and_a_figure(tmp_path: Path) -> None:
    path = shutil.copy(PATH, tmp_path)
    run = [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", "--timeout=800", path]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outputs = [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert outputs[3][0]["data"]["text/plain"] == "[]"  # no run failed
    frame = repro.judge("ten-view", results=tmp_path / "demo" / "results")
    verdict = frame.set_index(["arm", "metric"]).loc[("ten", "top1_error"), "verdict"]
    assert verdict in outputs[-2][0]["data"]["text/plain"] and "image/png" in outputs[-1][0]["data"]
