"""The commands of `repro data`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from repro.commands.options import (
    AsJson,
    DataDir,
    complete_images,
    data_app,
)


@data_app.command("list")
def data_list(json: AsJson = False, data_dir: DataDir = None) -> None:
    """What is prepared, where, how large."""
    from repro.commands import terminal
    from repro.data.manifest import damaged, prepared
    from repro.folders import data_directory

    directory = data_directory(data_dir)
    found, broken = prepared(directory), damaged(directory)
    for line in broken:
        print(f"damaged: {line}", file=sys.stderr)
    if json:
        keys = ("name", "source", "size", "train_count", "test_count", "bytes", "digest", "bad")
        terminal.print_json([{key: getattr(one, key) for key in keys} for one in found])
        return
    if not found:
        if not broken:
            print(f"nothing is prepared in {directory}; `repro data prepare photos` needs no download")
        return
    columns = ("name", "pixels", "classes", "train", "test", "on disk", "bad")
    cells = [
        (one.name, one.size, len(one.classes), one.train_count, one.test_count, terminal.size(one.bytes), len(one.bad))
        for one in found
    ]
    terminal.print_table(f"Prepared in {directory}", columns, cells, right=columns[1:])


@data_app.command("prepare")
def data_prepare(
    name: Annotated[
        str,
        typer.Argument(
            help="photos, cifar10, tiny200, imagenette, imagenet, or a name of your own.",
            autocompletion=complete_images,
        ),
    ],
    source: Annotated[Path | None, typer.Option(help="Archive or folder with the images.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Side of the stored square, pixels.")] = None,
    resize: Annotated[Literal["short-crop", "warp"], typer.Option(help="As the paper, or as Caffe.")] = "short-crop",
    storage: Annotated[Literal["raw", "jpeg", "png"], typer.Option(help="jpeg wants --quality.")] = "raw",
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of jpeg.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Only so many classes.")] = None,
    per_class: Annotated[int | None, typer.Option(min=1, help="Only so many training images of each.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of a subset.")] = 0,
    allow_bad: Annotated[int | None, typer.Option(min=0, help="Go on with up to so many unreadable images.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Resize, check and store images with their manifest. Stopped, it goes on; finished, it does nothing."""
    from repro.commands import terminal
    from repro.data.prepare.prepare import prepare
    from repro.folders import data_directory

    with terminal.stages() as progress:
        manifest = prepare(
            name,
            source=source,
            directory=data_directory(data_dir),
            size=size,
            resize=resize,
            storage=storage,
            quality=quality,
            classes=classes,
            per_class=per_class,
            seed=seed,
            allow_bad=allow_bad,
            progress=progress,
            announce=terminal.print_costs,
            tell=lambda line: print(line, file=sys.stderr),
        )
    terminal.print_manifest(manifest, data_directory(data_dir))


@data_app.command("verify")
def data_verify(
    name: Annotated[str | None, typer.Argument(help="As `repro data list` shows it.")] = None, data_dir: DataDir = None
) -> None:
    """Hash everything again; a changed or half-written file is named. Exit code 1 where something is wrong."""
    from repro.data.prepare.verify import verify
    from repro.folders import data_directory

    problems = verify(data_directory(data_dir), name)
    for problem in problems:
        print(f"{problem.file}: {problem.what}")
    print(f"{len(problems)} problems" if problems else "all files are as they were prepared")
    raise typer.Exit(1 if problems else 0)
