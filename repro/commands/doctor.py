"""What this machine has, what is missing, what is used instead, and the exact line that mends it.

`repro doctor` prints what `diagnose` finds. Nothing here raises because something is missing: that is its subject.
`scripts/setup.sh` asks `missing_system_packages` before it builds FFCV, so the two cannot name different packages.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from repro.machine.compiled import cache_folders, temporary_folder, writable
from repro.machine.provenance import processor_features, usable_cores
from repro.suggest import one_line

Status = Literal["ok", "missing", "limited"]

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    `found` says what is there; `used_instead` what the program does without it and `mend` the line to type,
    both empty where there is nothing to say.
    """

    name: str
    status: Status
    found: str
    used_instead: str = ""
    mend: str = ""


def diagnose(data_dir: Path | None = None) -> list[Finding]:
    """Look at everything a run depends on; takes some ten seconds, most of them for importing torch and FFCV.

    `data_dir` is where prepared data is looked for; None: where the commands look when they are not told.
    """

    def prepared_data() -> Finding:
        return prepared(data_dir)

    checks: tuple[Callable[[], Finding], ...] = (
        python,
        torch_version,
        accelerator,
        bfloat16,
        cores,
        memory,
        ffcv,
        system_packages,
        numba_cache,
        photographs,
        prepared_data,
        disk,
    )
    return [guarded(check) for check in checks]


def guarded(check: Callable[[], Finding]) -> Finding:
    """The check's finding; a check that itself fails is a finding, as the others are still wanted."""
    try:
        return check()
    except Exception as error:
        return Finding(check.__name__.replace("_", " "), "limited", f"could not be looked at: {one_line(error)}")


def python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def torch_version() -> Finding:
    """Torch and torchvision, which have to be built for each other."""
    try:
        import torch
        import torchvision
    except Exception as error:  # a broken build raises OSError or RuntimeError as well as ImportError
        return Finding("torch", "missing", one_line(error), "only list, show and report work", install_line())
    return Finding("torch", "ok", f"torch {torch.__version__}, torchvision {torchvision.__version__}")


def accelerator() -> Finding:
    """CUDA devices; without one everything runs on the CPU."""
    if importlib.util.find_spec("torch") is None:
        return Finding("CUDA", "missing", "torch is not installed", mend=install_line())
    import torch

    count = torch.cuda.device_count()
    if count:
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
        return Finding("CUDA", "ok", f"{count}: {names}")
    driver = shutil.which("nvidia-smi")
    if driver and torch.version.cuda is None:
        found = f"a driver ({driver}), but this torch is built for the CPU only"
        return Finding("CUDA", "limited", found, "the CPU", install_line())
    return Finding("CUDA", "limited", "no device", "the CPU: the reduced presets are made for it")


def bfloat16() -> Finding:
    """Whether the processor multiplies bfloat16 itself, which is what makes that precision the quicker one."""
    flags = processor_features()
    fast = [flag for flag in ("amx_bf16", "avx512_bf16", "bf16") if flag in flags]
    if fast:
        return Finding("bfloat16 on the CPU", "ok", ", ".join(fast))
    vectors = [flag for flag in ("avx512f", "avx2", "asimd") if flag in flags]
    found = "emulated" + (f" (the processor has {', '.join(vectors)})" if vectors else "")
    return Finding("bfloat16 on the CPU", "limited", found, "float32, the precision of every preset")


def cores() -> Finding:
    usable = usable_cores()
    total = os.cpu_count() or usable
    return Finding("cores", "ok", f"{usable}" if usable == total else f"{usable} of {total} may be used")


def memory() -> Finding:
    """Memory that a run may take: what is available now, and no more than a container's limit."""
    available = memory_available()
    if available is None:
        return Finding("memory", "limited", "this system does not tell")
    found = f"{available / GIB:.1f} GiB available"
    if available < 2 * GIB:  # torch, the loader and a smoke run stay below it
        return Finding("memory", "limited", found, "nothing: a run may be ended by the system")
    return Finding("memory", "ok", found)


def memory_available(
    meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> int | None:
    """Bytes, or None where Linux's files are not there."""
    try:
        words = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")).split()
    except (OSError, StopIteration):
        return None
    available = int(words[1]) * 1024
    try:
        return min(available, int(limit.read_text()))
    except (OSError, ValueError):  # "max": no limit
        return available


def ffcv() -> Finding:
    """FFCV is imported in a process of its own: it changes torch's threads, and a broken one may abort."""
    instead = "the torch loader: the same batches, more slowly"
    if importlib.util.find_spec("ffcv") is None:
        return Finding("ffcv", "missing", "not installed", instead, ffcv_line())
    tried = subprocess.run([sys.executable, "-c", "import ffcv"], capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        return Finding("ffcv", "missing", f"installed, but: {reason}", instead, ffcv_line())
    return Finding("ffcv", "ok", metadata.version("ffcv"))


def system_packages() -> Finding:
    missing = missing_system_packages()
    if missing:
        found = f"missing: {', '.join(missing)}"
        return Finding("FFCV's system packages", "missing", found, "the torch loader", apt_line(missing))
    return Finding("FFCV's system packages", "ok", "all there")


def missing_system_packages() -> list[str]:
    """The Debian and Ubuntu packages that FFCV's build and import need and that are not seen here.

    What counts is the file, not the package's name: Ubuntu 24.04 renamed some, and other systems have their own.
    """
    include = Path("/usr/include")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    seen = {
        "g++": shutil.which("g++") is not None,
        version: Path(sysconfig.get_path("include"), "Python.h").exists(),
        "pkg-config": shutil.which("pkg-config") is not None,
        "libopencv-imgproc-dev": (include / "opencv4/opencv2/imgproc.hpp").exists(),
        "libturbojpeg0-dev": (include / "turbojpeg.h").exists(),
        # not for the build: opencv-python, which FFCV imports, opens these two
        "libgl1": ctypes.util.find_library("GL") is not None,
        "libglib2.0-0": ctypes.util.find_library("gthread-2.0") is not None,
    }
    return [package for package, there in seen.items() if not there]


def numba_cache() -> Finding:
    """Where numba keeps compiled loops between processes."""
    places = cache_folders()
    for place in places:
        if writable(place):
            return Finding("numba's cache", "ok", str(place))
    return Finding(
        "numba's cache",
        "limited",
        f"not writable: {', '.join(map(str, places))}",
        f"{temporary_folder()}, until the system empties it",
        "export NUMBA_CACHE_DIR=FOLDER   (one that stays, and that you can write to)",
    )


def photographs() -> Finding:
    """The images that need no network: they ship inside two of the packages that repro depends on."""
    from repro.data.prepare.photos import PHOTOGRAPHS

    missing = []
    for file in PHOTOGRAPHS.values():
        package, _, inside = file.partition("/")
        found = importlib.util.find_spec(package)
        places = (found.submodule_search_locations or []) if found else []
        if not any((Path(place) / inside).exists() for place in places):
            missing.append(file)
    if missing:
        found_line = f"missing: {', '.join(missing)}"
        mend = "pip install --force-reinstall scikit-image scikit-learn"
        return Finding("images without a network", "missing", found_line, "cifar10, or a folder of yours", mend)
    return Finding("images without a network", "ok", f"photos: {len(PHOTOGRAPHS)} photographs")


def prepared(data_dir: Path | None) -> Finding:
    """The prepared sets in `data_dir`; None: where the commands look when they are not told."""
    from repro.data import manifest
    from repro.folders import data_directory

    directory = data_directory(data_dir)
    try:
        sets = manifest.prepared(directory)
    except ValueError as error:
        return Finding("prepared data", "missing", str(error))
    if not sets:
        found = f"none in {directory}"
        return Finding("prepared data", "limited", found, "photos, prepared when asked", "repro data prepare photos")
    return Finding("prepared data", "ok", f"in {directory}: {', '.join(each.name for each in sets)}")


def disk() -> Finding:
    """Space where results and prepared data are written: the current folder."""
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / GIB:.0f} GiB free in {Path.cwd()}"
    if not writable(Path.cwd()):
        return Finding("disk", "missing", f"{Path.cwd()} is not writable", mend="cd to a folder of yours")
    if free < 2 * GIB:  # prepared tiny ImageNet and the checkpoints of an experiment's runs stay below it
        return Finding("disk", "limited", found, mend="repro plan NAME   (names what a run will write)")
    return Finding("disk", "ok", found)


def in_checkout() -> bool:
    return (Path(__file__).parents[2] / "scripts" / "setup.sh").exists()


def install_line() -> str:
    return "make setup" if in_checkout() else "pip install --force-reinstall alexnet-repro"


def ffcv_line() -> str:
    """A checkout builds FFCV against two modules of OpenCV; elsewhere its build wants all of it."""
    if in_checkout():
        return "make setup"
    return f"{apt_line(['libopencv-dev', 'libturbojpeg0-dev', 'pkg-config'])} && pip install 'alexnet-repro[ffcv]'"


def apt_line(packages: list[str]) -> str:
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install -y --no-install-recommends {' '.join(packages)}"
