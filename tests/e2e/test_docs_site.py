"""The documentation as a reader has it: `make docs`, looked at in Debian's chromium on a desktop and on a phone. Every
page is in the menu, every link leads somewhere, the search finds what the pages say, a phone shows them without
scrolling sideways, and nothing is asked of anybody else.
"""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.conftest import PROJECT
from tests.e2e.conftest import ARTIFACTS, PATIENCE_MS

pytestmark = pytest.mark.e2e

DESKTOP, PHONE = {"width": 1440, "height": 1000}, {"width": 390, "height": 844}
SOURCES = sorted(path.stem for path in (PROJECT / "docs").glob("*.md"))


class Silent(SimpleHTTPRequestHandler):
    """A file server that keeps its log to itself."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@dataclass
class DocsSite:
    """The built site: its folder, its address, and every address that a browser has asked."""

    folder: Path
    url: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocsSite]:
    """`make docs` into a folder of its own, served on loopback."""
    ARTIFACTS.mkdir(exist_ok=True)
    work = tmp_path_factory.mktemp("docs")
    shutil.copytree(PROJECT / "docs", work / "docs")
    shutil.copy(PROJECT / "mkdocs.yml", work)
    zensical = Path(sys.executable).with_name("zensical")
    built = subprocess.run(
        [zensical, "build", "--clean", "--strict"], cwd=work, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=work / "site")) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield DocsSite(work / "site", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def window(docs: DocsSite, browser: Browser) -> Iterator[Page]:
    """A desktop's window; what it asks for is written down."""
    with _context(docs, browser, DESKTOP) as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def phone(docs: DocsSite, browser: Browser) -> Iterator[Page]:
    """A phone's."""
    with _context(docs, browser, PHONE) as context:
        yield context.new_page()


def _context(docs: DocsSite, browser: Browser, viewport: Any) -> BrowserContext:
    context = browser.new_context(viewport=viewport)
    context.set_default_timeout(PATIENCE_MS)
    context.on("request", lambda request: docs.asked.append(request.url))
    return context


class Anchors(HTMLParser):
    """Where a page leads, and what in it can be led to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Links, scripts, styles and pictures; ids."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.ids.add(value)


def test_every_page_is_in_the_menu_and_opens(docs: DocsSite, window: Page) -> None:
    """As mkdocs.yml says, none left out; each has a heading and stands in the menu as where one is."""
    nav = yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"]
    entries = [entry for item in nav for entry in _leaves(item)]
    assert sorted(file.removesuffix(".md") for _, file in entries) == SOURCES
    window.goto(docs.url)
    expect(window.locator("h1").first).to_contain_text("KapMan")
    window.screenshot(path=ARTIFACTS / "docs-home-desktop.png")
    menu = window.locator("nav.md-nav--primary")
    for name, file in entries:
        link = menu.get_by_role("link", name=name, exact=True).first
        expect(link).to_be_visible()
        link.click()
        expect(window).to_have_url(f"{docs.url}/{file.removesuffix('.md')}.html")
        expect(window.locator("article h1").first).to_be_visible()
    window.goto(f"{docs.url}/operations.html")
    window.screenshot(path=ARTIFACTS / "docs-operations-desktop.png", full_page=True)


def _leaves(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in item.items():
        if isinstance(value, str):
            yield name, value
        else:
            for child in value:
                yield from _leaves(child)


def test_every_link_leads_somewhere(docs: DocsSite) -> None:
    """Pages, headings, pictures, styles: whatever is not an address elsewhere."""
    pages = {path.name: Anchors(path.read_text()) for path in docs.folder.glob("*.html")}
    broken = []
    for name, page in pages.items():
        for link in page.links:
            target, anchor = urldefrag(urljoin(f"{docs.url}/{name}", link))
            if not target.startswith(docs.url):
                continue
            path = unquote(urlsplit(target).path).lstrip("/") or "index.html"
            known = not anchor or path not in pages or unquote(anchor) in pages[path].ids
            if not (docs.folder / path).is_file() or not known:
                broken.append(f"{name}: {link}")
    assert broken == []


def test_the_search_finds_what_the_pages_say(docs: DocsSite, window: Page) -> None:
    """`gamma flip` leads to the metric's page."""
    window.goto(docs.url)
    window.get_by_role("button", name="Search").first.click()
    window.get_by_role("combobox").or_(window.get_by_role("searchbox")).first.fill("gamma flip")
    results = window.locator("a[href*='metrics.html']:visible")
    expect(results.first).to_be_visible()
    window.screenshot(path=ARTIFACTS / "docs-search-desktop.png")
    results.filter(has_text="flip").first.click()
    expect(window).to_have_url(re.compile(r"metrics\.html"))


@pytest.mark.parametrize("page", SOURCES)
def test_a_phone_shows_it_without_scrolling_sideways(docs: DocsSite, phone: Page, page: str) -> None:
    """Wide tables and code scroll within themselves."""
    phone.goto(f"{docs.url}/{page}.html")
    expect(phone.locator("article h1").first).to_be_visible()
    phone.screenshot(path=ARTIFACTS / f"docs-{page}-phone.png")
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_nobody_else_is_asked(docs: DocsSite, window: Page) -> None:
    """No font, script or counter from elsewhere in all that has been looked at."""
    window.goto(docs.url)
    assert docs.asked
    assert [url for url in docs.asked if not url.startswith((docs.url, "data:", "blob:"))] == []
