"""Top-k errors of stored predictions, ties counted as the 2012 code counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CHUNK = 1 << 22  # scores looked at in one step: 16 MiB of float32


def topk_errors(probability: np.ndarray, label: np.ndarray, k: int) -> np.ndarray:
    """How wrong each image is, (P,) float64 in [0, 1], from scores (P, classes) and labels (P,).

    0 where the label is surely among the k best, 1 where it surely is not. Where it ties with others for the last
    places it is the expected error when ties break at random, which is how src/layer_kernels.cu (kMultiSoftmaxCost)
    counts. So a net that says the same of all classes has error 1 - k / classes, not 0. An image with a score that
    is not a number (a diverged run) is wrong.
    """
    assert k >= 1, k
    return errors_of_ranks(*ranks(probability, label), k)


def ranks(probability: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many classes score above the label of each image (P,), and how many as it does, itself included (P,).

    No class scores as the label does where a score is not a number.
    """
    import numpy as np

    images, classes = probability.shape
    assert label.shape == (images,), (probability.shape, label.shape)
    above, level = np.empty(images), np.empty(images)
    ones = np.ones(classes, dtype=np.float32)  # products sum short rows many times faster than sum(axis=1)
    step = max(1, CHUNK // classes)
    for start in range(0, images, step):
        part = slice(start, start + step)
        scores = np.asarray(probability[part], dtype=np.float32)
        own = scores[np.arange(len(scores)), label[part].astype(np.intp)][:, None]
        above[part] = (scores > own).astype(np.float32) @ ones
        level[part] = np.where(np.isnan(scores @ ones), 0.0, (scores == own).astype(np.float32) @ ones)
    return above, level


def errors_of_ranks(above: np.ndarray, level: np.ndarray, k: int) -> np.ndarray:
    """`topk_errors` from `ranks`, for more than one k at the price of one."""
    import numpy as np

    right = np.clip((k - above) / np.maximum(level, 1.0), 0.0, 1.0)
    return np.where(level == 0, 1.0, 1.0 - right)
