"""Commands about this machine: doctor and bench."""

import sys
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from repro.commands.options import (
    AsJson,
    app,
)


@app.command()
def doctor(
    cuda: Annotated[bool, typer.Option("--cuda", help="Check that CUDA devices compute what the CPU does.")] = False,
    json: AsJson = False,
) -> None:
    """What is missing on this machine, what is used instead, and the line that mends it."""
    from repro.commands import terminal
    from repro.commands.doctor import diagnose

    if cuda:
        raise typer.Exit(_check_cuda(json))
    if json:
        terminal.print_json([asdict(one) for one in diagnose()])
        return
    rows = [(one.name, one.status, one.found, one.used_instead, one.mend) for one in diagnose()]
    columns = ("what", "status", "found", "used instead", "to mend it")
    terminal.print_table("This machine", columns, rows)


def _check_cuda(json: bool) -> int:
    """Exit code: 0 where everything holds on a device, 1 where something fails, 2 where there is no device."""
    from repro.bench import cuda_checks
    from repro.commands import terminal

    found = cuda_checks.diagnose(lambda name: print(f"checking: {name}", file=sys.stderr))
    if json:
        terminal.print_json([one._asdict() for one in found])
    else:
        columns = ("check", "outcome", "found", "not seen without a device")
        terminal.print_table("CUDA on this machine", columns, found)
        print("The test suite on this machine: python -m pytest   (needs a checkout)")
    if any(one.status == "fails" for one in found):
        return 1
    return 2 if any(one.unseen for one in found) else 0


@app.command()
def bench(
    what: Annotated[Literal["loader", "step", "desk", "evidence", "all"], typer.Argument(help="What to measure.")],
    json: AsJson = False,
    quick: Annotated[bool, typer.Option(help="Small sizes: does it run?")] = False,
) -> None:
    """Measure side by side in one run, interleaved: medians and spread."""
    from importlib import import_module

    from repro import bench
    from repro.commands import terminal

    found = {}
    for room in ("loader", "step", "desk", "evidence") if what == "all" else (what,):
        result = import_module(f"repro.bench.{room}").measure(quick=quick)
        found[room] = bench.as_json(result)
        if not json:
            terminal.console.print(bench.as_group(result))
    if json:
        terminal.print_json(found)
