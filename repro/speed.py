"""Settings of the process that make a training step faster and change no number."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc


def keep_freed_memory() -> bool:
    """Let glibc keep the memory of freed activations for the next step; call it once, before training. True: done.

    By default glibc returns each block of a megabyte or more to the kernel when it is freed and asks for it again a
    moment later, and the kernel then fills it with zeros page by page: a tenth to a third of a step (bench/README.md).
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1))
