"""Running a step out of order is a clear error, never a silent empty result, through every door.

Dagster gates inside one run only; these tests click single steps on databases where the predecessor has
not passed, and on one where it passed once and has been broken since.
"""

import pytest

from kapman_assets.order import CHAIN
from tests.integration.conftest import TODAY, Platform


def refusal(platform: Platform, asset: str) -> str:
    """The sentence with which the database refuses the step."""
    partition = TODAY if CHAIN.index(asset) >= CHAIN.index("ohlcv") else None
    result = platform.materialize(asset, partition=partition, raise_on_error=False)
    assert not result.success
    error = result.failure_data_for_node(asset).error
    while error.cause:
        error = error.cause
    return error.message


@pytest.mark.parametrize("asset", CHAIN[1:])
def test_without_a_database_each_step_names_the_command(platform: Platform, asset: str) -> None:
    """The database doesn't exist: the sentence says how to make it."""
    sentence = refusal(platform, asset)
    assert "has no database" in sentence
    assert "repave" in sentence


def test_each_step_waits_for_its_predecessor(platform: Platform) -> None:
    """Paved and empty: every step but the next one is refused, naming what is missing and its command."""
    platform.materialize("schema")
    assert "'tickers'" in refusal(platform, "watchlists")
    assert "'tickers'" in refusal(platform, "ohlcv")
    platform.materialize("tickers")
    sentence = refusal(platform, "ohlcv")
    assert "'watchlists', on which it stands, has not passed" in sentence
    assert "dagster asset materialize -m kapman_assets --select watchlists" in sentence
    platform.materialize("watchlists")
    assert "'ohlcv'" in refusal(platform, "options_chains")
    assert "'ohlcv'" in refusal(platform, "daily_snapshots")
    platform.materialize("ohlcv", partition=TODAY)
    assert "'options_chains'" in refusal(platform, "daily_snapshots")
    platform.materialize("options_chains", partition=TODAY)
    assert "'daily_snapshots'" in refusal(platform, "dealer_metrics")
    platform.materialize("daily_snapshots", partition=TODAY)
    assert "'dealer_metrics'" in refusal(platform, "volatility_metrics")
    assert platform.materialize("dealer_metrics", partition=TODAY).success
    assert platform.materialize("volatility_metrics", partition=TODAY).success


def test_a_session_waits_for_its_own_predecessor(platform: Platform) -> None:
    """The chain has passed for today, not for yesterday: yesterday's step is refused by date."""
    platform.run("repave", first=TODAY)
    result = platform.materialize("daily_snapshots", partition="2026-11-19", raise_on_error=False)
    sentence = str(result.failure_data_for_node("daily_snapshots").error)
    assert "'ohlcv' of 2026-11-19 has not been published" in sentence
    assert "--partition 2026-11-19" in sentence


def test_a_predecessor_that_broke_after_it_passed_stops_the_next(platform: Platform) -> None:
    """What somebody did to the table by hand is found before a step builds on it."""
    platform.run("repave", first=TODAY)
    with platform.connect() as connection:
        connection.execute("ALTER TABLE tickers DROP CONSTRAINT tickers_id_check")
        connection.execute("UPDATE tickers SET symbol = 'A APL' WHERE symbol = 'AAPL'")
    sentence = refusal(platform, "watchlists")
    assert "'tickers' fails its check 'ticker_symbols_are_unique_and_clean'" in sentence
    assert "A APL" in sentence


def test_migrating_alone_keeps_every_row(platform: Platform) -> None:
    """Materializing `schema` without asking for a pave applies migrations and destroys nothing."""
    platform.run("repave", first=TODAY)
    bars = platform.value("SELECT count(*) FROM ohlcv")
    assert platform.materialize("schema").success
    assert platform.value("SELECT count(*) FROM ohlcv") == bars > 0
    assert platform.materialize("schema", config={"ops": {"schema": {"config": {"pave": True}}}}).success
    assert platform.value("SELECT count(*) FROM ohlcv") == 0


def test_a_load_during_a_repave_is_refused_naming_the_holder(platform: Platform) -> None:
    """One lock: whoever comes second is told who is at work."""
    platform.run("repave", first=TODAY)
    with platform.database.lock(exclusive=True):
        sentence = refusal(platform, "ohlcv")
    assert "in use by tests" in sentence
    with platform.database.lock(exclusive=False):
        assert platform.materialize("ohlcv", partition=TODAY).success
        result = platform.run("repave", raise_on_error=False)
    assert "in use by tests" in str(result.failure_data_for_node("schema").error)
    assert platform.value("SELECT count(*) FROM ohlcv") > 0
