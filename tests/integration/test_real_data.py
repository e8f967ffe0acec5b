"""The real market of 2026 through the platform's own doors: a dataset served, repaved, read in psql.

Skips, with the reason, where the data is not at hand.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from kapman_simulator import Simulator
from tests.conftest import PROJECT, dataset, url_of

UNDERLYINGS = {"AAPL", "AMD", "BRK.B", "META", "MSFT", "NVDA", "TSLA"}


@pytest.fixture(scope="module")
def repaved(
    server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], str]]:
    """The environment of a platform on market_2026, repaved by the command that people type; what it printed."""
    home = tmp_path_factory.mktemp("market_2026")
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text((PROJECT / "dagster_home" / "dagster.yaml").read_text())
    name = f"kapman_test_{secrets.token_hex(4)}"
    with Simulator(dataset=dataset("market_2026")) as vendor:
        environment = {
            **os.environ,
            **vendor.environment,
            "DATABASE_URL": url_of(server_url, name),
            "KAPMAN_HOME": str(home),
            "KAPMAN_WATCHLISTS": str(PROJECT / "data" / "watchlists"),
            "DAGSTER_HOME": str(home / "dagster"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        assert environment["KAPMAN_AS_OF"] == "2026-08-21"
        command = ["dagster", "job", "execute", "-m", "kapman_assets", "-j", "repave"]
        run = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert run.returncode == 0, run.stderr[-3000:]
        yield environment, run.stderr + run.stdout
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


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
    """All sessions of the window and all seven real chains are there; only known gaps are warned about."""
    environment, _ = repaved
    summary = kapman(environment, "summary")
    assert "repave" in summary
    assert "success" in summary
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        sessions, first, last = connection.execute(
            "SELECT count(DISTINCT date), min(date)::text, max(date)::text FROM ohlcv"
        ).fetchone()
        assert (sessions, first, last) == (501, "2024-08-22", "2026-08-21")
        chains = connection.execute(
            "SELECT symbol, count(*) FROM options_chains o JOIN tickers t ON t.id = o.ticker_id GROUP BY 1"
        ).fetchall()
    assert {symbol for symbol, _ in chains} == UNDERLYINGS
    assert sum(count for _, count in chains) > 20_000


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
    """Flip within the grid, walls on listed strikes, spot from the session's close, and |net| ≤ total."""
    environment, _ = repaved
    with psycopg.connect(environment["DATABASE_URL"], row_factory=dict_row) as connection:
        rows = connection.execute(
            "SELECT t.id, symbol, close, dealer_metrics_json AS m FROM daily_snapshots s"
            " JOIN tickers t ON t.id = s.ticker_id"
            " LEFT JOIN ohlcv o ON o.ticker_id = t.id AND o.date = '2026-08-21'"
            " WHERE dealer_metrics_json IS NOT NULL"
        ).fetchall()
        strikes = {
            row["ticker_id"]: set(row["strikes"])
            for row in connection.execute(
                "SELECT ticker_id, array_agg(DISTINCT strike_price::float8) AS strikes FROM options_chains GROUP BY 1"
            )
        }
    assert len(rows) == 40
    for row in rows:
        metrics = row["m"]
        if row["symbol"] not in UNDERLYINGS:
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
        assert all(wall["strike"] in strikes[row["id"]] for wall in walls)


def test_unknown_symbols_are_counted_by_name(repaved: tuple[dict[str, str], str]) -> None:
    """Every row of every file is written, ignored with a reason, or quarantined."""
    environment, _ = repaved
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        left = connection.execute(
            "SELECT sum(rows_read - rows_written - rows_quarantined) - sum(ignored) FROM ("
            " SELECT *, (SELECT coalesce(sum(v::bigint), 0) FROM jsonb_each_text(rows_ignored) AS i(k, v)) AS ignored"
            " FROM kapman_meta.load_manifest WHERE asset IN ('ohlcv', 'options_chains', 'tickers')) m"
        ).fetchone()[0]
    assert left == 0
