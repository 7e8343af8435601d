"""Verification: every file that is not what the manifest says is named."""

from pathlib import Path

import pytest
from made_up_pictures import SIZE

from repro.data.prepare import prepare
from repro.data.verify import verify


def test_verify_names_what_changed_and_what_is_half_written(tree: Path, tmp_path: Path) -> None:
    made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    folder = tmp_path / made.name
    assert verify(tmp_path) == verify(tmp_path, "made-up") == verify(tmp_path, made.name) == []
    with pytest.raises(ValueError, match="nothing called other"):
        verify(tmp_path, "other")
    beton = folder / "train.beton"
    whole = beton.read_bytes()
    beton.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    (problem,) = verify(tmp_path)
    assert problem.file == beton and "changed" in problem.what
    beton.write_bytes(whole[:-1])
    (problem,) = verify(tmp_path)
    assert problem.file == beton and "half-written" in problem.what
    beton.unlink()
    (problem,) = verify(tmp_path)
    assert problem.file == beton and "missing" in problem.what
    beton.write_bytes(whole)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("n00000003", "n00000009"))
    (problem,) = verify(tmp_path)
    assert problem.file == folder / "manifest.json"
    (folder / "manifest.json").write_text(text[:100])
    (problem,) = verify(tmp_path)
    assert "damaged" in problem.what
    (folder / "manifest.json").unlink()
    (problem,) = verify(tmp_path)
    assert problem.file == folder and "half-written" in problem.what
