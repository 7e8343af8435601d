"""The HTML pages in a real browser: they load from a file without a request or an error, filter, fit four widths, and
pass an accessibility check. Skipped where Chromium is not installed."""

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
    for path in page_file.parent.glob("*.html"):
        own = re.sub(r"<script>.*?</script>", "", path.read_text(), flags=re.DOTALL)
        linked = set(re.findall(r"""(?:src|href)=["'](?!#|data:)([^"']*)""", own))
        assert all((page_file.parent / target).is_file() for target in linked), (path, linked)
        assert "default-src 'none'" in own


def test_every_figure_has_an_alternative(page_file: Path) -> None:
    for path in page_file.parent.glob("*.html"):
        figures = re.findall(r'<img [^>]*>|<svg class="chart"[^>]*>', path.read_text())
        assert figures or path.stem != "index"
        assert all(re.search(r'(?:alt|aria-label)="[^"]{20,}"', figure) for figure in figures)


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
    rows = page.locator(".board tbody tr:not([hidden])")
    return rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim()))")


def test_filters_by_words_and_verdicts_and_the_address_keeps_it(page: Any) -> None:
    every = page.locator(".board tbody tr").count()
    assert page.locator("#shown").inner_text() == f"{every} of {every} rows shown"
    page.fill("#filter-text", "lrn-ablation no-lrn smoke")
    rows = shown_rows(page)
    assert len(rows) == 1
    assert "lrn-ablation" in rows[0][1]
    assert page.locator("#shown").inner_text() == f"1 of {every} rows shown"
    page.fill("#filter-text", "")
    chip = page.locator('.chip[data-verdict="not tuned"]')
    count = int(chip.inner_text().split()[-1])
    chip.click()
    assert len(shown_rows(page)) == count > 0
    assert page.url.endswith("#verdict=not+tuned")
    page.reload()
    assert chip.get_attribute("aria-pressed") == "true"
    assert len(shown_rows(page)) == count
    chip.click()
    assert len(shown_rows(page)) == every


def test_a_row_lights_its_mark_in_the_forest(page: Any) -> None:
    row = page.locator('.board tbody tr[data-mark^="lrn-ablation-no-lrn"]').first
    row.hover()
    assert page.locator(".chart .lit").count() == 1
    page.locator("h1").hover()
    assert page.locator(".chart .lit").count() == 0


def test_every_verdict_is_a_word_that_the_style_knows(page_file: Path) -> None:
    style = (Path(report.__file__).parent / "templates" / "page.css").read_text()
    words = set(re.findall(r'class="word ([a-z-]+)"', page_file.read_text()))
    assert words
    assert all(f".word.{word}" in style for word in words)


def test_tables_and_charts_can_be_taken_away(browser: Any, page_file: Path, tmp_path: Path) -> None:
    opened = browser.new_page(accept_downloads=True)
    opened.goto((page_file.parent / "lrn-ablation.html").as_uri(), timeout=120_000)
    with opened.expect_download() as csv:
        opened.locator('main > .scroll [data-save="csv"]').click()
    csv.value.save_as(tmp_path / "arms.csv")
    head, first, *_ = (tmp_path / "arms.csv").read_text().splitlines()
    assert head.startswith("arm,runs,top-1 error (%)") and first.startswith("with-lrn,3 of 3,")
    with opened.expect_download() as svg:
        opened.locator('main > figure [data-save="svg"]').click()
    svg.value.save_as(tmp_path / "effects.svg")
    from xml.etree import ElementTree

    assert ElementTree.parse(tmp_path / "effects.svg").getroot().tag.endswith("svg")
    opened.close()


SIZES = [("light", 1920), ("light", 1280), ("dark", 1440), ("dark", 390)]


@pytest.mark.parametrize("name", ["index", "lrn-ablation"])
@pytest.mark.parametrize("page", SIZES, ids=[f"{scheme}-{width}" for scheme, width in SIZES], indirect=True)
def test_fits_its_width_and_is_accessible(page: Any, page_file: Path, name: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra dev")
    page.goto((page_file.parent / f"{name}.html").as_uri(), timeout=120_000)
    tall, window = page.evaluate("[document.documentElement.scrollHeight, innerHeight]")
    desk = page.viewport_size["width"] >= 1280
    assert not desk or tall < 5 * window + 1, "a page under five screens, the rest folded"
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window
    if desk:
        over = """[...document.querySelectorAll(".scroll")].filter(one => one.scrollWidth > one.clientWidth + 1)
            .map(one => one.getAttribute("aria-label"))"""
        assert page.evaluate(over) == [], "no column is hidden"
    sizes = """[...document.querySelectorAll("svg.chart text")].map(text =>
        parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b))"""
    found = page.evaluate(sizes)
    assert found and min(found) >= 9, "labels of at least nine pixels"
    found = axe.Axe().run(page).response["violations"]
    assert not found, json.dumps([(one["id"], one["nodes"][0]["html"]) for one in found], indent=1)


def test_charts_take_the_colors_of_the_page(browser: Any, page_file: Path) -> None:
    colors = {}
    for scheme in ("light", "dark"):
        opened = browser.new_page(color_scheme=scheme)
        opened.goto((page_file.parent / "lrn-ablation.html").as_uri(), timeout=120_000)
        colors[scheme] = opened.evaluate("getComputedStyle(document.querySelector('svg.chart text')).fill")
        opened.close()
    assert colors["light"] != colors["dark"]


def test_the_index_is_small(page_file: Path) -> None:
    assert page_file.stat().st_size < 1_000_000
