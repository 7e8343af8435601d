"""Settings of the process that make a training step faster and change no number."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed activations for the next step; call it once, before training.

    By default glibc returns each block of a megabyte or more to the kernel when it is freed and asks for it again a
    moment later, and the kernel then fills it with zeros page by page: a tenth to a third of a step (bench/README.md).
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
