"""Workers as an array of SLURM: submitted, then followed by what they write and by what the queue says.

A task of the array is a worker and not a run, so no limit on jobs is met. The array's name is made of the command's
words: the same line finds an array that is there and follows it, in place of submitting a second.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from repro import store
from repro.launch.launcher import Launcher
from repro.launch.waiting import failed_at
from repro.planning.plan import Run
from repro.training.claim import FILE
from repro.training.events import EpochDone, Event, Failed, Finished, Listener, Started, Stepped, Warned
from repro.training.execute import Machine, finished

LOOK_SECONDS = 1.0  # between two looks at the runs
QUEUE_SECONDS = 10.0  # between two looks at the queue, which all users of a cluster share
# Options of sbatch that stand in a script give way to SBATCH_* of the environment, and those to the command line.
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --chdir={here}
#SBATCH --requeue --open-mode=append --signal=B:USR1@60
task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID  # a job's number alone may be that of all tasks
trap 'kill $!; wait $!; scontrol requeue $task' USR1  # a minute is left: the run is saved, then queued again
trap : TERM  # the worker hears it too: it saves its run and ends
{worker} &
wait $!; wait $!
"""

_submitted: set[str] = set()  # names of the arrays of this process: what was canceled is not submitted again


def check(machine: Machine) -> None:
    """Raises ValueError where an array cannot be submitted from here."""
    for program in ("sbatch", "squeue"):
        if not shutil.which(program):
            raise ValueError(
                f"--launcher slurm: {program} is not on PATH; go to a login node of the cluster, or install "
                "SLURM's commands (Debian, Ubuntu: apt-get install slurm-client)"
            )
    check_jobs(machine)


def check_jobs(machine: Machine) -> None:
    """Raises ValueError where it was not said how many workers are asked for."""
    if machine.jobs is None:
        raise ValueError("--launcher slurm: takes as many workers as --jobs says; add --jobs N")


def name(machine: Machine) -> str:
    """The name of the array of a command, whatever the number of its workers."""
    return f"repro-{hashlib.sha256(chr(0).join(machine.words).encode()).hexdigest()[:10]}"


def script(machine: Machine) -> str:
    """The batch script of an array of workers: that of the command's words, from the current folder."""
    check_jobs(machine)
    assert machine.jobs
    worker = [sys.executable, "-m", "repro", "work", *machine.words, "--jobs", "1"]
    here = shlex.quote(str(Path.cwd()))
    return SCRIPT.format(name=name(machine), last=machine.jobs - 1, here=here, worker=shlex.join(worker))


def slurm(runs: Sequence[Run], machine: Machine, emit: Listener) -> list[Failed]:
    """Submit the workers, unless those of the same words are in the queue, and follow them until each run is finished
    or has failed. Returns the failures, which were emitted too; where no worker is left, so has all that is not done.

    Whoever stops following stops no worker. Raises ValueError where SLURM does not take the array.
    """
    check(machine)
    before = {run.name: failed_at(run, machine.results) for run in runs}
    array = f"array {name(machine)}"
    queue = _Queue(name(machine))
    if not queue.look() and queue.name not in _submitted:
        number = _submit(machine)
        _submitted.add(queue.name)
        emit(Warned(array, f"submitted as job {number}, {machine.jobs} workers; `scancel {number}` ends them"))
        queue.look()
    left, told, state = {run.name: run for run in runs}, dict(before), ""
    seen = {run.name: len(store.read_metrics(machine.results, run.digest, run.seed)) for run in runs}
    started: set[str] = set()
    try:
        while True:
            alive = queue.now_and_then()  # before the runs: what a worker did before it ended is seen
            if queue.state != state:
                state = queue.state
                emit(Warned(array, state))
            for run in list(left.values()):
                for event in _news(run, machine, seen[run.name]):
                    if run.name not in started:
                        started.add(run.name)
                        emit(Started(run.name, run.config.schedule.epochs, 1, seen[run.name], 0))
                    if isinstance(event, EpochDone):
                        seen[run.name] = event.metrics.epoch
                    if isinstance(event, Finished):
                        del left[run.name]
                    emit(event)
                if run.name in left and (at := failed_at(run, machine.results)) != told[run.name]:
                    told[run.name] = at
                    if at is not None:
                        emit(Warned(run.name, f"failed in a worker: {_reason(run, machine)}"))
            tried = [run for run in left.values() if told[run.name] not in (None, before[run.name])]
            if not alive or all(run in tried and not _is_held(run, machine) for run in left.values()):
                break
            time.sleep(LOOK_SECONDS)
    except BaseException:
        emit(Warned(array, "goes on without being followed; the same line follows it again"))
        raise
    failures = [
        Failed(run.name, _reason(run, machine) if run in tried else _left_over(array), elsewhere=True)
        for run in left.values()
    ]
    for failure in failures:
        emit(failure)
    return failures


def _news(run: Run, machine: Machine, seen: int) -> Iterator[Event]:
    """What a run wrote after its `seen` first epochs."""
    epochs = store.read_metrics(machine.results, run.digest, run.seed)
    images = round(sum(one.images_per_second * one.seconds for one in epochs[:seen]))
    for one in epochs[seen:]:
        images += round(one.images_per_second * one.seconds)
        yield EpochDone(run.name, one)
        yield Stepped(run.name, one.epoch, 0, images, one.train_loss)
    if record := finished(run, machine.results):
        yield Finished(run.name, record)


def _is_held(run: Run, machine: Machine) -> bool:
    return (store.run_directory(machine.results, run.digest, run.seed) / FILE).exists()


def _reason(run: Run, machine: Machine) -> str:
    return store.failure(machine.results, run.digest, run.seed) or "in a worker"


def _left_over(array: str) -> str:
    return f"no worker of {array} is left; what they wrote (slurm-*.out) says why; run again to go on"


class _Queue:
    """What SLURM says of an array. A controller that does not answer, as when it starts again, ends nothing."""

    def __init__(self, name: str) -> None:
        self.name, self.state = name, ""
        self._alive, self._looked = True, 0.0

    def now_and_then(self) -> bool:
        """`look`, at most each QUEUE_SECONDS."""
        return self.look() if time.monotonic() - self._looked > QUEUE_SECONDS else self._alive

    def look(self) -> bool:
        """Whether any of its workers waits, runs or ends."""
        words = ["squeue", "--me", "--noheader", "--array", f"--name={self.name}", "--format=%T"]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        first, self._looked = not self._looked, time.monotonic()
        if found.returncode and first:
            raise ValueError(f"--launcher slurm: {found.stderr.strip() or f'squeue ended with {found.returncode}'}")
        if found.returncode:
            self.state = f"not known: {' '.join(found.stderr.split())}"
            return self._alive
        counts = Counter(found.stdout.split())
        self.state = ", ".join(f"{count} {state.lower()}" for state, count in sorted(counts.items())) or "no worker"
        self._alive = bool(counts)
        return self._alive


def _submit(machine: Machine) -> str:
    """The job's number."""
    words = ["sbatch", "--parsable", f"--job-name={name(machine)}"]  # a name in SBATCH_JOB_NAME would not be found
    found = subprocess.run(words, input=script(machine), capture_output=True, text=True, check=False)
    if found.returncode:
        raise ValueError(f"--launcher slurm: {found.stderr.strip() or f'sbatch ended with {found.returncode}'}")
    return found.stdout.strip().partition(";")[0]


SLURM = Launcher(slurm, check, script)
