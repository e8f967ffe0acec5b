"""Promise: two databases hold the same rows exactly when their content hashes agree, whatever the order of
loading, the physical layout and the session's settings; when a row was written does not matter."""

import datetime as dt
import json
import secrets
import uuid
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import conninfo, sql

from kapman_resources.content_hash import ContentHash, content_hash, database_hashes
from kapman_resources.database import Connection, Database
from kapman_resources.structure import pave
from kapman_resources.tables import DAILY_SNAPSHOTS, OHLCV, OPTIONS_CHAINS, TABLES, TICKER_NAMESPACE, TICKERS

SYMBOLS = ("AAPL", "BRK.B", "TpC")
IDS = [uuid.uuid5(TICKER_NAMESPACE, symbol) for symbol in SYMBOLS]
FIRST = dt.date(2026, 9, 1)
CLOSE = dt.datetime(2026, 11, 20, 21, tzinfo=dt.UTC)

Bar = tuple[int, int, float, float]
"""(ticker, day, price, volume)"""


@pytest.fixture(scope="module")
def paved(server_url: str) -> Iterator[Database]:
    name = f"kapman_test_{secrets.token_hex(4)}"
    database = Database(conninfo.make_conninfo(server_url, dbname=name), holder="tests")
    pave(database)
    with database.connect() as connection:
        connection.cursor().executemany(
            "INSERT INTO tickers (id, symbol, active) VALUES (%s, %s, true)",
            list(zip(IDS, SYMBOLS, strict=True)),
        )
    yield database
    with database.connect(autocommit=True, database="postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def connection(paved: Database) -> Iterator[Connection]:
    """A transaction that is rolled back."""
    with paved.connect() as connection:
        yield connection
        connection.rollback()


def load(connection: Connection, bars: Sequence[Bar]) -> ContentHash:
    """Replace all bars by these, in this order."""
    connection.execute("DELETE FROM ohlcv")
    connection.cursor().executemany(
        "INSERT INTO ohlcv (ticker_id, date, open, high, low, close, volume) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [
            (IDS[ticker], FIRST + dt.timedelta(days=day), price, price, price, price, volume)
            for ticker, day, price, volume in bars
        ],
    )
    return content_hash(connection, OHLCV)


BARS: list[Bar] = [
    (ticker, day, 10.0 + ticker + day, 100.0 * day) for ticker in range(3) for day in range(60)
]

prices = st.floats(0.01, 1e6)
markets = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 70), prices, st.floats(0, 1e9)),
    min_size=2, max_size=12, unique_by=lambda bar: bar[:2],
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bars=markets, data=st.data())
def test_the_order_is_nothing_and_every_value_counts(
    connection: Connection, bars: list[Bar], data: st.DataObject
) -> None:
    original = load(connection, bars)
    assert original.rows == len(bars)
    assert load(connection, data.draw(st.permutations(bars))) == original
    at = data.draw(st.integers(0, len(bars) - 1))
    ticker, day, price, volume = bars[at]
    changed = data.draw(prices.filter(lambda other: other != price))
    assert load(connection, [*bars[:at], (ticker, day, changed, volume), *bars[at + 1 :]]) != original
    assert load(connection, [*bars[:at], *bars[at + 1 :]]) != original


def test_values_that_change_places_between_rows_are_noticed(connection: Connection) -> None:
    """A sum of PostgreSQL's record hashes would not: they are linear in the columns."""
    original = load(connection, [(0, 0, 10.0, 1.0), (1, 0, 20.0, 2.0)])
    assert load(connection, [(0, 0, 10.0, 2.0), (1, 0, 20.0, 1.0)]) != original
    assert load(connection, [(1, 0, 10.0, 1.0), (0, 0, 20.0, 2.0)]) != original


def test_another_physical_layout_has_the_same_hash(connection: Connection) -> None:
    original = load(connection, BARS)
    connection.execute("DELETE FROM ohlcv")
    connection.execute("SELECT set_chunk_time_interval('ohlcv', interval '7 days')")
    connection.execute("ALTER TABLE ohlcv DROP CONSTRAINT ohlcv_pkey")
    connection.execute("ALTER TABLE ohlcv DROP COLUMN transactions")
    connection.execute("ALTER TABLE ohlcv ADD COLUMN transactions bigint")
    assert load(connection, BARS[::-1]) == original


def test_another_database_has_the_same_hash(connection: Connection, database: Database) -> None:
    original = load(connection, BARS)
    pave(database)
    with database.connect() as other:
        other.cursor().executemany(
            "INSERT INTO tickers (id, symbol, active) VALUES (%s, %s, true)",
            list(zip(IDS, SYMBOLS, strict=True))[::-1],
        )
        assert load(other, BARS[::-1]) == original
        assert database_hashes(other) == database_hashes(connection)


def test_when_a_row_was_written_does_not_count(connection: Connection) -> None:
    original = load(connection, BARS)
    connection.execute("UPDATE ohlcv SET created_at = created_at - interval '1 day'")
    assert content_hash(connection, OHLCV) == original


@pytest.mark.parametrize(
    "setting",
    [
        "timezone = 'Asia/Tokyo'",
        "datestyle = 'German'",
        "extra_float_digits = -15",
        "intervalstyle = 'iso_8601'",
    ],
)
def test_the_sessions_settings_do_not_count(connection: Connection, setting: str) -> None:
    load(connection, BARS)
    snapshot(connection, IDS[0], {"rsi": 55.1})
    before = database_hashes(connection)
    connection.execute(f"SET LOCAL {setting}")
    assert database_hashes(connection) == before


def test_equal_values_in_another_spelling_are_equal(connection: Connection) -> None:
    def chain(strike: str, vega: str, theta: float) -> ContentHash:
        connection.execute("DELETE FROM options_chains")
        connection.execute(
            "INSERT INTO options_chains (time, ticker_id, expiration_date, strike_price, option_type, vega, theta) "
            "VALUES (%s, %s, '2026-12-18', %s::numeric, 'C', %s::float8, %s)",
            (CLOSE, IDS[0], strike, vega, theta),
        )
        return content_hash(connection, OPTIONS_CHAINS)

    assert chain("100", "0.1", 0.0) == chain("100.0000", "1e-1", -0.0)
    assert chain("100", "0.1", 0.0) != chain("100.0001", "0.1", 0.0)


def test_an_absent_number_is_not_zero(connection: Connection) -> None:
    original = load(connection, BARS)
    connection.execute("UPDATE ohlcv SET transactions = 0")
    assert content_hash(connection, OHLCV) != original


def snapshot(connection: Connection, ticker: uuid.UUID, indicators: dict[str, float]) -> ContentHash:
    connection.execute(
        "INSERT INTO daily_snapshots (time, ticker_id, technical_indicators_json, model_version) "
        "VALUES (%s, %s, %s, '1') ON CONFLICT (time, ticker_id) DO UPDATE "
        "SET technical_indicators_json = excluded.technical_indicators_json",
        (CLOSE, ticker, json.dumps(indicators)),
    )
    return content_hash(connection, DAILY_SNAPSHOTS)


def test_changes_in_json_do_not_cancel_each_other(connection: Connection) -> None:
    """PostgreSQL's jsonb hash rotates and XORs: two equal changes 16 keys apart leave it as it was."""
    patterns = {f"cdl{number:02}": 0.0 for number in range(61)}
    original = snapshot(connection, IDS[0], patterns)
    assert snapshot(connection, IDS[0], dict(reversed(patterns.items()))) == original
    for distance in range(1, 60):
        changed = patterns | {"cdl00": 100.0, f"cdl{distance:02}": 100.0}
        assert snapshot(connection, IDS[0], changed) != original, distance


def test_the_partitions_hashes_add_up_to_the_tables(connection: Connection) -> None:
    """So a partition's hash can be checked alone, and no row lies outside of every partition."""
    total = load(connection, BARS)
    days = [FIRST + dt.timedelta(days=day) for day in range(60)]
    parts = [content_hash(connection, OHLCV, day, day) for day in days]
    assert sum(part.rows for part in parts) == total.rows
    assert f"{sum(int(part.hash, 16) for part in parts) % 2**64:016x}" == total.hash
    assert all(one != other for one, other in pairwise(parts))
    assert content_hash(connection, OHLCV, days[0], days[-1]) == total


def test_the_bounds_of_a_session_hold_its_close(connection: Connection) -> None:
    empty = content_hash(connection, DAILY_SNAPSHOTS)
    total = snapshot(connection, IDS[0], {"rsi": 55.1})
    session = CLOSE.date()
    assert content_hash(connection, DAILY_SNAPSHOTS, session, session) == total
    assert content_hash(connection, DAILY_SNAPSHOTS, CLOSE, CLOSE) == total
    assert content_hash(connection, DAILY_SNAPSHOTS, session + dt.timedelta(days=1)) == empty
    assert content_hash(connection, DAILY_SNAPSHOTS, None, session - dt.timedelta(days=1)) == empty


def test_a_stage_may_be_hashed_by_its_own_columns(connection: Connection) -> None:
    snapshot(connection, IDS[0], {"rsi": 55.1})
    own = ("time", "ticker_id", "technical_indicators_json")
    before = content_hash(connection, DAILY_SNAPSHOTS, columns=own)
    connection.execute("UPDATE daily_snapshots SET dealer_metrics_json = '{}'")
    assert content_hash(connection, DAILY_SNAPSHOTS, columns=own) == before
    connection.execute("UPDATE daily_snapshots SET technical_indicators_json = '{}'")
    assert content_hash(connection, DAILY_SNAPSHOTS, columns=own) != before


def test_a_table_without_time_cannot_be_bounded(connection: Connection) -> None:
    with pytest.raises(ValueError, match="tickers has no time column"):
        content_hash(connection, TICKERS, FIRST)


def test_every_table_of_the_contract_is_hashed_in_its_order(connection: Connection) -> None:
    hashes = database_hashes(connection)
    assert [table for table, _, _ in hashes] == list(TABLES)
    assert all(len(digits) == 16 and int(digits, 16) >= 0 for _, digits, _ in hashes)
    assert hashes[0][2] == len(SYMBOLS)
