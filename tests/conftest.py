"""What every test file shares: one thread a process, no screen, and quiet property tests.

The thread limits stand before any import of numpy or torch, which read them once. With `pytest -n 2` each
worker is a process of its own, so one thread each keeps two cores busy without fighting over them. Numba's
limit is left alone: FFCV asks it for as many threads as the loader has workers, and numba refuses more than
its limit.
"""

import os
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
    from repro.data import open_data
    from repro.presets import preset

    directory = tmp_path_factory.mktemp("data")
    open_data(preset("smoke").data, directory)
    return directory
