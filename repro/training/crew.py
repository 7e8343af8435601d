"""The processes that are the ranks of a run: those that torchrun started, or children that rank 0 starts for it.

Rank 0 does all that one process alone does, and puts into a store that all ranks see which run it begins. The others
wait for that, do their part of it, and wait for the next. Only rank 0 holds the lease, writes, and prints.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from itertools import count
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

import torch
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from repro.machine import notice, torchrun
from repro.planning.plan import Run
from repro.training.ranks import ALONE, ExchangeError, Ranks, meet, part

if TYPE_CHECKING:
    from repro.training.execute import Machine

    Follow = Callable[[Run, Machine, int, Callable[[], Ranks]], None]

END = b"end"  # in place of a run
DONE = "done"  # rank 0 is through with a run, however it ended
WORD_SECONDS = 5.0  # that a rank has to say that it lives, once another did not answer
READY_SECONDS = 900.0  # that a rank has to open its images, which may take hashing them
LOOK_SECONDS = 0.02

_runs = count()  # those that this process shared, as rank 0 of torchrun


class RankError(Exception):
    """A rank ended a run; the message names it."""


@contextmanager
def together(run: Run, machine: Machine, follow: Follow) -> Iterator[Ranks]:
    """The ranks that share `run`, as rank 0 sees them; `follow` is what the others do.

    Raises RankError where one of them ends, fails, or does not answer for `machine.patience`.
    """
    if machine.ranks == 1:
        yield ALONE
        return
    processes: Sequence[BaseProcess] = ()
    if torchrun.place():
        base, number = _torchrun_store(), next(_runs)
    else:
        base, number = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False), 0
        processes = _children(base.port, machine, follow)
    _set(base, f"run-{number}", pickle.dumps(run))
    store = PrefixStore(f"{number}", base)
    try:
        _wait_until_ready(store, machine.ranks, processes)
        yield meet(store, 0, machine.ranks, machine.patience, cuda=torch.cuda.device_count() > 0)
    except ExchangeError as error:
        with notice.at_steps():  # torchrun ends all where one is gone: first say which
            blamed = _blamed(store, machine.ranks, processes, str(error))
        raise blamed from error
    finally:
        _set(store, DONE, b"")
        part()
        for process in processes:  # they have nothing to save
            process.kill()
            process.join()


@contextmanager
def leading() -> Iterator[None]:
    """As rank 0 of torchrun, if that is what this process is: at the end of the block the other ranks end too."""
    try:
        yield
    finally:
        if torchrun.place():
            _set(_torchrun_store(), f"run-{next(_runs)}", END)


def serve_torchrun(machine: Machine, follow: Follow) -> None:
    """As another rank of torchrun: do the part of every run that rank 0 begins, until it ends."""
    place = torchrun.place()
    assert place
    _serve(_torchrun_store(), place.rank, machine, follow)


@cache
def _torchrun_store() -> Store:
    rendezvous = importlib.import_module("torch.distributed.rendezvous").rendezvous  # a function hides the module
    store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=READY_SECONDS)))
    return PrefixStore(f"repro-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _children(port: int, machine: Machine, follow: Follow) -> list[BaseProcess]:
    context = multiprocessing.get_context("spawn")  # a forked child would inherit torch's and numba's thread pools
    started: list[BaseProcess] = []
    for rank in range(1, machine.ranks):
        started.append(
            context.Process(target=_child, args=(port, rank, machine, follow, torch.get_num_threads()), daemon=True)
        )
        started[-1].start()
    return started


def _child(port: int, rank: int, machine: Machine, follow: Follow, threads: int) -> None:
    notice.die_with_parent()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    # the parent decides, and passes its notice on at a step
    with suppress(notice.Stopped, RankError), notice.heard(ignored=notice.SIGNALS):
        _serve(TCPStore("127.0.0.1", port), rank, machine, follow)


def _serve(base: Store, rank: int, machine: Machine, follow: Follow) -> None:
    for number in count():
        _look_until(lambda: base.check([f"run-{number}"]))  # noqa: B023  called in this turn only
        if (content := base.get(f"run-{number}")) == END:
            return
        _follow(PrefixStore(f"{number}", base), rank, pickle.loads(content), machine, follow)


def _follow(store: Store, rank: int, run: Run, machine: Machine, follow: Follow) -> None:
    """One run; what ends it here is said to rank 0. Raises RankError where that is gone itself."""

    def join() -> Ranks:
        _set(store, f"ready-{rank}", b"")
        return meet(store, rank, machine.ranks, machine.patience, cuda=torch.cuda.device_count() > 0)

    try:
        follow(run, machine, rank, join)
    except ExchangeError as error:
        _set(store, f"left-{rank}", b"")
        part()  # now those who wait for this one are told, too
        if not _look_until(lambda: store.check([DONE]), 3 * WORD_SECONDS):
            raise RankError(f"rank 0 of {machine.ranks} is gone, or hangs ({error})") from error
    except Exception as error:
        _set(store, f"left-{rank}", f"{type(error).__name__}: {' '.join(str(error).split())}".encode())
        part()
    _look_until(lambda: store.check([DONE]))  # the last exchange may still be under way elsewhere
    part()


def _wait_until_ready(store: Store, world: int, processes: Sequence[BaseProcess]) -> None:
    for rank in range(1, world):

        def is_known(rank: int = rank) -> bool:
            if signum := notice.asked():
                raise notice.Stopped(signum)
            return store.check([f"ready-{rank}"]) or _has_left(store, rank, processes)

        _look_until(is_known, READY_SECONDS)
        if not store.check([f"ready-{rank}"]):
            raise _blamed(store, world, processes, f"rank {rank} did not begin")


def _has_left(store: Store, rank: int, processes: Sequence[BaseProcess]) -> bool:
    return store.check([f"left-{rank}"]) or bool(processes and not processes[rank - 1].is_alive())


def _blamed(store: Store, world: int, processes: Sequence[BaseProcess], error: str) -> RankError:
    """The error that names who ended the run: those who live say that they left it, and why if it was their doing."""
    others = range(1, world)
    part()
    _look_until(lambda: all(_has_left(store, rank, processes) for rank in others), WORD_SECONDS)
    for rank in others:
        if processes and (code := processes[rank - 1].exitcode) is not None:
            return RankError(f"rank {rank} of {world}: its process ended with exit code {code}; run again to go on")
    for rank in others:
        if not store.check([f"left-{rank}"]):
            return RankError(f"rank {rank} of {world} is gone, or hangs ({error}); run again to go on")
    for rank in others:
        if reason := store.get(f"left-{rank}"):
            return RankError(f"rank {rank} of {world}: {reason.decode()}")
    return RankError(f"the {world} ranks lost each other ({error}); run again to go on")


def _set(store: Store, key: str, value: bytes) -> None:
    store.set(key, value)  # type: ignore[arg-type]  # a str, says its stub, which would have to be UTF-8


def _look_until(true: Callable[[], bool], seconds: float = float("inf")) -> bool:
    """Wait until something is true, at most so long; returns whether it is."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_SECONDS)
    return True
