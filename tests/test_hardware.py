"""The bill: rates by hardware, threads and placement; a table in which every row has a source; what limits a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from repro import store
from repro.commands.terminal import span
from repro.config.config import Config, digest, to_dict
from repro.config.keys import override
from repro.config.presets import preset
from repro.planning import cost, hardware, plan
from repro.planning.hardware import TABLE, Hardware, Rate, find, forward_of, likely, measured, network_key
from repro.records import RunRecord
from tests.conftest import Repro

PAPER = preset("paper")


def trained(
    results: Path, seed: int, rate: float, machine: str, threads: int = 1, config: Config | None = None
) -> None:
    """A finished run that trained at `rate` images a second."""
    config = config or preset("cifar10")
    store.write_run(results, msgspec.convert(
        {
            "digest": digest(config, "d"), "seed": seed, "config": to_dict(config),
            "data": {"name": "photos", "digest": "d", "train": 10, "test": 4}, "epochs": 2, "epochs_to_target": None,
            "censored": False, "seconds": 1.0, "images_per_second": rate, "diverged": False, "train_error": 1.0,
            "held_out": None, "errors": {}, "placement": "cpu",
            "provenance": {"hardware": {"processor": machine, "threads": threads}},
        }, RunRecord,
    ))  # fmt: skip


def run_of(config: Config) -> plan.Run:
    return plan.Run(config, 0, digest(config, "d"), ("center",), missing=("center",))


def planned(*configs: Config) -> plan.Plan:
    return plan.Plan((), tuple(map(run_of, configs)), (), (), frozenset())


def test_rates_are_kept_apart_by_processor_and_threads(tmp_path: Path) -> None:
    for seed, rate in enumerate((100.0, 300.0, 200.0)):
        trained(tmp_path, seed, rate, "Slow(R) One")
    trained(tmp_path, 3, 900.0, "Slow(R) One", threads=4)
    trained(tmp_path, 4, 5000.0, "Fast One")
    found = {one.name: one for one in measured(tmp_path)}
    assert list(found) == ["Slow One, 1 thread", "Fast One, 1 thread", "Slow One, 4 threads"]
    work = 3 * forward_of(preset("cifar10"))
    network = network_key(preset("cifar10"))
    assert found["Slow One, 1 thread"].of_network == {network: Rate(100 * work, 200 * work, 300 * work)}
    assert found["Slow One, 4 threads"].of_network == {network: Rate(900 * work, 900 * work, 900 * work)}
    assert likely(found.values(), "Fast One").rate(network).middle == 5000 * work
    assert likely(found.values(), "Slow One").rate(network).middle == 200 * work, "as most of its runs had it"
    assert likely(found.values(), "Other").rate(network).middle == 200 * work


def test_runs_that_finished_here_are_a_hardware_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    trained(tmp_path, 0, 100.0, "Slow One")
    trained(tmp_path, 1, 300.0, "Slow One", threads=4)
    assert find("slow one, 4", tmp_path).name == "Slow One, 4 threads"
    with pytest.raises(ValueError, match="is the beginning of Slow One, 1 thread and of Slow One, 4 threads"):
        find("Slow", tmp_path)


def test_the_papers_run_takes_the_papers_days() -> None:
    """Section 5: five to six days for about 90 epochs; our bill has its tests and the ten views on top."""
    on = find("2xgtx580", Path("nowhere"))
    sizes = cost.sizes_of(PAPER, Path("nowhere"))
    days = [
        90 * 3 * sizes.forward * 1_200_000 / rate / 86_400 for rate in on.rate(network_key(PAPER))
    ]  # of training alone
    assert days == pytest.approx([6, 5.5, 5])
    assert TABLE["2xgtx580"].images == pytest.approx(227.3, abs=0.1)


@pytest.mark.parametrize(("name", "images"), [("k40", 193.2), ("titan-x", 1580.2), ("k20", 142.2), ("titan", 195.0)])
def test_a_row_has_the_rate_of_its_source(name: str, images: float) -> None:
    one = TABLE[name]
    assert one.images == pytest.approx(images, abs=0.05) and len(one.source) > 20
    on = find(name, Path("nowhere"))
    config = preset(one.network)
    assert on.rate(network_key(config)).middle == pytest.approx(images * 3 * forward_of(config), rel=1e-3)
    assert on.source == one.source


def test_other_hardware_is_not_guessed(repro: Repro) -> None:
    code, out, err = repro("plan", "lrn-ablation", "--preset", "paper", "--hardware", "h100")
    assert code == 2 and not out
    assert err.startswith("error: --hardware h100: not known: `repro bench step` measures it in a minute")


def bench(**loader: float) -> dict[str, Any]:
    def rows(rates: dict[str, float]) -> list[dict[str, Any]]:
        return [
            {"name": name, "unit": "images/s", "median": rate, "low": 0.9 * rate, "high": 1.1 * rate, "n": 5}
            for name, rate in rates.items()
        ]

    facts = {"cpu": "Made(R) Up 3000", "threads": 2}
    step = {
        "full net, batch 128: ours, float32": 40.0, "full net, batch 128: ours, float32, no LRN": 41.0,
        "full net, batch 128: plain torch": 14.0, "cifar net, batch 128: ours, float32": 2000.0,
        "matrix product, float32": 235.0,
    }  # fmt: skip
    loaded = {f"ours, FFCV, {storage}": rate for storage, rate in loader.items()}
    found: dict[str, Any] = {"step": {"rows": rows(step), "ratios": {}, "machine": facts}}
    return {**found, "loader": {"rows": rows(loaded), "ratios": {}, "machine": facts}} if loader else found


def test_what_bench_measured_is_a_hardware(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    path.write_text(json.dumps(bench(raw=3000.0, JPEG=500.0)))
    on = find(str(path), tmp_path)
    work = 3 * forward_of(PAPER)
    assert on.name == "Made Up 3000, 2 threads"
    assert on.of_network[network_key(PAPER)] == pytest.approx((36 * work, 40 * work, 44 * work))
    assert set(on.of_network) == {network_key(PAPER), network_key(preset("cifar10"))}
    assert on.images == {"raw": 3000.0, "jpeg": 500.0}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"step": {"machine": {}, "rows": []}}', '{"step": 3}'])
def test_what_bench_did_not_print_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="is not what `repro bench step --json` prints"):
        find(str(path), tmp_path)


def test_a_quick_measurement_is_none(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    path.write_text(json.dumps(bench()).replace("batch 128", "batch 8"))
    with pytest.raises(ValueError, match="without --quick"):
        find(str(path), tmp_path)


def test_what_takes_the_longest_limits(tmp_path: Path) -> None:
    """A training image takes 3 x 724 million multiply-adds; at a thousand of these a second the rest is set around."""
    work = 3.0 * forward_of(PAPER)
    fast = {network_key(PAPER): Rate(900 * work, 1000 * work, 1100 * work)}
    crossed = cost.sizes_of(PAPER, tmp_path).exchanged
    assert crossed == 8 * (12_100 + 2_916 + 43_264 + 9_216 + 4_096 + 2_048)  # float32, there and back
    for on, limit, rate in (
        (Hardware("x", fast), "arithmetic", 1000.0),
        (Hardware("x", fast, {"raw": 2000.0}), "arithmetic", 1000.0),
        (Hardware("x", fast, {"raw": 500.0}), "the loader", 500.0),
        (Hardware("x", fast, {"jpeg": 500.0}), "arithmetic", 1000.0),
        (Hardware("x", fast, link=100.0 * crossed), "exchange between towers", 100.0),
        (Hardware("x", fast, {"raw": 50.0}, link=100.0 * crossed), "the loader", 50.0),
    ):
        whole, ((_, one),) = cost.bill(planned(PAPER), data=tmp_path, on=on)
        assert (one.limit, whole.limit) == (limit, limit)
        assert one.bytes_read_per_second == pytest.approx(rate * 3 * 256 * 256)
        plain, _ = cost.bill(planned(PAPER), data=tmp_path, on=Hardware("x", fast))
        assert one.seconds == pytest.approx(plain.seconds * 1000 / rate)
        assert one.seconds_low <= one.seconds <= one.seconds_high


def test_one_tower_exchanges_nothing(tmp_path: Path) -> None:
    config = override(PAPER, {"model.towers": 1})
    assert cost.sizes_of(config, tmp_path).exchanged == 0


def test_a_network_that_was_not_measured_has_the_range_of_those_that_were(tmp_path: Path) -> None:
    on = Hardware("x", {"a": Rate(1.0, 2.0, 3.0), "b": Rate(5.0, 6.0, 7.0)})
    assert on.rate("b") == (5.0, 6.0, 7.0) and on.rate("c") == (1.0, 4.0, 7.0)
    assert Hardware("", {}).rate("c") == (hardware.GUESSED,) * 3


def test_a_plan_bills_each_run_and_all_with_a_price(repro: Repro) -> None:
    line = ("plan", "one-vs-two-gpus", "--preset", "paper", "--untuned", "--seeds", "2", "--hardware", "2xgtx580")
    code, out, _ = repro(*line, "--price", "0.5")
    assert code == 0
    rows = [row.split("\t") for row in out.splitlines() if row.count("\t") == 7]
    assert rows[0] == ["digest", "runs", "time of a run", "disk", "memory", "reads", "limited by", "used by"]
    assert "at 0.5 an hour" in out and "The rate: the paper, section 5" in out and "arithmetic limits" in out
    code, out, _ = repro(*line, "--price", "0.5", "--json")
    said = json.loads(out)
    assert code == 0
    every = [run["cost"] for run in said["runs"]]
    assert said["cost"]["seconds"] == pytest.approx(sum(one["seconds"] for one in every))
    assert said["cost"]["price"] == pytest.approx(said["cost"]["seconds"] / 3600 * 0.5)
    assert {one["limit"] for one in every} == {"arithmetic"} and span(every[0]["seconds_high"])


def test_a_total_is_the_sum_of_what_the_runs_took(tmp_path: Path, photos: Path) -> None:
    """Four runs whose rates scatter by a tenth: the bill made from them is within a quarter of what they took."""
    config = preset("smoke")
    images = cost.sizes_of(config, photos).train
    rates = (900.0, 1000.0, 1050.0, 1100.0)
    for seed, rate in enumerate(rates):
        trained(tmp_path, seed, rate, "One", config=config)
    took = sum(images * config.schedule.epochs / rate for rate in rates)
    on = find("One", tmp_path)
    whole, _ = cost.bill(planned(*[config] * 4), data=photos, on=on)
    assert whole.seconds == pytest.approx(took, rel=0.25) and whole.seconds > took  # tests and views come on top
