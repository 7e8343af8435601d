"""An array of workers: its script, what is said without SLURM, and a sweep on a real SLURM of one node."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import QUICK, Repro

from repro import store
from repro.training.claim import FILE

SWEEP = (
    "lrn-ablation",
    "--preset",
    "smoke",
    "--seeds",
    "2",
    *QUICK[:-4],
    "--arms",
    "lrn-ablation/no-lrn,lrn-ablation/conv1-only",
    "--untuned",
    "--loader",
    "torch",
)
PROGRAMS = ("sbatch", "squeue", "scontrol", "scancel", "slurmctld", "slurmd", "munged")
WITH_DAEMONS = f"{os.environ['PATH']}:/usr/sbin"
MISSING = [program for program in PROGRAMS if not shutil.which(program, path=WITH_DAEMONS)]
EPOCHS = 60


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_the_script_is_that_of_workers_with_the_same_words(repro: Repro, photos: Path, tmp_path: Path) -> None:
    code, out, err = repro("run", *SWEEP, "--launcher=slurm", "--jobs", "3", "--script", "--no-verify")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "#!/bin/bash" and len(lines) == 10
    options = [word for line in lines if line.startswith("#SBATCH ") for word in shlex.split(line)[1:]]
    assert options[1:] == ["--array=0-2", f"--chdir={tmp_path}", "--requeue", "--open-mode=append",
                           "--signal=B:USR1@60"]  # fmt: skip
    assert re.fullmatch(r"--job-name=repro-[0-9a-f]{10}", options[0])
    (worker,) = (line for line in lines if line.startswith(shlex.quote(sys.executable)))
    assert shlex.split(worker) == [
        sys.executable, "-m", "repro", "work", *SWEEP, "--no-verify",
        "--data-dir", str(photos), "--results-dir", str(tmp_path / "results"), "--jobs", "1", "&",
    ]  # fmt: skip
    assert not list(tmp_path.iterdir()), "nothing is written"
    other = repro("run", "--launcher", "slurm", *SWEEP, "--jobs", "5", "--script", "--no-verify")[1].splitlines()
    assert other[1] == lines[1] and other[2] == "#SBATCH --array=0-4", "the name is that of the words alone"
    assert repro("run", *SWEEP, "--launcher=slurm", "--jobs", "3", "--script")[1].splitlines()[1] != lines[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--launcher", "slurm", "--jobs", "2"), "sbatch is not on PATH; go to a login node"),
        (("--launcher", "slurm", "--script"), "takes as many workers as --jobs says; add --jobs N"),
        (("--script",), "--script: is for --launcher slurm only"),
    ],
)
def test_what_an_array_needs_is_said_in_one_line(
    repro: Repro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = repro("run", *SWEEP, *words)
    assert (code, out) == (2, "") and expected in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts commands of the test in SLURM's place. Each of sbatch's scripts is kept in the file that comes back."""
    folder, kept = tmp_path / "bin", tmp_path / "submitted"
    folder.mkdir()

    def put(*, sbatch: str = "echo 12", squeue: str = "true") -> Path:
        for program, does in {"sbatch": f"cat >> {kept}\n{sbatch}", "squeue": squeue}.items():
            (folder / program).write_text(f"#!/bin/sh\n{does}\n")
            (folder / program).chmod(0o755)
        return kept

    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("repro.launch.slurm._submitted", set())
    monkeypatch.setattr("repro.launch.slurm.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("repro.launch.slurm.QUEUE_SECONDS", 0.0)
    return put


def test_an_array_that_ends_without_its_runs_fails_and_is_not_submitted_again(
    repro: Repro, played: Callable[..., Path]
) -> None:
    kept = played()
    code, out, _ = repro("run", *SWEEP, "--launcher", "slurm", "--jobs", "2")
    assert code == 1
    assert out.count("failed: no worker of array repro-") == 4 and "submitted as job 12, 2 workers" in out
    assert kept.read_text().count("#!/bin/bash") == 1


def test_what_sbatch_refuses_is_said_in_one_line(repro: Repro, played: Callable[..., Path]) -> None:
    played(sbatch="echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    code, _, err = repro("run", *SWEEP, "--launcher", "slurm", "--jobs", "2")
    assert (code, err) == (2, "error: --launcher slurm: sbatch: error: invalid partition specified: x\n")


def test_an_array_that_is_there_is_followed_and_its_failures_are_returned(
    repro: Repro, played: Callable[..., Path], tmp_path: Path
) -> None:
    """Each look at the queue is the turn of a worker, whose runs fail."""
    planned = json.loads(repro("plan", *SWEEP[:-2], "--json")[1])["runs"]
    folders = [store.run_directory(Path("results"), run["digest"], run["seed"]) for run in planned]
    (tmp_path / "runs").write_text("".join(f"{folder}\n" for folder in folders))
    fails = 'mkdir -p $run && test -e $run/failed.json || echo \'{"reason": "no memory"}\' > $run/failed.json'
    kept = played(squeue=f"while read run; do {fails}; done < {tmp_path}/runs; echo RUNNING")
    code, out, _ = repro("run", *SWEEP, "--launcher", "slurm", "--jobs", "2")
    assert code == 1 and out.count(": failed: no memory") == len(folders) == 4
    assert "1 running" in out and not kept.exists(), "no second array was submitted"


def test_who_stops_following_stops_no_worker(
    repro: Repro, played: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    played(squeue="echo RUNNING", sbatch="exit 1")
    monkeypatch.setattr("repro.launch.slurm.time.sleep", stop)
    code, out, err = repro("run", *SWEEP, "--launcher", "slurm", "--jobs", "2")
    assert code == 130 and "goes on without being followed; the same line follows it again" in out
    assert err == "stopped; the same line goes on where it was\n"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A SLURM of one node with two processors."""
    place = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short name: that of a socket has at most 107 letters
    host = socket.gethostname().partition(".")[0]
    with socket.socket() as one, socket.socket() as two:
        for free in (one, two):
            free.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
    for name in ("state", "spool", "munge"):
        (place / name).mkdir(mode=0o700)
    place.chmod(0o755)
    (place / "munge/key").touch(mode=0o600)
    (place / "munge/key").write_bytes(os.urandom(1024))
    (place / "slurm.conf").write_text(f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket,cred_expire=3
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=30
SchedulerParameters=batch_sched_delay=0,sched_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 NodeHostname={host} CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
""")
    monkeypatch.setenv("SLURM_CONF", str(place / "slurm.conf"))
    monkeypatch.setenv("PATH", WITH_DAEMONS)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    try:
        said("munged", "--force", *(f"--{option}={place}/munge/{file}" for option, file in files.items()))
        said("slurmctld", "-c")
        said("slurmd", "-N", host)
        until(lambda: said("sinfo", "--noheader", "--format=%t") == "idle\n")
        yield
    finally:
        said("scancel", "--me")
        until(lambda: not said("squeue", "--noheader"))
        for file in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            number = int((place / file).read_text())
            os.kill(number, signal.SIGTERM)
            until(lambda number=number: not Path(f"/proc/{number}").exists())  # type: ignore[misc]
        shutil.rmtree(place)


def said(*words: str) -> str:
    """What a command prints; a daemon keeps no pipe of ours open."""
    with tempfile.TemporaryFile("w+") as out:
        code = subprocess.run(words, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
        out.seek(0)
        assert code == 0, out.read()
        return out.read()


def at_work(results: Path) -> dict[str, str]:
    """The task of the array for each run that a worker is at and has saved."""
    found = {}
    for claim in results.glob(f"runs/*/*/{FILE}"):
        with suppress(OSError, TypeError, KeyError):
            number = re.search(r"pid=(\d+)\n", claim.read_text())[1]  # type: ignore[index]
            words = Path(f"/proc/{number}/environ").read_text().split("\0")
            of = dict(word.split("=", 1) for word in words if word.startswith("SLURM_ARRAY_"))
            job = f"{of['SLURM_ARRAY_JOB_ID']}_{of['SLURM_ARRAY_TASK_ID']}"
            if (claim.parent / "checkpoint-before.pt").exists():
                found[f"{claim.parents[1].name}/{claim.parent.name}"] = job
    return found


def epochs_in(text: str) -> dict[str, list[int]]:
    """The epochs that each run did, by what a worker wrote."""
    found: dict[str, list[int]] = {}
    for run, epoch in re.findall(r"(\S+ seed \d): epoch (\d+)/", text, re.MULTILINE):
        found.setdefault(run, []).append(int(epoch))
    return found


def numbers(results: Path) -> dict[str, object]:
    """What each finished run found, less what depends on the machine."""
    found = {}
    for file in results.glob("runs/*/*/run.json"):
        record = store.read_run(results, file.parents[1].name, int(file.parent.name.removeprefix("seed-")))
        epochs = store.read_metrics(results, record.digest, record.seed)
        found[record.key] = (
            record.errors, record.train_error, [(one.epoch, one.train_loss, one.test_top1_error) for one in epochs],
        )  # fmt: skip
    return found


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not here: apt-get install slurm-wlm munge")
@pytest.mark.skipif(os.geteuid() != 0, reason="SLURM's daemons want root")
def test_a_sweep_goes_on_after_a_requeue_and_near_its_time_limit_and_finds_what_it_finds_here(
    repro: Repro, cluster: None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [word.replace("epochs=1", f"epochs={EPOCHS}") for word in SWEEP]
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(store.__file__).parents[1]))
    words = [sys.executable, "-m", "repro", "run", *long, "--launcher", "slurm", "--jobs", "2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as follower:
        try:
            until(lambda: len(at_work(folder / "results")) == 2 or follower.poll() is not None)
            assert follower.poll() is None, follower.communicate()[0]
            (first, job), (second, other) = at_work(folder / "results").items()
            said("scontrol", "requeue", job)
            said("scancel", "--batch", "--signal=USR1", other)  # as a minute before the end of its time
            until(lambda: said("squeue", "--noheader", "--format=%T").split() == ["PENDING"] * 2)
            assert not any((folder / "results/runs" / run / FILE).exists() for run in (first, second)), "both ended"
            for one in (job, other):
                said("scontrol", "update", f"jobid={one}", "StartTime=now")  # SLURM waits for two minutes
            out, _ = follower.communicate(timeout=200)
        finally:
            follower.kill()
    assert follower.returncode == 0, out
    assert "submitted as job" in out and out.count(f"epoch {EPOCHS}/{EPOCHS}") == 4
    assert (folder / "reports" / "lrn-ablation.md").exists()
    logs = [file.read_text() for file in sorted(folder.glob("slurm-*.out"))]
    assert len(logs) == 2
    sessions: dict[str, list[list[int]]] = {}
    for session in (part for text in logs for part in text.split("stopped; the same line goes on where it was\n")):
        for run, epochs in epochs_in(session).items():
            sessions.setdefault(run, []).append(epochs)
    assert len(sessions) == 4 and sorted(map(len, sessions.values())) == [1, 1, 2, 2], "two were stopped, and went on"
    for of_run in sessions.values():
        before, *after = sorted(of_run)
        assert before == [*range(1, before[-1] + 1)] and before[-1] > 1
        for epochs in after:  # the one after the last, which is done again where it ended and was not saved
            assert epochs[0] in (before[-1], before[-1] + 1) and epochs == [*range(epochs[0], EPOCHS + 1)]
        assert (after or [before])[-1][-1] == EPOCHS
    assert repro("work", *long, "--jobs", "1", "--results-dir", "here")[0] == 0
    assert numbers(folder / "results") == numbers(folder / "here") and len(numbers(folder / "here")) == 4
