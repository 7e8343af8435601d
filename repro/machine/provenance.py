"""Where a number came from: code, packages, hardware. Only public facts, no names of users or hosts."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from repro.machine.cuda import arithmetic

PACKAGES = ("torch", "torchvision", "numpy", "numba", "ffcv", "pandas", "scipy", "alexnet-repro")


def git_state(root: Path | None = None) -> dict[str, Any]:
    """`commit` and whether tracked files differ from it; both None outside a checkout."""
    here = root or Path(__file__).parents[2]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no", "--", "repro", "ablations") if commit else None
    return {"commit": commit, "changed": None if changes is None else bool(changes)}


def packages(names: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Version of each package that a number can depend on; None where it is not installed."""

    def of(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: of(name) for name in names}


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's own name."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_features() -> frozenset[str]:
    """The processor's feature names as Linux lists them; empty where it does not."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())


def _cpuinfo(key: str) -> str:
    try:
        lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    except OSError:  # not Linux
        return ""
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def hardware() -> dict[str, Any]:
    """Processor, cores and accelerators as torch sees them."""
    import torch

    return {
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "accelerators": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
        "arithmetic": arithmetic(),  # of the accelerators
    }


def provenance() -> dict[str, Any]:
    """All of it, as stored in run.json."""
    return {
        "git": git_state(),
        "packages": packages(),
        "python": platform.python_version(),
        "hardware": hardware(),
    }
