"""Where a number came from: code, packages, hardware. Only public facts, no names of users or hosts."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "numpy", "numba", "ffcv", "pandas", "scipy", "alexnet-repro")


def git_state(root: Path | None = None) -> dict[str, Any]:
    """`commit` and whether tracked files differ from it; both None outside a checkout."""
    here = root or Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no", "--", "repro", "ablations") if commit else None
    return {"commit": commit, "changed": None if changes is None else bool(changes)}


def packages() -> dict[str, str | None]:
    """Version of each package that a number can depend on; None where it is not installed."""

    def of(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: of(name) for name in PACKAGES}


def hardware() -> dict[str, Any]:
    """Processor, cores and accelerators as torch sees them."""
    import torch

    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux: the platform's own word stands
    return {
        "processor": model,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerators": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
    }


def provenance() -> dict[str, Any]:
    """All of it, as stored in run.json."""
    return {
        "git": git_state(),
        "packages": packages(),
        "python": platform.python_version(),
        "hardware": hardware(),
    }
