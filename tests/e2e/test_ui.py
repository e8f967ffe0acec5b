"""A person at the browser: the lineage, a repave by clicking, a check's evidence, one partition by clicking.

Drives Debian's chromium through Playwright against `kapman ui`, with a small simulated market. The
screenshots land in test-artifacts/. A run's page is opened while the run goes on and is never reloaded,
so these tests also hold the live log to its promise.
"""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import PATIENCE_MS, TODAY, Site

pytestmark = pytest.mark.e2e

ASSETS = ("schema", "tickers", "watchlists", "ohlcv", "options_chains", "daily_snapshots", "dealer_metrics")
SESSIONS = "[2026-11-11...2026-11-20]"  # the eight sessions of the small market
RUN_MS = 180_000


def choose_partitions(page: Page, partitions: str, count: str) -> None:
    """Type partitions into the launch dialog, as its placeholder asks for them."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Custom", exact=True).click()
    field = dialog.get_by_placeholder("ex:")
    field.fill(partitions)
    field.press("Enter")
    dialog.get_by_text(count, exact=True).wait_for()


def launch(page: Page, button: str) -> str:
    """Press the dialog's button; the address of what it started, from the notice that pops up."""
    page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()
    return notice(page)


def notice(page: Page) -> str:
    """Where the notice of a launch leads: `/runs/…`, or `/runs/b/…` for a backfill."""
    path = page.get_by_role("link", name="View", exact=True).get_attribute("href")
    assert path is not None
    return path


def watch(page: Page, site: Site, run: str) -> str:
    """Stay on a run's page until its log says how it ended."""
    page.goto(site.url + run)
    outcome = page.get_by_text(re.compile(r"^RUN_(SUCCESS|FAILURE|CANCELED)$")).first
    outcome.wait_for(timeout=RUN_MS)
    return outcome.inner_text()


def newest_run(page: Page, site: Site, job: str) -> str:
    """The topmost run on a job's page, as soon as the daemon has made one of the backfill."""
    page.goto(f"{site.url}/locations/kapman_assets/jobs/{job}/runs")
    link = page.get_by_role("row").get_by_role("link", name="View", exact=True).first
    link.wait_for(timeout=RUN_MS)
    path = link.get_attribute("href")
    assert path is not None
    return path


@pytest.fixture(scope="module")
def repaved(browser: Browser, site: Site) -> Iterator[str]:
    """The path of a repave that a person launched from the job's page over all sessions."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{site.url}/locations/kapman_assets/jobs/repave")
    page.get_by_role("button", name="Materialize all").click()
    choose_partitions(page, SESSIONS, "8 partitions")
    assert launch(page, "Launch backfill").startswith("/runs/b/")
    run = newest_run(page, site, "repave")
    assert watch(page, site, run) == "RUN_SUCCESS"
    context.close()
    yield run
