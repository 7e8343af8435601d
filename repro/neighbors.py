"""Figure 4: for some test pictures, the five most probable classes and the training pictures nearest in the last hidden
layer by Euclidean distance (section 6.1)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import nn

from repro.data import Loader, Prepared
from repro.data.loading import SplitName
from repro.evaluate import autocast
from repro.store import write_atomically

GUESSED = 8  # test pictures shown with their guesses, as in the paper's left half
QUERIES = 5  # test pictures whose neighbors are shown, as in its right half
NEIGHBORS = 6


def write_neighbors(
    path: Path,
    model: nn.Module,
    prepared: Prepared,
    training: Loader,
    testing: Loader,
    *,
    precision: str,
    device: torch.device,
) -> None:
    """Write neighbors.npz: what Figure 4 shows, chosen without looking: the first test picture of each of GUESSED
    classes spread evenly over all, and QUERIES likewise.

    `guess_picture` (8, S, S, 3) uint8, `guess_label` (8,), `guess_class` and `guess_probability` (8, 5);
    `query_picture` (5, S, S, 3), `query_label` (5,), `near_picture` (5, 6, S, S, 3), `near_label` and `near_distance`
    (5, 6); `class_name` (classes,).
    """
    training_set, testing_set = prepared.train, prepared.test
    labels = testing_set.labels
    classes = len(np.unique(labels))
    shown = [int(np.flatnonzero(labels == k * classes // GUESSED)[0]) for k in range(GUESSED)]
    queries = shown[:: max(1, GUESSED // QUERIES)][:QUERIES]
    test_features, test_logits = _features(model, testing, precision, device)
    train_features, _ = _features(model, training, precision, device)
    probability = test_logits[shown].softmax(1)
    best, best_class = probability.topk(min(5, classes), dim=1)
    distance, near = torch.cdist(test_features[queries], train_features).topk(NEIGHBORS, largest=False)

    def pixels(split: SplitName, rows: Sequence[int]) -> np.ndarray:
        stored = prepared.split(split).indices
        return np.stack([prepared.pixels(split, int(stored[row])) for row in rows])

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        guess_picture=pixels("test", shown),
        guess_label=labels[shown],
        guess_class=best_class.numpy(),
        guess_probability=best.numpy(),
        query_picture=pixels("test", queries),
        query_label=labels[queries],
        near_picture=np.stack([pixels("train", row) for row in near.tolist()]),
        near_label=training_set.labels[near.numpy()],
        near_distance=distance.numpy(),
        class_name=np.array(prepared.class_names),
    )
    write_atomically(path, buffer.getvalue())


def _features(
    model: nn.Module, loader: Loader, precision: str, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden layer (P, units) and logits (P, classes) of every picture's center view, in fixed order."""
    model.eval()
    features, logits = [], []
    with torch.inference_mode(), closing(loader.views("center")) as batches:
        for batch in batches:
            images = batch.image.flatten(0, 1).to(device).contiguous(memory_format=torch.channels_last)
            with autocast(precision, device):
                hidden = model.features(images)  # type: ignore[operator]
                out = model.layer(model.names[-1])(hidden)  # type: ignore[operator,index]
            features.append(hidden.float().cpu())
            logits.append(out.float().cpu())
    return torch.cat(features), torch.cat(logits)
