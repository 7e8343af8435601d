"""LARS (You, Gitman and Ginsburg 2017): each layer's rate in proportion to its weights over their gradient."""

import torch

from repro.training.optim import Optimizer, Slot

TRUST = 0.001  # the paper's eta


class Lars(Optimizer):
    """`optim.kind=lars`; rate, momentum and weight decay are those of the Config."""

    def move(self, slot: Slot) -> None:
        weights = torch.linalg.vector_norm(torch.stack([part.norm() for part in slot.parts]))
        gradients = torch.linalg.vector_norm(torch.stack([part.grad.norm() for part in slot.parts]))
        sized = weights > 0 and gradients > 0
        local = TRUST * weights / (gradients + slot.decay * weights) if sized else 1.0
        for part, velocity in zip(slot.parts, slot.velocity, strict=True):
            velocity.mul_(self.config.momentum).add_(slot.rate * local * (part.grad + slot.decay * part))
            part.sub_(velocity)
