"""Numbers of the paper that follow from its network: judged by arithmetic, without a run.

Each is computed from the Config of preset `paper`. A round number in running text holds within 2%, which is our choice;
any other exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.config.presets import preset
from repro.experiments import paper


@dataclass(frozen=True)
class Arithmetic:
    """A printed number and what the network has."""

    what: str
    source: str
    printed: str
    found: str
    holds: bool


def judged() -> list[Arithmetic]:
    """Every such number, in the paper's order."""
    config = preset("paper")
    shapes = {shape.name: shape for shape in config.shapes()}
    parameters = sum(shape.parameters for shape in shapes.values())
    neurons = sum(shape.neurons for shape in shapes.values())
    convolutions = {name: shape for name, shape in shapes.items() if name.startswith("conv")}
    share = {name: 100 * shape.parameters / parameters for name, shape in convolutions.items()}
    above = ", ".join(f"{name} {of_all:.2f}%" for name, of_all in share.items() if of_all > 1)
    of_table = {(row.who, row.measured): row.top5_error for row in paper.TABLES if row.table == "Table 2"}
    apart = [
        abs(test - validation)
        for (who, measured), test in of_table.items()
        if measured == "ILSVRC-2012 test" and test and (validation := of_table.get((who, "ILSVRC-2012 validation")))
    ]
    offsets = config.data.size - config.augment.crop + 1
    return [
        _rounded("parameters", paper.section("1"), 60_000_000, parameters),
        _rounded("neurons", paper.section("1"), 650_000, neurons),
        Arithmetic(
            "share of the parameters that a convolution has, at most", paper.section("1"), "1%",
            above or "none above", not above,
        ),
        _exact("neurons of the first layer", paper.figure("2"), 253_440, shapes["conv1"].neurons),
        *(
            _exact(f"neurons of {name}", paper.figure("2"), printed, shapes[name].neurons)
            for name, printed in PRINTED_NEURONS.items()
        ),
        Arithmetic(
            "validation less test error of Table 2 (5 CNNs, 7 CNNs*), top-5, at most", paper.section("6"), "0.1 points",
            f"{max(apart):.1f} points", max(apart) <= 0.1 + 1e-9,
        ),
        _exact("positions and mirror images of a crop", paper.section("4.1"), 2048, 2 * offsets**2),
    ]  # fmt: skip


ROUND = 0.02  # share of a round number
PRINTED_NEURONS = {  # caption of Figure 2, after the first layer
    "conv2": 186_624, "conv3": 64_896, "conv4": 64_896, "conv5": 43_264, "fc6": 4096, "fc7": 4096, "fc8": 1000,
}  # fmt: skip


def _exact(what: str, source: str, printed: int, found: int) -> Arithmetic:
    return Arithmetic(what, source, f"{printed:,}", f"{found:,}", found == printed)


def _rounded(what: str, source: str, printed: int, found: int) -> Arithmetic:
    return Arithmetic(what, source, f"{printed:,}", f"{found:,}", abs(found / printed - 1) <= ROUND)
