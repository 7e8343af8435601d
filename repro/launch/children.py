"""Several workers at once: child processes with the cores shared out."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from repro.launch.here import here
from repro.machine.provenance import usable_cores
from repro.training import notice
from repro.training.events import Elsewhere, Event, Failed, Finished, Listener
from repro.training.execute import Job, Machine, set_threads

END_SECONDS = 60.0  # that a child has to write its checkpoint


def in_children(jobs: Sequence[Job], machine: Machine, at_once: int, emit: Listener) -> list[Failed]:
    """Each child gets an equal share of the cores: small networks do not scale over cores, so several single-threaded
    runs finish sooner than one after another on all cores. Each is a worker; the run of one that is killed, as when
    memory is short, goes on in another. Returns the failures, each run once."""
    context = multiprocessing.get_context("spawn")  # a forked child would inherit torch's and numba's thread pools
    threads = max(1, usable_cores() // at_once)
    at_work: dict[Connection, BaseProcess] = {}
    failed: dict[str, Failed] = {}
    done: set[str] = set()

    def hear(event: Event) -> None:
        """Each end of a run once: every worker tells of those that others did."""
        if isinstance(event, Finished) or (isinstance(event, Elsewhere) and event.done):
            if event.run in done:
                return
            done.add(event.run)
        if isinstance(event, Failed):
            known = event.run in failed
            if not (known and event.elsewhere):
                failed[event.run] = event
            if known:
                return
        emit(event)

    def hire() -> None:
        ours, theirs = context.Pipe(duplex=False)
        left = [job for job in jobs if job.name not in done and job.name not in failed]
        process = context.Process(target=_work, args=(theirs, left, machine, threads, os.getpid()))
        process.start()
        theirs.close()  # so that the pipe ends when the child does
        at_work[ours] = process

    try:
        for _ in range(at_once):
            hire()
        began: set[Connection] = set()
        while at_work:
            for pipe in wait(list(at_work)):
                assert isinstance(pipe, Connection)
                try:
                    event = pipe.recv()
                except (EOFError, OSError):
                    process = at_work.pop(pipe)
                    pipe.close()
                    process.join()
                    left = [job for job in jobs if job.name not in done and job.name not in failed]
                    if process.exitcode and left and pipe in began:
                        hire()  # killed at a run, which another takes over: enough such deaths end the run itself
                    elif process.exitcode and left and not at_work:
                        reason = f"its process ended with exit code {process.exitcode}; run again to go on"
                        for job in left:
                            hear(Failed(job.name, reason))
                    continue
                if event is None:
                    began.add(pipe)
                else:
                    hear(event)
    finally:
        for process in at_work.values():
            process.terminate()  # the notice to write a checkpoint and end
        for pipe in at_work:
            pipe.close()
        for process in at_work.values():
            process.join(END_SECONDS)
            process.kill()
    return list(failed.values())


def _work(parent: Connection, jobs: Sequence[Job], machine: Machine, threads: int, parent_id: int) -> None:
    """A child: a worker that tells its parent of each event, after None: it begins."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    set_threads(threads)

    def tell(event: Event | None) -> None:
        try:
            parent.send(event)
        except OSError:  # the parent ended: no failure of a run
            raise notice.Ended(signal.SIGHUP) from None

    try:
        with notice.taken():
            notice.die_with_parent(parent_id)
            tell(None)
            here(jobs, machine, tell)
    except notice.Ended as ended:
        os._exit(128 + ended.number)  # nothing is left to write; to take apart what torch has loaded costs seconds
