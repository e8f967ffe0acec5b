"""The real market of 2026 through the platform's own doors: a dataset served, repaved, read in psql.

Skips, with the reason, where the data is not at hand.
"""

import datetime as dt
import gzip
import json
import os
import re
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from kapman_simulator import MarketOptions, Simulator
from tests.conftest import PROJECT, dataset, url_of

UNDERLYINGS = {"AAPL", "AMD", "BRK.B", "META", "MSFT", "NVDA", "TSLA"}
WATCHLISTS = PROJECT / "data" / "watchlists"
ARCHIVED = (dt.date(2026, 7, 10), dt.date(2026, 8, 19))
NEWEST = dt.date(2026, 8, 21)
CHAINS = {ARCHIVED[0]: {*UNDERLYINGS, "IWM", "QQQ", "SPY"}, ARCHIVED[1]: UNDERLYINGS, NEWEST: UNDERLYINGS}
"""The active symbols that have a chain in the data, by session."""


def environment_of(vendor: Simulator, url: str, home: Path, watchlists: Path) -> dict[str, str]:
    """What `kapman` and `dagster` need to find vendor, database and everything else."""
    return {
        **os.environ,
        **vendor.environment,
        "DATABASE_URL": url,
        "KAPMAN_HOME": str(home),
        "KAPMAN_WATCHLISTS": str(watchlists),
        "DAGSTER_HOME": str(home / "dagster"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@contextmanager
def platform_on(
    vendor: Simulator, server_url: str, home: Path, watchlists: Path = WATCHLISTS
) -> Iterator[tuple[dict[str, str], str]]:
    """The environment of a platform that was repaved by the command that people type; what it printed."""
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text((PROJECT / "dagster_home" / "dagster.yaml").read_text())
    name = f"kapman_test_{secrets.token_hex(4)}"
    environment = environment_of(vendor, url_of(server_url, name), home, watchlists)
    command = ["dagster", "job", "execute", "-m", "kapman_assets", "-j", "repave"]
    run = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    yield environment, run.stderr + run.stdout
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def repaved(
    server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], str]]:
    """The platform on market_2026."""
    home = tmp_path_factory.mktemp("market_2026")
    for session in ARCHIVED:  # each on its own evening, as the vendor serves no other
        with Simulator(MarketOptions(today=session), dataset=dataset("market_2026")) as vendor:
            archive(vendor, home)
    with Simulator(dataset=dataset("market_2026")) as vendor:
        assert vendor.environment["KAPMAN_AS_OF"] == "2026-08-21"
        with platform_on(vendor, server_url, home) as platform:
            yield platform


def archive(vendor: Simulator, home: Path) -> None:
    """The evening's chains into the vault, without a database."""
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    kapman(environment_of(vendor, nowhere, home, WATCHLISTS), "vault", "archive")


def kapman(environment: dict[str, str], *arguments: str) -> str:
    """What a `kapman` command prints."""
    run = subprocess.run(
        ["kapman", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return run.stdout


def test_the_real_market_is_repaved(repaved: tuple[dict[str, str], str]) -> None:
    """All sessions of the window and the real chains of three of them are there, two of them from the vault alone."""
    environment, _ = repaved
    summary = kapman(environment, "summary")
    assert "repave" in summary
    assert "success" in summary
    # Odd rows are named and ordinary ones are not: the files have no bars of BRK.B.
    assert "snapshots_are_not_stale: 1 violations" in summary
    for quiet in ("snapshots_without_split_like_jumps", "chains_are_thick_enough", "greeks_are_fresh"):
        assert quiet not in summary
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        sessions, first, last = connection.execute(
            "SELECT count(DISTINCT date), min(date)::text, max(date)::text FROM ohlcv"
        ).fetchone()
        assert (sessions, first, last) == (501, "2024-08-22", "2026-08-21")
        chains = connection.execute(
            "SELECT (time AT TIME ZONE 'America/New_York')::date, array_agg(DISTINCT symbol), count(*)"
            " FROM options_chains o JOIN tickers t ON t.id = o.ticker_id GROUP BY 1"
        ).fetchall()
    assert {session: set(symbols) for session, symbols, _ in chains} == CHAINS
    assert min(count for _, _, count in chains) > 20_000


def test_apples_row_in_psql(repaved: tuple[dict[str, str], str]) -> None:
    """AAPL at the close of 2026-08-21, as psql shows it."""
    environment, _ = repaved
    shown = kapman(
        environment, "db", "psql", "-At", "-c",
        "SELECT price_metrics_json->>'close', dealer_metrics_json->>'status', dealer_metrics_json->>'position'"
        " FROM daily_snapshots s JOIN tickers t ON t.id = s.ticker_id"
        " WHERE symbol = 'AAPL' AND s.time = '2026-08-21 16:00 America/New_York'",
    )  # fmt: skip
    close, status, position = shown.strip().split("|")
    assert float(close) == pytest.approx(309.3500061035156, abs=0)
    assert (status, position) == ("FULL", "long_gamma")


def test_dealer_metrics_of_real_chains_are_sane(repaved: tuple[dict[str, str], str]) -> None:
    """Every active symbol has a row in each session, and those with a chain sane values: flip within the grid, walls on
    listed strikes, spot from the session's close, and |net| ≤ total."""
    environment, _ = repaved
    with psycopg.connect(environment["DATABASE_URL"], row_factory=dict_row) as connection:
        rows = connection.execute(
            "SELECT t.id, symbol, s.time, (s.time AT TIME ZONE 'America/New_York')::date AS session, close,"
            " dealer_metrics_json AS m FROM daily_snapshots s JOIN tickers t ON t.id = s.ticker_id"
            " LEFT JOIN ohlcv o ON o.ticker_id = t.id AND o.date = (s.time AT TIME ZONE 'America/New_York')::date"
            " WHERE dealer_metrics_json IS NOT NULL"
        ).fetchall()
        strikes = {
            (row["time"], row["ticker_id"]): set(row["strikes"])
            for row in connection.execute(
                "SELECT time, ticker_id, array_agg(DISTINCT strike_price::float8) AS strikes"
                " FROM options_chains GROUP BY 1, 2"
            )
        }
    assert Counter(row["session"] for row in rows) == dict.fromkeys(CHAINS, 40)
    for row in rows:
        metrics = row["m"]
        if row["symbol"] not in CHAINS[row["session"]]:
            assert (metrics["status"], metrics["status_reason"]) == ("INVALID", "no_options")
            continue
        assert metrics["status"] == "FULL"
        if row["symbol"] == "BRK.B":  # the files have no bar of it: the archived snapshot's price stands in
            assert (row["close"], metrics["spot_source"]) == (None, "vendor_underlying_price")
        else:
            assert metrics["spot"] == pytest.approx(row["close"], rel=1e-11)
            assert metrics["spot_source"] == "ohlcv"
        assert abs(metrics["gex_net"]) <= metrics["gex_total"]
        if metrics["gamma_flip"] is not None:
            assert 0.8 <= metrics["gamma_flip"] / metrics["spot"] <= 1.2
        walls = metrics["call_walls"] + metrics["put_walls"]
        assert walls
        assert all(wall["strike"] in strikes[row["time"], row["id"]] for wall in walls)
        assert metrics["quality"]["flags"] == []
        assert metrics["quality"]["stale_greeks_share"] < 0.1


def test_volatility_metrics_of_real_chains_are_sane(repaved: tuple[dict[str, str], str]) -> None:
    """Every active symbol has a row in each session; with a chain the IVs are those of large caps and funds, and the
    rank is null for want of history and says so."""
    environment, _ = repaved
    with psycopg.connect(environment["DATABASE_URL"], row_factory=dict_row) as connection:
        rows = connection.execute(
            "SELECT symbol, (s.time AT TIME ZONE 'America/New_York')::date AS session, price_metrics_json AS p,"
            " volatility_metrics_json AS m FROM daily_snapshots s JOIN tickers t ON t.id = s.ticker_id"
            " WHERE volatility_metrics_json IS NOT NULL"
        ).fetchall()
    assert Counter(row["session"] for row in rows) == dict.fromkeys(CHAINS, 40)
    for row in rows:
        metrics = row["m"]
        assert metrics["iv_rank"] is None
        if row["symbol"] not in CHAINS[row["session"]]:
            assert (metrics["status"], metrics["status_reason"]) == ("INVALID", "no_options")
            assert metrics["iv_rank_status"] == "no_iv"
            continue
        assert (metrics["status"], metrics["iv_rank_status"]) == ("FULL", "history_too_short")
        before = [
            session for session in CHAINS if session < row["session"] and row["symbol"] in CHAINS[session]
        ]
        assert metrics["iv_history_sessions"] == len(before)
        assert 0.05 < metrics["atm_iv_30d"] < 1.0
        assert 0.02 < metrics["expected_move_30d"] / metrics["spot"] < 0.25
        if row["p"]:
            hv_20 = row["p"]["hv_20"]
            assert metrics["iv_hv_spread"] == pytest.approx(100 * (metrics["atm_iv_30d"] - hv_20), abs=1e-9)


def test_the_published_example_gets_apples_net_gex(repaved: tuple[dict[str, str], str]) -> None:
    """docs/analytics.md recomputes AAPL's net GEX from its real contracts, as printed there."""
    environment, _ = repaved
    page = (PROJECT / "docs" / "analytics.md").read_text()
    query = page.split("-- net GEX by hand\n")[1].split("```")[0]
    with psycopg.connect(environment["DATABASE_URL"], row_factory=dict_row) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    assert (row["symbol"], row["session"]) == ("AAPL", dt.date(2026, 8, 21))
    assert row["contracts"] == row["eligible_options_count"] == 473
    assert row["gex_net_by_hand"] == pytest.approx(row["gex_net"], abs=1e-11 * row["gex_total"])
    printed = re.search(r"gex_net_by_hand\s*\| (\S+)", page)
    assert printed
    assert float(printed[1]) == pytest.approx(row["gex_net"], rel=1e-11)


def accounts(environment: dict[str, str]) -> dict[str, dict[str, int]]:
    """By asset the rows read, written, ignored and quarantined, and those that the quarantine holds."""
    with psycopg.connect(environment["DATABASE_URL"], row_factory=dict_row) as connection:
        rows = connection.execute(
            """
            SELECT asset, sum(rows_read)::int AS read, sum(rows_written)::int AS written,
                   sum(rows_quarantined)::int AS quarantined,
                   sum((SELECT coalesce(sum(v::bigint), 0) FROM jsonb_each_text(rows_ignored) AS i(k, v)))::int
                       AS ignored,
                   (SELECT count(*) FROM kapman_meta.quarantine q WHERE q.asset = m.asset) AS kept
            FROM kapman_meta.load_manifest m WHERE asset IN ('ohlcv', 'options_chains', 'tickers') GROUP BY asset
            """
        ).fetchall()
    for row in rows:
        assert row["read"] == row["written"] + row["ignored"] + row["quarantined"], row
        assert row["kept"] == row["quarantined"], row
    return {row.pop("asset"): row for row in rows}


def test_every_row_of_the_market_is_accounted_for(repaved: tuple[dict[str, str], str]) -> None:
    """Every row of every file is written, ignored with a reason, or quarantined."""
    environment, _ = repaved
    assert accounts(environment)["ohlcv"]["written"] > 128_000


def test_odd_symbols_load_with_every_row_accounted_for(server_url: str, tmp_path: Path) -> None:
    """11,142 symbols of eleven sessions, preferreds, warrants and units among them: as many bars as the files say."""
    folder = dataset("odd_symbols_2025")
    reference = {ticker["ticker"] for page in _pages(folder / "reference") for ticker in page["results"]}
    listed = read = 0
    for path in folder.glob("flatfiles/us_stocks_sip/day_aggs_v1/*/*/*.csv.gz"):
        with gzip.open(path, "rt") as text:
            symbols = [line.partition(",")[0] for line in list(text)[1:]]
        read += len(symbols)
        listed += sum(symbol in reference for symbol in symbols)
    with (
        Simulator(dataset=folder) as vendor,
        platform_on(vendor, server_url, tmp_path) as (environment, _),
    ):
        books = accounts(environment)
        assert (books["ohlcv"]["read"], books["ohlcv"]["written"]) == (read, listed)
        assert books["tickers"]["written"] == len(reference)
        with psycopg.connect(environment["DATABASE_URL"]) as connection:
            odd = connection.execute(
                "SELECT count(DISTINCT symbol) FROM tickers t JOIN ohlcv o ON o.ticker_id = t.id"
                " WHERE symbol ~ '[a-z.]'"
            ).fetchone()
        assert odd
        assert odd[0] > 400


def test_a_genuine_vendor_snapshot_loads_with_every_contract_accounted_for(
    server_url: str, tmp_path: Path
) -> None:
    """8,004 contracts of ten underlyings as the vendor sent them, beside the bars of that session."""
    snapshot, market = dataset("vendor_snapshot_2025"), dataset("market_2026")
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name, source in (("options", snapshot), ("reference", market), ("flatfiles", market)):
        (folder / name).symlink_to(source / name)
    sent = [contract for page in _pages(snapshot / "options") for contract in page["results"]]
    names = sorted(path.name.removesuffix(".pages.jsonl.gz") for path in (snapshot / "options").rglob("*.gz"))
    (tmp_path / "watchlists").mkdir()
    (tmp_path / "watchlists" / "snapshot.txt").write_text("\n".join(names))
    with (
        Simulator(MarketOptions(today=dt.date(2025, 11, 7)), dataset=folder) as vendor,
        platform_on(vendor, server_url, tmp_path, tmp_path / "watchlists") as (environment, _),
    ):
        books = accounts(environment)["options_chains"]
        assert books["read"] == len(sent)
        with psycopg.connect(environment["DATABASE_URL"]) as connection:
            found = connection.execute(
                "SELECT count(*), count(gamma), sum(open_interest)::bigint FROM options_chains"
            ).fetchone()
        assert found is not None
        assert found[0] == books["written"] > 0.95 * len(sent)
        assert found[1] == pytest.approx(sum("gamma" in c.get("greeks", {}) for c in sent), rel=0.05)


def _pages(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("*.pages.jsonl.gz")):
        with gzip.open(path) as lines:
            yield from map(json.loads, lines)
