"""Promise: metrics of chains say what they were computed with and from, whoever asked for them.

An IV rank rests on what this database has published for the sessions before; a row is the same whether its symbol was
asked for alone or with all others; settings other than the usual ones are in the row.
"""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql

from kapman_assets import chain_metrics, daily_snapshots, dealer_metrics, volatility_metrics
from kapman_assets.chain_metrics import SnapshotCache, read_valued
from kapman_assets.scope import active_symbols
from kapman_metrics.chain import Carry, OptionSnapshot
from kapman_resources import manifest
from kapman_resources.content_hash import content_hash
from kapman_resources.sessions import session_close, sessions_between
from tests.integration.conftest import TODAY, Platform

CLOSE = session_close(TODAY)
OWN_PARTS = {
    "daily_snapshots": daily_snapshots.OWN_PART,
    "dealer_metrics": dealer_metrics.STEP.own_part,
    "volatility_metrics": volatility_metrics.STEP.own_part,
}


@pytest.fixture(scope="module")
def loaded(repaved: Platform) -> Iterator[Platform]:
    """The repaved platform; tests leave it as it was."""
    before = part_hashes(repaved)
    yield repaved
    assert part_hashes(repaved) == before


def part_hashes(platform: Platform) -> dict[str, str]:
    """The hash of what each step has written of today's rows."""
    with platform.connect() as connection:
        return {asset: content_hash(connection, part, CLOSE, CLOSE).hash for asset, part in OWN_PARTS.items()}


def document(platform: Platform, column: str, symbol: str = "AAPL") -> Any:
    """The symbol's JSON of today."""
    with platform.connect() as connection:
        row = connection.execute(
            "SELECT to_jsonb(s) FROM daily_snapshots s JOIN tickers t ON t.id = ticker_id"
            " WHERE symbol = %s AND time = %s",
            (symbol, CLOSE),
        ).fetchone()
    assert row is not None
    return row[0][column]


def load_of(platform: Platform, asset: str) -> manifest.Load:
    """What the manifest says of today."""
    with platform.connect() as connection:
        return manifest.published(connection, asset)[str(TODAY)]


def materialize(platform: Platform, asset: str, **config: Any) -> None:
    """Today's session with this config."""
    run = {"ops": {asset: {"config": config}}} if config else None
    assert platform.materialize(asset, partition=TODAY, config=run).success


def test_iv_rank_rests_on_the_sessions_before(loaded: Platform) -> None:
    """25 sessions with an average IV: rank and percentile among them; without them it is null and says why."""
    alone = document(loaded, "volatility_metrics_json")
    assert (alone["iv_rank"], alone["iv_rank_status"], alone["iv_history_sessions"]) == (
        None,
        "history_too_short",
        0,
    )
    now = alone["avg_iv"]
    before = [now + (n - 10) / 100 for n in range(25)]  # ten below, one the same, fourteen above
    with loaded.connect() as connection:
        sessions = sessions_between(TODAY - dt.timedelta(days=60), TODAY)[-26:-1]
        for session, iv in zip(sessions, before, strict=True):
            past = {
                "status": "FULL",
                "status_reason": None,
                "iv_rank": None,
                "iv_rank_status": "no_iv",
                "avg_iv": iv,
            }
            connection.execute(
                "UPDATE daily_snapshots s SET volatility_metrics_json = %s FROM tickers t"
                " WHERE t.id = ticker_id AND symbol = 'AAPL' AND time = %s",
                (json.dumps(past), session_close(session)),
            )
    materialize(loaded, "volatility_metrics")
    ranked = document(loaded, "volatility_metrics_json")
    assert (ranked["iv_rank_status"], ranked["iv_history_sessions"]) == ("known", 25)
    assert ranked["iv_rank"] == pytest.approx(100 * 10 / 24)
    assert ranked["iv_percentile"] == pytest.approx(100 * 11 / 25)
    assert {name for name in ranked if ranked[name] != alone[name]} == {
        "iv_rank",
        "iv_rank_status",
        "iv_percentile",
        "iv_history_sessions",
    }
    loaded_at = load_of(loaded, "volatility_metrics").run_id
    materialize(loaded, "volatility_metrics")
    assert load_of(loaded, "volatility_metrics").run_id == loaded_at  # the same history: left alone
    with loaded.connect() as connection:
        connection.execute(
            "UPDATE daily_snapshots SET volatility_metrics_json = NULL WHERE time < %s", (CLOSE,)
        )
    materialize(loaded, "volatility_metrics")
    assert document(loaded, "volatility_metrics_json") == alone


@pytest.mark.parametrize("asset", OWN_PARTS)
def test_a_row_is_the_same_whoever_asked_for_it(loaded: Platform, asset: str) -> None:
    """`symbols: [AAPL]` writes AAPL's row as the whole scope does and no other; the manifest says who was asked for."""
    column = [name for name in (c.name for c in OWN_PARTS[asset].columns) if name.endswith("_json")][-1]
    apple, all_rows = document(loaded, column), part_hashes(loaded)
    with loaded.connect() as connection:
        connection.execute(
            "UPDATE daily_snapshots SET technical_indicators_json = NULL, price_metrics_json = NULL,"
            " dealer_metrics_json = NULL, volatility_metrics_json = NULL WHERE time = %s",
            (CLOSE,),
        )
    for step in OWN_PARTS:  # hv_20 comes from the first of them
        materialize(loaded, step, symbols=["AAPL"])
    assert document(loaded, column) == apple
    assert "only" not in apple.get("inputs", {})
    with loaded.connect() as connection:
        rows = connection.execute(
            sql.SQL("SELECT count({}) FROM daily_snapshots WHERE time = %s").format(sql.Identifier(column)),
            (CLOSE,),
        ).fetchone()
    assert rows == (1,)
    assert load_of(loaded, asset).details["only"] == ["AAPL"]
    for step in OWN_PARTS:
        materialize(loaded, step)
    assert part_hashes(loaded) == all_rows
    assert "only" not in load_of(loaded, asset).details


def test_a_chain_is_read_once_for_both_steps_of_a_run(
    loaded: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dealer and volatility metrics of one run share the contracts; the next run reads them again."""
    read: list[OptionSnapshot] = []

    def counted(*arguments: Any) -> OptionSnapshot:
        read.append(read_valued(*arguments))
        return read[-1]

    monkeypatch.setattr(chain_metrics, "read_valued", counted)
    with loaded.connect() as connection:
        connection.execute(
            "UPDATE daily_snapshots SET dealer_metrics_json = NULL, volatility_metrics_json = NULL"
        )
    assert loaded.materialize("dealer_metrics", "volatility_metrics", partition=TODAY).success
    assert len(read) == 1
    with loaded.connect() as connection:
        connection.execute("UPDATE daily_snapshots SET dealer_metrics_json = NULL")
    materialize(loaded, "dealer_metrics")
    assert len(read) == 2


def test_shared_chains_are_bounded(loaded: Platform) -> None:
    """However many sessions a run has, no more contracts are held than said; only the newest may be larger."""
    with loaded.connect() as connection:
        symbols = active_symbols(connection)
    snapshot = read_valued(loaded.database, TODAY, symbols, {}, Carry())
    size, read = len(snapshot.chain), []

    def keys_read(run: str, cache: SnapshotCache, *keys: int) -> list[int]:
        read.clear()
        for key in keys:
            cache.get(run, key, lambda key=key: read.append(key) or snapshot)
        return read

    roomy, tight = SnapshotCache(2 * size), SnapshotCache(size - 1)
    assert keys_read("a", roomy, 1, 2, 1, 2, 3, 2, 1) == [1, 2, 3, 1]
    assert keys_read("b", roomy, 1, 1) == [1]
    assert keys_read("a", tight, 1, 1, 2, 1) == [1, 2, 1]


def test_the_filters_of_a_row_are_in_it(loaded: Platform) -> None:
    """Other filters and rates: recorded in every row's `inputs` and in the manifest, and undone by the usual ones."""
    usual = document(loaded, "dealer_metrics_json")
    asked = {"max_dte": 20, "min_open_interest": 0.0, "min_volume": 3.0, "rate": 0.03, "dividend_yield": 0.01}
    materialize(loaded, "dealer_metrics", **asked)
    for symbol in ("AAPL", "AMZN"):  # AMZN has no chain
        inputs = document(loaded, "dealer_metrics_json", symbol)["inputs"]
        assert {name: inputs[name] for name in asked} == asked
    assert (
        document(loaded, "dealer_metrics_json")["filters"]["dte_exceeded"] > usual["filters"]["dte_exceeded"]
    )
    settings = load_of(loaded, "dealer_metrics").details["settings"]
    assert {name: settings[name] for name in asked} == asked
    materialize(loaded, "volatility_metrics", rate=0.03, dividend_yield=0.01)
    inputs = document(loaded, "volatility_metrics_json")["inputs"]
    assert (inputs["rate"], inputs["dividend_yield"]) == (0.03, 0.01)
    materialize(loaded, "dealer_metrics")
    materialize(loaded, "volatility_metrics")
    assert document(loaded, "dealer_metrics_json") == usual
