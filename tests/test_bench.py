"""The benchmarks' arithmetic, their form, and that each contender does the work it claims to."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO

import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from repro import bench, store
from repro.bench import desk, step
from repro.config.keys import override
from repro.config.presets import preset
from repro.network.model import build


def test_interleaved_turns_the_order():
    calls: list[str] = []

    def measure_of(name: str):
        return lambda: float(calls.append(name) or len(calls))

    samples = bench.interleaved({name: measure_of(name) for name in "abc"}, 4)
    assert "".join(calls) == "abcbcacababc"
    assert samples == {"a": [1.0, 6.0, 8.0, 10.0], "b": [2.0, 4.0, 9.0, 11.0], "c": [3.0, 5.0, 7.0, 12.0]}


def test_row_and_ratio():
    assert bench.row("x", "s", [3.0, 1.0, 2.0]) == bench.Row("x", "s", median=2.0, low=1.0, high=3.0, n=3)
    # the machine is ten times slower in the second round for both: the paired ratio does not notice
    assert bench.ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == 2.0


def test_a_child_that_fails_says_why():
    with pytest.raises(RuntimeError, match="no such thing"):
        bench.in_child("raise SystemExit('no such thing')")
    assert bench.in_child("import sys; print(sys.argv[1])", "hello") == "hello\n"


class InProcess:
    """A contender without its process: a test has no use for ten starts of torch."""

    def __init__(self, spec: step.Spec) -> None:
        measured = step.prepare(spec)
        self.sample, self.close = measured.sample, measured.close

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        pass


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(step, "SHORTEST", 0.0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_step_benchmark_has_every_ratio_and_the_common_form(monkeypatch, hurried):
    monkeypatch.setattr(step, "_Contender", InProcess)
    result = step.measure(quick=True)
    assert set(step.TARGETS) - {"jobs_over_one"} <= set(result.ratios)  # that needs a second core
    assert all(value > 0 for value in result.ratios.values())
    form = json.loads(json.dumps(bench.as_json(result)))
    assert set(form) == {"rows", "ratios", "machine", "tables"}
    (spent,) = form["tables"]
    assert [row[0] for row in spent["rows"]][:1] == ["smoke"] and len(spent["rows"][0]) == len(spent["columns"])
    assert "fraction_smoke_float32" in result.ratios and result.targets["fraction_smoke_float32"] == "at least 0.75"
    assert all(set(row) == {"name", "unit", "median", "low", "high", "n"} for row in form["rows"])
    assert all(row["low"] <= row["median"] <= row["high"] for row in form["rows"])
    assert form["machine"]["packages"]["torch"] == torch.__version__.partition("+")[0]
    console = Console(file=StringIO(), width=200)
    console.print(bench.as_group(result))
    text = console.file.getvalue()
    assert "fraction_of_gemm" in text and "at least 0.9" in text and form["machine"]["cpu"] in text


def test_a_contender_in_its_own_process():
    samples, closing = step.take_turns({"ours": step.Spec("ours", "smoke", 4, {"schedule.epochs": 1})}, 1)
    assert samples["ours"][0] > 0
    assert closing["ours"]["peak_mib"] > 100  # torch alone takes more


def test_a_contender_that_cannot_be_built_is_an_error():
    with pytest.raises(RuntimeError, match="status 1"), step._Contender(step.Spec("ours", "no-such", 4, {})):
        pass


@pytest.mark.parametrize("lrn", ["plain", "torch", "last"])
@pytest.mark.parametrize("name", ["paper", "cifar10", "smoke"])
def test_the_plain_net_is_the_same_net(name, lrn):
    """The same weights give the same logits, so the two sides of the comparison do the same work."""
    config = override(
        preset(name), {"model.layers.fc6.maps": 32, "model.layers.fc7.maps": 32, "model.norm.over_n": True}
    )
    our_net = build(config, seed=0).eval()
    plain_net = torch.nn.Sequential(*step._plain_modules(config, lrn)).eval()
    ours, theirs = our_net.state_dict(), plain_net.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in theirs.values()]
    plain_net.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    for layer in our_net.modules():
        if getattr(layer, "dropout", None):
            layer.dropout = layer.dropout.model_copy(update={"inverted": True})  # as nn.Dropout
    images, _ = step._images(config, 2)
    assert torch.allclose(our_net(images), plain_net(images), rtol=1e-4, atol=1e-5)


def test_the_tuned_script_takes_the_steps_of_the_plain_one(monkeypatch):
    """From the same weights, with both spellings of LRN."""
    models: list[torch.nn.Module] = []
    train = torch.nn.Sequential.train
    monkeypatch.setattr(step, "RATE", 1e-2)
    monkeypatch.setattr(torch.nn.Sequential, "train", lambda model, on=True: models.append(model) or train(model, on))
    spec = step.Spec("plain", "smoke", 4, {"model.dropout": None})
    for make, one in ((step.plain, spec), (step.tuned, spec), (step.tuned, spec._replace(lrn="last"))):
        torch.manual_seed(3)
        make(one, torch.device("cpu"))(3)
    torch.manual_seed(3)
    models.append(torch.nn.Sequential(*step._plain_modules(override(preset("smoke"), spec.changes))))
    plain, *tuned, before = [torch.cat([weight.flatten() for weight in each.parameters()]) for each in models]
    moved = (plain - before).norm()
    assert moved > 1e-3
    assert len(tuned) == 2 and all((other - plain).norm() < 1e-3 * moved for other in tuned)


def test_what_cannot_be_compiled_is_left_out_and_said(monkeypatch):
    def fails(specs, rounds):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(step, "take_turns", fails)
    specs = step._tuned_specs("smoke", 4, in_hardware=True)
    assert step._cannot_compile(specs) == "no compiler"
    assert {spec.compiled for spec in step._without_compiled(specs).values()} == {False}
    assert {spec.changes.get("precision", "float32") for spec in specs.values()} == {"float32", "bfloat16"}


def test_what_a_step_is_spent_on():
    device = torch.device("cpu")
    whole = step.shares(step.ours(step.Spec("ours", "smoke", 8, {}), device))
    without = step.shares(step.ours(step.Spec("ours", "smoke", 8, {"model.norm": None}), device))
    assert set(whole) == {*step.PARTS, "rest"} and sum(whole.values()) == pytest.approx(1)
    assert min(whole.values()) > 0.001 and whole["products"] > 0.1
    assert without["LRN"] == 0


def test_operations_are_those_that_torch_counts():
    """With one tower: torch's counter takes a grouped convolution's gradient for that of a whole one."""
    config = override(preset("smoke"), {"model.towers": 1})
    work = step.ours(step.Spec("ours", "smoke", 2, {"model.towers": 1}), torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        work(1)
    assert counter.get_total_flops() == 2 * step.operations(config)
    assert step.operations(preset("smoke")) < step.operations(config)


def test_the_desk_benchmark_has_every_ratio(monkeypatch):
    started: list[list[str]] = []

    def start(words, compiled):
        started.append(words)
        return lambda: float(len(words))

    monkeypatch.setattr(desk, "_start", start)  # test_cli.py starts the real ones
    monkeypatch.setattr(desk, "in_child", lambda code, *places: "9.5 9.0 0.25\n")
    result = desk.measure(quick=True)
    assert result.ratios == {
        "help_over_imports": 1.5,
        "list_over_imports": 1.5,
        "empty_over_imports": 1.0,
        "table_over_imports": 1.0,
        "list_over_table": 1.5,
        "refused_over_table": 3.0,
        "report_seconds": 9.5,
        "report_memory_gib": 0.25,
    }
    assert set(desk.TARGETS) == set(result.ratios)
    for code in (words[1] for words in started if words[0] == "-c"):
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_made_up_runs_are_finished_runs_that_a_report_can_read(tmp_path):
    made = desk.make_up_runs(tmp_path, 8)
    runs, damaged = store.finished_runs(tmp_path)
    assert len(runs) == made >= 8 and not damaged
    assert {run.digest for run in runs} == set(store.read_settings(tmp_path)[0][0].arms.values())
    assert len({run.errors["center"].top1_error for run in runs}) > 1  # they scatter, or no interval is exercised
