"""The loops over damage of data, a few trials of each; `make faults` runs them at length."""

from collections.abc import Callable

import loops_data
import pytest

FEW = {loops_data.damaged_images: 60, loops_data.made_up_archives: 12, loops_data.garbage_for_sources: 8}


@pytest.mark.parametrize("loop", loops_data.LOOPS, ids=lambda loop: str(loop.__name__))
def test_no_trial_comes_out_wrong(
    loop: Callable[[int, int], tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    tried = FEW.get(loop, 7)
    assert loop(tried, 0) == (tried, 0), capsys.readouterr().out
