"""The loops over damage of data and results, a few trials of each; `make faults` runs them at length."""

from collections.abc import Callable

import loops_commands
import loops_data
import loops_guided
import loops_results
import pytest

FEW = {loops_data.damaged_images: 60, loops_data.made_up_archives: 12, loops_data.garbage_for_sources: 8}
FEW |= {loops_results.values_of_records: 60, loops_results.bits_of_predictions: 30}
FEW |= {loops_commands.command_lines: 40, loops_commands.values_of_set: 300}
FEW |= {loops_commands.kills_of_a_run: 1, loops_commands.kills_of_a_preparation: 2}
ALL = [loop for loops in (loops_data, loops_results, loops_commands) for loop in loops.LOOPS]


@pytest.mark.parametrize("loop", ALL, ids=lambda loop: str(loop.__name__))
def test_no_trial_comes_out_wrong(
    loop: Callable[[int, int], tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    tried = FEW.get(loop, 7)
    assert loop(tried, 0) == (tried, 0), capsys.readouterr().out


@pytest.mark.skipif(not loops_guided.LOOPS, reason="atheris has no wheel for this system")
def test_no_guided_trial_comes_out_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    tried, wrong = loops_guided.guided(300, 0, ("run.json", "set.tar"))
    assert tried >= 600 and wrong == 0, capsys.readouterr().out
