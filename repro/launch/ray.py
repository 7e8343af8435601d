"""Runs as tasks of a Ray cluster: that of an address, or one of our own on this machine.

A task does one run, with a CPU of its own, and a GPU where there are any. Ray begins it again elsewhere when its node
or its process is lost; it goes on from the checkpoint. What dies slowly still holds the lease of its run: the run is
put aside until that has run out, and its CPU does others meanwhile.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Literal

from repro.launch.children import NOTICE_SECONDS
from repro.launch.here import attempt
from repro.launch.launcher import Launcher
from repro.launch.waiting import Waiting
from repro.machine import notice
from repro.machine.provenance import usable_cores
from repro.planning.plan import Run
from repro.training.events import Event, Failed, Listener, Started, Stepped, Warned
from repro.training.execute import Machine, set_threads

ANSWER_SECONDS = 10.0  # in which a cluster has to answer
TELL_SECONDS = 0.5  # between two calls in which a task tells what its run does
STORE_BYTES = 80 * 2**20  # Ray's smallest is 75 MiB: nothing large is handed around
RETRIES = 3  # of a task whose node or process is lost; an error of a run is none
# Read when Ray is imported or a cluster begins.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would copy the working folder to each node
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as Ray warns, what it will do by itself
}


def check(machine: Machine) -> None:
    """Raises ValueError where Ray is not installed, or nothing answers at the address: Ray tries for minutes."""
    if not find_spec("ray"):
        raise ValueError("--launcher ray needs the extra: pip install 'alexnet-repro[ray]'")
    if machine.address in (None, "auto"):
        return
    host, _, port = machine.address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ValueError(f"--address {machine.address}: is neither HOST:PORT of a cluster's head node nor auto")
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"--address {machine.address}: no cluster answers there ({error}); `ray start --head` prints its address"
        ) from None


def on_ray(runs: Sequence[Run], machine: Machine, emit: Listener) -> list[Failed]:
    """Do the runs as tasks of the cluster at `machine.address`, or of one that ends with them; at most `machine.jobs`
    at once. Returns the failures, which were emitted too.

    A notice to end is passed on: each run is saved at its next step. Raises ValueError where there is no cluster.
    """
    check(machine)
    with _cluster(machine) as ray:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # beside this process, so that it is not lost with a node
        beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        ears: Any = ray.remote(num_cpus=0)(_ears()).options(scheduling_strategy=beside).remote()
        has = ray.cluster_resources()
        gpus = _gpus(machine.devices, has.get("GPU", 0.0))
        task: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False)(_work)
        there = replace(
            machine, results=machine.results.absolute(), data=machine.data.absolute(), devices=_renamed(machine.devices)
        )
        emit(Warned("cluster", f"{_said(has)}; a run takes 1 CPU{f', {gpus} GPU' if gpus else ''}"))

        left, waiting, at_work = deque(runs), Waiting(runs, machine), dict[Any, Run]()
        failures: list[Failed] = []
        began: set[str] = set()

        def hear(event: Event) -> None:
            if isinstance(event, Started):
                if event.run in began:
                    emit(Warned(event.run, f"was lost with its node or process; goes on after {event.epoch} epochs"))
                began.add(event.run)
            elif isinstance(event, Failed):
                failures.append(event)
            emit(event)

        try:
            while left or at_work or waiting:
                while left and len(at_work) < (machine.jobs or len(runs)):
                    run = left.popleft()
                    at_work[task.options(name=run.name).remote(run, there, ears)] = run
                ended = ray.wait([*at_work], timeout=TELL_SECONDS)[0] if at_work else []
                for event in ray.get(ears.take.remote()):  # a task ends after all that it told
                    hear(event)
                for one in ended:
                    run = at_work.pop(one)
                    try:
                        if ray.get(one) == "busy":
                            waiting.add(run)
                    except ray.exceptions.RayError as error:
                        hear(Failed(run.name, f"its task ended: {_reason(error)}; run again to go on"))
                for found in waiting.look():
                    if isinstance(found, Run):
                        left.append(found)
                    else:
                        hear(found)
                if waiting and not at_work and not left:
                    time.sleep(waiting.seconds)
        finally:
            for one in at_work:
                ray.cancel(one)  # notice: it saves its run at the next step
            if at_work:
                ray.wait([*at_work], num_returns=len(at_work), timeout=NOTICE_SECONDS)
        return failures


def _ears() -> type:
    """An actor's class, which keeps what tasks tell until it is taken. Made here, it is sent to its process whole: a
    class of this module would be looked up there, which imports torch."""

    class Ears:
        def __init__(self) -> None:
            self.heard: list[Event] = []

        def tell(self, events: Sequence[Event]) -> None:
            self.heard += events

        def take(self) -> list[Event]:
            heard, self.heard = self.heard, []
            return heard

    return Ears


def _work(run: Run, machine: Machine, ears: Any) -> Literal["ended", "busy"]:
    """A task: do the run and tell of it at most twice a second; of steps, only the last since."""
    import ray

    told, untold = time.monotonic(), list[Event]()

    def tell(event: Event) -> None:
        nonlocal told, untold
        if untold and isinstance(untold[-1], Stepped) and isinstance(event, Stepped):
            untold.pop()
        untold.append(event)
        if time.monotonic() - told >= TELL_SECONDS:
            ears.tell.remote(untold)
            told, untold = time.monotonic(), []

    set_threads(1)
    try:
        with notice.heard():
            return attempt(run, machine, tell)
    except notice.Stopped as stop:
        raise KeyboardInterrupt if stop.signum == signal.SIGINT else SystemExit(128 + stop.signum) from None
    finally:
        ray.get(ears.tell.remote(untold))


def _gpus(devices: Sequence[str], there: float) -> int:
    """GPUs of a run: as many as its devices are, or one where the cluster has any."""
    return len({name for name in devices if name.startswith("cuda")}) if devices else int(there >= 1)


def _renamed(devices: Sequence[str]) -> tuple[str, ...]:
    """The devices as a task sees them, whose GPUs are always the first ones."""
    cuda = list(dict.fromkeys(name for name in devices if name.startswith("cuda")))
    return tuple(f"cuda:{cuda.index(name)}" if name in cuda else name for name in devices)


def _said(has: dict[str, float]) -> str:
    """`3 nodes, 12 CPUs, 2 GPUs`."""
    nodes = sum(name.startswith("node:") and name != "node:__internal_head__" for name in has)
    parts = [(nodes, "node"), (has.get("CPU", 0.0), "CPU"), (has.get("GPU", 0.0), "GPU")]
    return ", ".join(f"{count:g} {what}{'' if count == 1 else 's'}" for count, what in parts if count)


def _reason(error: Exception) -> str:
    """The first line of what went wrong, less Ray's tracebacks."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0] if lines else 'no reason given'}"


@contextmanager
def _cluster(machine: Machine) -> Iterator[Any]:
    """Ray's module, in the cluster of the address; without one in a new one, also where RAY_ADDRESS names another."""
    os.environ |= ENVIRONMENT
    import ray

    if ray.is_initialized():
        raise ValueError("--launcher ray: this process is in a cluster already; call ray.shutdown() first")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    own: dict[str, Any] = {
        "num_cpus": machine.jobs or usable_cores(), "object_store_memory": STORE_BYTES, "include_dashboard": False,
    }  # fmt: skip
    before = {signum: signal.getsignal(signum) for signum in notice.SIGNALS}
    try:
        if machine.address is None:
            ray.init(address="local", **own, **quiet)
        else:
            ray.init(address=machine.address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        where = "" if machine.address is None else f" --address {machine.address}"
        raise ValueError(f"--launcher ray{where}: {_reason(error)}") from None
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)  # Ray takes SIGTERM
    try:
        yield ray
    finally:
        ray.shutdown()


RAY = Launcher(on_ray, check, takes_address=True)
