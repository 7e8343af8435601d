"""`make faults`: every loop over damage at its full length, with a fixed seed; exit code 1 where a trial is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import loops_data
import loops_results

SEED = 5

if __name__ == "__main__":
    counts = [loop(trials, SEED) for loops in (loops_data.LOOPS, loops_results.LOOPS) for loop, trials in loops.items()]
    print(f"{sum(tried for tried, _ in counts)} tried, {sum(wrong for _, wrong in counts)} wrong")  # noqa: T201
    sys.exit(any(wrong for _, wrong in counts))
