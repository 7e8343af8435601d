"""Reproduction and ablation bench for AlexNet (Krizhevsky, Sutskever, Hinton, NIPS 2012)."""

from repro import paper
from repro.ablation import Ablation, Arm, Claim, Ensemble, Measured, Search
from repro.scales import AtEach

__all__ = ["Ablation", "Arm", "AtEach", "Claim", "Ensemble", "Measured", "Search", "paper"]
__version__ = "0.1.0"
