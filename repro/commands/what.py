"""What `repro run` is to do: as words say it, a sweep's file, a frozen plan, or a setting that was asked for before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.commands.options import at_setting, choose, count_of_seeds, most_seeds, registry_of

if TYPE_CHECKING:
    from repro.experiments.experiment import Experiment
    from repro.planning.plan import Plan
    from repro.records import Setting


@dataclass(frozen=True)
class Asked:
    """Experiments at one setting, which of their arms, and how many seeds of each."""

    registry: Any
    experiments: Sequence[Experiment]
    preset: str | None  # None: the first of each experiment
    seeds: int
    changes: Mapping[str, Any]
    arms: frozenset[str] | None  # `experiment/arm`; None: all
    tuned: bool
    max_seeds: int | None = None  # seeds are added up to so many, until the verdict settles
    first_seed: int = 0
    frozen: str = ""  # the name of the frozen plan that asks
    named: bool = False  # by a setting's name, which may be that of a frozen plan's

    def plan(self, data: Path, results: Path) -> Plan:
        """Its runs. Raises ValueError where it cannot be made, data is not prepared, or a frozen plan asked for it."""
        from repro import store
        from repro.planning import plan

        made = plan.make(
            self.experiments, self.preset, self.seeds, self.changes, data=data, results=results, tuned=self.tuned,
            first_seed=self.first_seed, arms=self.arms,
        )  # fmt: skip
        if self.named:
            for setting in made.settings:
                refuse_frozen(store.setting_path(results, setting))
        if made.unprepared:
            raise ValueError("; ".join(made.unprepared))
        return made


def asked(
    *,
    names: list[str] | None,
    preset: str | None,
    seeds: int | None,
    assignments: list[str] | None,
    setting: str | None,
    again: Path | None,
    everything: bool,
    arms: str | None,
    design: str | None,
    untuned: bool,
    frozen_plan: Path | None,
    until_decided: bool,
    max_seeds: int | None,
    include: list[Path] | None,
    results: Path,
) -> Asked:
    """What the words ask for. Raises ValueError for words that are wrong or say two things."""
    from repro.planning import sweepfile

    file = sweepfile.file_of(names)
    says = "--plan" if frozen_plan else "--again" if again else str(file) if file else ""
    if says and (
        (names and not file) or (file and (frozen_plan or again or seeds or max_seeds)) or everything or preset
        or assignments or setting or arms or design or untuned or until_decided
    ):  # fmt: skip
        raise ValueError(f"{says} says what to run; leave out names, --preset, --set, --arms and the like")
    if file:
        told = sweepfile.read(file)
        names, preset, assignments, setting = told.names, told.preset, told.assignments, told.setting
        seeds, arms, design = told.seeds, ",".join(told.arms) if told.arms else None, told.design
        untuned, until_decided, max_seeds = told.untuned, told.until_decided, told.max_seeds
    registry = registry_of(include, names)
    if frozen_plan and again:
        raise ValueError("--plan and --again each say what to run; leave out one of them")
    if frozen_plan:
        return _of_plan(registry, frozen_plan)
    if again:
        return _of_setting(registry, read_again(again), seeds, max_seeds)

    from repro.planning import plan  # a tenth of a second: most mistakes are in the names, and are told before

    at = at_setting(setting, preset, assignments, results)
    chosen = plan.laid_out(choose(registry, names, everything, at.preset), at.preset, design or at.design or None)
    count = count_of_seeds(seeds, chosen)
    if until_decided and any(one.laid_out for one in chosen):
        raise ValueError("--until-decided: a design is judged once, when all of its runs are there; leave it out")
    return Asked(
        registry, chosen, at.preset, count, at.changes, plan.choose_arms(chosen, at.preset, arms),
        tuned=not (untuned or at.untuned), max_seeds=most_seeds(count, until_decided, max_seeds), named=bool(setting),
    )  # fmt: skip


def _of_plan(registry: Any, path: Path) -> Asked:
    from repro.planning import frozen, plan

    found = frozen.read(path)
    chosen = plan.laid_out([registry.get(name) for name in found.experiments], found.preset, found.design or None)
    return Asked(
        registry, chosen, found.preset, found.seeds, dict(found.changes), frozenset(found.arms),
        tuned=bool(found.searches), first_seed=found.first_seed, frozen=found.name,
    )  # fmt: skip


def _of_setting(registry: Any, before: Setting, seeds: int | None, max_seeds: int | None) -> Asked:
    """The arms, seeds and setting that were asked for before; `seeds`, `max_seeds`: other numbers of them."""
    from repro.planning import plan
    from repro.stats.looks import most_looked_at

    (experiment,) = chosen = plan.laid_out([registry.get(before.experiment)], before.preset, before.design or None)
    had = {f"{before.experiment}/{arm}" for arm in (*before.arms, *before.searches)}
    looked = None if before.design or seeds is not None else most_looked_at(before.looks)
    count = count_of_seeds(before.seeds if seeds is None and not before.design else seeds, chosen)
    return Asked(
        registry, chosen, before.preset, count, dict(before.changes), plan.every_arm(chosen, before.preset) & had,
        tuned=bool(before.searches) or not experiment.search,
        max_seeds=most_seeds(count, bool(looked), max_seeds or looked), first_seed=before.first_seed,
    )  # fmt: skip


def read_again(path: Path) -> Setting:
    """The setting in a file of results/experiments/. Raises ValueError for what is none, and for a frozen plan's."""
    from repro import store

    if not path.is_file():
        raise ValueError(f"--again {path}: there is no such file; give one of results/experiments/NAME/")
    refuse_frozen(path)
    return store.read_setting(path)


def refuse_frozen(path: Path) -> None:
    """Raises ValueError where a setting's file is a frozen plan's: to ask for it in another way would end that."""
    from repro import store

    if path.is_file() and (name := store.read_setting(path).frozen):
        raise ValueError(f"{path}: is of a frozen plan; run: repro run --plan {path.parents[2] / 'plans' / name}.json")
