"""Contrast normalization of whole batches, in torch: what is subtracted or divided per image and not per pixel."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, pad

SMALL = 1e-8  # below a gray level: keeps a flat image finite
WINDOW, SIGMA = 9, 1.591  # local: a 9x9 Gaussian window with this sigma (Jarrett et al., ICCV 2009, section 2)


def normalize_contrast(image: torch.Tensor, image_mean: bool, contrast: str) -> torch.Tensor:
    """image (..., 3, crop, crop) float32. `image_mean` subtracts each image's own mean over pixels and channels.

    "global" divides by the image's standard deviation over pixels and channels; "local" subtracts a Gaussian-weighted
    mean over a window and all channels, then divides by the weighted standard deviation, or by its mean over the
    image where that is larger.
    """
    if image_mean:
        image = image - image.mean(dim=(-3, -2, -1), keepdim=True)
    if contrast == "global":
        image = image / (image.std(dim=(-3, -2, -1), keepdim=True, correction=0) + SMALL)
    if contrast == "local":
        image = image - _blurred(image)
        spread = _blurred(image.square()).sqrt()
        image = image / torch.maximum(spread, spread.mean(dim=(-3, -2, -1), keepdim=True)).clamp_min(SMALL)
    return image


def _blurred(image: torch.Tensor) -> torch.Tensor:
    """(..., 1, crop, crop): the Gaussian-weighted mean over the window and the channels, edges repeated."""
    offsets = torch.arange(WINDOW, dtype=torch.float32, device=image.device) - WINDOW // 2
    line = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = torch.outer(line, line)
    window = (window / window.sum())[None, None]
    gray = image.mean(dim=-3, keepdim=True)
    flat = gray.reshape(-1, 1, *gray.shape[-2:])
    edge = WINDOW // 2
    return conv2d(pad(flat, (edge, edge, edge, edge), mode="replicate"), window).reshape(gray.shape)
