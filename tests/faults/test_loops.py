"""The loops over damage of data and results, a few trials of each; `make faults` runs them at length."""

from collections.abc import Callable

import loops_data
import loops_results
import pytest

FEW = {loops_data.damaged_images: 60, loops_data.made_up_archives: 12, loops_data.garbage_for_sources: 8}
FEW |= {loops_results.values_of_records: 60, loops_results.bits_of_predictions: 30}


@pytest.mark.parametrize("loop", [*loops_data.LOOPS, *loops_results.LOOPS], ids=lambda loop: str(loop.__name__))
def test_no_trial_comes_out_wrong(
    loop: Callable[[int, int], tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    tried = FEW.get(loop, 7)
    assert loop(tried, 0) == (tried, 0), capsys.readouterr().out
