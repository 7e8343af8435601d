"""`python -m repro` is the command `repro`."""

from repro.commands.cli import main

main()
