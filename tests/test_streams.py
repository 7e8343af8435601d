"""Standard output outlives its reader and its encoding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WRITE = """
import sys
from repro.commands.streams import outlive_readers
outlive_readers()
sys.stdin.readline()
for number in range(3000):
    print("line", number)
    print("line", number, file=sys.stderr)
sys.stdout.flush()
open(sys.argv[1], "w").write("to the end")
"""


def child(code: str, *arguments: object, **options: object) -> subprocess.Popen[bytes]:
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    environment = {**os.environ, **path, **options.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_process_whose_reader_went_away_goes_on_to_its_end(tmp_path: Path, unbuffered: str) -> None:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = child(WRITE, tmp_path / "end", env={"PYTHONUNBUFFERED": unbuffered}, **pipes)
    assert process.stdout and process.stderr and process.stdin
    process.stdout.close()
    process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(60) == 0
    assert (tmp_path / "end").read_text() == "to the end"


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"\\u2212 \\udce9"), ("utf-8:strict", b"\xe2\x88\x92 \\udce9")]
)
def test_what_an_encoding_lacks_is_written_with_escapes(encoding: str, shown: bytes) -> None:
    code = "from repro.commands.streams import outlive_readers; outlive_readers(); print('\\u2212', '\\udce9')"
    process = child(code, env={"PYTHONIOENCODING": encoding}, stdout=subprocess.PIPE)
    assert process.communicate(timeout=60)[0].strip() == shown
    assert process.returncode == 0
