"""What other packages may bring along, one table: a kind of extension is a group of entry points, and ours stand here.

A name is looked up among ours first. docs/extending.md shows an extension of each kind, each in one file.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from repro.suggest import did_you_mean

# group -> name -> where it is; entry points of the same groups add to it
OURS: dict[str, dict[str, str]] = {
    "repro.optimizers": {"momentum": "repro.training.optim:Optimizer"},  # a subclass of Optimizer
    "repro.activations": {  # a function of a tensor
        "relu": "torch.nn.functional:relu_",  # in place: neither sums, pools nor normalizations keep what they put out
        "tanh": "torch:tanh",
        "abs-tanh": "repro.network.model:abs_tanh",
        "sigmoid": "torch:sigmoid",
        "leaky-relu": "torch.nn.functional:leaky_relu",  # slope 0.01 below zero
        "elu": "torch.nn.functional:elu",  # e^x - 1 below zero
        "gelu": "torch.nn.functional:gelu",
        "none": "repro.network.model:identity",
    },
    "repro.claims": {  # a ClaimKind
        kind: f"repro.stats.kinds:{kind.upper()}"
        for kind in ("effect", "no_effect", "at_least", "ratio", "slower", "value", "overfits")
    },
    "repro.datasets": {  # a KnownSet
        name: f"repro.data.known:{name.upper()}" for name in ("photos", "cifar10", "tiny200", "imagenette", "imagenet")
    },
    "repro.sections": {  # (part of a report, folder of reports) -> the blocks of a section of its page, in this order
        name: f"repro.report.{name}:blocks" for name in ("tuning", "sensitivity", "failures", "designs", "curves")
    },
    "repro.launchers": {  # (runs, machine, emit) -> the failures; or a Launcher
        "here": "repro.launch.here:here",
        "slurm": "repro.launch.slurm:SLURM",
        "ray": "repro.launch.ray:RAY",
    },
}


@cache
def known(group: str) -> tuple[str, ...]:
    """The names of a group: ours, then those of installed packages."""
    from importlib.metadata import entry_points  # 20 ms, which most commands need not wait for

    return tuple(dict.fromkeys([*OURS[group], *sorted(point.name for point in entry_points(group=group))]))


def named(group: str, name: str) -> str:
    """`name`, where the group has it. Raises ValueError with a suggestion where it has not."""
    if name not in OURS[group] and name not in known(group):  # ours are known without looking for packages
        raise ValueError(f"no {group.removeprefix('repro.')[:-1]} {name!r}{did_you_mean(name, known(group))}")
    return name


@cache
def load(group: str, name: str) -> Any:
    """What is called `name` in a group. Raises ValueError, one line, for a name that is not there or does not load."""
    from importlib.metadata import EntryPoint, entry_points

    where = OURS[group].get(named(group, name))
    found = EntryPoint(name, where, group) if where else next(iter(entry_points(group=group, name=name)))
    try:
        return found.load()
    except Exception as error:  # code of others
        raise ValueError(f"{group} {name!r} of {found.value}: {type(error).__name__}: {error}") from None
