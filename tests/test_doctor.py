"""The doctor names what is missing and never stumbles over it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro.commands import doctor
from repro.commands.doctor import Finding
from repro.machine import compiled

CHECKOUT = Path(__file__).parents[1]


def test_diagnose_reports_every_check_once() -> None:
    findings = doctor.diagnose()
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names))
    by_name = {finding.name: finding for finding in findings}
    assert by_name["python"].status == "ok"
    assert sys.executable in by_name["python"].found
    assert by_name["torch"].status == "ok"
    for finding in findings:
        assert finding.status in ("ok", "missing", "limited")
        assert finding.found
        assert "could not be looked at" not in finding.found
        assert "\n" not in finding.found + finding.used_instead + finding.mend
        if finding.status == "ok":
            assert not finding.used_instead
            assert not finding.mend
        if finding.status == "missing":
            assert finding.mend


def test_a_check_that_fails_is_itself_a_finding() -> None:
    def broken_check() -> Finding:
        raise PermissionError("not yours")

    finding = doctor.guarded(broken_check)
    assert finding == Finding("broken check", "limited", "could not be looked at: PermissionError: not yours")


def test_import_does_not_import_torch() -> None:
    code = (
        "import sys, repro.commands.doctor; print([one for one in ('torch', 'numpy', 'pandas') if one in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_without_ffcv_the_torch_loader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    finding = doctor.ffcv()
    assert (finding.status, finding.found, finding.mend) == ("missing", "not installed", "make setup")
    assert "torch loader" in finding.used_instead


def test_an_ffcv_that_does_not_import_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ffcv.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor.ffcv()
    assert finding.status == "missing"
    assert finding.found == "installed, but: ImportError: libGL.so.1: cannot open shared object file"


def test_outside_a_checkout_the_mend_needs_no_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "in_checkout", lambda: False)
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    assert doctor.ffcv_line() == (
        "sudo apt-get install -y --no-install-recommends libopencv-dev libturbojpeg0-dev pkg-config"
        " && pip install 'alexnet-repro[ffcv]'"
    )


def test_missing_system_packages_are_named_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.ctypes.util, "find_library", lambda name: None)
    missing = doctor.missing_system_packages()
    assert {"g++", "pkg-config", "libgl1", "libglib2.0-0"} <= set(missing)
    finding = doctor.system_packages()
    assert finding.status == "missing"
    assert finding.mend.endswith(f"apt-get install -y --no-install-recommends {' '.join(missing)}")


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        ({"avx2", "avx512f"}, "limited"),
        ({"avx512f", "avx512_bf16"}, "ok"),
        ({"asimd", "bf16"}, "ok"),
        (set(), "limited"),
    ],
)
def test_bfloat16_is_ok_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], status: str
) -> None:
    monkeypatch.setattr(doctor, "processor_features", lambda: frozenset(flags))
    finding = doctor.bfloat16()
    assert finding.status == status
    assert ("float32" in finding.used_instead) == (status == "limited")


def test_memory_is_the_smaller_of_what_is_free_and_what_a_container_allows(tmp_path: Path) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:       25165824 kB\nMemAvailable:   8388608 kB\n")
    assert doctor.memory_available(meminfo, limit) == 8 * doctor.GIB
    limit.write_text("max\n")
    assert doctor.memory_available(meminfo, limit) == 8 * doctor.GIB
    limit.write_text(f"{3 * doctor.GIB}\n")
    assert doctor.memory_available(meminfo, limit) == 3 * doctor.GIB
    assert doctor.memory_available(tmp_path / "none", limit) is None


def test_numba_cache_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "made" / "later"))
    assert doctor.numba_cache() == Finding("numba's cache", "ok", str(tmp_path / "made" / "later"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "file" / "compiled.py"))
    monkeypatch.setattr(compiled.sys, "platform", "linux")
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))
    finding = doctor.numba_cache()
    assert finding.status == "limited" and str(tmp_path / "file") in finding.found
    assert finding.used_instead.startswith(str(tmp_path / f"repro-numba-{os.getuid()}"))
    assert "NUMBA_CACHE_DIR" in finding.mend


def test_loops_are_compiled_where_neither_package_nor_home_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code = (
        "from repro.machine import compiled\n"
        f"compiled.cache_folders = lambda: [compiled.Path({str(tmp_path / 'file')!r})]\n"
        "from numba.core.caching import CacheImpl, UserProvidedCacheLocator\n"
        "CacheImpl._locator_classes = [UserProvidedCacheLocator]\n"  # as when the package and home are read-only
        "from repro.data.load import augment; print(augment.mix(augment.np.uint64(1)))\n"
        "from repro.network import lrn_loops"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    place = tmp_path / f"repro-numba-{os.getuid()}"
    assert list(place.glob("*/augment.mix*")) and place.stat().st_mode & 0o077 == 0


def test_a_temporary_folder_that_others_can_write_to_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))
    own = compiled.temporary_folder()
    assert compiled.temporary_folder() == own
    own.chmod(0o777)
    assert compiled.temporary_folder() != own


def test_prepared_sets_are_named(tmp_path: Path) -> None:
    finding = doctor.prepared(tmp_path)
    assert (finding.status, finding.found) == ("limited", f"none in {tmp_path}")
    assert finding.mend == "repro data prepare photos"


def test_photographs_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from repro.data.prepare import photos

    assert doctor.photographs().status == "ok"
    monkeypatch.setattr(photos, "PHOTOGRAPHS", {"cat": "skimage/data/no-cat.png", "dog": "no_such_package/dog.png"})
    finding = doctor.photographs()
    assert finding.status == "missing"
    assert "skimage/data/no-cat.png, no_such_package/dog.png" in finding.found


def test_little_disk_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": doctor.GIB})())
    assert doctor.disk().status == "limited"


def test_without_a_device_the_cpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    finding = doctor.accelerator()
    assert (finding.status, finding.found, finding.mend) == ("limited", "no device", "")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    assert doctor.accelerator() == Finding("CUDA", "ok", "2: GPU 0, GPU 1")
