"""The command line. Each command reads its arguments, calls the room that does the work, and prints; no logic here.

A file holds a group of commands; they stand in the help in the order of these imports.
"""

import sys

from repro.commands import asking, images, machine, results, runs, takeaway, watching  # noqa: F401  their commands
from repro.commands.options import app
from repro.commands.streams import outlive_readers


def main() -> None:
    """Entry point: bad input is one line on standard error and exit code 2, never a traceback."""
    outlive_readers()
    try:
        app()
    except ValueError as error:
        _stop(str(error), 2)
    except OSError as error:
        _stop(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)


def _stop(message: str, code: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
