"""Figure 4: for some test images, the five most probable classes and the training images nearest in the last hidden
layer by Euclidean distance (section 6.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from repro.data.load.loading import Loader, Prepared, SplitName
from repro.network.model import Network
from repro.network.towers import TwoTowers
from repro.store import write_arrays
from repro.training.evaluate import autocast

GUESSED = 8  # test images shown with their guesses, as in the paper's left half
QUERIES = 5  # test images whose neighbors are shown, as in its right half
NEIGHBORS = 6


def write_neighbors(
    path: Path,
    model: Network | TwoTowers,
    prepared: Prepared,
    training: Loader,
    testing: Loader,
    *,
    precision: str,
    device: torch.device,
) -> None:
    """Write neighbors.npz: what Figure 4 shows, chosen without looking: the first test image of each of GUESSED
    classes spread evenly over all, and QUERIES likewise.

    `guess_picture` (8, S, S, 3) uint8, `guess_label` (8,), `guess_class` and `guess_probability` (8, 5);
    `query_picture` (5, S, S, 3), `query_label` (5,), `near_picture` (5, 6, S, S, 3), `near_label` and `near_distance`
    (5, 6); `class_name` (classes,).
    """
    training_set, testing_set = prepared.train, prepared.test
    labels = testing_set.labels
    there = np.unique(labels)  # a class may have no test images
    shown = [int(np.flatnonzero(labels == there[k * len(there) // GUESSED])[0]) for k in range(GUESSED)]
    queries = shown[:: max(1, GUESSED // QUERIES)][:QUERIES]
    hidden, logits = [], []
    for features, outputs in _batches(model, testing, precision, device):
        hidden.append(features)
        logits.append(outputs)
    best, best_class = torch.cat(logits)[shown].softmax(1).topk(min(5, len(prepared.class_names)), dim=1)
    distance, near = _nearest(torch.cat(hidden)[queries], _batches(model, training, precision, device))

    def pixels(split: SplitName, rows: Sequence[int]) -> np.ndarray:
        stored = prepared.split(split).indices
        return np.stack([prepared.pixels(split, int(stored[row])) for row in rows])

    arrays = {
        "guess_picture": pixels("test", shown),
        "guess_label": labels[shown],
        "guess_class": best_class.numpy(),
        "guess_probability": best.numpy(),
        "query_picture": pixels("test", queries),
        "query_label": labels[queries],
        "near_picture": np.stack([pixels("train", row) for row in near.tolist()]),
        "near_label": training_set.labels[near.numpy()],
        "near_distance": distance.numpy(),
        "class_name": np.array(prepared.class_names),
    }
    write_arrays(path, arrays)


def _batches(
    model: Network | TwoTowers, loader: Loader, precision: str, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Last hidden layer (B, units) and logits (B, classes) of every image's center view, in fixed order."""
    model.eval()
    with torch.inference_mode(), closing(loader.views("center")) as batches:
        for batch in batches:
            images = batch.image.flatten(0, 1).to(device).contiguous(memory_format=torch.channels_last)
            with autocast(precision, device):
                hidden = model.features(images)
                out = model.output(hidden)
            yield hidden.float().cpu(), out.float().cpu()


def _nearest(
    queries: torch.Tensor, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances and rows, (Q, NEIGHBORS) each, of the features nearest to `queries` (Q, units); no more is kept of
    them (those of 1.3 million images are 21 GB)."""
    distance = torch.empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.int64)
    first = 0
    for features, _ in batches:
        here = torch.arange(first, first + len(features)).expand(len(queries), -1)
        all_rows = torch.cat((rows, here), 1)
        distances = torch.cat((distance, torch.cdist(queries, features)), 1)
        distance, place = distances.topk(min(NEIGHBORS, distances.shape[1]), largest=False)
        rows = all_rows.gather(1, place)
        first += len(features)
    return distance, rows
