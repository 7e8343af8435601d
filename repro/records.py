"""What stands in results/ as values: a run's record, its epochs, and a setting. Each refuses what no run writes.

A file of an older schema is brought to today's by the steps at the end, one a schema, before it is checked.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from repro.terms import NAME, SEARCH_SEEDS

RUN_SCHEMA: Literal[3] = 3
SETTING_SCHEMA: Literal[3] = 3
_ABSENT = object()


class Errors(msgspec.Struct, frozen=True):
    """Top-1 and top-5 error of a set of images, percent."""

    top1_error: float | None
    top5_error: float | None


class Images(msgspec.Struct, frozen=True):
    """The prepared set that a run used, and how many of its images."""

    name: str
    digest: str
    train: int = 0
    test: int = 0


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """run.json of a finished run."""

    schema: Literal[3] = RUN_SCHEMA
    digest: str
    seed: int
    config: dict[str, Any]  # as it was written then: keys may have come and gone
    data: Images
    epochs: int
    epochs_to_target: float | None
    censored: bool  # it had a target, and did not reach it
    seconds: float  # of training
    images_per_second: float
    diverged: bool
    train_error: float | None  # percent, test mode, center view
    held_out: Errors | None  # center view; None where no images are held out
    errors: dict[str, Errors]  # by view
    provenance: dict[str, dict[str, Any] | str]
    placement: str
    files: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not isinstance(self.config.get("precision"), str) or not isinstance(self.config.get("data"), dict):
            raise ValueError("config: lacks precision or data")

    @property
    def key(self) -> tuple[str, int]:
        """What no other run of results/ has."""
        return self.digest, self.seed

    @property
    def source(self) -> str:
        """`data.source` of the Config."""
        return str(self.config["data"]["source"])

    @property
    def classes(self) -> int:
        """`data.classes` of the Config."""
        return int(self.config["data"]["classes"])

    @property
    def towers(self) -> int:
        """`model.towers` of the Config."""
        return int(self.config["model"]["towers"])

    @property
    def machine(self) -> str:
        """What the run was trained on, as its maker calls it: the accelerator, else the processor."""
        hardware = self.about("hardware")
        names = hardware.get("accelerators") if "cuda" in self.placement else None
        name = names[0] if names else hardware.get("processor") or "an unknown processor"
        return maker_name(str(name))

    @property
    def threads(self) -> int:
        """Threads that the run had; 0 where it was not recorded."""
        found = self.about("hardware").get("threads")
        return found if isinstance(found, int) else 0

    def about(self, part: str) -> dict[str, Any]:
        """A part of the provenance: `git`, `packages` or `hardware`; empty where it was not recorded."""
        found = self.provenance.get(part)
        return found if isinstance(found, dict) else {}


def maker_name(name: str) -> str:
    """The name of a processor or an accelerator without marks."""
    return " ".join(name.replace("(R)", "").replace("(TM)", "").split())


class Epoch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A line of metrics.jsonl; errors in percent, seconds of training alone."""

    epoch: int
    train_loss: float | None = None  # nats; None where it was not finite
    train_error: float = math.nan  # of the batches as they were trained on
    learning_rate: float = math.nan
    bias_learning_rate: float = math.nan
    seconds: float = 0.0
    images_per_second: float = 0.0
    test_top1_error: float | None = None
    test_top5_error: float | None = None
    held_out_top1_error: float | None = None
    held_out_top5_error: float | None = None

    @property
    def numbers(self) -> dict[str, float | None]:
        """As the line has it: an error that was not measured is left out."""
        values = msgspec.to_builtins(self)
        return {name: value for name, value in values.items() if value is not None or name == "train_loss"}


@dataclass(frozen=True)
class Setting:
    """One experiment at one preset with one set of changes (`--set`), as it was last asked for."""

    experiment: str
    preset: str
    changes: Mapping[str, Any]
    seeds: int
    arms: Mapping[str, str]  # arm -> digest of its runs; an ensemble arm is not among them
    searches: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # arm -> tried value -> digest
    looks: tuple[int, ...] = ()  # numbers of seeds that were announced or asked for: repro.stats.looks
    search_seeds: tuple[int, ...] = ()  # of the runs in `searches`
    common: Mapping[str, str] = field(default_factory=dict)  # "arm@reference" -> digest of the arm at its value
    seeds_of: Mapping[str, int] = field(default_factory=dict)  # arms with another number of seeds: shared references
    first_seed: int = 0  # of the comparison
    untuned: bool = False  # asked for without the search that the experiment declares
    frozen: str = ""  # name of the file in results/plans/ that asked for it before any of its runs
    declared: Mapping[str, str] = field(default_factory=dict)  # arm -> digest of its Config before any search
    design: str = ""  # "screen" or "factorial": its rows are the arms
    own_seeds: Mapping[str, Sequence[int]] = field(default_factory=dict)  # arms that count from no common seed
    schema: Literal[3] = SETTING_SCHEMA

    def __post_init__(self) -> None:
        counts = [self.seeds, *self.seeds_of.values(), *self.looks]
        if self.first_seed < 0 or min(counts) < 0 or self.first_seed + max(counts) > SEARCH_SEEDS:
            raise ValueError(f"seeds: those of a comparison are 0 to {SEARCH_SEEDS - 1}")
        if not NAME.fullmatch(self.experiment) or not NAME.fullmatch(self.preset):
            raise ValueError("experiment, preset: no names")

    def seeds_for(self, arm: str) -> Sequence[int]:
        """The seeds of an arm's runs."""
        if arm in self.own_seeds:
            return self.own_seeds[arm]
        return range(self.first_seed, self.first_seed + self.seeds_of.get(arm, self.seeds))

    @property
    def name(self) -> str:
        """File name without its ending: the preset, and a short digest of the changes where there are any. A young key
        at its neutral value is no change, as in a run's name."""
        from repro.config.config import YOUNG_KEYS

        changes = {key: value for key, value in self.changes.items() if YOUNG_KEYS.get(key, _ABSENT) != value}
        text = json.dumps(changes, sort_keys=True)
        changed = f"+{hashlib.sha256(text.encode()).hexdigest()[:6]}" if changes else ""
        kind = f"-{self.design}" if self.design else ""
        return f"{self.preset}{changed}{'-untuned' if self.untuned else ''}{kind}"


_RUN = msgspec.json.Decoder(RunRecord)
_SETTING = msgspec.json.Decoder(Setting)
_LINES = msgspec.json.Decoder(list[Epoch])
_LINE = msgspec.json.Decoder(Epoch)


def run_record(content: bytes) -> RunRecord:
    """The record in a run.json. Raises ValueError for what is none."""
    found: RunRecord = _typed(content, _RUN, RUN_STEPS, RUN_SCHEMA)
    return found


def setting(content: bytes) -> Setting:
    """The setting in a file of results/experiments/. Raises ValueError for what is none."""
    found: Setting = _typed(content, _SETTING, SETTING_STEPS, SETTING_SCHEMA)
    return found


def epochs(content: bytes) -> list[Epoch]:
    """The epochs in a metrics.jsonl, up to the first line that is none: a crash cuts the last one short."""
    lines = content.splitlines()
    try:
        return _LINES.decode(b"[%b]" % b",".join(lines))  # one call: a report reads hundreds of thousands of lines
    except msgspec.DecodeError:
        found = []
        for line in lines:
            try:
                found.append(_LINE.decode(line))
            except msgspec.DecodeError:
                break
        return found


def _typed(content: bytes, decoder: msgspec.json.Decoder[Any], steps: Steps, schema: int) -> Any:
    try:
        try:
            return decoder.decode(content)
        except msgspec.ValidationError:  # of an older schema, or damaged
            return msgspec.convert(migrated(msgspec.json.decode(content), steps, schema), decoder.type)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:  # a step may meet anything
        raise ValueError(f"holds what no version wrote ({type(error).__name__})") from None


Steps = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]


class NewerError(ValueError):
    """A file of a schema that is not known yet: to write it again would lose what a newer version knows."""


def migrated(values: Any, steps: Steps, schema: int) -> dict[str, Any]:
    """What a file of an older schema would say in today's. Raises ValueError where no step leads there."""
    while isinstance(values, dict) and (has := values.get("schema")) != schema:
        if isinstance(has, int) and has > schema:
            raise NewerError(f"written with schema {has}, and this version reads up to {schema}; update it")
        step = steps.get(has) if isinstance(has, int) else None
        values = step(values) if step else None
    if not isinstance(values, dict):
        raise ValueError("written with a schema that this version cannot read")
    return values


def _run_of_2(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 knows of held-out images. `eval.train_error`, a key of the first Configs that named no run, is gone."""
    if isinstance(record.get("config"), dict) and isinstance(measured := record["config"].get("eval"), dict):
        measured.pop("train_error", None)
    return {**record, "held_out": None, "schema": 2}


def _setting_of_2(values: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 knows of search seeds, common values and unequal numbers of seeds. The reduced presets hold images out
    since then, which these runs did not."""
    held_out = {"data.held_out": 0} if str(values.get("preset")).endswith(HOLDING_OUT) else {}
    return {**values, "changes": {**values["changes"], **held_out}, "search_seeds": [1000], "schema": 2}


def _setting_of_3(values: dict[str, Any]) -> dict[str, Any]:
    """Schema 3 has all looks in order, where 2 had the most seeds of any, and what was asked for before the last."""
    before = values.get("raised_from") or {}
    looks = [before.get("max_seeds"), before.get("seeds"), values["seeds"]]
    most = values.get("max_seeds")
    if most and most not in looks:
        looks.insert(0, most)
    looks = [look for at, look in enumerate(looks) if look and look not in looks[at + 1 : at + 2]]
    gone = ("max_seeds", "raised_from", "data_digest")
    return {**{name: value for name, value in values.items() if name not in gone}, "looks": looks, "schema": 3}


def _run_of_3(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 3 knows the hashes of a run's files."""
    return {**record, "files": {}, "schema": 3}


# What reads an older file: the schema that it has -> the step to the next.
RUN_STEPS: Steps = {1: _run_of_2, 2: _run_of_3}
SETTING_STEPS: Steps = {1: _setting_of_2, 2: _setting_of_3}
HOLDING_OUT = ("cifar10", "tiny", "smoke")  # presets that end so hold training images out since schema 2
