"""The documentation site: built strictly, without a dead link, with every name of the door in its reference."""

from __future__ import annotations

import importlib
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import repro

CHECKOUT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="the site needs the extra: pip install 'alexnet-repro[dev]'")
    to = tmp_path_factory.mktemp("site")
    made = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", "docs", ".", str(to)]
    done = subprocess.run(made, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return to


class Page(HTMLParser):
    """Targets and names of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.targets += [value for name in ("href", "src") if (value := found.get(name))]
        self.names |= {value for name in ("id", "name") if (value := found.get(name))}


def test_no_page_links_to_what_is_not_there(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not to.is_file() or (parts.fragment and to in pages and unquote(parts.fragment) not in pages[to].names):
                dead.append(f"{path.relative_to(site)}: {target}")
    assert len(pages) > 30
    assert not dead


def test_the_reference_describes_every_name_that_the_package_offers(site: Path) -> None:
    names = Page(site / "docs/api.html").names
    for name in repro.__all__:
        thing = getattr(repro, name)
        if callable(thing):
            assert thing.__doc__, name
            assert f"{importlib.import_module(thing.__module__).__name__}.{name}" in names
