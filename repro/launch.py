"""Does the jobs of a plan: here one after another, or several at once in child processes with the cores shared out."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from repro.events import Failed, Listener
from repro.execute import Job, Machine, execute, set_threads


def launch(jobs: Sequence[Job], machine: Machine, *, at_once: int, emit: Listener) -> list[Failed]:
    """Do every job; one that fails does not stop the others. Returns the failures, which were emitted too."""
    if at_once == 1 or len(jobs) == 1:
        return _here(jobs, machine, emit)
    return _in_children(jobs, machine, min(at_once, len(jobs)), emit)


def _here(jobs: Sequence[Job], machine: Machine, emit: Listener) -> list[Failed]:
    failures: list[Failed] = []

    def listen(event: Any) -> None:
        if isinstance(event, Failed):
            failures.append(event)
        emit(event)

    for job in jobs:
        try:
            execute(job, machine, listen)
        except Exception as error:  # noted and emitted where it is known what it was; the next job goes on
            if not failures or failures[-1].run != job.name:
                listen(Failed(job.name, str(error)))
    return failures


def _in_children(jobs: Sequence[Job], machine: Machine, at_once: int, emit: Listener) -> list[Failed]:
    """Each child gets an equal share of the cores: small networks do not scale over cores, so several single-threaded
    runs finish sooner than one after another on all cores."""
    context = multiprocessing.get_context("spawn")  # a forked child would inherit torch's and numba's thread pools
    events = context.Queue()
    threads = max(1, len(os.sched_getaffinity(0)) // at_once)
    failures: list[Failed] = []

    def drain(timeout: float) -> None:
        try:
            while True:
                event = events.get(timeout=timeout)
                if isinstance(event, Failed):
                    failures.append(event)
                emit(event)
                timeout = 0.0
        except queue.Empty:
            pass

    with ProcessPoolExecutor(at_once, context, initializer=_start, initargs=(threads, events)) as pool:
        running: dict[Future[None], Job] = {pool.submit(_child, job, machine): job for job in jobs}
        try:
            while running:
                done, _ = wait(running, timeout=0, return_when=FIRST_COMPLETED)
                drain(0.2)
                for future in done:
                    job = running.pop(future)
                    error = future.exception()
                    if error is not None and all(failed.run != job.name for failed in failures):
                        failures.append(Failed(job.name, f"{type(error).__name__}: {error}"))  # killed, out of memory
                        emit(failures[-1])
        except KeyboardInterrupt:
            for process in list((pool._processes or {}).values()):  # the executor offers no public way to stop them
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
    drain(0.0)
    return failures


_events: Any = None  # this child's way to the parent


def _start(threads: int, events: Any) -> None:
    global _events
    _events = events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    set_threads(threads)


def _child(job: Job, machine: Machine) -> None:
    try:
        execute(job, machine, _events.put)
    except Exception as error:  # execute has emitted it; a plain error crosses processes whatever the original was
        raise RuntimeError(f"{type(error).__name__}: {error}") from None
