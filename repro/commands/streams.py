"""Standard output that outlives its reader and writes any text: neither is a reason for a run to fail."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

GONE = (errno.EPIPE, errno.EIO)  # the reader of a pipe ended; the terminal was closed


class Outliving(io.FileIO):
    """A file that goes nowhere once nobody reads it (`repro run | head -5`)."""

    def write(self, content: Any, /) -> int:
        """Write, or drop what nobody reads."""
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in GONE:
                raise
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            return memoryview(content).nbytes


def outlive_readers() -> None:
    """Put such files under standard output and error; what their encoding lacks is written with escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or stream is not getattr(sys, f"__{name}__"):
            continue  # closed, or somebody's own
        raw = Outliving(stream.fileno(), "w", closefd=False)
        buffer = raw if stream.write_through else io.BufferedWriter(raw)
        how = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
        setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", **how))  # type: ignore[arg-type]
