"""A person at the browser: the lineage, a repave by clicking, a check's evidence, one partition by clicking.

Drives Debian's chromium through Playwright against `kapman ui`, with a small simulated market. The
screenshots land in test-artifacts/. A run's page is opened while the run goes on and is never reloaded,
so these tests also hold the live log to its promise.
"""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from kapman_cli.ui import GROUPS, LINEAGE
from tests.e2e.conftest import ARTIFACTS, PATIENCE_MS, TODAY, Site

pytestmark = pytest.mark.e2e

ASSETS = (
    "schema",
    "tickers",
    "watchlists",
    "ohlcv",
    "options_chains",
    "daily_snapshots",
    "dealer_metrics",
    "volatility_metrics",
)
SESSIONS = "[2026-11-11...2026-11-20]"  # the eight sessions of the small market
RUN_MS = 120_000


def choose_partitions(page: Page, partitions: str, count: str) -> None:
    """Type partitions into the launch dialog, and see how many it takes them for."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("of 501 partitions").wait_for()  # loaded; before that the dialog forgets what is typed
    dialog.get_by_text("Custom", exact=True).click()
    field = dialog.get_by_role("textbox")
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
    path = page.get_by_role("link", name="View", exact=True).first.get_attribute("href", timeout=RUN_MS)
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


def test_the_lineage_shows_the_eight_assets(site: Site, page: Page) -> None:
    """The address that `kapman ui` prints: the whole chain on one page, group by group, no box to open first."""
    page.goto(f"{site.url}{LINEAGE}")
    graph = page.locator("svg")
    for group in GROUPS:
        expect(graph.get_by_text(group, exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    for asset in ASSETS:
        expect(graph.get_by_text(asset, exact=True).first).to_be_visible(timeout=PATIENCE_MS)


def test_a_repave_by_clicking_rebuilds_the_database(site: Site, repaved: str, page: Page) -> None:
    """One run of job `repave`, green, over the sessions asked for, and the tables are filled."""
    page.goto(site.url + repaved)
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("link", name="repave", exact=True)).to_be_visible()
    expect(page.get_by_text("Errored (0)")).to_be_visible()
    # Each step, its checks, and the checks that ask the vendor for its files and the store for its backups.
    expect(page.get_by_text(f"Succeeded ({2 * len(ASSETS) + 2})")).to_be_visible()
    rows = {table: rows for table, _, rows in site.hashes()}
    assert rows["watchlists"] == 3
    assert rows["options_chains"] == 3 * 60
    assert rows["daily_snapshots"] == 3 * 8
    assert min(rows["tickers"], rows["ohlcv"]) > 40
    assert site.value("SELECT count(DISTINCT date) FROM ohlcv") == 8
    assert site.value("SELECT count(dealer_metrics_json) FROM daily_snapshots") == 3
    assert site.value("SELECT count(volatility_metrics_json) FROM daily_snapshots") == 3


def test_a_check_shows_its_evidence(site: Site, repaved: str, page: Page) -> None:
    """A verdict comes with its numbers, and with the query that they can be verified by."""
    page.goto(f"{site.url}/assets/ohlcv")
    page.get_by_role("tab", name="Checks").click()
    page.get_by_text("ohlcv_is_loaded", exact=True).first.click()
    expect(page.get_by_text("Passed", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    bars = site.value("SELECT count(*) FROM ohlcv")
    for name, number in (("bars", bars), ("sessions", 8), ("violations", 0)):
        row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=name, exact=True))
        expect(row.get_by_role("cell", name=str(number), exact=True)).to_be_visible()
    page.get_by_text("[Show Markdown]").click()
    query = page.get_by_role("dialog").get_by_text("WHERE NOT EXISTS")
    expect(query).to_contain_text('FROM "public"."ohlcv"', timeout=PATIENCE_MS)


@pytest.mark.parametrize("asset", ["ohlcv", "options_chains", "dealer_metrics", "volatility_metrics"])
def test_an_asset_shows_a_picture_of_its_rows(site: Site, repaved: str, page: Page, asset: str) -> None:
    """Its page has ten rows of the newest session, and one click opens a picture that the browser can draw."""
    page.goto(f"{site.url}/assets/{asset}")
    preview = page.get_by_role("row").filter(has=page.get_by_role("cell", name="preview", exact=True))
    expect(preview.get_by_role("cell", name="AAPL", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    page.screenshot(path=ARTIFACTS / f"asset_{asset}.png", animations="disabled")
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="picture", exact=True))
    row.get_by_text("[Show Markdown]").last.click()
    picture = page.get_by_role("dialog").locator("img")
    expect(picture).to_be_visible()
    expect(picture).to_have_js_property("naturalWidth", 840)


def test_one_partition_by_clicking_changes_nothing(site: Site, repaved: str, page: Page) -> None:
    """The newest session of `ohlcv` again: green, and not a value differs."""
    before = site.hashes()
    page.goto(f"{site.url}/assets/ohlcv")
    page.get_by_role("button", name="Materialize").first.click()
    choose_partitions(page, f"{TODAY}", "1 partition")
    assert watch(page, site, launch(page, "Launch 1 run")) == "RUN_SUCCESS"
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    assert site.hashes() == before
    page.goto(f"{site.url}/assets/ohlcv?view=partitions")
    expect(page.get_by_text("Materialized (8)")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("Failed (0)")).to_be_visible()


def test_schema_alone_destroys_nothing(site: Site, repaved: str, page: Page) -> None:
    """Only job `repave` paves: a click on `schema` finds no migration to apply and leaves every row."""
    before = site.hashes()
    page.goto(f"{site.url}/assets/schema")
    page.get_by_role("button", name="Materialize").first.click()
    assert watch(page, site, notice(page)) == "RUN_SUCCESS"
    assert site.hashes() == before
    page.goto(f"{site.url}/assets/schema")
    paved = page.get_by_role("row").filter(has=page.get_by_role("cell", name="paved", exact=True))
    expect(paved).to_contain_text("false", timeout=PATIENCE_MS)


def test_a_backfill_of_published_sessions_succeeds(site: Site, repaved: str, page: Page) -> None:
    """A range of one asset from its own page: one run, and the backfill as a whole is green."""
    before = site.hashes()
    page.goto(f"{site.url}/assets/daily_snapshots")
    page.get_by_role("button", name="Materialize").first.click()
    choose_partitions(page, "[2026-11-16...2026-11-20]", "5 partitions")
    page.goto(site.url + launch(page, "Launch backfill"))
    status = page.get_by_text("Status", exact=True).locator("..")
    expect(status).to_contain_text(re.compile("Succeeded|Failed"), timeout=RUN_MS)
    expect(status).to_contain_text("Succeeded")
    assert site.hashes() == before


def test_a_step_out_of_order_says_what_is_missing(site: Site, repaved: str, page: Page) -> None:
    """Dealer metrics of a session without option chains: refused, and the run's page says why and what to do."""
    before = site.hashes()
    page.goto(f"{site.url}/assets/dealer_metrics")
    page.get_by_role("button", name="Materialize").first.click()
    choose_partitions(page, "2026-11-19", "1 partition")
    assert watch(page, site, launch(page, "Launch 1 run")) == "RUN_FAILURE"
    sentence = page.get_by_text("'options_chains' of 2026-11-19 has not been published. Materialize it first")
    expect(sentence.first).to_be_visible(timeout=PATIENCE_MS)
    assert site.hashes() == before
