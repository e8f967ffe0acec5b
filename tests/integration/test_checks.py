"""No check is decoration: each one passes on a repaved market and turns red when its subject is broken.

The structure's audits have the same test in test_structure.py. Sabotage happens in a transaction that is
rolled back; constraints that would forbid it are dropped first, as a careless hand would.
"""

import datetime as dt

import dagster as dg
import pytest
from psycopg import sql

from kapman_assets import audits, verification
from kapman_assets.audits import Audit, run_audit
from kapman_assets.resources import DatabaseResource
from kapman_resources.sessions import session_close
from kapman_resources.structure_facts import STRUCTURE_AUDITS
from tests.integration.conftest import Platform

AUDITS = {
    audit.name: (audit, relation) for found, relation in verification.AUDITS.values() for audit in found
}
STRUCTURAL = {audit.name for audit in STRUCTURE_AUDITS}

# What breaks each audit, statement by statement.
SABOTAGE: dict[str, list[str]] = {
    "tables_are_empty_until_loaded": ["DELETE FROM kapman_meta.load_manifest WHERE asset = 'ohlcv'"],
    "tickers_are_loaded": ["UPDATE tickers SET active = false"],
    "ticker_symbols_are_unique_and_clean": [
        "ALTER TABLE tickers DROP CONSTRAINT tickers_id_check",
        "ALTER TABLE tickers DROP CONSTRAINT tickers_symbol_check",
        "UPDATE tickers SET symbol = symbol || ' ' WHERE symbol = 'AAPL'",
    ],
    "watchlists_are_not_empty": ["UPDATE watchlists SET active = false"],
    "some_active_symbol_has_a_ticker": ["UPDATE watchlists SET symbol = symbol || '.X'"],
    "active_symbols_resolve_to_tickers": [],  # the test market's NOSUCH breaks it from the start
    "ohlcv_is_loaded": ["DELETE FROM ohlcv"],
    "ohlcv_prices_are_sane": [
        "ALTER TABLE ohlcv DROP CONSTRAINT ohlcv_prices_check",
        "UPDATE ohlcv SET high = low / 2 WHERE date = (SELECT max(date) FROM ohlcv)",
    ],
    "ohlcv_has_no_orphans": [
        "ALTER TABLE ohlcv DROP CONSTRAINT ohlcv_ticker_id_fkey",
        "UPDATE ohlcv SET ticker_id = uuid_nil() WHERE ctid = (SELECT min(ctid) FROM ohlcv) AND date = (SELECT min(date) FROM ohlcv)",
    ],
    "ohlcv_dates_are_sessions": [
        "INSERT INTO ohlcv SELECT ticker_id, '2026-11-15', open, high, low, close, volume FROM ohlcv WHERE date = '2026-11-13'"
    ],
    "ohlcv_covers_every_session": ["DELETE FROM ohlcv WHERE date = '2026-11-11'"],
    "ohlcv_has_the_newest_session": ["DELETE FROM ohlcv WHERE date = '2026-11-20'"],
    "ohlcv_rows_are_accounted_for": [
        "DELETE FROM ohlcv WHERE date = '2026-11-11' AND ticker_id = (SELECT id FROM tickers WHERE symbol = 'AAPL')"
    ],
    "options_chains_are_loaded": ["DELETE FROM options_chains"],
    "option_keys_are_unique": [
        "ALTER TABLE options_chains DROP CONSTRAINT options_chains_key",
        "INSERT INTO options_chains SELECT * FROM options_chains LIMIT 1",
    ],
    "option_contracts_are_sane": ["UPDATE options_chains SET expiration_date = expiration_date - 1200"],
    "option_snapshots_are_at_the_close": ["UPDATE options_chains SET time = time + interval '1 minute'"],
    "option_chains_cover_active_symbols": [],  # AMZN has no chain in the test market
    "every_expiration_has_calls_and_puts": ["DELETE FROM options_chains WHERE option_type = 'P'"],
    "most_contracts_have_greeks": ["UPDATE options_chains SET gamma = NULL"],
    "option_rows_are_accounted_for": [
        "UPDATE kapman_meta.load_manifest SET rows_read = rows_read + 1 WHERE asset = 'options_chains'"
    ],
    "daily_snapshots_are_loaded": ["UPDATE daily_snapshots SET technical_indicators_json = NULL"],
    "snapshots_have_both_metrics": ["UPDATE daily_snapshots SET price_metrics_json = NULL"],
    "snapshots_are_at_the_close": ["UPDATE daily_snapshots SET time = time + interval '7 hours'"],
    "snapshots_cover_every_bar_of_the_newest_session": [
        "DELETE FROM daily_snapshots s USING tickers t WHERE t.id = s.ticker_id AND symbol = 'AAPL'"
    ],
    "snapshots_without_split_like_jumps": [
        """UPDATE daily_snapshots SET price_metrics_json = jsonb_set(price_metrics_json, '{quality}',
               price_metrics_json->'quality' || '{"flags": ["split_like_jump"], "last_jump_date": "2026-11-18"}')"""
    ],
    "snapshots_are_not_stale": [
        "DELETE FROM ohlcv o USING tickers t WHERE t.id = ticker_id AND symbol = 'AAPL' AND date > '2026-11-18'",
        "DELETE FROM daily_snapshots s USING tickers t WHERE t.id = ticker_id AND symbol = 'AAPL' AND time > '2026-11-19'",
    ],
    "daily_snapshots_are_current": [
        "UPDATE kapman_meta.load_manifest SET content_hash = 'other' WHERE asset = 'ohlcv' AND partition_key = '2026-11-11'"
    ],
    "dealer_metrics_are_loaded": ["UPDATE daily_snapshots SET dealer_metrics_json = NULL"],
    "dealer_statuses_are_explained": [
        """UPDATE daily_snapshots SET dealer_metrics_json = dealer_metrics_json - 'status'"""
    ],
    "dealer_exposures_are_consistent": [
        """UPDATE daily_snapshots SET dealer_metrics_json = jsonb_set(dealer_metrics_json, '{gex_net}', '1e300')
           WHERE dealer_metrics_json->>'status' = 'FULL'"""
    ],
    "dealer_metrics_cover_active_symbols": [
        """UPDATE daily_snapshots s SET dealer_metrics_json = NULL FROM tickers t
           WHERE t.id = s.ticker_id AND symbol = 'MSFT'"""
    ],
    "chains_are_thick_enough": [
        """UPDATE daily_snapshots
           SET dealer_metrics_json = jsonb_set(dealer_metrics_json, '{quality,flags}', '["thin_chain"]')"""
    ],
    "greeks_are_fresh": [
        """UPDATE daily_snapshots
           SET dealer_metrics_json = jsonb_set(dealer_metrics_json, '{quality,flags}', '["stale_greeks"]')"""
    ],
    "dealer_metrics_are_current": [
        "UPDATE kapman_meta.load_manifest SET content_hash = 'other' WHERE asset = 'options_chains' AND partition_key <> ''"
    ],
    "volatility_metrics_are_loaded": ["UPDATE daily_snapshots SET volatility_metrics_json = NULL"],
    "volatility_statuses_are_explained": [
        """UPDATE daily_snapshots SET volatility_metrics_json = volatility_metrics_json - 'iv_rank_status'
           WHERE volatility_metrics_json->>'iv_rank' IS NULL""",
        """UPDATE daily_snapshots SET volatility_metrics_json = volatility_metrics_json - 'status'""",
    ],
    "volatilities_are_possible": [
        """UPDATE daily_snapshots SET volatility_metrics_json = jsonb_set(volatility_metrics_json, '{avg_iv}', '-0.2')
           WHERE volatility_metrics_json->>'status' = 'FULL'"""
    ],
    "volatility_metrics_cover_active_symbols": [
        """UPDATE daily_snapshots s SET volatility_metrics_json = NULL FROM tickers t
           WHERE t.id = s.ticker_id AND symbol = 'MSFT'"""
    ],
    "volatility_metrics_are_current": [
        "UPDATE kapman_meta.load_manifest SET content_hash = 'other' WHERE asset = 'options_chains' AND partition_key <> ''"
    ],
}
BROKEN_FROM_THE_START = {"active_symbols_resolve_to_tickers", "option_chains_cover_active_symbols"}


def test_every_audit_has_its_sabotage() -> None:
    """A new audit without a way to make it fail is noticed."""
    assert set(SABOTAGE) == set(AUDITS) - STRUCTURAL


def test_every_check_is_green_on_a_repaved_market(repaved: Platform) -> None:
    """Only what the market was made to lack is reported, as warnings, and what the edition lacks."""
    failed = {e.check_name for e in repaved.run("validate").get_asset_check_evaluations() if not e.passed}
    assert failed - {"columnstore_is_available"} == BROKEN_FROM_THE_START


@pytest.mark.parametrize("name", sorted(SABOTAGE))
def test_the_audit_turns_red(repaved: Platform, name: str) -> None:
    """The audit passes before and fails after, with a count and examples."""
    audit, relation = AUDITS[name]
    parameters = DatabaseResource().audit_parameters()
    with repaved.connect() as connection:
        before = run_audit(connection, audit, relation, parameters)
        assert before.passed is (name not in BROKEN_FROM_THE_START), before
        for statement in SABOTAGE[name]:
            connection.execute(sql.SQL(statement))  # type: ignore[arg-type]
        after = run_audit(connection, audit, relation, parameters)
        connection.rollback()
    assert not after.passed
    assert after.count >= len(after.examples) > 0


def test_what_the_window_has_left_behind_is_not_missed(repaved: Platform) -> None:
    """Two years on, old bars and chains expire and old snapshots stay: neither turns a check red."""
    parameters = DatabaseResource().audit_parameters()
    parameters["sessions"] = [
        session for session in parameters["sessions"] if session >= dt.date(2026, 11, 12)
    ]
    parameters["closes"] = [session_close(session) for session in parameters["sessions"]]
    with repaved.connect() as connection:
        connection.execute(
            "INSERT INTO kapman_meta.load_manifest (asset, partition_key, sources, rows_read, rows_written)"
            " VALUES ('options_chains', '2026-11-11', '[]', 5, 5)"
        )
        for expired in ("before the retention job", "after it"):
            red = {
                name
                for name, (audit, relation) in AUDITS.items()
                if not run_audit(connection, audit, relation, parameters).passed
            }
            assert red - {"columnstore_is_available"} == BROKEN_FROM_THE_START, expired
            connection.execute("DELETE FROM ohlcv WHERE date < '2026-11-12'")
        connection.rollback()


def test_a_red_blocking_check_stops_the_run_and_shows_its_evidence(platform: Platform) -> None:
    """As a person sees it: the step after the broken one doesn't start, and the check shows numbers and query."""
    platform.run("repave")
    with platform.connect() as connection:
        connection.execute(
            "UPDATE kapman_meta.load_manifest SET rows_read = rows_read + 7 WHERE asset = 'ohlcv'"
        )
    result = platform.run("validate", raise_on_error=False)
    assert not result.success
    (check,) = (
        e for e in result.get_asset_check_evaluations() if e.check_name == "ohlcv_rows_are_accounted_for"
    )
    assert not check.passed
    assert check.blocking
    assert check.metadata["violations"].value == 30
    assert "rows_read" in check.metadata["query"].value
    assert "2026-11-20" in check.metadata["examples"].value or "2026-10" in check.metadata["examples"].value


def test_a_query_with_many_violations_shows_ten(repaved: Platform) -> None:
    """The count is whole, the examples are few."""
    many = Audit("many", "", "SELECT n FROM generate_series(1, 25) n", "SELECT 25 AS rows")
    with repaved.connect() as connection:
        verdict = run_audit(connection, many, sql.SQL(""), {})
    assert (verdict.count, len(verdict.examples)) == (25, audits.EXAMPLES)
    assert verdict.audit.severity is dg.AssetCheckSeverity.ERROR
