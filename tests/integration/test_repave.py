"""The word: the whole database can be destroyed and rebuilt, in order, to the same content, by one job."""

import datetime as dt
from itertools import pairwise

import dagster as dg
import pytest

from kapman_assets import defs
from kapman_assets.order import CHAIN
from kapman_resources.content_hash import database_hashes
from kapman_resources.sessions import sessions_between
from kapman_resources.structure import structure_dump
from tests.integration.conftest import TODAY, WHOLE, Platform


def hashes(platform: Platform) -> list[tuple[str, str, int]]:
    with platform.connect() as connection:
        return database_hashes(connection)


def test_two_repaves_are_the_same(repaved: Platform) -> None:
    """Content and structure are equal although every row has been written anew, over the whole window."""
    with repaved.connect() as connection:
        structure = structure_dump(connection)
        first_created = connection.execute("SELECT min(created_at) FROM tickers").fetchone()
    before = hashes(repaved)
    assert repaved.run("repave", first=WHOLE).success
    assert hashes(repaved) == before
    assert {table: rows for table, _, rows in before}["ohlcv"] > 0
    with repaved.connect() as connection:
        assert structure_dump(connection) == structure
        assert connection.execute("SELECT min(created_at) FROM tickers").fetchone() > first_created


def test_every_step_filled_its_table(repaved: Platform) -> None:
    """Each asset has published what the small market holds; nothing is a silent empty result."""
    assert repaved.value("SELECT count(*) FROM tickers") > 40
    assert repaved.value("SELECT count(*) FROM watchlists WHERE active") == 5
    assert repaved.value("SELECT count(DISTINCT date) FROM ohlcv") == 30
    assert repaved.value("SELECT count(DISTINCT ticker_id) FROM options_chains") == 3
    assert (
        repaved.value("SELECT count(*) FROM daily_snapshots WHERE technical_indicators_json IS NOT NULL")
        > 100
    )
    assert repaved.value("SELECT count(dealer_metrics_json) FROM daily_snapshots") == 4
    assert repaved.value("SELECT count(volatility_metrics_json) FROM daily_snapshots") == 4


def test_a_symbol_without_chain_is_visible(repaved: Platform) -> None:
    """AMZN is active and has no contracts in this market: its row says so."""
    status = repaved.value(
        "SELECT dealer_metrics_json->>'status' || ' ' || (dealer_metrics_json->>'status_reason')"
        " FROM daily_snapshots s JOIN tickers t ON t.id = s.ticker_id"
        " WHERE symbol = 'AMZN' AND dealer_metrics_json IS NOT NULL"
    )
    assert status == "INVALID no_options"


def test_a_watchlist_symbol_without_ticker_is_a_named_warning(repaved: Platform) -> None:
    """The run goes on; the check names the symbol."""
    result = repaved.run("validate")
    found = {
        evaluation.check_name: evaluation
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }
    warning = found["active_symbols_resolve_to_tickers"]
    assert warning.severity is dg.AssetCheckSeverity.WARN
    assert "NOSUCH" in warning.metadata["examples"].value


def test_a_range_leaves_unarchived_sessions_unmaterialized(repaved: Platform) -> None:
    """Only the session whose snapshot was taken has option chains, and Dagster says the same."""
    materialized = {
        name: repaved.instance.get_materialized_partitions(dg.AssetKey(name)) for name in CHAIN[3:]
    }
    assert materialized["options_chains"] == {str(TODAY)}
    assert materialized["dealer_metrics"] == materialized["volatility_metrics"] == {str(TODAY)}
    sessions = {str(s) for s in sessions_between(dt.date(2026, 10, 1), TODAY)}
    assert {s for s in materialized["ohlcv"] if s >= "2026-10-12"} == {
        s for s in sessions if s >= "2026-10-12"
    }
    assert len(materialized["ohlcv"]) == len(materialized["daily_snapshots"]) == 30


def test_a_repeated_load_changes_nothing(repaved: Platform) -> None:
    """Every partitioned step again over the same sources: the same content."""
    before = hashes(repaved)
    for asset in ("tickers", "watchlists"):
        repaved.materialize(asset)
    for asset in CHAIN[3:]:
        repaved.materialize(asset, partition=TODAY)
    assert hashes(repaved) == before


def test_a_damaged_session_is_mended_by_materializing_it(repaved: Platform) -> None:
    """A bar changed and one deleted by hand: the same sources are loaded again because the table differs."""
    before = hashes(repaved)
    with repaved.connect() as connection:
        connection.execute("UPDATE ohlcv SET close = (low + high) / 2 WHERE date = '2026-11-18'")
        connection.execute(
            "DELETE FROM ohlcv WHERE date = '2026-11-19' AND ticker_id = (SELECT min(id::text)::uuid FROM tickers)"
        )
        connection.execute("DELETE FROM ohlcv WHERE date = '2026-11-19' AND volume > 1e6")
    assert hashes(repaved) != before
    assert not repaved.materialize(
        "ohlcv", partition="2026-11-18", raise_on_error=False
    ).success  # the 19th is red
    assert repaved.materialize("ohlcv", partition="2026-11-19").success
    assert hashes(repaved) == before


def test_a_past_option_session_comes_from_the_vault_or_not_at_all(repaved: Platform) -> None:
    """Alone and absent from the vault it fails saying so; the archived one reloads without the vendor."""
    result = repaved.materialize("options_chains", partition="2026-11-18", raise_on_error=False)
    assert not result.success
    assert "not in the vault" in str(result.failure_data_for_node("options_chains").error)
    before = hashes(repaved)
    with repaved.connect() as connection:
        connection.execute("DELETE FROM options_chains")
    assert hashes(repaved) != before
    repaved.materialize("options_chains", partition=TODAY)
    assert hashes(repaved) == before


def test_the_destructive_job_refuses_production_without_the_name(
    repaved: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KAPMAN_ENV=prod: the pave wants the database's name in the run config, and nothing is lost."""
    from kapman_resources.settings import settings

    before = hashes(repaved)
    monkeypatch.setenv("KAPMAN_ENV", "prod")
    settings.cache_clear()
    try:
        result = repaved.run("repave", raise_on_error=False)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    assert not result.success
    assert "must name it" in str(result.failure_data_for_node("schema").error)
    assert hashes(repaved) == before


def test_the_definitions_hold_the_chain() -> None:
    """Eight assets in the order of the contract, each with blocking checks."""
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.materializable_asset_keys} == set(CHAIN)
    for before, after in pairwise(CHAIN):
        assert dg.AssetKey(before) in graph.get(dg.AssetKey(after)).parent_keys
    blocking = {key.asset_key.to_user_string() for key in graph.asset_check_keys if graph.get(key).blocking}
    assert blocking == set(CHAIN)
