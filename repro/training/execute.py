"""One run from start to record: open the data, build, resume, train, evaluate, write."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repro import store
from repro.config.config import Config, digest
from repro.data.load.loading import Kind, Loader, Prepared, SplitName, make_loader, open_data
from repro.machine.provenance import provenance
from repro.machine.speed import keep_freed_memory
from repro.network.model import Network, build
from repro.network.towers import TwoTowers, place
from repro.plan.plan import pretrain_config
from repro.terms import Artifact, View
from repro.training import checkpoint
from repro.training.claim import SECONDS, BusyError, Claim, LostError
from repro.training.evaluate import center_errors, errors, predict
from repro.training.events import Elsewhere, Evaluating, Failed, Finished, Listener, metrics_file, tensorboard, to_all
from repro.training.optim import Optimizer, make_optimizer
from repro.training.train import epochs_to_target, train


@dataclass(frozen=True)
class Machine:
    """How runs are done here. None of it changes a number beyond rounding, so none of it is in the Config."""

    results: Path
    data: Path
    devices: tuple[str, ...] = ()  # empty: one CUDA device for each tower where there are enough, else one device
    loader: Kind | None = None  # "ffcv", "torch"; None: FFCV where it is installed
    workers: int = 1
    tensorboard: bool = False
    verify: bool = True  # hash a prepared set when it is new or was changed
    lease: float = SECONDS  # after which a run that shows no sign of life is taken over; all have to agree


@dataclass(frozen=True)
class Job:
    """One Config and one seed, with what is to be read off it afterwards."""

    config: Config
    seed: int
    digest: str
    views: tuple[View, ...]
    artifacts: tuple[Artifact, ...] = ()

    @property
    def name(self) -> str:
        """`<digest>/seed-<n>`, as its folder is called."""
        return f"{self.digest}/seed-{self.seed}"


def execute(
    job: Job, machine: Machine, emit: Listener, *, wait: bool = False, claim: Claim | None = None
) -> dict[str, Any]:
    """Do what is missing of `job` and return its record; a finished run is only evaluated on views that it lacks.

    `wait` for another process that is at this run; otherwise that is an error. `claim` is the run's, from an earlier
    attempt: it has watched whoever is at it.

    Raises BusyError where another process is at this run, LostError where one took it over since, ValueError where the data is
    not prepared or the device is not there; every error but the first two is also emitted, and noted in failed.json for
    `repro plan` to show. The run can be tried again. Raises Ended where notice was given, with the checkpoint written.
    """
    keep_freed_memory()
    place_of_run = store.run_directory(machine.results, job.digest, job.seed)
    claim = claim or Claim(place_of_run, machine.lease)
    with claim.held(wait=wait), store.guarded(claim.check):
        if is_done(job, machine.results):  # by another process, since it was planned
            emit(Elsewhere(job.name, done=True))
            return store.read_run(machine.results, job.digest, job.seed)
        try:
            claim.begin(place_of_run / checkpoint.FILE)
            return _execute(job, machine, emit, place_of_run, claim)
        except (BusyError, LostError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            store.write_json(place_of_run / "failed.json", {"reason": reason})
            emit(Failed(job.name, reason))
            raise


def is_done(job: Job, results: Path) -> bool:
    """Whether the run is finished, and all is read off it."""
    finished = store.is_finished(results, job.digest, job.seed)
    return finished and not store.unread(results, job.digest, job.seed, job.views, job.artifacts)


def _execute(job: Job, machine: Machine, emit: Listener, place_of_run: Path, claim: Claim) -> dict[str, Any]:
    if job.config.weights:
        raise ValueError("weights: `repro evaluate --weights FILE` makes such a run; it is not trained")
    seed = job.config.seed_of("subset", job.seed)
    prepared = open_data(job.config.data, machine.data, seed, verify=machine.verify)
    found = digest(job.config, prepared.manifest.digest)
    if found != job.digest:
        raise ValueError(f"the data changed since the run was planned ({found}, not {job.digest}); plan again")
    towers = job.config.model.towers  # a net of one tower has the first device, also beside one of two
    devices = choose_devices(machine.devices[:towers], towers)
    whole = build(job.config, job.seed)
    finished = store.is_finished(machine.results, job.digest, job.seed)
    if not finished and job.config.pretrain:
        copy_all_but_last(whole, _pretrained(job, machine, prepared, emit))
    model = place(whole, devices)
    optimizer = make_optimizer(model, job.config)
    path = place_of_run / checkpoint.FILE
    position = checkpoint.load(path, model, optimizer) if path.is_file() else checkpoint.Position()
    if finished:
        if not path.is_file():
            unread = ", ".join(store.unread(machine.results, job.digest, job.seed, job.views, job.artifacts))
            raise ValueError(f"{path}: is needed for {unread}, and is not here; delete the run to redo it")
        record = store.read_run(machine.results, job.digest, job.seed)
    else:
        listeners = [emit, metrics_file(place_of_run / "metrics.jsonl")]
        if machine.tensorboard:
            listeners.append(tensorboard(place_of_run / "tensorboard"))
        record = _train(job, machine, prepared, model, optimizer, position, devices, to_all(listeners), path, claim)
    record["errors"] |= evaluate_views(job, machine, prepared, model, devices, emit)
    if record["train_error"] is None:
        emit(Evaluating(job.name, "training images"))
        images = _loader(job, machine, prepared, "train")
        center = center_errors(model, images, precision=job.config.precision, device=torch.device(devices[0]))
        record["train_error"] = center["top1_error"]
    store.write_run(machine.results, {name: value for name, value in record.items() if name != "schema"})
    _write_artifacts(job, machine, prepared, model, devices, place_of_run)
    emit(Finished(job.name, record))
    return record


def _loader(job: Job, machine: Machine, prepared: Prepared, split: SplitName) -> Loader:
    return make_loader(prepared, job.config, split, seed=job.seed, kind=machine.loader, workers=machine.workers)


def _train(
    job: Job,
    machine: Machine,
    prepared: Prepared,
    model: Network | TwoTowers,
    optimizer: Optimizer,
    position: checkpoint.Position,
    devices: tuple[str, ...],
    emit: Listener,
    path: Path,
    claim: Claim,
) -> dict[str, Any]:
    """Train to the end and return the record, its errors still empty."""
    train(
        job.name,
        job.config,
        job.seed,
        model,
        optimizer,
        position,
        _loader(job, machine, prepared, "train"),
        _loader(job, machine, prepared, "test"),
        _loader(job, machine, prepared, "held_out") if prepared.held_out else None,
        device=torch.device(devices[0]),
        emit=emit,
        save=lambda position: checkpoint.save(path, model, optimizer, position),
        check=claim.check_now_and_then,
    )
    history, last = position.history, position.history[-1]
    seconds = sum(metrics["seconds"] for metrics in history)
    last_errors = ("top1_error", "top5_error")
    target = job.config.schedule.stop_train_error
    reached = epochs_to_target(history, target)
    manifest, count = prepared.manifest, len(prepared.train.labels)
    return {
        "digest": job.digest,
        "seed": job.seed,
        "config": job.config.model_dump(mode="json"),
        "data": {"name": manifest.name, "digest": manifest.digest, "train": count, "test": len(prepared.test.labels)},
        "epochs": len(history),
        "epochs_to_target": reached,
        "censored": target is not None and reached is None,
        "seconds": round(seconds, 1),
        "images_per_second": round(count * len(history) / seconds, 1),
        "diverged": last["train_loss"] is None,
        "train_error": None,
        "held_out": {name: last[f"held_out_{name}"] for name in last_errors} if prepared.held_out else None,
        "errors": {},
        "provenance": provenance(),
        "placement": ",".join(devices),
    }


def evaluate_views(
    job: Job, machine: Machine, prepared: Prepared, model: Network | TwoTowers, devices: tuple[str, ...], emit: Listener
) -> dict[str, dict[str, float]]:
    """Errors of each view, from its stored predictions; those that are missing are made and stored first."""
    found: dict[str, dict[str, float]] = {}
    for view in job.views:
        if not store.has_predictions(machine.results, job.digest, job.seed, view):
            emit(Evaluating(job.name, view))
            testing = _loader(job, machine, prepared, "test")
            made = predict(model, testing, view, precision=job.config.precision, device=torch.device(devices[0]))
            made["probability"] = made["probability"].astype(np.float16)
            store.write_predictions(machine.results, job.digest, job.seed, view, made)
        # of what is stored, so that a report can recompute them to the last digit
        found[view] = errors(store.read_predictions(machine.results, job.digest, job.seed, view))
    return found


def _write_artifacts(
    job: Job,
    machine: Machine,
    prepared: Prepared,
    model: Network | TwoTowers,
    devices: tuple[str, ...],
    place_of_run: Path,
) -> None:
    kernels = place_of_run / "kernels.npy"
    if not kernels.is_file():
        buffer = io.BytesIO()
        np.save(buffer, model.kernels())
        store.write_atomically(kernels, buffer.getvalue())
    if "neighbors" in job.artifacts and not (place_of_run / "neighbors.npz").is_file():
        from repro.training.neighbors import write_neighbors

        training, testing = (_loader(job, machine, prepared, split) for split in ("train", "test"))
        write_neighbors(
            place_of_run / "neighbors.npz",
            model,
            prepared,
            training,
            testing,
            precision=job.config.precision,
            device=torch.device(devices[0]),
        )


def _pretrained(job: Job, machine: Machine, prepared: Prepared, emit: Listener) -> dict[str, torch.Tensor]:
    """Weights of the run that comes first; it is a run like any other, so it is trained once."""
    config = pretrain_config(job.config)
    before = Job(config, job.seed, digest(config, prepared.manifest.digest), config.eval.views)
    path = store.run_directory(machine.results, before.digest, before.seed) / checkpoint.FILE
    if not (store.is_finished(machine.results, before.digest, before.seed) and path.is_file()):
        execute(before, machine, emit, wait=True)
    weights: dict[str, torch.Tensor] = checkpoint.read(path)["model"]
    return weights


def copy_all_but_last(model: Network, weights: dict[str, torch.Tensor]) -> None:
    """Take over every layer but the last, whose outputs are other classes now."""
    here = model.state_dict()
    last = f"{model.names[-1]}."
    model.load_state_dict({name: here[name] if name.startswith(last) else weights[name] for name in here})


def choose_devices(asked: Sequence[str], towers: int) -> tuple[str, ...]:
    """The devices of a run. Raises ValueError for a device that is not here, or more devices than towers."""
    cuda = torch.cuda.device_count()
    if not asked:
        return tuple(f"cuda:{n}" for n in range(min(cuda, towers))) or ("cpu",)
    for name in asked:
        try:
            device = torch.device(name)
        except RuntimeError:
            raise ValueError(f"--devices {name}: is no device; use cpu, cuda:0, cuda:1") from None
        if device.type not in ("cpu", "cuda") or (device.type == "cuda" and (device.index or 0) >= cuda):
            raise ValueError(f"--devices {name}: this machine has {cuda} CUDA devices; use cpu")
    if len(asked) > towers:
        raise ValueError(
            f"--devices {','.join(asked)}: the network has {towers} tower(s); give at most so many devices"
        )
    return tuple(asked)


def set_threads(threads: int) -> None:
    """Bound the threads of torch in this process, and of OpenMP in what it loads later."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
