"""CUDA devices: which run has which, and the settings under which float32 means float32 and a run repeats itself."""

from __future__ import annotations

import os


def share_devices(workers: int, count: int) -> list[tuple[str, ...]]:
    """The devices of each of `workers` processes that train at once on a machine with `count` CUDA devices.

    Two devices, one for each tower, where there are enough for all; else one, in turn, so that several share a device
    where there are more workers than devices. Without a device they are empty: the CPU.
    """
    if count == 0:
        return [()] * workers
    each = 2 if count >= 2 * workers else 1
    return [tuple(f"cuda:{(worker * each + n) % count}" for n in range(each)) for worker in range(workers)]


def make_exact() -> None:
    """Set what torch leaves to speed: call it before the first CUDA operation of a process. The CPU is not affected.

    Products of float32 are not rounded to TF32 (10 bits), sums of bfloat16 products are kept in float32, and cuDNN and
    cuBLAS take the same algorithm every time, so that a run gives the same bits twice on one device.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS splits sums by what workspace is free
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def arithmetic() -> dict[str, bool]:
    """What `make_exact` sets, as it stands; it is part of a run's provenance."""
    import torch

    return {
        "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        "deterministic": torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark,
    }
