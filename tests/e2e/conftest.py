"""A whole platform behind its web interface, and Debian's chromium to look at it with."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from psycopg import sql

from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Database
from kapman_simulator import MarketOptions, Simulator
from tests.conftest import PROJECT, TODAY, url_of

MARKET = MarketOptions(symbols=60, sessions=8, underlyings=3, contracts=60, today=TODAY)
WATCHLIST = "AAPL\nMSFT\nNVDA\n"
ARTIFACTS = PROJECT / "test-artifacts"
# Machines that run tests are busy: a page's part may take as long as this, the servers' start longer.
PATIENCE_MS = 60_000
START_SECONDS, STOP_SECONDS = 180, 60
BROWSER_ARGUMENTS = [
    "--no-sandbox",  # root in a container has no user namespaces
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Site:
    """`kapman ui` as it runs: its address, and the database behind it."""

    url: str
    database: Database

    def hashes(self) -> list[tuple[str, str, int]]:
        """(table, hash, rows) of every table."""
        with self.database.connect() as connection:
            return database_hashes(connection)

    def value(self, query: Any) -> Any:
        """The single value of a query."""
        with self.database.connect() as connection:
            row = connection.execute(query).fetchone()
            assert row is not None
            return row[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, headless. Without it the tests skip; in CI they fail."""
    chromium = shutil.which("chromium")
    if chromium is None:
        reason = "no chromium on PATH to drive the web interface with; sudo apt-get install -y chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=chromium, args=BROWSER_ARGUMENTS)
        yield instance
        instance.close()


@pytest.fixture(scope="module")
def site(browser: Browser, server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`kapman ui` on a platform of its own: a small vendor, a database that doesn't exist yet.

    Asks for the browser first, so that nothing is started for tests that are skipped.
    """
    home = tmp_path_factory.mktemp("site")
    dagster_home, watchlists = home / "dagster", home / "watchlists"
    dagster_home.mkdir()
    watchlists.mkdir()
    shutil.copy(PROJECT / "dagster_home" / "dagster.yaml", dagster_home)
    (watchlists / "test.txt").write_text(WATCHLIST)
    name = f"kapman_test_{secrets.token_hex(4)}"
    database_url = url_of(server_url, name)
    own = {
        "DATABASE_URL": database_url,
        "DAGSTER_HOME": str(dagster_home),
        "KAPMAN_HOME": str(home),
        "KAPMAN_VAULT_URL": (home / "vault").as_uri(),
        "KAPMAN_WATCHLISTS": str(watchlists),
        "KAPMAN_ENV": "test",
    }
    try:
        with Simulator(MARKET) as vendor, web_interface({**vendor.environment, **own}, "ui.log") as url:
            yield Site(url, Database(database_url, "tests"))
    finally:
        with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def web_interface(environment: Mapping[str, str], log: str) -> Iterator[str]:
    """`kapman ui` in that environment; its address. It must end with success at Ctrl-C."""
    ARTIFACTS.mkdir(exist_ok=True)
    with (ARTIFACTS / log).open("wb") as output:
        port = _free_port()
        server = subprocess.Popen(
            [Path(sys.executable).with_name("kapman"), "ui", "--port", str(port)],
            env={**os.environ, **environment},
            cwd=PROJECT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _answering(server, port, log)
        finally:
            server.send_signal(signal.SIGINT)  # never a kill: it would leave Dagster's processes behind
            ended = server.wait(STOP_SECONDS)
        assert ended == 0, "Ctrl-C ends `kapman ui` with success"


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh browser window; what it shows at the end of the test is kept as a screenshot, passed or not."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    window = context.new_page()
    yield window
    window.screenshot(path=ARTIFACTS / f"{request.node.name}.png", animations="disabled")
    context.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _answering(server: subprocess.Popen[bytes], port: int, log: str) -> str:
    """Where the web interface answers, as soon as it does."""
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, f"`kapman ui` ended with {server.returncode}; see {ARTIFACTS / log}"
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/server_info").is_success:
                return url
        time.sleep(0.2)
    raise TimeoutError(f"`kapman ui` didn't answer within {START_SECONDS} s; see {ARTIFACTS / log}")
