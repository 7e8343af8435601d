"""One run from start to record: open the data, build, resume, train, evaluate, write."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from repro import files, store
from repro.config.config import digest
from repro.data.load.loading import Kind, Loader, Prepared, SplitName, make_loader, open_data
from repro.machine import torchrun
from repro.machine.cuda import make_exact
from repro.machine.provenance import provenance
from repro.machine.speed import keep_freed_memory
from repro.network.model import Network, build
from repro.network.towers import TwoTowers, place
from repro.planning.plan import Run, pretrain_config
from repro.records import Errors, Images, RunRecord
from repro.terms import View
from repro.training import checkpoint
from repro.training.checkpoint import Training
from repro.training.claim import SECONDS, BusyError, Claim, LostError
from repro.training.crew import together
from repro.training.evaluate import center_errors, errors, predict
from repro.training.events import (
    Elsewhere,
    Evaluating,
    Failed,
    Finished,
    Listener,
    Warned,
    metrics_file,
    to_all,
)
from repro.training.optim import make_optimizer
from repro.training.ranks import ALONE, Ranks
from repro.training.trackers import tracked
from repro.training.train import Loaders, epochs_to_target, train


@dataclass(frozen=True)
class Machine:
    """How runs are done here. None of it changes a number beyond rounding, so none of it is in the Config."""

    results: Path
    data: Path
    devices: tuple[str, ...] = ()  # empty: one CUDA device for each tower where there are enough, else one device
    loader: Kind | None = None  # "ffcv", "torch"; None: FFCV where it is installed
    workers: int = 1
    track: tuple[str, ...] = ()  # trackers that hear of a run too
    verify: bool = True  # hash a prepared set when it is new or was changed
    graph: bool = False  # on one CUDA device: each training step is replayed as one graph
    lease: float = SECONDS  # after which a run that shows no sign of life is taken over; all processes have to agree
    jobs: int | None = None  # what --jobs says; None: auto
    words: tuple[str, ...] = ()  # after `repro work`, for a launcher that starts workers elsewhere
    address: str | None = None  # of the cluster that a launcher joins; None: one of its own
    ranks: int = 1  # processes that share each run, each with the devices of its own
    patience: float = 60.0  # seconds after which a rank that does not answer ends a run


@dataclass(frozen=True)
class Opened:
    """A run with what it needs here: its prepared data, and its network on its devices."""

    run: Run
    machine: Machine
    prepared: Prepared
    model: Network | TwoTowers
    devices: tuple[str, ...]
    ranks: Ranks = ALONE

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return store.run_directory(self.machine.results, self.run.digest, self.run.seed)

    @property
    def device(self) -> torch.device:
        """Where the images go and the classes live."""
        return torch.device(self.devices[0])

    def loader(self, split: SplitName, *, whole: bool = False) -> Loader:
        """The images of a split, as the run reads them: of each batch the rows of this rank, or the `whole`."""
        ranks = ALONE if whole else self.ranks
        how, device = self.machine, self.device if self.device.type == "cuda" else None  # which then finishes images
        return make_loader(
            self.prepared, self.run.config, split, seed=self.run.seed, kind=how.loader, workers=how.workers,
            device=device, rank=ranks.rank, world=ranks.world,
        )  # fmt: skip

    def record(self, **numbers: Any) -> RunRecord:
        """The record of the run: what it trained on and with, and its `numbers`."""
        manifest, prepared = self.prepared.manifest, self.prepared
        return RunRecord(
            digest=self.run.digest,
            seed=self.run.seed,
            config=self.run.config.model_dump(mode="json"),
            data=Images(manifest.name, manifest.digest, len(prepared.train.labels), len(prepared.test.labels)),
            provenance=provenance(),
            placement=",".join(self.devices)
            + (f" in each of {self.ranks.world} ranks" if self.ranks.world > 1 else ""),
            train_error=None,
            **numbers,
        )


def execute(run: Run, machine: Machine, emit: Listener, *, wait: bool = False) -> RunRecord:
    """Do what is missing of `run` and return its record; a finished run is only evaluated on views that it lacks.

    `wait` for another process that is at this run; otherwise that is an error. What another process did since the run
    was planned is not done again.

    Raises BusyError where another process is at this run, LostError where one took it over, and ValueError where the
    data is not prepared or the device is not there; every error but these first two is also emitted, and noted in
    failed.json for `repro plan` to show. The run can be tried again.
    """
    keep_freed_memory()
    make_exact()
    folder = store.run_directory(machine.results, run.digest, run.seed)
    claim = Claim(folder, machine.lease)
    with claim.held(wait=wait), files.guarded(claim.check), tracked(machine.track, run, machine.results, emit) as emit:
        files.sweep(folder)
        try:
            if done := finished(run, machine.results):
                emit(Elsewhere(run.name, done=True))
                return done
            return _execute(run, machine, emit, claim)
        except (BrokenPipeError, BusyError, LostError):  # who listened is gone, which is no failure of the run
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if not store.is_finished(machine.results, run.digest, run.seed):  # what is finished has not failed
                store.write_json(folder / "failed.json", {"reason": reason})
            emit(Failed(run.name, reason))
            raise


def finished(run: Run, results: Path) -> RunRecord | None:
    """The record of a run of which nothing is missing: every view and artifact that is asked for can be read."""
    if not store.is_finished(results, run.digest, run.seed):
        return None
    record = store.read_run(results, run.digest, run.seed)
    unread = store.unread(results, run.digest, run.seed, run.views, run.artifacts, record)
    return None if unread else record


def _execute(run: Run, machine: Machine, emit: Listener, claim: Claim) -> RunRecord:
    if run.config.weights:
        raise ValueError("weights: `repro evaluate --weights FILE` makes such a run; it is not trained")
    prepared, devices = _prepared(run, machine), _devices_of(run, machine)
    whole = build(run.config, run.seed)
    recorded = (
        store.read_run(machine.results, run.digest, run.seed)
        if store.is_finished(machine.results, run.digest, run.seed)
        else None
    )
    if recorded is None and run.config.pretrain:
        copy_all_but_last(whole, _pretrained(run, machine, prepared, emit))
    with together(run, machine, follow) as ranks:
        opened = Opened(run, machine, prepared, place(whole, devices), devices, ranks)
        return _lead(opened, recorded, emit, claim)


def _lead(opened: Opened, recorded: RunRecord | None, emit: Listener, claim: Claim) -> RunRecord:
    """Do what is missing of an opened run. Other ranks call `follow` meanwhile."""
    run, machine = opened.run, opened.machine
    training = _training(opened)
    path = opened.folder / checkpoint.FILE
    if warning := checkpoint.load(path, training):
        emit(Warned(run.name, warning))
    if recorded and not training.position.ended:
        unread = ", ".join(store.unread(machine.results, run.digest, run.seed, run.views, run.artifacts, recorded))
        raise ValueError(f"{path}: is needed for {unread}, and is not here; delete the run to redo it")
    checkpoint.start_alike(training, opened.ranks)
    record = recorded or _train(opened, training, emit, claim)
    record = replace(record, errors={**record.errors, **evaluate_views(opened, emit, recorded)})
    if opened.ranks.agreed(record.train_error is None):
        emit(Evaluating(run.name, "training images"))
        record = replace(
            record, train_error=center_errors(opened.model, opened.loader("train"), **_how(opened)).top1_error
        )
    for artifact in ("kernels", "neighbors"):
        if wrong := store.damaged_artifact(machine.results, run.digest, run.seed, artifact, recorded):
            emit(Warned(run.name, wrong))
            for damaged in opened.folder.glob(f"{artifact}.np*"):
                files.remove(damaged)
    _write_kernels(opened)
    store.write_run(machine.results, record)
    files.remove(checkpoint.before(path))  # what is read off a finished run needs its last state only
    _write_neighbors(opened)
    emit(Finished(run.name, record))
    return record


def _train(opened: Opened, training: Training, emit: Listener, claim: Claim) -> RunRecord:
    """Train to the end and return the record, its errors still empty."""
    if training.position.step == 0:  # from the beginning: no number of an earlier training is this one's
        for path in [*opened.folder.glob("predictions-*.npz"), *opened.folder.glob("kernels.npy")]:
            files.remove(path)
    train(
        training,
        _loaders(opened),
        emit=to_all([emit, metrics_file(opened.folder / "metrics.jsonl")]),
        save=lambda: checkpoint.save(opened.folder / checkpoint.FILE, training),
        check=claim.check_now_and_then,
        graph=opened.machine.graph,
        ranks=opened.ranks,
    )
    history = training.position.history
    seconds, last = sum(epoch.seconds for epoch in history), history[-1]
    target = training.config.schedule.stop_train_error
    reached = epochs_to_target(history, target)
    return opened.record(
        epochs=len(history),
        epochs_to_target=reached,
        censored=target is not None and reached is None,
        seconds=round(seconds, 1),
        images_per_second=round(len(opened.prepared.train.labels) * len(history) / seconds, 1),
        diverged=last.train_loss is None,
        held_out=Errors(last.held_out_top1_error, last.held_out_top5_error) if opened.prepared.held_out else None,
        errors={},
    )


def follow(run: Run, machine: Machine, rank: int, join: Callable[[], Ranks]) -> None:
    """What a rank other than 0 does of `run`: as rank 0, but that it writes nothing and tells nobody. `join` connects
    the ranks, and is called when this one has opened its images."""
    keep_freed_memory()
    make_exact()
    prepared, devices = _prepared(run, machine), _devices_of(run, machine, rank)
    model = place(build(run.config, run.seed), devices)
    opened = Opened(run, machine, prepared, model, devices, join())
    training = _training(opened)
    checkpoint.start_alike(training, opened.ranks)
    train(training, _loaders(opened), emit=lambda event: None, save=lambda: None, ranks=opened.ranks)
    missing: list[View] = opened.ranks.agreed([])
    for view in missing:
        predict(model, opened.loader("test"), view, **_how(opened))
    if opened.ranks.agreed(False):
        center_errors(model, opened.loader("train"), **_how(opened))


def _prepared(run: Run, machine: Machine) -> Prepared:
    seed = run.config.seed_of("subset", run.seed)
    prepared = open_data(run.config.data, machine.data, seed, verify=machine.verify)
    found = digest(run.config, prepared.manifest.digest)
    if found != run.digest:
        raise ValueError(f"the data changed since the run was planned ({found}, not {run.digest}); plan again")
    return prepared


def _training(opened: Opened) -> Training:
    run = opened.run
    optimizer = make_optimizer(opened.model, run.config)
    return Training(run.name, run.config, run.seed, opened.model, optimizer, opened.device)


def _loaders(opened: Opened) -> Loaders:
    held_out = opened.loader("held_out") if opened.prepared.held_out else None
    return Loaders(opened.loader("train"), opened.loader("test"), held_out)


def _how(opened: Opened) -> dict[str, Any]:
    return {"precision": opened.run.config.precision, "device": opened.device, "ranks": opened.ranks}


def evaluate_views(opened: Opened, emit: Listener, record: RunRecord | None = None) -> dict[str, Errors]:
    """Errors of each view, from its stored predictions; those that are missing or damaged are made and stored first.
    `record` is the run's, None while it has none."""
    run, results = opened.run, opened.machine.results
    unread = store.unread(results, run.digest, run.seed, run.views, (), record)
    found: dict[str, Errors] = {}
    missing = opened.ranks.agreed([view for view in run.views if view in unread])
    for view in run.views:
        if view in missing:
            if unread[view]:
                emit(Warned(run.name, unread[view]))
            emit(Evaluating(run.name, view))
            made = predict(opened.model, opened.loader("test"), view, **_how(opened))
            made["probability"] = made["probability"].astype(np.float16)
            store.write_predictions(results, run.digest, run.seed, view, made)
        # of what is stored, so that a report can recompute them to the last digit
        found[view] = errors(store.read_predictions(results, run.digest, run.seed, view))
    return found


def _write_kernels(opened: Opened) -> None:
    kernels = opened.folder / "kernels.npy"
    if not kernels.is_file():
        buffer = io.BytesIO()
        np.save(buffer, opened.model.kernels())
        store.write_atomically(kernels, buffer.getvalue())


def _write_neighbors(opened: Opened) -> None:
    neighbors = opened.folder / "neighbors.npz"
    if "neighbors" in opened.run.artifacts and not neighbors.is_file():
        from repro.training.neighbors import write_neighbors

        write_neighbors(
            neighbors,
            opened.model,
            opened.prepared,
            opened.loader("train", whole=True),
            opened.loader("test", whole=True),
            precision=opened.run.config.precision,
            device=opened.device,
        )


def _pretrained(run: Run, machine: Machine, prepared: Prepared, emit: Listener) -> dict[str, torch.Tensor]:
    """Weights of the run that comes first; it is a run like any other, so it is trained once."""
    config = pretrain_config(run.config)
    before = Run(config, run.seed, digest(config, prepared.manifest.digest), config.eval.views)
    path = store.run_directory(machine.results, before.digest, before.seed) / checkpoint.FILE
    if not (store.is_finished(machine.results, before.digest, before.seed) and path.is_file()):
        execute(before, machine, emit, wait=True)
    weights: dict[str, torch.Tensor] = checkpoint.read(path, before.name)["model"]
    return weights


def copy_all_but_last(model: Network, weights: dict[str, torch.Tensor]) -> None:
    """Take over every layer but the last, whose outputs are other classes now."""
    here = model.state_dict()
    last = f"{model.names[-1]}."
    model.load_state_dict({name: here[name] if name.startswith(last) else weights[name] for name in here})


def _devices_of(run: Run, machine: Machine, rank: int = 0) -> tuple[str, ...]:
    towers = run.config.model.towers  # a net of one tower has the first device, also beside one of two
    if machine.ranks == 1:
        return choose_devices(machine.devices[:towers], towers)
    for norm in (run.config.model.norm, run.config.model.spatial_norm):
        if norm and norm.kind == "batch":
            raise ValueError(
                "model.norm.kind batch: its statistics are those of a whole batch, of which each of "
                f"{machine.ranks} ranks has a part; train it in one process"
            )
    return devices_of_rank(machine, rank)[:towers]


def devices_of_rank(machine: Machine, rank: int = 0) -> tuple[str, ...]:
    """The devices of one rank of a run: the CUDA device of its number on its machine, or CPUs.

    Raises ValueError, one line, where this machine has fewer CUDA devices than ranks, or named ones are asked for.
    """
    place, cuda = torchrun.place(), torch.cuda.device_count()
    here, count = (place.local, place.locals) if place else (rank, machine.ranks)
    if any(not name.startswith("cpu") for name in machine.devices):
        raise ValueError(
            f"--devices {','.join(machine.devices)}: each rank takes the CUDA device of its number; leave it out"
        )
    if machine.devices or not cuda:
        return machine.devices or ("cpu",)
    if count > cuda:
        raise ValueError(f"--devices {count}: this machine has {cuda} CUDA device(s); give at most so many")
    return (f"cuda:{here}",)


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
