"""Swish (Ramachandran, Zoph and Le 2017): `model.activation=swish`."""

import torch


def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)
