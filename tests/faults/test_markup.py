"""Row 15: markup in names, notes, changes, provenance and reasons shows as it stands, in Markdown and in HTML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from repro import report, store
from repro.bench.made_up import write_setting
from repro.experiments.registry import load
from repro.report import markdown

HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a\n# forged heading", "a\r\n\r\n- forged item",
    "x | y | z", "x \\| y", "[here](javascript:alert(1))", "![there](http://example.org/x.png)", "<!-- gone",
    "` <b>code</b> `", "</details><h1>out</h1>", "a\u2028# line", "\x1b]0;title\x07", "```", "<javascript:alert(1)>",
    "&lt;script&gt;", "a\n===", "\u202etxt.exe", "[a]: http://example.org", "\\<b>", "[x]\\(y)", "a\\\\|b",
)  # fmt: skip
MARKS = st.text(st.sampled_from("ab <>|`[]()!\\&#*_-=~:/\n\r\t\u2028\x1b\"'1.;{}%"), max_size=40)
parser = MarkdownIt("commonmark", {"html": True}).enable("table")


def kinds(source: str) -> list[tuple[str, str]]:
    """(kind, content) of what a reader of CommonMark with tables and raw HTML makes of a source."""
    found = []
    for token in parser.parse(source):
        found += [(each.type, each.content) for each in (token, *(token.children or ()))]
    return found


FORBIDDEN = {"html_inline", "html_block", "link_open", "image", "heading_open", "fence", "hr"}


def check_text(value: str) -> None:
    for source in (f"- what: {markdown.text(value)}", markdown.paragraph(value)):
        found = kinds(source)
        assert not FORBIDDEN & {kind for kind, _ in found}, (source, found)
        assert sum(kind == "paragraph_open" for kind, _ in found) <= 1


def check_cell(value: str) -> None:
    source = f"| one | two |\n| :-- | :-- |\n| {markdown.cell(value)} | b |\n"
    found = kinds(source)
    assert not FORBIDDEN & {kind for kind, content in found if content != "<br>"}, (source, found)
    assert [kind for kind, _ in found].count("td_open") == 2, (source, found)
    assert found[-5][1] == "b" or found[-6][1] == "b" or ("text", "b") in found


def check_code(value: str) -> None:
    found = kinds(f"- {markdown.code(value)}: x")
    assert not FORBIDDEN & {kind for kind, _ in found}, found
    assert not value.strip() or sum(kind == "code_inline" for kind, _ in found) == 1


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_text_stays_text_in_markdown(value: str) -> None:
    for check in (check_text, check_cell, check_code):
        check(value)


@given(MARKS)
def test_any_text_stays_text_in_markdown(value: str) -> None:
    for check in (check_text, check_cell, check_code):
        check(value)


def test_links_between_pages_and_numbers_stay_as_they_are() -> None:
    for value in ("[lrn-ablation](lrn-ablation.md)", "p < 0.001", "+1.40 points [+0.90, +1.90] (images only)", "a_b*c"):
        assert markdown.text(value) == value
    assert markdown.cell("a\nb") == "a<br>b"


def test_results_that_hold_markup_bring_none_into_a_report(tmp_path: Path) -> None:
    """Every text of the records and settings is hostile; the pages have no tag, heading or link more than without."""
    experiments = list(load().experiments.values())
    experiment = next(one for one in experiments if one.name == "lrn-ablation")
    pages = {}
    for hostile in (False, True):
        results, reports = tmp_path / f"results-{hostile}", tmp_path / f"reports-{hostile}"
        write_setting(results, experiment, "cifar10", {"with-lrn": 20.0, "no-lrn": 21.0})
        if hostile:
            mark = "x<script>evil()</script>\n# evil\n[evil](http://evil) | ` <b>"
            for path in results.rglob("run.json"):
                record = json.loads(path.read_text())
                record["provenance"] = {
                    "git": {"commit": mark, "changed": False}, "packages": {mark: mark}, "python": mark,
                    "hardware": {"processor": mark, "capability": mark, "cores": mark, "accelerators": [mark]},
                }  # fmt: skip
                record["placement"] = mark
                path.write_text(json.dumps(record))
            bad = results / "experiments" / "<img src=x>" / "](evil).json"
            bad.parent.mkdir(parents=True)
            bad.write_text("{")
        report.build(experiments, None, results, reports, html=True)
        pages[hostile] = {
            path.name: path.read_text() for path in reports.glob("*.*") if path.suffix in (".md", ".html")
        }
    for name, page in pages[True].items():
        if name.endswith(".md"):
            now, before = kinds(page), kinds(pages[False][name])
            for kind in ("html_inline", "html_block", "heading_open", "link_open", "image"):
                extra = [found for found in now if found[0] == kind]
                # a page of damage has a heading of its own, which is ours
                allowed = [found for found in before if found[0] == kind]
                assert len(extra) <= len(allowed) + (kind == "heading_open"), (name, extra)
        assert ("<script>evil" not in page and "<img src=x>" not in page.replace("`", "")) or name.endswith(".md")
    assert "<script>evil" not in pages[True]["index.html"]
    assert store.read_settings(tmp_path / "results-True")[1]
