"""docs/extending.md: an extension of each kind as another package writes it, and each works without a change here."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import torch

from repro import extensions, report
from repro.bench import made_up
from repro.config.config import digest
from repro.config.keys import override
from repro.config.presets import preset
from repro.data import known, manifest
from repro.data.load.beton import open_beton
from repro.data.prepare.prepare import prepare
from repro.experiments.experiment import Arm, Claim, Experiment, Measured
from repro.launch import launch
from repro.launch.launcher import launcher
from repro.network.model import Network, build
from repro.network.towers import TwoTowers, place
from repro.planning.plan import Run
from repro.training.events import Failed
from repro.training.execute import Machine
from repro.training.optim import make_optimizer

ROOT = Path(__file__).parents[1]
THIRD_PARTY = ROOT / "tests" / "third_party"
PROJECT = tomllib.loads((THIRD_PARTY / "more.toml").read_text())["project"]
DOCUMENT = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package in tests/third_party as pip would have it: its code on the path, its entry points beside it."""
    about = tmp_path / "site" / "repro_more-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: 0.1.0\n")
    groups = PROJECT["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(about.parent)
    monkeypatch.syspath_prepend(THIRD_PARTY)
    for cached in (extensions.known, extensions.load):
        cached.cache_clear()
    yield
    for cached in (extensions.known, extensions.load):
        cached.cache_clear()


def stepped(kind: str, devices: tuple[str, ...]) -> Network | TwoTowers:
    """The network of `smoke` after one step of an optimizer against a made-up gradient."""
    config = override(preset("smoke"), {"optim.kind": kind})
    model = place(build(config, 0), devices)
    optimizer = make_optimizer(model, config)
    optimizer.set_learning_rate(0.5, 0.5)
    for parts in model.parts().values():
        for part in parts:
            part.grad = 2 * part.detach() + 0.01
    optimizer.step()
    return model


def test_an_optimizer_of_another_package_moves_the_weights_by_its_own_rule() -> None:
    start, lars, momentum = build(preset("smoke"), 0), stepped("lars", ("cpu",)), stepped("momentum", ("cpu",))
    name, weight = next(iter(start.state_dict().items()))
    gradient, decay = 2 * weight + 0.01, 5e-4
    local = 0.001 * weight.norm() / (gradient.norm() + decay * weight.norm())
    expected = weight - 0.5 * local * (gradient + decay * weight)
    torch.testing.assert_close(lars.state_dict()[name], expected)
    assert not torch.equal(lars.state_dict()[name], momentum.state_dict()[name])
    two = stepped("lars", ("cpu", "cpu")).state_dict()
    torch.testing.assert_close(two[name], expected, msg="a layer's norm is that over both towers")


def test_an_activation_of_another_package_is_in_the_network() -> None:
    model = build(override(preset("smoke"), {"model.activation": "swish"}), 0)
    assert "swish" in repr(model)
    assert model.eval()(torch.zeros(1, 3, 24, 24)).isfinite().all()


def test_a_launcher_of_another_package_does_the_runs(photos: Path, tmp_path: Path) -> None:
    names = ("one", "two")
    runs = [Run(override(preset("smoke"), {"weights": name}), 0, name, ()) for name in names]  # refused, which is quick
    failures = launch(runs, Machine(tmp_path, photos), at_once=1, emit=lambda event: None, launcher="backwards")
    assert [failure.run for failure in failures] == ["two/seed-0", "one/seed-0"]
    assert all(isinstance(failure, Failed) for failure in failures)


def test_a_data_set_of_another_package_is_prepared_from_its_own_format(tmp_path: Path) -> None:
    source = tmp_path / "stl10_binary"
    source.mkdir()
    generator = np.random.default_rng(0)
    images = {kind: generator.integers(0, 256, (4, 3, 96, 96), np.uint8) for kind in ("train", "test")}
    for kind, columns in images.items():
        (source / f"{kind}_X.bin").write_bytes(columns.tobytes())
        (source / f"{kind}_y.bin").write_bytes(bytes([1, 2, 1, 2]))
    (source / "class_names.txt").write_text("airplane\nbird\n")
    data = override(preset("smoke"), {"data.source": "stl10", "data.size": 96}).data
    assert manifest.missing(data, tmp_path).endswith(f"stl10 --size 96 --source FOLDER --data-dir {tmp_path}")
    made = prepare("stl10", source=source, directory=tmp_path)
    assert (made.size, made.train_count, made.test_per_class) == (96, 4, [2, 2])
    assert [each["name"] for each in made.classes] == ["airplane", "bird"]
    stored = open_beton(tmp_path / made.name / "train.beton", "raw")
    (first,) = {(int(stored.labels[at]), stored.encoded(at).tobytes()) for at in range(4)} & {
        (0, images["train"][0].transpose(2, 1, 0).tobytes())
    }
    assert first[0] == 0, "the columns of the first image are rows now"
    (source / "test_X.bin").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"test_X.bin cannot be read: .*fetch it again"):
        prepare("stl10", source=source, directory=tmp_path, size=64)
    (source / "test_X.bin").unlink()
    with pytest.raises(ValueError, match=r"holds no test_X.bin; wanted: the folder stl10_binary"):
        prepare("stl10", source=source, directory=tmp_path, size=64)


def claimed(kind: str) -> Experiment:
    """An experiment with one claim of a kind: at most one point worse."""
    measured = Measured("photos", "center", "our photos, center view")
    claim = Claim(kind, "new", "old", {"top1_error": 1.0}, "here", measured)
    arms = (Arm("old"), Arm("new", {"model.norm": None}))
    return Experiment("bounded", "Is it no worse?", "model.norm", "-", arms, ["smoke"], claims=[claim])


@pytest.mark.parametrize(("level", "verdict"), [(30.2, "same direction"), (33.0, "contradicted")])
def test_a_claim_kind_of_another_package_is_judged_and_reported_by_its_row(
    level: float, verdict: str, tmp_path: Path
) -> None:
    """`same direction` is the best away from the claim's own setting."""
    one = claimed("at-most")
    made_up.write_setting(tmp_path / "results", one, "smoke", {"old": 30.0, "new": level}, spread=0.05, images=100)
    found = report.build([one], None, tmp_path / "results", tmp_path / "reports")
    judged = next(row for _, judgements in found.judged for row in judgements if row.claim)
    assert judged.verdict == verdict
    assert "published: at most +1 points" in judged.reason
    assert "at most +1.0 points" in (tmp_path / "reports" / "bounded.md").read_text()


def test_a_section_of_another_package_stands_on_the_page(tmp_path: Path) -> None:
    one = claimed("at-most")
    made_up.write_setting(tmp_path / "results", one, "smoke", {"old": 30.0, "new": 30.2}, spread=0.05, images=100)
    report.build([one], None, tmp_path / "results", tmp_path / "reports", formats=("csv",))
    page = (tmp_path / "reports" / "bounded.md").read_text()
    assert "<summary>How long it took</summary>" in page and "| arm | longest run (s) |" in page
    (table,) = (tmp_path / "reports").rglob("*-seconds.csv")
    assert table.read_text().splitlines()[0] == "arm,seconds"


def test_an_unknown_claim_kind_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ValueError, match=r"no claim 'at-mots'.*'at-most'"):
        claimed("at-mots")


@pytest.mark.parametrize(
    ("key", "name", "reason"),
    [
        ("optim.kind", "lers", "no optimizer 'lers'.*'lars'"),
        ("model.activation", "swich", "no activation 'swich'.*'swish'"),
        ("model.activation", "re-lu", "no activation"),
    ],
)
def test_an_unknown_kind_is_refused_with_a_suggestion(key: str, name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        override(preset("smoke"), {key: name})


def test_an_extension_that_does_not_load_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"repro.activations 'broken' of repro_more.nowhere:none: ModuleNotFoundError"):
        build(override(preset("smoke"), {"model.activation": "broken"}), 0)


def test_our_own_kinds_all_load() -> None:
    for group, names in extensions.OURS.items():
        loaded = {name: extensions.load(group, name) for name in names}
        if group == "repro.claims":
            assert {name: row.name for name, row in loaded.items()} == {name: name for name in names}
        elif group == known.GROUP:
            assert all(isinstance(row, known.KnownSet) for row in loaded.values())
            readers = {resolve_name(where) for row in loaded.values() for where in (row.read, row.fetch) if where}
            assert all(map(callable, readers))
        elif group == "repro.launchers":
            assert all(callable(launcher(name).launch) for name in names)
        else:
            assert all(map(callable, loaded.values()))


def test_a_neutral_kind_names_no_run() -> None:
    config = preset("smoke")
    assert digest(override(config, {"optim.kind": "momentum"}), "d") == digest(config, "d")
    assert digest(override(config, {"optim.kind": "lars"}), "d") != digest(config, "d")


def test_the_document_shows_each_file_as_it_is() -> None:
    for group, points in PROJECT["entry-points"].items():
        assert f"`{group}`" in DOCUMENT
        for name, where in points.items():
            if name != "broken":
                code = (THIRD_PARTY / f"{where.partition(':')[0].replace('.', '/')}.py").read_text()
                assert f"```python\n{code}```" in DOCUMENT, f"docs/extending.md: {name}"
                assert f'{name} = "{where}"' in DOCUMENT
