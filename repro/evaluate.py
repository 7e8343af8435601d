"""What a trained network gets wrong: center and several views, predictions kept for each picture."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext

import numpy as np
import torch
from torch import nn

from repro.config import View
from repro.data import Loader
from repro.stats.topk import topk_errors

FORWARD = 512  # pictures, views counted, that pass the network at once in test mode


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the Config asks for it: products in bfloat16, weights and sums in float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def predict(
    model: nn.Module, loader: Loader, view: View, *, precision: str, device: torch.device
) -> dict[str, np.ndarray]:
    """`index` (P,) int64, `label` (P,) int64 and `probability` (P, classes) float32 of every picture, in fixed order.

    The softmax outputs are averaged over the views (section 4.1), all views with the weights of test mode.
    """
    model.eval()
    index, label, probability = [], [], []
    with torch.inference_mode(), closing(loader.views(view)) as batches:
        for batch in batches:
            count, views = batch.image.shape[:2]
            images = batch.image.flatten(0, 1)
            parts = []
            for part in torch.split(images, FORWARD):
                part = part.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
                with autocast(precision, device):
                    logits = model(part)
                parts.append(logits.float().softmax(1).cpu())
            probability.append(torch.cat(parts).view(count, views, -1).mean(1).numpy())
            index.append(batch.index.numpy().copy())
            label.append(batch.label.numpy().copy())
    return {
        "index": np.concatenate(index),
        "label": np.concatenate(label),
        "probability": np.concatenate(probability),
    }


def errors(predictions: dict[str, np.ndarray]) -> dict[str, float]:
    """`top1_error` and `top5_error` in percent, by the rule of `topk_errors`."""
    probability, label = predictions["probability"], predictions["label"]
    return {f"top{k}_error": float(100 * topk_errors(probability, label, k).mean()) for k in (1, 5)}


def center_errors(model: nn.Module, loader: Loader, *, precision: str, device: torch.device) -> dict[str, float]:
    """Test errors of the center view, as metrics of an epoch."""
    found = errors(predict(model, loader, "center", precision=precision, device=device))
    return {f"test_{name}": value for name, value in found.items()}
