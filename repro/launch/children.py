"""Does several jobs at once in child processes with the cores shared out."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from repro.launch.here import here
from repro.machine import notice
from repro.machine.cuda import share_devices
from repro.machine.provenance import usable_cores
from repro.plan.plan import Run
from repro.training.events import Event, Failed, Listener
from repro.training.execute import Machine, set_threads

NOTICE_SECONDS = 20.0  # that a child has for its step and its checkpoint, before it is killed


def in_children(jobs: Sequence[Run], machine: Machine, at_once: int, emit: Listener) -> list[Failed]:
    """Each child gets an equal share of the cores: small networks do not scale over cores, so several single-threaded
    runs finish sooner than one after another on all cores. CUDA devices are shared out too, where none are asked for. A
    child takes jobs until none is left."""
    import torch

    context = multiprocessing.get_context("spawn")  # a forked child would inherit torch's and numba's thread pools
    threads = max(1, usable_cores() // at_once)
    free = [machine.devices] * at_once if machine.devices else share_devices(at_once, torch.cuda.device_count())
    left = deque(jobs)
    devices_of: dict[Connection, tuple[str, ...]] = {}
    at_work: dict[Connection, tuple[BaseProcess, Run]] = {}
    failures: list[Failed] = []

    def hear(event: Event) -> None:
        if isinstance(event, Failed):
            failures.append(event)
        emit(event)

    def hire() -> None:
        child, its_end = context.Pipe()
        devices_of[child] = free.pop(0)
        process = context.Process(target=_work, args=(its_end, replace(machine, devices=devices_of[child]), threads))
        process.start()
        its_end.close()  # so that the pipe ends when the child does
        hand_over(child, process)

    def hand_over(child: Connection, process: BaseProcess) -> None:
        job = left.popleft() if left else None
        with suppress(OSError):  # it died since: the pipe tells so when it is read
            child.send(job)
        if job:
            at_work[child] = process, job
        else:
            at_work.pop(child, None)
            process.join()

    try:
        for _ in range(at_once):
            hire()
        while at_work:
            for child in wait(list(at_work)):
                assert isinstance(child, Connection)
                process, job = at_work[child]
                try:
                    event = child.recv()
                except (EOFError, OSError):  # killed, as when memory is short: the other children go on
                    process.join()
                    del at_work[child]
                    free.append(devices_of.pop(child))
                    hear(Failed(job.name, f"its process ended with exit code {process.exitcode}; run again to go on"))
                    if left:
                        hire()
                    continue
                if event is None:
                    hand_over(child, process)
                else:
                    hear(event)
    finally:
        for process, _ in at_work.values():
            process.terminate()  # notice: it saves its run at the next step
        for process, _ in at_work.values():
            process.join(NOTICE_SECONDS)
            process.kill()
            process.join()
    return failures


def _work(parent: Connection, machine: Machine, threads: int) -> None:
    """A child: does the jobs that its parent sends, tells of each as it goes on, and None when it is done."""
    notice.die_with_parent()
    set_threads(threads)
    with suppress(notice.Stopped, EOFError, BrokenPipeError), notice.heard(ignored=(signal.SIGINT, signal.SIGHUP)):
        while (job := parent.recv()) is not None:  # the parent decides, and passes its notice on
            here([job], machine, parent.send)
            parent.send(None)
