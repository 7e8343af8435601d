"""Reproduction and ablation bench for AlexNet (Krizhevsky, Sutskever, Hinton, NIPS 2012)."""

from repro.experiments import paper
from repro.experiments.experiment import Arm, Claim, Ensemble, Experiment, Measured, Search
from repro.experiments.per_preset import PerPreset

__all__ = ["Arm", "Claim", "Ensemble", "Experiment", "Measured", "PerPreset", "Search", "paper"]
__version__ = "0.1.0"
