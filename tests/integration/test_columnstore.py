"""Promise: that the Community edition moves old option chains to the columnstore changes no content, no check
and no load; a session in a compressed chunk is replaced like any other.

The Apache edition has no columnstore: there these tests skip. KAPMAN_TEST_DATABASE_URL names a server that has.
"""

from collections.abc import Iterator

import pytest
from psycopg import sql

from kapman_resources.content_hash import database_hashes
from kapman_simulator import Simulator
from tests.integration.conftest import TODAY, Platform, platform_on


@pytest.fixture(scope="module")
def compressed(
    server_url: str, vendor: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Platform, list[tuple[str, str, int]]]]:
    """A repaved platform after the columnstore policy, and its content hashes from before.

    The market's few hundred contracts stand for millions: only ten rows may be decompressed per statement.
    """
    with platform_on(server_url, vendor.environment, tmp_path_factory.mktemp("platform")) as platform:
        assert platform.run("repave").success
        if platform.value("SHOW timescaledb.license") != "timescale":
            pytest.skip(
                "the Apache edition has no columnstore; set KAPMAN_TEST_DATABASE_URL to a Community server"
            )
        with platform.database.connect(autocommit=True) as connection:
            # Yesterday's contracts beside today's, so that the columnstore's batches hold both sessions.
            connection.execute(
                "INSERT INTO options_chains SELECT time - interval '1 day', ticker_id, expiration_date, strike_price,"
                " option_type, bid, ask, last, volume, open_interest, implied_volatility, delta, gamma, theta, vega,"
                " shares_per_contract FROM options_chains"
            )
            connection.execute(
                sql.SQL(
                    "ALTER DATABASE {} SET timescaledb.max_tuples_decompressed_per_dml_transaction = 10"
                ).format(sql.Identifier(platform.database.name))
            )
        before = hashes(platform)
        convert(platform)
        yield platform, before


def convert(platform: Platform) -> None:
    """What the policy does to a chunk of more than 120 days."""
    with platform.database.connect(autocommit=True) as connection:
        for chunk in connection.execute("SELECT c::text FROM show_chunks('options_chains') c").fetchall():
            connection.execute("CALL convert_to_columnstore(%s::regclass)", chunk)
        assert connection.execute(
            "SELECT bool_and(is_compressed) FROM timescaledb_information.chunks"
            " WHERE hypertable_name = 'options_chains'"
        ).fetchone() == (True,)


def hashes(platform: Platform) -> list[tuple[str, str, int]]:
    with platform.connect() as connection:
        return database_hashes(connection)


def test_the_columnstore_changes_no_content_and_no_check(
    compressed: tuple[Platform, list[tuple[str, str, int]]],
) -> None:
    platform, before = compressed
    assert hashes(platform) == before
    failed = {e.check_name for e in platform.run("validate").get_asset_check_evaluations() if not e.passed}
    assert failed == {"active_symbols_resolve_to_tickers", "option_chains_cover_active_symbols"}


@pytest.mark.parametrize("symbols", [[], ["AAPL", "MSFT", "NVDA"]], ids=["whole", "some symbols"])
def test_a_session_in_the_columnstore_is_replaced(
    compressed: tuple[Platform, list[tuple[str, str, int]]], symbols: list[str]
) -> None:
    """Rows that were lost come back, the others are the same, and the chunk can be converted again."""
    platform, before = compressed
    with platform.database.connect(autocommit=True) as connection:
        for chunk in connection.execute("SELECT c::text FROM show_chunks('options_chains') c").fetchall():
            connection.execute("CALL convert_to_rowstore(%s::regclass)", chunk)
        connection.execute("DELETE FROM options_chains WHERE option_type = 'P' AND time::date = %s", (TODAY,))
    convert(platform)
    assert hashes(platform) != before
    config = {"ops": {"options_chains": {"config": {"symbols": symbols}}}}
    assert platform.materialize("options_chains", partition=TODAY, config=config).success
    assert hashes(platform) == before
    convert(platform)
    assert hashes(platform) == before
