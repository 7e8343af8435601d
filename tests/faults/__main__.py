"""`make faults`: every loop over damage at its full length, with a fixed seed; exit code 1 where a trial is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import loops_commands
import loops_data
import loops_guided
import loops_results

SEED = 5

if __name__ == "__main__":
    files = (loops_data, loops_results, loops_commands, loops_guided)
    counts = [loop(trials, SEED) for one in files for loop, trials in one.LOOPS.items()]
    if not loops_guided.LOOPS:
        print("the coverage-guided fuzzer is skipped: atheris has no wheel for this system")  # noqa: T201
    print(f"{sum(tried for tried, _ in counts)} tried, {sum(wrong for _, wrong in counts)} wrong")  # noqa: T201
    sys.exit(any(wrong for _, wrong in counts))
