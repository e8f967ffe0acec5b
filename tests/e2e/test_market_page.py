"""A trader at the market page: what is picked, sorted and downloaded is what the database holds, on a desktop,
on a phone and by keyboard; what is missing is said; and nothing can be written from here.

Drives Debian's chromium against `kapman market` on a small repaved platform. Screenshots of every tab at both
widths land in test-artifacts/.
"""

import csv
import datetime as dt
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from psycopg import sql
from werkzeug.serving import make_server

from kapman_market.address import TABS
from kapman_market.app import make_app
from kapman_market.connections import ReadOnlyDatabase
from kapman_resources.database import Database
from kapman_resources.errors import DatabaseError
from kapman_resources.structure import migrate
from kapman_simulator import Simulator
from tests.conftest import PROJECT, url_of
from tests.e2e.conftest import ARTIFACTS, PATIENCE_MS, STOP_SECONDS
from tests.integration.conftest import SMALL_MARKET, TODAY, Platform, platform_on

pytestmark = pytest.mark.e2e

WIDTHS = {"desktop": (1440, 1000), "phone": (390, 844)}
YESTERDAY = dt.date(2026, 11, 19)  # a session with bars and without chains


@dataclass
class Market:
    """`kapman market` as it runs: its address, and the platform whose database it shows."""

    url: str
    platform: Platform

    def rows(self, query: Any, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the database says."""
        with self.platform.connect() as connection:
            return connection.execute(query, parameters).fetchall()

    def csv(self, path: str) -> list[dict[str, str]]:
        """The rows of a CSV."""
        answer = httpx.get(self.url + path).raise_for_status()
        return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.fixture(scope="module")
def market(browser: Browser, server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """The page as people start it, on a small market of 30 sessions, the newest with option chains."""
    ARTIFACTS.mkdir(exist_ok=True)
    with (
        Simulator(SMALL_MARKET) as vendor,
        platform_on(server_url, vendor.environment, tmp_path_factory.mktemp("market")) as platform,
        (ARTIFACTS / "market.log").open("wb") as log,
    ):
        # In a thread of its own: Playwright's event loop holds this one.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(platform.run, "repave").result().success
        server = subprocess.Popen(
            [Path(sys.executable).with_name("kapman"), "market", "--port", "0"],
            env=dict(os.environ),
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert found, f"`kapman market` said {said!r}; see {ARTIFACTS / 'market.log'}"
            yield Market(found[0], platform)
        finally:
            server.send_signal(signal.SIGINT)
            ended = server.wait(STOP_SECONDS)
        assert ended == 0, "Ctrl-C ends `kapman market` with success"


@pytest.fixture
def window(browser: Browser, market: Market, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A window on the page that fails its test if a script complains or something comes from elsewhere."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page, complaints = _watched(context, market.url)
    yield page
    page.screenshot(path=ARTIFACTS / f"{request.node.name}.png", animations="disabled")
    context.close()
    assert complaints == []


def _watched(context: BrowserContext, url: str) -> tuple[Page, list[str]]:
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((url, "data:", "blob:")) else complaints.append(asked.url),
    )
    return page, complaints


def symbols(page: Page) -> list[str]:
    """The watchlist's symbols as they stand in the table, hidden rows left out."""
    return page.locator("#watchlist-table tbody tr:visible a.row-link").all_inner_texts()


def drawn(page: Page, charts: int) -> None:
    """Wait until that many charts are drawn."""
    expect(page.locator(".js-plotly-plot:has(.cartesianlayer .subplot)")).to_have_count(charts)


# -- looking around ----------------------------------------------------------------------------------


def test_a_symbol_is_picked_by_hand_by_key_and_by_link(market: Market, window: Page) -> None:
    """The address follows every step, so Back works and a link shows somebody else the same."""
    window.goto(market.url)
    window.locator("#symbol").click()
    window.locator(".dash-dropdown-search").fill("msft")
    window.get_by_role("option", name="MSFT").click()
    expect(window.locator("h1")).to_contain_text("MSFT")
    drawn(window, 2)
    window.locator("body").press("Escape")
    window.locator("h1").click()
    window.keyboard.press("j")
    expect(window.locator("main")).to_contain_text("lists no ticker “NOSUCH”")  # a watchlist names it
    window.keyboard.press("j")
    expect(window.locator("h1")).to_contain_text("NVDA")
    window.keyboard.press("ArrowLeft")
    expect(window.locator("h1 ~ .quote")).to_contain_text(f"{YESTERDAY}")
    assert f"symbol=NVDA&date={YESTERDAY}&tab=symbol" in window.url
    link = window.url
    window.go_back()
    expect(window.locator("h1 ~ .quote")).to_contain_text(f"{TODAY}")
    expect(window.locator("#session")).to_contain_text(f"{TODAY}")
    window.goto(link)
    expect(window.locator("h1 ~ .quote")).to_contain_text(f"{YESTERDAY}")
    expect(window).to_have_title(f"NVDA · Price and gamma · {YESTERDAY} · KapMan")


def test_keys_lead_everywhere(market: Market, window: Page) -> None:
    """Tabs by number, help by `?`, and the first Tab is a way past the controls."""
    window.goto(f"{market.url}/?symbol=AAPL")
    expect(window.locator("h1")).to_contain_text("AAPL")
    window.keyboard.press("Tab")
    expect(window.get_by_text("Skip to content")).to_be_focused()
    for number, name in enumerate(TABS.values(), start=1):
        window.keyboard.press(str(number))
        expect(window.locator("#tabs .current")).to_have_text(name)
    window.keyboard.press("?")
    expect(window.get_by_role("dialog")).to_contain_text("next, previous symbol")
    window.keyboard.press("Escape")
    expect(window.get_by_role("dialog")).to_have_count(0)


def test_the_watchlist_sorts_and_filters(market: Market, window: Page) -> None:
    """By DGPI, IV rank and distance to the flip, as the database would; by text; a row opens its symbol."""
    window.goto(market.url)
    for header, order in (
        ("DGPI", "dgpi DESC NULLS LAST, symbol"),
        ("IV rank", "iv_rank DESC NULLS LAST, symbol"),
        ("To flip", "abs(distance_to_flip_pct) NULLS LAST, symbol"),
    ):
        window.get_by_role("link", name=re.compile(f"^{header}")).click()
        expect(window.locator("th:is([aria-sort=ascending], [aria-sort=descending])")).to_contain_text(header)
        query = sql.SQL("SELECT symbol FROM analytics.watchlist ORDER BY {}").format(sql.SQL(order))  # type: ignore[arg-type]
        assert symbols(window) == [symbol for (symbol,) in market.rows(query)]
    window.keyboard.press("/")
    window.keyboard.type("nvidia")
    expect(window.locator("#shown")).to_have_text("1 of 5")
    assert symbols(window) == ["NVDA"]
    assert [
        row["symbol"]
        for row in market.csv(
            window.locator("[data-csv=watchlist]").get_attribute("href").removeprefix(market.url)
        )
    ] == ["NVDA"]  # type: ignore[union-attr]
    window.locator("#watchlist-table tbody tr:visible td").nth(3).click()
    expect(window.locator("h1")).to_contain_text("NVDA")
    assert "tab=symbol" in window.url


# -- what is shown is what is stored -----------------------------------------------------------------


def test_a_chart_is_downloaded_by_keyboard_and_equals_the_database(market: Market, window: Page) -> None:
    """The bars of gamma by strike: every digit, and their sum is the stored net GEX."""
    window.goto(f"{market.url}/?symbol=AAPL&date={TODAY}")
    drawn(window, 2)
    button = window.get_by_role("link", name="Download Gamma exposure by strike as CSV")
    button.focus()
    with window.expect_download() as download:
        window.keyboard.press("Enter")
    assert download.value.suggested_filename == f"AAPL_{TODAY}_gex.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    query = "SELECT strike, call_gex, put_gex, net_gex FROM analytics.gex_profile WHERE symbol = 'AAPL' ORDER BY strike"
    assert [tuple(map(float, row.values())) for row in rows] == market.rows(query)
    [(stored,)] = market.rows("SELECT gex_net FROM analytics.dealer_metrics WHERE symbol = 'AAPL'")
    assert sum(float(row["net_gex"]) for row in rows) == pytest.approx(stored, rel=1e-9)


def test_every_chart_and_table_has_its_csv(market: Market, window: Page) -> None:
    """Each button on each tab leads to rows, with the counts of the database."""
    found: dict[str, list[dict[str, str]]] = {}
    for tab in TABS:
        window.goto(f"{market.url}/?symbol=AAPL&date={TODAY}&tab={tab}")
        window.locator("[data-csv]").first.wait_for()
        for link in window.locator("a[href*='/csv/']").all():
            path = str(link.get_attribute("href"))
            found[path.removeprefix("/csv/").partition("?")[0]] = market.csv(path)
    counts = {name: len(rows) for name, rows in found.items()}
    aapl = "FROM public.tickers t JOIN {} x ON x.ticker_id = t.id WHERE t.symbol = 'AAPL'"
    expected = {
        "watchlist": "SELECT count(*) FROM analytics.watchlist",
        "price": f"SELECT count(*) {aapl.format('public.ohlcv')}",
        "walls": f"SELECT count(*) {aapl.format('analytics.dealer_walls')}",
        "dealer_history": f"SELECT count(*) {aapl.format('analytics.dealer_metrics')}",
        "volatility_history": f"SELECT count(*) {aapl.format('analytics.volatility_metrics')}",
        "skew": f"SELECT count(*) {aapl.format('public.options_chains')} AND implied_volatility > 0 AND expiration_date > '{TODAY}'",
        "assets": "SELECT count(*) FROM analytics.asset_health",
        "loads": "SELECT count(*) FROM analytics.loads",
    }
    for name, query in expected.items():
        assert [(counts[name],)] == market.rows(query), name  # type: ignore[arg-type]
    assert set(counts) == {*expected, "gex", "term", "checks"}
    assert counts["term"] > 1 and counts["checks"] > 40
    assert float(found["price"][-1]["bollinger_mavg"]) > 0


def test_data_health_asks_the_checks_queries(market: Market, window: Page) -> None:
    """Every audit with its words, verdict, numbers and query; the platform is healthy."""
    window.goto(f"{market.url}/?tab=health")
    verdict = window.locator("#health-board p").first
    expect(verdict).not_to_contain_text("Asking")
    check = window.locator("[data-check=ohlcv_is_loaded]")
    expect(check).to_have_attribute("data-status", "passed")
    [(bars,)] = market.rows("SELECT count(*) FROM ohlcv")
    expect(check).to_contain_text(f"There are bars. Bars {bars:,}")
    check.locator("summary").click()
    expect(check.locator("pre")).to_contain_text("WHERE NOT EXISTS")
    assert {row["status"] for row in market.csv("/csv/checks")} <= {"passed", "warns"}
    window.get_by_role("button", name="Ask again").click()
    expect(verdict).not_to_contain_text("Asking")


# -- on any screen -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_every_tab_fits_its_screen(browser: Browser, market: Market, width: str, scheme: Any) -> None:
    """No page scrolls sideways; charts are as wide as their cards; every chart has a name."""
    across, down = WIDTHS[width]
    context = browser.new_context(viewport={"width": across, "height": down}, color_scheme=scheme)
    page, complaints = _watched(context, market.url)
    for tab, charts in {"watchlist": 0, "symbol": 2, "volatility": 3, "history": 1, "health": 0}.items():
        page.goto(f"{market.url}/?symbol=AAPL&tab={tab}")
        page.locator("#footer span").first.wait_for()
        if charts:
            drawn(page, charts)
        assert page.evaluate("document.documentElement.scrollWidth") == across, tab
        expect(page.locator("#tabs .current")).to_be_in_viewport(ratio=1)
        for figure in page.locator("figure").all():
            assert figure.get_attribute("aria-label")
            card, svg = figure.bounding_box(), figure.locator(".main-svg").first.bounding_box()
            assert (
                card
                and svg
                and svg["x"] >= card["x"]
                and svg["x"] + svg["width"] <= card["x"] + card["width"]
            )
        page.screenshot(path=ARTIFACTS / f"market_{tab}_{width}_{scheme}.png", full_page=True)
    context.close()
    assert complaints == []


# -- what is missing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (f"symbol=AAPL&date={YESTERDAY}", f"kapman vault replay {YESTERDAY}"),
        (f"date={YESTERDAY}", "No option chains of Thu 2026-11-19 are published"),
        ("symbol=AAPL&date=2026-11-21", "Sat 2026-11-21 is not a trading session"),
        ("symbol=AAPL&date=yesterday", "“yesterday” is not a date"),
        ("symbol=AAPL&date=1899-01-02", "is not a trading session"),
        ("symbol=AAPL&date=2025-03-04&tab=volatility", "Nothing of Tue 2025-03-04 is published"),
        ("symbol=%3Cb%3E'--&tab=history", "The vendor lists no ticker “<b>'--”"),
    ],
    ids=["chart", "table", "weekend", "words", "ancient", "not loaded", "no ticker"],
)
def test_what_is_missing_is_said(market: Market, window: Page, search: str, says: str) -> None:
    """A sentence with what mends it, never an empty chart or one of another day."""
    window.goto(f"{market.url}/?{search}")
    expect(window.locator("main")).to_contain_text(says)
    drawn(window, window.locator("figure").count())


def test_a_symbol_without_bar_chain_or_indicators(market: Market, window: Page) -> None:
    """A ticker that no watchlist has shows its price, and says why there are no bands and no gamma."""
    [(symbol,)] = market.rows(
        """
        SELECT min(t.symbol) FROM tickers t JOIN ohlcv o ON o.ticker_id = t.id AND o.date = %s
        WHERE NOT EXISTS (SELECT FROM watchlists w WHERE w.symbol = t.symbol)
        """,
        TODAY,
    )
    window.goto(f"{market.url}/?symbol={symbol.lower()}")
    expect(window.locator("h1")).to_contain_text(symbol)
    drawn(window, 1)
    expect(window.locator("main")).to_contain_text(
        "No bands: indicators are computed for the symbols of the watchlists"
    )
    expect(window.locator("main")).to_contain_text(f"Add {symbol} to a file in data/watchlists")


def test_a_database_that_is_not_there_empty_unfilled_or_old(browser: Browser, database: Database) -> None:
    """One sentence each, with the command; the page comes up by itself once the database does."""
    with (
        _site_of(database.url.replace(database.name, f"{database.name}_gone")) as url,
        _page(browser, url) as page,
    ):
        page.goto(url)
        expect(page.locator("main")).to_contain_text("has no database")
        expect(page.locator("main")).to_contain_text("make repave")
    with _site_of(database.url) as url, _page(browser, url) as page:
        page.goto(url)
        expect(page.locator("main")).to_contain_text("has no market in it yet")
        migrate(database)
        page.goto(f"{url}/?tab=health")
        expect(page.locator("main")).to_contain_text("Nothing has been published in this database yet")
        with database.connect() as connection:
            connection.execute("DROP VIEW analytics.asset_health, analytics.loads")
        page.goto(f"{url}/?symbol=AAPL")
        expect(page.locator("main")).to_contain_text("has an older structure than this program")
        expect(page.locator("main")).to_contain_text("--select schema")
        assert httpx.get(f"{url}/csv/price?symbol=AAPL").status_code == 503


@contextmanager
def _site_of(database_url: str) -> Iterator[str]:
    database = ReadOnlyDatabase(lambda: database_url)
    server = make_server("127.0.0.1", 0, make_app(database).server, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        database.close()


@contextmanager
def _page(browser: Browser, url: str) -> Iterator[Page]:
    context = browser.new_context()
    yield _watched(context, url)[0]
    context.close()


# -- read-only ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM public.watchlists",
        "CREATE TABLE public.intruder ()",
        "SELECT drop_chunks('ohlcv', now())",
    ],
    ids=["rows", "structure", "chunks"],
)
def test_the_page_cannot_write(market: Market, statement: Any) -> None:
    """Whatever role it has: the session itself refuses."""
    database = ReadOnlyDatabase(lambda: market.platform.database.url)
    before = market.rows("SELECT count(*) FROM public.watchlists")
    with pytest.raises(DatabaseError, match="read-only transaction"), database.snapshot() as connection:
        connection.execute(statement)
    with database.snapshot() as connection:
        shown = connection.execute("SHOW default_transaction_read_only").fetchone()
    database.close()
    assert shown == ("on",)
    assert market.rows("SELECT count(*) FROM public.watchlists") == before


def test_the_page_outlives_its_connections(market: Market, window: Page, server_url: str) -> None:
    """A repave ends every session of the database: the next page is made all the same."""
    window.goto(f"{market.url}/?symbol=AAPL")
    drawn(window, 2)
    with psycopg.connect(url_of(server_url, "postgres"), autocommit=True) as admin:
        ended = admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'kapman: market page' AND datname = %s",
            (market.platform.database.name,),
        ).fetchone()
    assert ended and ended[0] > 0
    window.keyboard.press("4")
    drawn(window, 1)
    expect(window.locator("main")).not_to_contain_text("went away")
