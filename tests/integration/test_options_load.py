"""The promise: a session's contracts are published whole or not at all, and only what differs is written.

Real chains through a real vault into a real paved database; whichever way a session is loaded, fresh from the
vendor or from the archive, into an empty table or over an earlier load, it ends with the same rows.
"""

import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from psycopg import conninfo, sql

from kapman_resources.binary_copy import copy_frame
from kapman_resources.database import Connection, Database
from kapman_resources.errors import AuditError, SourceError
from kapman_resources.options_load import (
    FreshChains,
    PublishedSession,
    fresh_and_archived,
    publish_session,
    read_snapshot,
)
from kapman_resources.publish import RowDiff
from kapman_resources.sessions import session_close
from kapman_resources.structure import pave, structure_dump
from kapman_resources.tables import TICKERS, ticker_id
from kapman_resources.vault import Vault
from kapman_resources.vendor_pages import RawPage, decode_chain
from tests.integration.conftest import TODAY, Platform

SESSION, NEXT = dt.date(2026, 8, 20), dt.date(2026, 8, 21)  # two chunks
SYMBOLS = ["AAPL", "MSFT", "NVDA"]
IDS = {symbol: ticker_id(symbol) for symbol in SYMBOLS}
Chains = list[tuple[str, pl.DataFrame]]


def page(symbol: str, strikes: Sequence[float], *, bid: float = 1.5, session: dt.date = SESSION) -> bytes:
    """A chain of one page: a call and a put for each strike; odd strikes lack gamma."""
    contracts = [
        {
            "details": {"contract_type": kind, "expiration_date": "2026-09-18", "strike_price": strike,
                        "ticker": f"O:{symbol}260918{kind[0].upper()}{round(strike * 1000):08}"},
            "day": {"volume": 7}, "last_quote": {"bid": bid, "ask": bid + 1}, "open_interest": 10,
            "greeks": {"gamma": 0.1, "delta": 0.5} if strike % 2 == 0 else {}, "implied_volatility": 0.3,
        }
        for strike in strikes
        for kind in ("call", "put")
    ]  # fmt: skip
    return json.dumps({"status": "OK", "results": contracts}).encode()


def chain(symbol: str, strikes: Sequence[float] = range(10, 60), **values: Any) -> tuple[str, pl.DataFrame]:
    decoded = decode_chain([page(symbol, strikes, **values)], underlying=symbol, session=SESSION)
    return IDS[symbol], decoded.frame


WHOLE: Chains = [chain(symbol) for symbol in SYMBOLS]


@pytest.fixture
def paved(database: Database) -> Database:
    """A paved database that knows the symbols, and no contract."""
    pave(database)
    with database.connect() as connection:
        frame = pl.DataFrame(
            {
                "id": [bytes.fromhex(one.replace("-", "")) for one in IDS.values()],
                "symbol": SYMBOLS,
                "active": True,
            }
        )
        copy_frame(connection, sql.Identifier("public", "tickers"), TICKERS, frame)
    return database


def accept(_: Connection, __: sql.Composable, *, in_place: bool) -> None:
    """An audit that finds nothing."""


def refuse(_: Connection, __: sql.Composable, *, in_place: bool) -> None:
    raise AuditError("No.", fix="Nothing to fix.")


def forget(_: Connection, __: PublishedSession) -> None:
    """A record that keeps nothing."""


def publish(database: Database, chains: Chains, session: dt.date = SESSION, **how: Any) -> PublishedSession:
    tickers = how.pop("tickers", list(IDS.values()))
    return publish_session(database, session, tickers, chains, **{"audit": accept, "record": forget, **how})


def content(database: Database, session: dt.date = SESSION) -> list[tuple[Any, ...]]:
    """The session's contracts, in the order of the key."""
    with database.connect() as connection:
        return connection.execute(
            "SELECT ticker_id::text, expiration_date, strike_price::float8, option_type, bid, ask, last, volume,"
            " open_interest, implied_volatility, delta, gamma, theta, vega, shares_per_contract"
            " FROM public.options_chains WHERE time = %s ORDER BY 1, 2, 3, 4",
            (session_close(session),),
        ).fetchall()


def expected(chains: Chains) -> list[tuple[Any, ...]]:
    return sorted((one, *row) for one, frame in chains for row in frame.drop("contract").rows())


def structure(database: Database) -> str:
    with database.connect() as connection:
        return structure_dump(connection)


def written(database: Database) -> list[tuple[Any, ...]]:
    """Where every row lies, and which transaction wrote it."""
    with database.connect() as connection:
        return connection.execute(
            "SELECT tableoid, ctid, xmin::text FROM public.options_chains ORDER BY 1, 2"
        ).fetchall()


def test_the_first_load_fills_the_session_and_leaves_the_structure_alone(paved: Database) -> None:
    before = structure(paved)
    for session in (SESSION, NEXT):
        published = publish(paved, WHOLE[::-1], session)
        assert published.diff == RowDiff(300, 0, 0, 0)
        assert published.rows_written == 300
        assert content(paved, session) == expected(WHOLE)
    assert structure(paved) == before
    with pytest.raises(psycopg.errors.ForeignKeyViolation), paved.connect() as connection:
        connection.execute("UPDATE public.options_chains SET ticker_id = uuid_generate_v4()")
    with pytest.raises(psycopg.errors.ForeignKeyViolation), paved.connect() as connection:
        connection.execute("DELETE FROM public.tickers")


def test_a_rerun_writes_nothing(paved: Database) -> None:
    first = publish(paved, WHOLE)
    before = written(paved)
    again = publish(paved, WHOLE)
    assert again.diff == RowDiff(0, 0, 0, 300)
    assert again.content_hash == first.content_hash
    assert written(paved) == before


def test_another_archive_replaces_exactly_what_differs(paved: Database) -> None:
    publish(paved, WHOLE)
    publish(paved, WHOLE, NEXT)
    other = [chain("AAPL", range(11, 62)), chain("MSFT", range(10, 60), bid=2.0), WHOLE[2]]
    assert publish(paved, other).diff == RowDiff(added=4, changed=100, removed=2, unchanged=198)
    assert content(paved) == expected(other)
    assert content(paved, NEXT) == expected(WHOLE)
    assert publish(paved, []).diff == RowDiff(0, 0, 302, 0)
    assert content(paved) == []


def test_a_partial_load_touches_its_tickers_only(paved: Database) -> None:
    publish(paved, WHOLE[:2])
    nvda, msft = [IDS["NVDA"]], [IDS["MSFT"]]
    assert publish(paved, WHOLE[2:], tickers=nvda, partial=True).diff == RowDiff(100, 0, 0, 0)
    assert content(paved) == expected(WHOLE)
    assert publish(paved, [chain("MSFT", [5])], tickers=msft, partial=True).diff == RowDiff(2, 0, 100, 0)
    assert content(paved) == expected([WHOLE[0], chain("MSFT", [5]), WHOLE[2]])


@pytest.mark.parametrize("held", [False, True], ids=["empty", "loaded before"])
def test_rows_that_an_audit_refuses_are_never_seen(paved: Database, held: bool) -> None:
    before = WHOLE if held else []
    if held:
        publish(paved, before)
    with pytest.raises(AuditError):
        publish(paved, [chain("AAPL", [7])], audit=refuse)
    assert content(paved) == expected(before)


def test_the_audit_sees_exactly_the_rows_to_be_published(paved: Database) -> None:
    seen: list[tuple[Any, ...]] = []

    def look(connection: Connection, rows: sql.Composable, *, in_place: bool) -> None:
        query = sql.SQL("SELECT count(*), min(time), max(time) FROM {}").format(rows)
        seen.append((in_place, *(connection.execute(query).fetchone() or ())))

    publish(paved, WHOLE, NEXT)
    publish(paved, WHOLE[:2], audit=look, tickers=[ticker for ticker, _ in WHOLE[:2]])
    publish(paved, WHOLE[2:], audit=look, tickers=[IDS["NVDA"]], partial=True)
    publish(paved, WHOLE, audit=look)
    close = session_close(SESSION)
    assert seen == [(True, 200, close, close), (True, 100, close, close), (False, 300, close, close)]


def test_contracts_and_bookkeeping_stand_or_fall_together(paved: Database) -> None:
    def note(connection: Connection, _: PublishedSession) -> None:
        connection.execute(
            "INSERT INTO kapman_meta.load_manifest (asset, partition_key, sources) VALUES ('o', '1', '[]')"
        )
        raise RuntimeError("out of ink")

    with pytest.raises(RuntimeError):
        publish(paved, WHOLE, record=note)
    with paved.connect() as connection:
        assert connection.execute("SELECT count(*) FROM kapman_meta.load_manifest").fetchone() == (0,)
    assert content(paved) == []


def test_duplicates_are_refused(paved: Database) -> None:
    with pytest.raises(AuditError, match="options_chains_key"):
        publish(paved, [WHOLE[0], WHOLE[0]])
    assert content(paved) == []


@pytest.fixture
def humble(paved: Database) -> Iterator[Database]:
    """The same database for a role that may change rows and nothing else."""
    role = sql.Identifier(f"{paved.name}_loader")
    with paved.connect() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(role))
        for schema in ("public", "kapman_meta", "_timescaledb_internal"):
            where = sql.Identifier(schema)
            connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(where, role))
            rights = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}"
            connection.execute(sql.SQL(rights).format(where, role))
        connection.execute(
            sql.SQL("GRANT TEMP ON DATABASE {} TO {}").format(sql.Identifier(paved.name), role)
        )
    yield Database(conninfo.make_conninfo(paved.url, user=f"{paved.name}_loader", password="x"))
    with paved.connect() as connection:
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


def test_a_role_that_may_not_silence_triggers_loads_the_same(paved: Database, humble: Database) -> None:
    assert publish(humble, WHOLE).diff == RowDiff(300, 0, 0, 0)
    assert content(paved) == expected(WHOLE)


def test_a_contract_without_a_ticker_is_refused(paved: Database, humble: Database) -> None:
    with paved.connect() as connection:
        connection.execute("DELETE FROM public.tickers WHERE symbol = 'NVDA'")
    for database in (paved, humble):
        with pytest.raises(AuditError, match=f"ticker_id_fkey.*{IDS['NVDA']}"):
            publish(database, WHOLE)
    publish(paved, WHOLE[:2], tickers=[ticker for ticker, _ in WHOLE[:2]])
    with pytest.raises(AuditError, match="ticker_id_fkey"):  # over an earlier load
        publish(paved, WHOLE)
    assert content(paved) == expected(WHOLE[:2])


def test_no_ticker_can_vanish_before_the_commit(paved: Database) -> None:
    def interfere(_: Connection, __: PublishedSession) -> None:
        with paved.connect() as other:
            other.execute("SET LOCAL lock_timeout = '100ms'")
            other.execute("DELETE FROM public.tickers WHERE symbol = 'NVDA'")

    with pytest.raises(psycopg.errors.LockNotAvailable):
        publish(paved, WHOLE, record=interfere)
    publish(paved, WHOLE)


def test_other_triggers_on_the_table_fire(paved: Database) -> None:
    with paved.connect() as connection:
        connection.execute("CREATE TABLE kapman_meta.seen (n bigint)")
        connection.execute(
            "CREATE FUNCTION kapman_meta.see() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN INSERT INTO kapman_meta.seen VALUES (1); RETURN NULL; END$$"
        )
        connection.execute(
            "CREATE TRIGGER see AFTER INSERT ON public.options_chains"
            " FOR EACH ROW EXECUTE FUNCTION kapman_meta.see()"
        )
    publish(paved, WHOLE)
    with paved.connect() as connection:
        assert connection.execute("SELECT count(*) FROM kapman_meta.seen").fetchone() == (300,)


def test_a_compressed_session_can_be_replaced(paved: Database) -> None:
    publish(paved, WHOLE)
    publish(paved, WHOLE[:1], dt.date(2026, 8, 19), tickers=[IDS["AAPL"]])
    with paved.connect(autocommit=True) as connection:
        if connection.execute("SHOW timescaledb.license").fetchone() != ("timescale",):
            pytest.skip(
                "compression needs the Community edition: name such a server in KAPMAN_TEST_DATABASE_URL"
            )
        connection.execute("SELECT compress_chunk(c) FROM show_chunks('public.options_chains') c")
    other = [chain("AAPL", range(11, 61)), *WHOLE[1:]]
    assert publish(paved, other).diff == RowDiff(2, 0, 2, 298)
    assert publish(paved, WHOLE, dt.date(2026, 8, 18)).diff == RowDiff(300, 0, 0, 0)
    with pytest.raises(AuditError, match="options_chains_key"):
        publish(paved, [WHOLE[0], WHOLE[0]], dt.date(2026, 8, 17))
    assert content(paved) == expected(other)
    assert content(paved, dt.date(2026, 8, 18)) == expected(WHOLE)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path.as_uri(), "massive")


def pages(body: bytes) -> list[RawPage]:
    return [RawPage(1, "https://vendor.example/", dt.datetime(2026, 8, 20, 21, tzinfo=dt.UTC), body)]


def test_chains_on_their_way_are_those_of_the_archive(vault: Vault) -> None:
    """What arrives is used as it was archived; where an earlier archive decides, that one is read."""
    vault.archive(kind="options", session=SESSION, subject="MSFT", pages=pages(page("MSFT", [5])))
    vault.archive(kind="options", session=SESSION, subject="NVDA", pages=pages(page("NVDA", [5])))
    fresh = FreshChains(vault, SESSION, overwrite=False)
    with fresh:
        fresh.archive("AAPL", pages(page("AAPL", [7])))
        fresh.archive("MSFT", pages(page("MSFT", [7])))
    chains = iter(fresh_and_archived(fresh, vault, SESSION, [*SYMBOLS, "AMZN"]))
    assert next(chains)[0] == "AAPL"  # and then a deadlock ends the transaction: all of them once more
    got = dict(fresh_and_archived(fresh, vault, SESSION, [*SYMBOLS, "AMZN"]))
    assert dict(fresh_and_archived(fresh, vault, SESSION, [*SYMBOLS, "AMZN"])).keys() == got.keys()
    read = read_snapshot(vault, SESSION, [*SYMBOLS, "AMZN"])
    assert {symbol: one.chain.frame["strike_price"][0] for symbol, one in got.items()} == {
        "AAPL": 7.0, "MSFT": 5.0, "NVDA": 5.0,
    }  # fmt: skip
    for symbol, chain in read.chains.items():
        assert got[symbol].chain.frame.equals(chain.frame)
    assert [(s["symbol"], s["sha256"]) for s in read.sources] == [(s, got[s].sha256) for s in SYMBOLS]
    assert read.absent == ["AMZN"]


def test_a_fetch_that_is_given_up_publishes_nothing(paved: Database, vault: Vault) -> None:
    """Its chains are already on the server when it fails; what has arrived stays in the vault."""
    fresh = FreshChains(vault, SESSION, overwrite=False)
    arriving = ((IDS[s], one.chain.frame) for s, one in fresh_and_archived(fresh, vault, SESSION, SYMBOLS))
    errors: list[BaseException] = []

    def load() -> None:
        try:
            publish(paved, arriving)  # type: ignore[arg-type]
        except SourceError as error:
            errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    with pytest.raises(KeyboardInterrupt), fresh:
        fresh.archive("AAPL", pages(page("AAPL", range(10, 60))))
        raise KeyboardInterrupt
    thread.join()
    assert len(errors) == 1
    assert content(paved) == []
    assert vault.subjects("options", SESSION) == ["AAPL"]


def load_of(platform: Platform) -> tuple[Any, ...]:
    """Who published the session last, and what it says."""
    with platform.connect() as connection:
        row = connection.execute(
            "SELECT run_id, details, content_hash FROM kapman_meta.load_manifest"
            " WHERE asset = 'options_chains' AND partition_key = %s",
            (TODAY.isoformat(),),
        ).fetchone()
    assert row is not None
    return row


def diff_of(platform: Platform) -> tuple[int, ...]:
    details = load_of(platform)[1]
    return tuple(details[f"rows_{what}"] for what in ("added", "changed", "removed"))


def test_a_rerun_of_the_asset_is_a_no_op_that_says_so(
    repaved: Platform, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = repaved.value("SELECT count(*) FROM options_chains")
    run, _, content = load_of(repaved)
    assert diff_of(repaved) == (rows, 0, 0)
    before = written(repaved.database)
    repaved.materialize("options_chains", partition=TODAY)
    assert "0 sessions published, 1 unchanged" in capfd.readouterr().err
    assert load_of(repaved)[0] == run

    again = {"ops": {"options_chains": {"config": {"reload": True}}}}
    repaved.materialize("options_chains", partition=TODAY, config=again)
    assert diff_of(repaved) == (0, 0, 0)
    assert load_of(repaved)[0] != run
    assert written(repaved.database) == before

    changes: list[tuple[str, Callable[[int], tuple[int, ...]]]] = [
        ("DELETE FROM options_chains WHERE option_type = 'P'", lambda n: (n, 0, 0)),
        ("UPDATE options_chains SET bid = coalesce(bid, 0) + 1 WHERE option_type = 'C'", lambda n: (0, n, 0)),
    ]
    for change, diff in changes:  # behind the platform's back
        with repaved.connect() as connection:
            touched = connection.execute(change).rowcount  # type: ignore[arg-type]
        repaved.materialize("options_chains", partition=TODAY)
        assert diff_of(repaved) == diff(touched)
        assert load_of(repaved)[2] == content


def test_fewer_symbols_then_all_of_them_again(repaved: Platform) -> None:
    _, _, content = load_of(repaved)
    only = {"ops": {"options_chains": {"config": {"symbols": ["MSFT"]}}}}
    repaved.materialize("options_chains", partition=TODAY, config=only)
    assert load_of(repaved)[1]["only"] == ["MSFT"]
    run = load_of(repaved)[0]
    repaved.materialize("options_chains", partition=TODAY)
    assert (load_of(repaved)[0] != run, load_of(repaved)[2]) == (True, content)
    assert diff_of(repaved) == (0, 0, 0)
