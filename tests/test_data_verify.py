"""Verification: every file that is not what the manifest says is named."""

from pathlib import Path

import pytest
from made_up_images import SIZE

from repro.data import manifest
from repro.data.prepare.prepare import prepare
from repro.data.prepare.verify import verify


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


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(ValueError, match=f"nothing is prepared in {place};"):
            verify(place)


@pytest.mark.parametrize(
    "content", ['{"version": 1, "name"', '{"version": 1, "name": "m2"}', "{}", "[]", "null", "\xff"]
)
def test_a_damaged_manifest_is_named_by_all_that_read_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "m2-40-short-crop-raw" / "manifest.json"
    file.parent.mkdir()
    file.write_text(content, "latin1")
    with pytest.raises(ValueError, match=f"{file} is damaged; delete the folder {file.parent} and"):
        manifest.load(file.parent)
    (listed,) = manifest.damaged(tmp_path)
    assert str(file) in listed and manifest.prepared(tmp_path) == []
    (problem,) = verify(tmp_path, "m2")
    assert problem.what == listed
