"""The HTML report in a real browser: it loads from a file without a request or an error, sorts, filters, zooms, and
passes an accessibility check. Skipped where Chromium is not installed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repro import report
from repro.bench.made_up import write_setting
from repro.experiments import registry

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
LEVELS = {"with-lrn": 30.0, "no-lrn": 34.0, "conv1-only": 31.0, "conv2-only": 32.0}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results, reports = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("reports")
    experiments = registry.load().experiments
    write_setting(results, experiments["lrn-ablation"], "smoke", LEVELS)
    written = report.build(list(experiments.values()), None, results, reports, html=True).files
    assert reports / "index.html" in written
    return reports / "index.html"


def test_nothing_is_loaded_from_elsewhere(page_file: Path) -> None:
    own = re.sub(r"<script>.*?</script>", "", page_file.read_text(), flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", own)
    assert "default-src 'none'" in own


def test_every_figure_has_an_alternative(page_file: Path) -> None:
    own = re.sub(r"<script>.*?</script>", "", page_file.read_text(), flags=re.DOTALL)
    figures = re.findall(r"<img [^>]*>", own)
    assert figures
    assert all(re.search(r'alt="[^"]{20,}"', figure) for figure in figures)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra dev: pip install -e '.[dev]'")
    with playwright.sync_playwright() as tools:
        started = tools.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Iterator[Any]:
    """The page, opened; at the end of each test, no errors and no requests. Its parameter: color scheme and width."""
    scheme, width = getattr(request, "param", ("light", 1200))
    opened = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    troubles: list[str] = []
    opened.on(
        "console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None
    )
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else troubles.append(asked.url))
    opened.goto(page_file.as_uri(), timeout=120_000)  # ms; the machine may be busy
    yield opened
    opened.close()
    assert troubles == []


def shown_rows(page: Any) -> list[list[str]]:
    rows = page.locator("#board tbody tr:not([hidden])")
    return rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim()))")


def test_filters_and_says_how_many(page: Any) -> None:
    every = page.locator("#board tbody tr").count()
    assert page.locator("#shown").inner_text() == f"{every} of {every} rows shown"
    page.select_option("#filter-setting", "smoke")
    page.fill("#filter-text", "no-lrn top-1")
    rows = shown_rows(page)
    assert len(rows) == 1
    assert rows[0][1] == "lrn-ablation"
    assert page.locator("#shown").inner_text() == f"1 of {every} rows shown"
    page.click("#filter-clear")
    assert len(shown_rows(page)) == every


@pytest.mark.parametrize(("column", "kind"), [(6, float), (8, str)])
def test_sorts_by_keyboard_both_ways(page: Any, column: int, kind: type) -> None:
    head = page.locator("#board thead th").nth(column)
    head.locator("button").focus()
    for order in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        assert page.locator("#board thead th[aria-sort$=scending]").count() == 1
        cells = page.locator("#board tbody tr").evaluate_all(
            f"rows => rows.map(row => row.cells[{column}].dataset.key)"
        )
        keys = [kind(key) for key in cells if key]
        assert len(keys) >= 4
        assert keys == sorted(keys, reverse=order == "descending")
        assert not any(cells[len(keys) :])  # rows without a number stand last, both ways


def test_curves_are_drawn_and_zoom(page: Any) -> None:
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    page.wait_for_selector(".plot[data-drawn]")
    assert plot.locator(".scatterlayer .trace").count() >= 4
    whole = plot.evaluate("plot => plot._fullLayout.xaxis.range.slice()")
    buttons = page.locator("figure", has=plot).locator(".zoom button")
    buttons.nth(0).click()
    near = plot.evaluate("plot => plot._fullLayout.xaxis.range.slice()")
    assert near[1] - near[0] == pytest.approx(0.6 * (whole[1] - whole[0]))
    buttons.nth(2).click()
    assert plot.evaluate("plot => plot._fullLayout.xaxis.range.slice()") == pytest.approx(whole)


@pytest.mark.parametrize("page", [("light", 1200), ("dark", 390)], ids=["light-desk", "dark-phone"], indirect=True)
def test_fits_its_width_and_is_accessible(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra dev")
    page.locator(".plot").first.scroll_into_view_if_needed()
    page.wait_for_selector(".plot[data-drawn]")
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window
    found = axe.Axe().run(page).response["violations"]
    assert not found, json.dumps([(one["id"], one["nodes"][0]["html"]) for one in found], indent=1)
