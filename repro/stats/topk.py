"""Top-k errors of stored predictions, ties counted as the 2012 code counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CHUNK = 1 << 22  # scores looked at in one step: 16 MiB of float32


def topk_errors(probability: np.ndarray, label: np.ndarray, k: int) -> np.ndarray:
    """How wrong each picture is, (P,) float64 in [0, 1], from scores (P, classes) and labels (P,).

    0 where the label is surely among the k best, 1 where it surely is not. Where it ties with others for the last
    places it is the expected error when ties break at random, which is how src/layer_kernels.cu (kMultiSoftmaxCost)
    counts. So a net that says the same of all classes has error 1 - k / classes, not 0. A picture with a score that
    is not a number (a diverged run) is wrong.
    """
    import numpy as np

    pictures, classes = probability.shape
    assert label.shape == (pictures,) and k >= 1, (probability.shape, label.shape, k)
    wrong = np.empty(pictures)
    step = max(1, CHUNK // classes)
    for start in range(0, pictures, step):
        scores = np.asarray(probability[start : start + step], dtype=np.float32)
        own = np.take_along_axis(scores, label[start : start + step, None].astype(np.intp), axis=1)
        above = (scores > own).sum(axis=1)
        level = (scores == own).sum(axis=1)  # itself included
        broken = np.isnan(scores).any(axis=1)
        right = np.clip((k - above) / np.maximum(level, 1), 0.0, 1.0)
        wrong[start : start + step] = np.where(broken, 1.0, 1.0 - right)
    return wrong
