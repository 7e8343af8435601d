"""Reproduction and ablation bench for AlexNet (Krizhevsky, Sutskever, Hinton, NIPS 2012)."""

from repro.door import collect, figure, judge, load_experiments, plan, run
from repro.experiments import paper
from repro.experiments.design import Factor, Factorial, Screen
from repro.experiments.experiment import Arm, Claim, Ensemble, Experiment, Measured, Search
from repro.experiments.per_preset import PerPreset

__all__ = [
    "Arm", "Claim", "Ensemble", "Experiment", "Factor", "Factorial", "Measured", "PerPreset", "Screen", "Search",
    "collect", "figure", "judge", "load_experiments", "paper", "plan", "run",
]  # fmt: skip
__version__ = "0.2.0"
