"""Tables of networks and presets, as plain text: `repro show --model`, `repro compare --presets`, docs/fidelity.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from repro.config.config import Config
from repro.config.geometry import LayerShape
from repro.config.keys import diff, flatten
from repro.config.presets import preset
from repro.experiments.experiment import Experiment
from repro.experiments.readings import READINGS, reading_of

Lines = tuple[tuple[str, ...], list[tuple[str, ...]]]

BYTES = 4  # float32


def model_table(config: Config) -> Lines:
    """Columns and rows: what a kernel of each layer reads, its output before the pool, parameters, neurons,
    multiply-adds of one image forward, and the bytes of one image that two devices would exchange; sums last.
    """
    columns = ("layer", "reads", "output", "parameters", "neurons", "multiply adds", "bytes exchanged")
    shapes = config.shapes()
    rows = [
        (shape.name, _square(shape.maps_in, shape.side_in), _square(shape.maps, shape.side), *_counts([shape]))
        for shape in shapes
    ]
    return columns, [*rows, ("all", "", "", *_counts(shapes))]


def _square(maps: int, side: int) -> str:
    return str(maps) if side == 1 else f"{maps}x{side}²"


def _counts(shapes: Sequence[LayerShape]) -> tuple[str, ...]:
    exchanged = BYTES * sum(shape.floats_exchanged for shape in shapes)
    counts = (sum(getattr(shape, name) for shape in shapes) for name in ("parameters", "neurons", "multiply_adds"))
    return tuple(f"{count:,}" for count in (*counts, exchanged))


def card(experiment: Experiment, preset: str) -> dict[str, Any]:
    """What an experiment declares, as plain values; published numbers are in `unit`, the sign arm minus reference."""
    search = experiment.search.at(preset) if experiment.search else None
    return {
        "name": experiment.name,
        "question": experiment.question,
        "factor": experiment.factor,
        "section": experiment.section,
        "presets": list(experiment.presets),
        "preset": preset,
        "arms": [
            {"name": arm.name, "changes": arm.changes_at(preset), "view": arm.view, "note": arm.note}
            for arm in experiment.arms_at(preset)
        ],
        "claims": [
            {
                "kind": claim.kind,
                "arm": claim.arm,
                "reference": claim.reference,
                "published": dict(claim.published),
                "unit": claim.row.unit,
                "source": claim.source,
                "measured": claim.measured.text,
            }
            for claim in experiment.claims_at(preset)
        ],
        "confounds": list(experiment.confounds),
        "search": {"key": search.key, "values": list(search.values), "factors": list(search.factors)}
        if search
        else None,
    }


def compare_presets(a: str, b: str) -> Lines:
    """Columns and rows: each key whose value differs, both values, and the row of docs/fidelity.md that explains it.

    Raises ValueError for a preset that does not exist.
    """
    rows: list[tuple[str, ...]] = []
    for key, (one, two) in diff(preset(a), preset(b)).items():
        reading = reading_of(key)
        why = f"{reading.row}: {reading.what}; {reading.source}" if reading else ""
        rows.append((key, shown(one), shown(two), why))
    return ("key", a, b, "why"), rows


def fidelity_table() -> Lines:
    """Columns and rows of docs/fidelity.md: the two readings and the keys and values that hold them."""
    text, code = flatten(preset("paper")), flatten(preset("code-2012"))
    rows: list[tuple[str, ...]] = []
    for reading in READINGS:
        for place, key in enumerate(reading.keys or ("",)):
            words = (reading.row, reading.what, reading.text, reading.code, reading.source)
            rows.append(
                (
                    *(words if place == 0 else ("",) * 5),
                    key,
                    _value(text, key),
                    _value(code, key),
                    _other({**reading.other, **reading.third}, key),
                )
            )
    return ("row", "what", "text", "code", "source", "key", "paper", "code-2012", "another level"), rows


def shown(value: Any) -> str:
    """A value as --set takes it, cut where it is long."""
    written = json.dumps(value)
    return written if len(written) <= 60 else f"{written[:57]}..."


def _value(flat: dict[str, Any], key: str) -> str:
    if not key:
        return ""
    if key in flat:
        return shown(flat[key])
    part = {name.removeprefix(f"{key}."): value for name, value in flat.items() if name.startswith(f"{key}.")}
    return ", ".join(f"{name} {shown(value)}" for name, value in part.items())


def _other(changes: Mapping[str, Any], key: str) -> str:
    return shown(changes[key]) if key in changes else ""


def markdown() -> str:
    """docs/fidelity.md."""
    columns, rows = fidelity_table()
    lines = [
        "# Two readings of the paper",
        "",
        "The printed text and the program that made its numbers differ. Each row is one or more keys of the Config, so",
        "that either reading, or any mixture, can be trained: `paper` holds the text's values, `code-2012` the code's,",
        "and `repro run fidelity` flips the rows one at a time. Numbers in parentheses are sections of the paper.",
        "This page is written from `repro/experiments/readings.py` and the presets by",
        "`python -m repro.commands.describe > docs/fidelity.md`.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    for row in rows:
        cells = [f"`{cell}`" if cell and place >= 5 else cell for place, cell in enumerate(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
