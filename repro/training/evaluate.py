"""What a trained network gets wrong: center and several views, predictions kept for each image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext

import numpy as np
import torch
from torch import nn

from repro.data.load.loading import Loader
from repro.records import Errors
from repro.stats.topk import topk_errors
from repro.terms import View
from repro.training.ranks import ALONE, Ranks

FORWARD = 512  # images, views counted, that pass the network at once in test mode


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the Config asks for it: products in bfloat16, weights and sums in float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def predict(
    model: nn.Module, loader: Loader, view: View, *, precision: str, device: torch.device, ranks: Ranks = ALONE
) -> dict[str, np.ndarray]:
    """`index` (P,) int64, `label` (P,) int64 and `probability` (P, classes) float32 of every image, in fixed order.

    The softmax outputs are averaged over the views (section 4.1), all views with the weights of test mode. `ranks` that
    share the images all call this; rank 0 gets those of all, the others get nothing.
    """
    batches = ranks.gathered(list(predicted_batches(model, loader, view, precision=precision, device=device)))
    if ranks.rank:
        return {}
    index, label, probability = map(np.concatenate, zip(*batches, strict=True))
    if ranks.world > 1:  # one rank has them in the order of their indices
        order = np.argsort(index)
        index, label, probability = index[order], label[order], probability[order]
    return {"index": index, "label": label, "probability": probability}


def predicted_batches(
    model: nn.Module, loader: Loader, view: View, *, precision: str, device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What `predict` puts together, a batch at a time."""
    model.eval()
    with torch.inference_mode(), closing(loader.views(view)) as batches:
        for batch in batches:
            count, views = batch.image.shape[:2]
            if not count:
                continue
            images = batch.image.flatten(0, 1)
            parts = []
            for part in torch.split(images, FORWARD):
                part = part.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
                with autocast(precision, device):
                    logits = model(part)
                parts.append(logits.float().softmax(1).cpu())
            probability = torch.cat(parts).view(count, views, -1).mean(1).numpy()
            yield batch.index.numpy().copy(), batch.label.numpy().copy(), probability


def errors(predictions: dict[str, np.ndarray]) -> Errors:
    """Of stored predictions, by the rule of `topk_errors`."""
    probability, label = predictions["probability"], predictions["label"]
    return Errors(*(float(100 * topk_errors(probability, label, k).mean()) for k in (1, 5)))


def center_errors(
    model: nn.Module, loader: Loader, *, precision: str, device: torch.device, ranks: Ranks = ALONE
) -> Errors:
    """`errors` of the center view, of as many images as there are: no prediction is kept (1.3 million images of
    1000 classes are 5 GB). `ranks` that share the images all call this, and get the same."""
    images, wrong = 0, {1: 0.0, 5: 0.0}
    for _, label, probability in predicted_batches(model, loader, "center", precision=precision, device=device):
        images += len(label)
        for k in wrong:
            wrong[k] += float(topk_errors(probability, label, k).sum())
    total, *wrongs = ranks.total([images, *wrong.values()])
    return Errors(*(100 * count / total for count in wrongs))
