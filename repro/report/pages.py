"""Puts contents into templates: every file of a report as bytes, by its path below reports/."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro import extensions, store
from repro.records import RunRecord
from repro.report import contents, curves, figures, tables, words
from repro.report.discussion import discussion
from repro.report.drawing import LOCAL, Figure, figure
from repro.report.gather import Gathered, Part
from repro.report.sections import OWN_IMAGES, Board, ExperimentPage, IndexPage, Section, environment
from repro.report.weights import PAGE
from repro.report.weights import page as weights_page

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
    pages = [experiment_page(experiment, gathered, results, reports) for experiment in asked]
    index = index_page(gathered, reports, weights=weights is not None)
    files: dict[str, bytes] = {}
    for page in pages:
        files |= _experiment(page, formats)
    files |= _index(index, formats)
    if weights:
        files[f"{PAGE}.md"] = weights_page(weights).encode()
        files |= _formatted(weights.name, weights, formats)
    if html:
        from repro.report.html import site

        files |= site(index, pages)
    if any(name.startswith(f"{LOCAL}/") for name in files):
        files[f"{LOCAL}/.gitignore"] = b"*\n"
    return files


def experiment_page(experiment: Experiment, gathered: Gathered, results: Path, reports: Path) -> ExperimentPage:
    """All that the page of an experiment shows."""
    parts = gathered.of(experiment.name)
    first = contents.leading(parts)
    sections = [section(part, results, reports) for part in parts]
    sections.sort(key=lambda one: one.part is not first)  # stable: the others keep their order
    own = [contents.paper_table(gathered)] if experiment.name == "baseline" else []
    return ExperimentPage(experiment, sections, discussion(experiment, parts), own, curves.blocks_over(parts, reports))


def _experiment(page: ExperimentPage, formats: Sequence[str]) -> dict[str, bytes]:
    name = page.experiment.name
    files = {figure.path: figure.png for figure in page.figures}
    files[f"{name}.md"] = _text("experiment.md.jinja", page=page)
    for table in page.tables:
        files |= _formatted(f"{name}/{table.name}", table, formats)
    return files


def _index(index: IndexPage, formats: Sequence[str]) -> dict[str, bytes]:
    files = {index.forest.path: index.forest.png} if index.forest else {}
    files["index.md"] = _text("index.md.jinja", index=index)
    for board in index.boards:
        files |= _formatted(board.name, board.whole, formats)
    return files | _formatted("arithmetic", index.arithmetic, formats)


def index_page(gathered: Gathered, reports: Path, *, weights: bool) -> IndexPage:
    """The scoreboard, in parts by who says so."""
    claims = [score for score in gathered.scores if not score.claim.control]
    by = {origin: [score for score in claims if score.origin == origin] for origin in ("paper", "notes", "others")}
    controls = [score for score in gathered.scores if score.claim.control]
    boards = [
        Board("scoreboard", f"The paper's claims{contents.tally(by['paper'])}", by["paper"]),
        Board("scoreboard-notes", f"What its authors' run notes say{contents.tally(by['notes'])}", by["notes"]),
        Board("scoreboard-others", f"What others say of the same net{contents.tally(by['others'])}", by["others"]),
        Board("scoreboard-controls", f"Controls of the bench{contents.controlled(controls)}", controls),
    ]
    marks = contents.forest_marks(claims)
    alt = "All effects with their 95% intervals, the published numbers and the 2012 run notes beside them."
    forest = figure("forest.png", reports, alt, "", figures.effects, marks) if marks else None
    return IndexPage(
        gathered, [board for board in boards if board.scores], contents.arithmetic_table(), forest, weights
    )


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

    def add(kind: str, alt: str, caption: str, draw: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        found.append(figure(f"{name}/{setting}-{kind}.png", reports, alt, caption, draw, *arguments, **options))

    ratios = [
        one for one in part.judgements if one.claim and one.claim.row.unit == "times" and one.reference in part.runs
    ]
    if len(frame) and stops is not None and ratios:
        slow, fast = ratios[0].arm, str(ratios[0].reference)
        alt = f"Training error rate against epochs: {fast} solid, {slow} dashed, with a line at {stops:g}%."
        caption = "The paper's Figure 1 from our runs."
        said = (
            f"to {stops:g}%: {words.with_interval(ratios[0].estimate, 'times')}; "
            f"the paper: {words.quantity(ratios[0].published, 'times', 0)}"
        )
        add("figure1", alt, caption, figures.figure_1, frame, fast, slow, stops, said)
    if marks := contents.effect_marks(part):
        alt = "Our numbers with their 95% intervals beside the published ones; the tables have them all."
        caption = "Our numbers with 95% intervals, the published ones beside them."
        add("effects", alt, caption, figures.effects, marks)
    arms_here = part.experiment.arms_at(part.setting.preset)
    trained = [arm for arm in arms_here if not (arm.view or arm.ensemble)]
    drawn = len(trained) > 1 or len(arms_here) == 1  # arms that read the runs of one have one curve, which is its own
    if len(frame) and drawn and not part.experiment.artifacts:
        arms = ", ".join(figures.labels_with_n(frame).values())
        alt = f"Learning curves of {arms}: training error and test error in percent against epochs."
        caption = "Training error (of the batches as they were trained on) and test error (center view)."
        ends = {
            arm: sum(known) / len(known)
            for arm, runs in part.runs.items()
            if (known := [run.train_error for run in runs if run.train_error is not None])
        }
        schedule = part.config.schedule
        drops = schedule.steps if schedule.kind == "steps" else ()
        add("curves", alt, caption, figures.curves, frame, stops=stops is not None, ends=ends, drops=drops)
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
            drawn.append(figure(name, reports, text, caption, figures.figure_3, kernels, towers, pixels=True))
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
            drawn.append(figure(place, reports, text, caption, figures.figure_4, arrays, pixels=True))
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
