"""Puts contents into templates: every file of a report as bytes, by its path below reports/."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro import extensions, store
from repro.records import RunRecord
from repro.report import contents, curves, figures, tables
from repro.report.blocks import Block
from repro.report.gather import Gathered, Part
from repro.report.sections import LOCAL, OWN_IMAGES, Figure, Section, environment
from repro.report.weights import PAGE, page

if TYPE_CHECKING:
    from repro.experiments.experiment import Experiment


def files_of(
    gathered: Gathered,
    names: Sequence[str] | None,
    results: Path,
    reports: Path,
    *,
    html: bool,
    formats: Sequence[str],
    weights: tables.ReportTable | None,
) -> dict[str, bytes]:
    """Path below reports/ -> bytes: the index, a page for each of `names` (None: all that have settings), and one for
    `weights`, what report/weights.py found."""
    shown = [one for one in gathered.experiments if gathered.of(one.name)]
    asked = shown if names is None else [one for one in gathered.experiments if one.name in names]
    drawn = {one.name for one in [*asked, *(shown if html else [])]}
    sections = {name: [section(part, results, reports) for part in gathered.of(name)] for name in sorted(drawn)}
    over = {name: curves.blocks_over(gathered.of(name), reports) for name in sorted(drawn)}
    own = {"baseline": [contents.paper_table(gathered)]} if "baseline" in drawn else {}
    files: dict[str, bytes] = {}
    for experiment in asked:
        name = experiment.name
        files |= _experiment(experiment, sections[name], own.get(name, []), over[name], formats)
    files |= _index(gathered, reports, formats, linked=weights is not None)
    if weights:
        files[f"{PAGE}.md"] = page(weights).encode()
        files |= _formatted(weights.name, weights, formats)
    if html:
        from repro.report.html import html_page

        files["index.html"] = html_page(gathered, sections, files.get("forest.png"), own, over)
    if any(name.startswith(f"{LOCAL}/") for name in files):
        files[f"{LOCAL}/.gitignore"] = b"*\n"
    return files


def _experiment(
    experiment: Experiment,
    sections: Sequence[Section],
    own: Sequence[tables.ReportTable],
    over: Sequence[Block],
    formats: Sequence[str],
) -> dict[str, bytes]:
    files = {figure.path: figure.png for one in sections for figure in one.figures}
    blocks = [*over, *(block for one in sections for block in one.blocks)]
    files |= {figure.path: figure.png for block in blocks for figure in block.figures}
    text = _text("experiment.md.jinja", experiment=experiment, sections=sections, tables=own, over=over)
    files[f"{experiment.name}.md"] = text
    of_blocks = (table for block in over for table in block.tables)
    for table in [*own, *of_blocks, *(table for one in sections for table in one.tables)]:
        files |= _formatted(f"{experiment.name}/{table.name}", table, formats)
    return files


def _index(gathered: Gathered, reports: Path, formats: Sequence[str], *, linked: bool) -> dict[str, bytes]:
    claims = [score for score in gathered.scores if not score.claim.control]
    by = {origin: [score for score in claims if score.origin == origin] for origin in ("paper", "notes", "others")}
    controls = [score for score in gathered.scores if score.claim.control]
    boards = [
        contents.scoreboard(by["paper"], "scoreboard", f"The paper's claims{contents.tally(by['paper'])}."),
        contents.scoreboard(
            by["notes"], "scoreboard-notes", f"What its authors' run notes say{contents.tally(by['notes'])}."
        ),
        contents.scoreboard(
            by["others"], "scoreboard-others", f"What others say of the same net{contents.tally(by['others'])}."
        ),
        contents.scoreboard(controls, "scoreboard-controls", f"Controls of the bench{contents.controlled(controls)}."),
    ]
    boards.append(contents.arithmetic_table())
    marks = contents.forest_marks(claims)
    files = {"forest.png": figures.drawn(reports / "forest.png", figures.effects, marks)} if marks else {}
    files["index.md"] = _text("index.md.jinja", gathered=gathered, boards=boards, forest=bool(marks), weights=linked)
    for board in boards:
        files |= _formatted(board.name, board, formats)
    return files


def _formatted(path: str, table: tables.ReportTable, formats: Sequence[str]) -> dict[str, bytes]:
    """The table in each of `formats`."""
    files = {}
    if "csv" in formats:
        files[f"{path}.csv"] = tables.csv(table).encode()
    if "latex" in formats:
        files[f"{path}.tex"] = tables.latex(table, path.replace("/", "-")).encode()
    return files


def _text(template: str, **values: Any) -> bytes:
    return environment("md").get_template(template).render(**values).encode()


def section(part: Part, results: Path, reports: Path) -> Section:
    """Tables and figures of one setting."""
    return Section(
        part,
        contents.arms_table(part),
        contents.claims_table(part),
        contents.setting_table(part),
        contents.cost_table(part),
        contents.search_table(part),
        contents.tests_table(part),
        contents.exchange_table(part),
        contents.selectivity_table(part, _kernels_of_towers(part, results)),
        [] if part.setting.design else list(_figures(part, results, reports)),
        [
            block
            for name in extensions.known("repro.sections")
            for block in extensions.load("repro.sections", name)(part, reports)
        ],
    )


def _figures(part: Part, results: Path, reports: Path) -> list[Figure]:
    frame = part.curves
    name, setting = part.experiment.name, part.setting.name
    stops = part.config.schedule.stop_train_error
    found = []

    def add(kind: str, alt: str, caption: str, draw: Callable[..., bytes], *arguments: Any, **options: Any) -> None:
        path = f"{name}/{setting}-{kind}.png"
        found.append(Figure(path, figures.drawn(reports / path, draw, *arguments, **options), alt, caption))

    ratios = [
        one for one in part.judgements if one.claim and one.claim.row.unit == "times" and one.reference in part.runs
    ]
    if len(frame) and stops is not None and ratios:
        slow, fast = ratios[0].arm, str(ratios[0].reference)
        alt = f"Training error rate against epochs: {fast} solid, {slow} dashed, with a line at {stops:g}%."
        caption = "The paper's Figure 1 from our runs."
        add("figure1", alt, caption, figures.figure_1, frame, fast, slow, stops)
    if len(frame):
        arms = ", ".join(figures.labels_with_n(frame).values())
        alt = f"Learning curves of {arms}: training error and test error in percent against epochs."
        caption = "Training error (of the batches as they were trained on) and test error (center view)."
        ends = {
            arm: sum(known) / len(known)
            for arm, runs in part.runs.items()
            if (known := [run.train_error for run in runs if run.train_error is not None])
        }
        add("curves", alt, caption, figures.curves, frame, stops=stops is not None, ends=ends)
    if marks := contents.effect_marks(part):
        alt = "Our numbers with their 95% intervals beside the published ones; the tables have them all."
        caption = "Our numbers with 95% intervals, the published ones beside them."
        add("effects", alt, caption, figures.effects, marks)
    if "kernels" in part.experiment.artifacts:
        found += _kernels(part, results, reports)
    if "neighbors" in part.experiment.artifacts:
        found += _neighbors(part, results, reports)
    return found


def _kernels(part: Part, results: Path, reports: Path) -> list[Figure]:
    """Figure 3 of each arm's first run."""
    drawn = []
    for arm, run, path in _first_with("kernels.npy", part, results):
        kernels = _read(path)
        if kernels is not None:
            towers = run.towers
            above = ", tower 1 above tower 2" if towers == 2 else ""
            text = f"The {len(kernels)} first-layer kernels of {arm}{above}."
            caption = (
                f"The paper's Figure 3 from {arm}, seed {run.seed}: first-layer kernels, each stretched on its own."
            )
            name = f"{part.experiment.name}/{part.setting.name}-{arm}-figure3.png"
            png = figures.drawn(reports / name, figures.figure_3, kernels, towers)
            drawn.append(Figure(name, png, text, caption))
    return drawn


def _kernels_of_towers(part: Part, results: Path) -> dict[str, list[Any]]:
    """Arm -> first-layer kernels of its runs of two towers; empty unless the experiment asks about kernels."""
    found: dict[str, list[Any]] = {}
    for arm, runs in part.runs.items() if "kernels" in part.experiment.artifacts else ():
        of_two = [run for run in runs if run.towers == 2]
        paths = [store.run_directory(results, *run.key) / "kernels.npy" for run in of_two]
        arrays = [_read(path) for path in paths if path.is_file()]
        found[arm] = [array for array in arrays if array is not None]
    return found


def _neighbors(part: Part, results: Path, reports: Path) -> list[Figure]:
    """Figure 4 of each arm's first run; below reports/local/ where the images are not ours to publish."""
    drawn = []
    for arm, run, path in _first_with("neighbors.npz", part, results):
        arrays = _read(path)
        if arrays is not None:
            name = f"{part.experiment.name}/{part.setting.name}-{arm}-figure4.png"
            place = name if run.source in OWN_IMAGES else f"{LOCAL}/{name}"
            text = f"Test images with the five likeliest classes of {arm}, and their nearest training images."
            caption = f"The paper's Figure 4 from {arm}, seed {run.seed}."
            png = figures.drawn(reports / place, figures.figure_4, arrays)
            drawn.append(Figure(place, png, text, caption))
    return drawn


def _first_with(file: str, part: Part, results: Path) -> Iterator[tuple[str, RunRecord, Path]]:
    """Arm, record and path of the first finished run of each arm that has `file`; runs that arms share come once."""
    seen = set()
    for arm, runs in part.runs.items():
        for run in runs:
            path = store.run_directory(results, *run.key) / file
            if path.is_file() and run.digest not in seen:
                seen.add(run.digest)
                yield arm, run, path


def _read(path: Path) -> Any:
    """An array, or the arrays of a .npz; None where the file is damaged: the figure is left out, the page is not."""
    import numpy as np

    try:
        found = np.load(path)
        return {name: found[name] for name in found.files} if path.suffix == ".npz" else found
    except Exception:  # zip, header, value and OS errors all mean the same here
        return None
