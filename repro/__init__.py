"""Reproduction and ablation bench for AlexNet (Krizhevsky, Sutskever, Hinton, NIPS 2012)."""

from repro.experiments import paper
from repro.experiments.experiment import Ablation, Arm, Claim, Ensemble, Measured, Search
from repro.experiments.per_preset import AtEach

__all__ = ["Ablation", "Arm", "AtEach", "Claim", "Ensemble", "Measured", "Search", "paper"]
__version__ = "0.1.0"
