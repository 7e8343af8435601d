"""Where the released 2012 code differs from the printed text, does it matter?  Rows F1 to F33 of docs/fidelity.md.

    repro run fidelity --preset cifar10 --seeds 3              # from the text, one row at a time to the code
    repro run fidelity --preset code-2012-cifar10 --seeds 3    # and from the code back
    repro run fidelity --preset cifar10 --design screen        # all rows at once, in 64 runs

A row in which text and code agree is flipped to what re-implementations do. Rows that are no key of a Config: F16 (2178
crops, not 2048), F25 and F26 (data and views of a published effect stand in its claim), F28 (seeds: `--seeds`), F31 to
F33 (how images are resized, ties in a max-pool, whose mean). Rows that are experiments of their own: F22
overlapping-pooling, F23 one-vs-two-gpus, F24 lrn-ablation, F27 ensemble, F30 lrn-cifar.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro import Arm, Experiment, Factor, PerPreset, Screen
from repro.experiments.readings import READINGS, Reading

if TYPE_CHECKING:
    from repro.config.config import Config

TEXT = {"smoke": "code-2012-smoke", "tiny": "code-2012-tiny", "cifar10": "code-2012-cifar10", "paper": "code-2012"}
OTHER = TEXT | {code: text for text, code in TEXT.items()}  # the same setting in the other reading
ELSEWHERE = ("F16", "F22", "F23", "F24", "F25", "F26", "F27", "F28", "F30", "F31", "F32", "F33")
AGREE = ("F1", "F3", "F5", "F9", "F18", "F19", "F20", "F21", "F29", "F29b")
FULL = ("paper", "code-2012")
ONLY_AT = {
    "F1": FULL,  # smaller presets have another first layer
    "F29": FULL,  # and images that are square already
    "F29b": ("smoke", "code-2012-smoke", "tiny", "code-2012-tiny", *FULL),  # CIFAR-10 is not stored as JPEG files
}


def flipped(*keys: str) -> PerPreset:
    """The other reading's values of the keys that differ and start so, at each setting."""

    def changes(name: str, own: Config) -> dict[str, object]:
        from repro.config.keys import diff
        from repro.config.presets import preset

        differences = diff(own, preset(OTHER[name]))
        return {key: theirs for key, (_, theirs) in differences.items() if key.startswith(keys)}

    return PerPreset(OTHER, changes)


def name_of(reading: Reading) -> str:
    """f01-first-convolution."""
    digits, letter = re.fullmatch(r"F(\d+)(b?)", reading.row).groups()
    return f"f{int(digits):02}{letter}-{re.sub('[^a-z0-9]+', '-', reading.what)}"


def arm(reading: Reading) -> Arm:
    """The arm that flips one row."""
    name, note = name_of(reading), f"text: {reading.text}; code: {reading.code}"
    if reading.row in AGREE:
        agree = "text and code agree; re-implementations differ"
        return Arm(name, reading.other, presets=ONLY_AT.get(reading.row), note=agree)
    if reading.row == "F17":  # the reduced presets of both readings have the code's, so there it is the text's
        at = {"paper": {"data.mean_at": "center"}, "code-2012": {"data.mean_at": "offset"}}
        return Arm(name, {"data.mean_at": "offset"}, at=at, note=note)
    return Arm(name, at=flipped(*reading.keys), note=note)


ROWS = [
    *(arm(reading) for reading in READINGS if reading.row not in ELSEWHERE),
    *(
        Arm(f"{name_of(reading)}-third", reading.third, note="a third level, of re-implementations")
        for reading in READINGS
        if reading.third
    ),
]
PRESETS = [
    "smoke", "code-2012-smoke", "tiny", "code-2012-tiny", "cifar10", "code-2012-cifar10", "code-2012", "paper",
]  # fmt: skip

experiment = Experiment(
    name="fidelity",
    question="Do the differences between the released code and the printed text change the error?",
    factor="each row of the comparison of text and code",
    section="-",
    arms=[
        Arm("as-preset"),
        *ROWS,
        Arm("all-rows", at=flipped(""), note="every row: the preset of the other reading"),
    ],
    confounds=[
        "one row at a time: rows may add up or cancel; all-rows is the whole way to the other reading",
        "F8: the initial weights of tiny are larger than the text's already, so the step to the code's is 1.5 times "
        "there, not 3",
    ],
    design=Screen([Factor(row.name, high=row.changes, at=row.at, presets=row.presets) for row in ROWS], PRESETS),
    presets=PRESETS,
)
