"""What every test file shares: one thread a process, no screen, and quiet property tests.

The thread limits stand before any import of numpy or torch, which read them once. With `pytest -n 2` each
worker is a process of its own, so one thread each keeps two cores busy without fighting over them.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["MPLBACKEND"] = "Agg"

import pytest  # noqa: E402  (the limits above come first)
from hypothesis import settings  # noqa: E402

# A shared machine has slow moments; a property that fails has to fail for its values, not for its time, and
# the same examples have to be tried on every machine.
settings.register_profile("repro", deadline=None, derandomize=True, max_examples=50, print_blob=True)
settings.load_profile("repro")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which the embedded photos are prepared at 32 pixels, as the smoke presets want them."""
    from repro.config.presets import preset
    from repro.data.load.loading import open_data

    directory = tmp_path_factory.mktemp("data")
    open_data(preset("smoke").data, directory)
    return directory


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of made-up images, 12 to train and 3 to test with; a test that writes into it takes a copy."""
    from made_up_images import class_tree

    return class_tree(tmp_path_factory.mktemp("source") / "tree", classes=4, train=12, test=3)


Result = tuple[int, str, str]
Repro = Callable[..., Result]
QUICK = (
    "--set", "data.per_class=6", "--set", "data.test_per_class=3", "--set", "optim.batch_size=16",
    "--set", "schedule.epochs=1", "--loader", "torch", "--jobs", "1",
)  # fmt: skip


@pytest.fixture
def repro(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Repro:
    """Runs a command in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPRO_DATA_DIR", str(photos))
    for name in ("RESULTS", "REPORTS"):
        monkeypatch.delenv(f"REPRO_{name}_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    from repro.commands.cli import main

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["repro", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        output = capsys.readouterr()
        return code, output.out, output.err

    return call
