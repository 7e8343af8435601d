"""Names that every part shares: views, artifacts, metrics, and the numbers of seeds. Plain values."""

from __future__ import annotations

import re
from typing import Literal

View = Literal["center", "flips", "ten", "dense"]
Artifact = Literal["kernels", "neighbors"]

ERRORS = ("top1_error", "top5_error", "train_error")  # percent
HELD_OUT = "held_out_error"  # percent, top-1, center view, of images that are neither trained on nor tested on
EPOCHS_TO_TARGET = "epochs_to_target"  # epochs until schedule.stop_train_error is reached
EPOCHS_TO_BEST = "epochs_to_best"  # epochs until the run's lowest center-view test error
GAP = "gap"  # test minus training top-1 error, points
EARLY_ERROR = "early_error"  # percent: error on the batches of the first tenth of the schedule, as they were trained on
TRAINING_HOURS = "training_hours"  # of training alone, on the run's own machine
METRICS = (*ERRORS, EPOCHS_TO_TARGET, EPOCHS_TO_BEST, GAP, EARLY_ERROR, TRAINING_HOURS)
FEWEST_SEEDS = 3  # pairs of runs that a verdict takes: below, a spread over seeds says next to nothing
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
SEARCH_SEEDS = 1000  # and more: seeds of a search; those of a comparison are below
