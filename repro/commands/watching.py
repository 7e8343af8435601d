"""Commands that look after results: status, logs, retry, gc, open."""

from typing import Annotated

import typer

from repro.commands.options import AsJson, Include, Names, ReportsDir, ResultsDir, RunName, app, registry_of


@app.command()
def status(json: AsJson = False, include: Include = None, results_dir: ResultsDir = None) -> None:
    """What runs, how far it is, how much time is left, what failed. Reads only; any terminal may ask."""
    from dataclasses import asdict

    import msgspec

    from repro.commands import terminal
    from repro.folders import results_directory
    from repro.planning.progress import progress

    results = results_directory(results_dir)
    found = progress(registry_of(include).experiments, results)
    if json:
        runs = [{**asdict(one), "last": one.last and msgspec.to_builtins(one.last)} for one in found.runs]
        terminal.print_json(
            {"runs": runs, "settings": [asdict(one) for one in found.settings], "seconds_left": found.seconds_left}
        )
        return
    terminal.print_status(found, results)


@app.command()
def logs(
    run: RunName,
    json: AsJson = False,
    results_dir: ResultsDir = None,
) -> None:
    """The epochs of a run, finished or not, its errors, and why it failed."""
    import msgspec

    from repro import store
    from repro.commands import terminal
    from repro.folders import results_directory

    results = results_directory(results_dir)
    digest, seed = store.find_run(results, run)
    epochs, failed = store.read_metrics(results, digest, seed), store.failure(results, digest, seed)
    record = store.read_run(results, digest, seed) if store.is_finished(results, digest, seed) else None
    if json:
        lines = [msgspec.to_builtins(epoch) for epoch in epochs]
        errors = msgspec.to_builtins(record.errors) if record else None
        terminal.print_json({"run": f"{digest}/seed-{seed}", "epochs": lines, "errors": errors, "failed": failed})
        return
    terminal.print_epochs(f"{digest}/seed-{seed}", epochs)
    for view, found in record.errors.items() if record else ():
        print(f"{view} view: {terminal.errors_text(found)}")
    if failed:
        print(f"failed: {failed}")
    if not (epochs or failed or record):
        print("it has no epoch yet")


@app.command()
def retry(names: Names = None, include: Include = None, results_dir: ResultsDir = None) -> None:
    """Forget that runs failed, of these experiments or of all: the next sweep tries them as if for the first time.

    Each goes on from its checkpoint, where it has one."""
    from repro import files
    from repro.folders import results_directory
    from repro.planning.progress import progress
    from repro.report.words import count

    results = results_directory(results_dir)
    registry = registry_of(include, names)
    failed = [
        one
        for one in progress(registry.experiments, results).runs
        if one.state == "failed" and (not names or any(user.partition("/")[0] in names for user in one.used_by))
    ]
    for one in failed:
        files.remove(results / "runs" / one.name / "failed.json")
        print(f"{one.name} ({', '.join(one.used_by) or 'of no setting'}): {one.reason}")
    print(f"{count(len(failed), 'run')} to be tried again" if failed else "no run has failed")


@app.command()
def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete what may go.")] = False,
    json: AsJson = False,
    include: Include = None,
    results_dir: ResultsDir = None,
) -> None:
    """What checkpoints take, and which may go; deletes only with --yes.

    One may go where its run is finished and all that its settings read off it is there."""
    from repro.commands import terminal
    from repro.files import amount
    from repro.folders import results_directory
    from repro.planning.progress import checkpoints
    from repro.report.words import count

    results = results_directory(results_dir)
    found = checkpoints(registry_of(include).experiments, results)
    going = [one for one in found if not one.reason]
    if yes:
        for one in going:
            for path in one.files:
                path.unlink(missing_ok=True)
    if json:
        runs = [{"run": one.run, "bytes": one.bytes, "kept": one.reason or None} for one in found]
        terminal.print_json({"runs": runs, "may_go": sum(one.bytes for one in going), "deleted": yes})
        return
    rows = []
    for reason in dict.fromkeys(one.reason for one in found):
        alike = [one for one in found if one.reason == reason]
        what = reason or ("deleted: the run is finished" if yes else "may go: the run is finished")
        rows.append((what, len(alike), amount(sum(one.bytes for one in alike))))
    if rows:
        terminal.print_table("Checkpoints", ("why", "runs", "on disk"), rows, right=("runs", "on disk"))
    size = amount(sum(one.bytes for one in going))
    if not going:
        print("no checkpoint may go")
    elif yes:
        print(f"deleted the checkpoints of {count(len(going), 'run')}, {size}")
    else:
        print(f"repro gc --yes deletes the checkpoints of {count(len(going), 'run')}, {size}")


@app.command("open")
def open_(reports_dir: ReportsDir = None) -> None:
    """Open the report in the browser."""
    import webbrowser

    from repro.folders import reports_directory

    page = reports_directory(reports_dir) / "index.html"
    if not page.is_file():
        raise ValueError(f"{page}: is not there yet; run: repro report --html")
    address = page.resolve().as_uri()
    if not webbrowser.open(address):
        raise ValueError(f"no browser answers here; open {address}")
    print(f"opened {address}")
