"""Several workers at once: child processes of one thread each."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from repro.launch.here import attempt
from repro.launch.waiting import Waiting
from repro.machine import notice
from repro.machine.cuda import share_devices
from repro.planning.plan import Run
from repro.training.events import Event, Failed, Listener
from repro.training.execute import Machine, set_threads

NOTICE_SECONDS = 20.0  # that a child has for its step and its checkpoint, before it is killed


def in_children(jobs: Sequence[Run], machine: Machine, at_once: int, emit: Listener) -> list[Failed]:
    """Children of one thread each: small networks do not scale over cores, so several single-threaded runs finish
    sooner than one after another on all cores. CUDA devices are shared out, where none are asked for. A child takes
    jobs until none is left; those that another process is at are tried again when it has left them.
    """
    import torch

    context = multiprocessing.get_context("spawn")  # a forked child would inherit torch's and numba's thread pools
    free = [machine.devices] * at_once if machine.devices else share_devices(at_once, torch.cuda.device_count())
    left, waiting = deque(jobs), Waiting(jobs, machine)
    devices_of: dict[Connection, tuple[str, ...]] = {}
    at_work: dict[Connection, tuple[BaseProcess, Run]] = {}
    idle: list[tuple[Connection, BaseProcess]] = []
    failures: list[Failed] = []

    def hear(event: Event) -> None:
        if isinstance(event, Failed):
            failures.append(event)
        emit(event)

    def hire() -> None:
        child, its_end = context.Pipe()
        devices_of[child] = free.pop(0)
        process = context.Process(target=_work, args=(its_end, replace(machine, devices=devices_of[child])))
        process.start()
        its_end.close()  # so that the pipe ends when the child does
        idle.append((child, process))

    def hand_out() -> None:
        while left and (idle or free):
            if not idle:
                hire()
            child, process = idle.pop()
            at_work[child] = process, left.popleft()
            with suppress(OSError):  # it died since: the pipe tells so when it is read
                child.send(at_work[child][1])

    try:
        hand_out()
        while at_work or waiting:
            for child in wait(list(at_work), waiting.seconds if waiting else None):
                assert isinstance(child, Connection)
                process, job = at_work[child]
                try:
                    event = child.recv()
                except (EOFError, OSError):  # killed, as when memory is short: the other children go on
                    process.join()
                    del at_work[child]
                    free.append(devices_of.pop(child))
                    hear(Failed(job.name, f"its process ended with exit code {process.exitcode}; run again to go on"))
                    continue
                match event:
                    case None:
                        idle.append((child, at_work.pop(child)[0]))
                    case Busy():
                        waiting.add(job)
                    case _:
                        hear(event)
            for found in waiting.look():
                if isinstance(found, Run):
                    left.append(found)
                else:
                    hear(found)
            hand_out()
    finally:
        for process, _ in at_work.values():
            process.terminate()  # notice: it saves its run at the next step
        for child, _ in idle:
            child.close()  # it has nothing to do, and ends
        for process in [*(process for process, _ in at_work.values()), *(process for _, process in idle)]:
            process.join(NOTICE_SECONDS)
            process.kill()
            process.join()
    return failures


@dataclass(frozen=True)
class Busy:
    """Another process is at the run of a child."""


def _work(parent: Connection, machine: Machine) -> None:
    """Child process: run each job received, send its events to the parent, then None to ask for the next."""
    notice.die_with_parent()
    set_threads(1)
    with suppress(notice.Stopped, EOFError, OSError), notice.heard(ignored=(signal.SIGINT, signal.SIGHUP)):
        while True:  # the parent decides, and passes its notice on
            job = parent.recv()
            if attempt(job, machine, parent.send) == "busy":
                parent.send(Busy())
            parent.send(None)
