"""Commands that take a trained network elsewhere: export and predict."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from repro.commands.options import AsJson, DataDir, ResultsDir, RunName, app, places_of


@app.command()
def export(
    run: RunName,
    format_name: Annotated[
        Literal["safetensors", "torchscript", "onnx"],
        typer.Option("--format", help="docs/export.md has what is in it."),
    ] = "safetensors",
    out: Annotated[
        Path | None, typer.Option(help="The file. [default: DIGEST-seed-N with the format's ending]")
    ] = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
) -> None:
    """Write a finished run's network to a file, checked: it gives the run's logits on test images."""
    if out and out.is_dir():
        raise ValueError(f"--out {out}: is a folder; give the name of a file")
    if out and not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    from repro import store

    places = places_of(data_dir, results_dir)
    store.find_run(places["results"], run)  # before torch is imported

    from repro.training.export import FORMATS, SAMPLES, check
    from repro.training.export import export as write
    from repro.training.trained import trained

    check(format_name)
    found = trained(places["results"], places["data"], run)
    path = out or Path(f"{found.name.replace('/', '-')}{FORMATS[format_name].ending}")
    difference = write(found, format_name, path)
    print(f"wrote {path}: run {found.name}, {', '.join(found.users) or 'of no setting'}")
    print(f"its logits on {SAMPLES} test images are within {difference:.1g} of the run's")


@app.command()
def predict(
    run: RunName,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Of any size and format.")],
    json: AsJson = False,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
) -> None:
    """What a finished run's network sees in images: the five likeliest classes."""
    from repro import store
    from repro.commands import terminal

    places = places_of(data_dir, results_dir)
    store.find_run(places["results"], run)  # before torch is imported

    from repro.training.trained import guesses, trained

    found = trained(places["results"], places["data"], run)
    told = guesses(found, images)
    if json:
        shown = [{"image": str(path), "top5": likeliest} for path, likeliest in zip(images, told, strict=True)]
        terminal.print_json({"run": found.name, "arms": list(found.users), "images": shown})
        return
    terminal.print_guesses(
        [
            (str(path), [(one["class"], one["probability"]) for one in likeliest])
            for path, likeliest in zip(images, told, strict=True)
        ]
    )
