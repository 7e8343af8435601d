"""CUDA without a device: who would have which, the settings, and checks that say what they could not see."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from repro.bench import cuda_checks
from repro.bench.cuda_checks import CHECKS, CPU, Check, outcome
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load import device
from repro.launch import launch
from repro.machine import cuda
from repro.machine.provenance import hardware
from repro.training.execute import Machine

needs_no_device = pytest.mark.skipif(torch.cuda.is_available(), reason="is of a machine without a device")


@pytest.mark.parametrize(
    ("workers", "count", "expected"),
    [
        (2, 0, [(), ()]),
        (1, 1, [("cuda:0",)]),
        (3, 1, [("cuda:0",)] * 3),
        (1, 2, [("cuda:0", "cuda:1")]),
        (2, 2, [("cuda:0",), ("cuda:1",)]),
        (3, 2, [("cuda:0",), ("cuda:1",), ("cuda:0",)]),
        (2, 4, [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]),
        (3, 4, [("cuda:0",), ("cuda:1",), ("cuda:2",)]),
    ],
)
def test_processes_share_the_devices_evenly(workers: int, count: int, expected: list[tuple[str, ...]]) -> None:
    assert cuda.share_devices(workers, count) == expected


@pytest.mark.parametrize(
    ("asked", "expected"), [((), [("cuda:0",), ("cuda:1",), ("cuda:0",)]), (("cuda:1",), [("cuda:1",)] * 3)]
)
def test_children_get_their_devices_and_a_dead_ones_go_to_the_next(
    asked: tuple[str, ...], expected: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[tuple[str, ...]] = []

    class Process:
        """Dies at once, without a word."""

        exitcode = -9

        def __init__(self, target: Any, args: tuple[Any, ...]) -> None:
            self.its_end, machine = args
            started.append(machine.devices)

        def start(self) -> None:
            pass

        join = terminate = start

    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Process)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: context)
    jobs: list[Any] = [SimpleNamespace(name=str(number), digest="0" * 12, seed=number) for number in range(5)]
    failed = launch(jobs, Machine(tmp_path, tmp_path, asked), at_once=3, emit=lambda event: None)
    assert [one.run for one in failed] == [job.name for job in jobs]
    assert started == [*expected, *expected[:2]]


def test_float32_is_not_rounded_to_tf32_and_the_record_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert hardware()["arithmetic"] == {"tf32": True, "deterministic": False}
    cuda.make_exact()
    assert hardware()["arithmetic"] == {"tf32": False, "deterministic": True}


@needs_no_device
def test_doctor_names_each_check_and_what_it_could_not_see(repro: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(check: Check) -> Check:  # the interpreter takes its time, and test_lrn has it
        return check._replace(run=lambda device: "made up") if check.name == "response normalization" else check

    monkeypatch.setattr(cuda_checks, "STEPS", 2)
    monkeypatch.setattr(cuda_checks, "CHECKS", tuple(map(quick, CHECKS)))
    code, out, err = repro("doctor", "--cuda")
    assert code == 2, out
    for check in CHECKS:
        assert f"checking: {check.name}\n" in err
        (line,) = [line for line in out.splitlines() if line.startswith(f"{check.name}\t")]
        assert ("holds" if check.on_cpu else "not checked") in line
        assert check.unseen.split()[0] in line


def test_a_check_that_does_not_hold_or_ends_in_an_error_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(device: torch.device) -> str:
        raise cuda_checks.BrokenError("off by 3")

    def error(device: torch.device) -> str:
        raise RuntimeError("no kernel image\nfor this device")

    assert outcome(Check("one", broken, "", True), CPU) == ("one", "fails", "off by 3", "")
    assert outcome(Check("two", error, "", True), CPU) == ("two", "fails", "RuntimeError: no kernel image", "")


def test_the_checks_see_a_wrong_update_and_a_wrong_image(monkeypatch: pytest.MonkeyPatch) -> None:
    right, alpha = preset("smoke"), override(preset("smoke"), {"model.norm.alpha": 1.1e-4})
    found = [cuda_checks.ways(config, ("cpu",)) for config in (right, alpha)]
    with pytest.raises(cuda_checks.BrokenError):
        cuda_checks._compare(*found, 15 * cuda_checks.ROUNDING)
    monkeypatch.setattr(cuda_checks, "STEPS", 2)
    real, calls = cuda_checks.make_step, []

    def slightly_wrong(model: Any, optimizer: Any, *how: Any) -> Any:
        calls.append(how)
        momentum = optimizer.config.momentum - 0.05 * (len(calls) - 1)  # of every run but the first
        optimizer.config = optimizer.config.model_copy(update={"momentum": momentum})
        return real(model, optimizer, *how)

    with monkeypatch.context() as patch:
        patch.setattr(cuda_checks, "make_step", slightly_wrong)
        for check in (cuda_checks.two_devices, cuda_checks.repeats):
            calls.clear()
            with pytest.raises(cuda_checks.BrokenError, match="a layer is off by"):
                check(CPU)
    finish = device.finish
    monkeypatch.setattr(device, "finish", lambda *given: finish(*given) + 1e-4)
    with pytest.raises(cuda_checks.BrokenError, match="off by up to"):
        cuda_checks.augmentation(CPU)
