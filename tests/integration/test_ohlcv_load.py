"""The promise: bars are published whole or not at all, whichever way they are loaded and whatever interrupts it.

Real files in a real bucket, loaded into a real paved database; a killed loader is really killed.
"""

import datetime as dt
import hashlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest
from psycopg import conninfo, sql

from kapman_resources.binary_copy import copy_frame
from kapman_resources.database import Connection, Database
from kapman_resources.errors import AuditError, DatabaseError, SourceError
from kapman_resources.flat_files import key_of
from kapman_resources.ohlcv_load import (
    COLUMNS,
    OhlcvLoader,
    SessionLoad,
    keys_off,
    published_hash,
)
from kapman_resources.publish import RowDiff
from kapman_resources.sessions import sessions_between
from kapman_resources.structure import pave, structure_dump
from kapman_resources.tables import TICKERS
from tests.integration.bucket import Bucket, bucket_on_loopback, flat_file, universe

SYMBOLS = [f"S{n:03}" for n in range(120)]
SESSIONS = sessions_between(dt.date(2026, 5, 1), dt.date(2026, 8, 21))  # five chunks of 30 days
TICKER_ROWS = universe(SYMBOLS)
PROJECT = Path(__file__).resolve().parents[2]


def bars(session: dt.date) -> pl.DataFrame:
    """A session's bars of every symbol and two strangers; some volumes are fractional, later some counts absent.

    Rows without nulls go another way into COPY than rows with them: the first chunks have none.
    """
    random = np.random.default_rng(session.toordinal())
    names = [*SYMBOLS, "GHOST", "ZVZZT"]
    low = np.round(random.uniform(1, 500, len(names)), 4)
    return pl.DataFrame(
        {
            "ticker": names,
            "open": low + 1,
            "high": low + 2,
            "low": low,
            "close": low + 1.5,
            "volume": np.round(random.uniform(0, 1e6, len(names)), 1),
            "transactions": [None if n % 7 == 0 and session.month > 6 else n for n in range(len(names))],
        }
    )


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with bucket_on_loopback() as made:
        yield made


@pytest.fixture
def files(bucket: Bucket) -> Bucket:
    """The bucket with every session's file as first published."""
    for session in SESSIONS:
        bucket.put_bars(session, bars(session))
    return bucket


@pytest.fixture
def paved(database: Database) -> Database:
    """A paved database that knows the symbols, and no bar."""
    pave(database)
    ids = pl.col("id").str.replace_all("-", "").str.decode("hex")
    with database.connect() as connection:
        frame = TICKER_ROWS.select(ids, "symbol", active=pl.lit(True))
        copy_frame(connection, sql.Identifier("public", "tickers"), TICKERS, frame)
    return database


def accept(_: Connection, __: sql.Composable) -> None:
    """An audit that finds nothing."""


def forget(_: Connection, __: SessionLoad) -> None:
    """A record that keeps nothing."""


def load(
    database: Database,
    bucket: Bucket,
    sessions: list[dt.date],
    *,
    audit: Callable[[Connection, sql.Composable], None] = accept,
    record: Callable[[Connection, SessionLoad], None] = forget,
    progress: Callable[[int, int], None] = lambda _, __: None,
    tickers: pl.DataFrame = TICKER_ROWS,
) -> list[SessionLoad]:
    listed = bucket.files.list_sessions(min(sessions), max(sessions))
    wanted = {session: listed[session] for session in sessions}
    return OhlcvLoader(database, bucket.files).load(
        wanted, tickers, audit=audit, record=record, progress=progress
    )


def content(database: Database) -> list[tuple[Any, ...]]:
    """Every bar with its symbol, in key order."""
    with database.connect() as connection:
        return connection.execute(
            "SELECT t.symbol, o.date, o.open, o.high, o.low, o.close, o.volume, o.transactions "
            "FROM public.ohlcv o JOIN public.tickers t ON t.id = o.ticker_id ORDER BY t.symbol, o.date"
        ).fetchall()


def expected(sessions: Mapping[dt.date, pl.DataFrame] | list[dt.date]) -> list[tuple[Any, ...]]:
    frames = sessions if isinstance(sessions, Mapping) else {session: bars(session) for session in sessions}
    rows = [
        (r["ticker"], day, *(r[name] for name in COLUMNS[2:]))
        for day, frame in frames.items()
        for r in frame.iter_rows(named=True)
        if r["ticker"] in SYMBOLS
    ]
    return sorted(rows)


def structure(database: Database) -> str:
    with database.connect() as connection:
        return structure_dump(connection)


def assert_nothing_happened(database: Database, before: str) -> None:
    assert content(database) == []
    assert structure(database) == before


@pytest.fixture(params=["superuser", "owner"])
def role(request: pytest.FixtureRequest, paved: Database) -> Iterator[Database]:
    """The paved database as seen by a superuser, and by a mere owner, who can't silence the triggers of keys."""
    if request.param == "superuser":
        yield paved
        return
    name, password = f"owner_{secrets.token_hex(4)}", secrets.token_hex(8)
    owner = sql.Identifier(name)
    with paved.connect() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(owner, sql.Literal(password)))
        connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(owner))
        for table in ("ohlcv", "tickers"):
            connection.execute(
                sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier("public", table), owner)
            )
    yield Database(conninfo.make_conninfo(paved.url, user=name, password=password), holder="owner")
    with paved.connect() as connection:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(owner))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(owner))
        connection.execute(sql.SQL("DROP ROLE {}").format(owner))


def test_the_base_load_fills_the_empty_table_and_leaves_its_structure_alone(
    role: Database, paved: Database, files: Bucket
) -> None:
    before = structure(paved)
    told: list[tuple[int, int]] = []
    loads = load(role, files, SESSIONS, progress=lambda *totals: told.append(totals))
    assert content(paved) == expected(SESSIONS)
    assert structure(paved) == before
    assert [one.session for one in loads] == SESSIONS
    for one in loads:
        assert one.rows_read == one.rows_written + sum(one.ignored.values()) + len(one.rejected)
        assert one.ignored == {"unknown symbol": 1, "test symbol": 1}
        assert one.unknown_symbols == ["GHOST"]
        assert one.diff == RowDiff(len(SYMBOLS), 0, 0, 0)
    assert told == sorted(told)
    assert told[-1] == (len(SESSIONS), len(SESSIONS) * len(SYMBOLS))


def test_session_by_session_in_any_order_gives_what_the_base_load_gives(
    paved: Database, files: Bucket
) -> None:
    some = SESSIONS[:25]
    base = load(paved, files, some)
    at_once = content(paved)
    with paved.connect() as connection:
        connection.execute("TRUNCATE public.ohlcv")
    singly = [one for session in some[::-1] for one in load(paved, files, [session])]
    assert content(paved) == at_once
    assert {one.session: one.content_hash for one in singly} == {
        one.session: one.content_hash for one in base
    }


def test_the_content_hash_is_that_of_the_servers_own_rows(paved: Database, files: Bucket) -> None:
    (one, *_, last) = load(paved, files, SESSIONS)
    with paved.connect() as connection:
        assert last.content_hash == published_hash(connection, last.session)
    query = sql.SQL(
        "COPY (SELECT {} FROM public.ohlcv WHERE date = {} ORDER BY ticker_id) TO STDOUT (FORMAT binary)"
    ).format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), sql.Literal(one.session))
    with paved.connect() as connection, connection.cursor().copy(query) as copy:
        received = b"".join(bytes(block) for block in copy)
    assert hashlib.sha256(received[19:-2]).hexdigest() == one.content_hash


def test_a_rerun_writes_nothing(paved: Database, files: Bucket) -> None:
    some = SESSIONS[:5]

    def places() -> list[tuple[Any, ...]]:
        with paved.connect() as connection:
            return connection.execute(
                "SELECT tableoid, ctid, xmin::text FROM public.ohlcv ORDER BY 1, 2"
            ).fetchall()

    load(paved, files, some)
    before = places()
    assert [one.diff for one in load(paved, files, some)] == [RowDiff(0, 0, 0, len(SYMBOLS))] * len(some)
    assert places() == before


def republished(session: dt.date) -> pl.DataFrame:
    """The session without its first symbol, another close for the second, and with a former stranger."""
    return bars(session)[1:].with_columns(
        close=pl.when(ticker="S001").then(pl.col("high")).otherwise("close")
    )


def test_a_republished_file_replaces_exactly_its_session(paved: Database, files: Bucket) -> None:
    some, changed = SESSIONS[:5], SESSIONS[2]
    listed = [symbol for symbol in SYMBOLS if symbol != "S119"]
    load(paved, files, some, tickers=universe(listed))
    files.put_bars(changed, republished(changed))
    (one,) = load(paved, files, [changed])
    assert one.diff == RowDiff(added=1, changed=1, removed=1, unchanged=117)
    assert one.diff.details == {"rows_added": 1, "rows_changed": 1, "rows_removed": 1}
    others = {s: bars(s).filter(pl.col("ticker") != "S119") for s in some}
    assert content(paved) == expected(others | {changed: republished(changed)})


def refuse(_: Connection, __: sql.Composable) -> None:
    raise AuditError("No.", fix="Nothing to fix.")


def test_rows_that_an_audit_refuses_are_never_seen(paved: Database, files: Bucket) -> None:
    before = structure(paved)
    with pytest.raises(AuditError):
        load(paved, files, SESSIONS[:3], audit=refuse)
    assert_nothing_happened(paved, before)
    load(paved, files, SESSIONS[:3])
    files.put_bars(SESSIONS[1], republished(SESSIONS[1]))
    with pytest.raises(AuditError):
        load(paved, files, [SESSIONS[1]], audit=refuse)
    assert content(paved) == expected(SESSIONS[:3])


def test_the_audit_sees_exactly_the_rows_to_be_published(paved: Database, files: Bucket) -> None:
    counts: list[tuple[Any, ...] | None] = []

    def count(connection: Connection, relation: sql.Composable) -> None:
        query = sql.SQL("SELECT count(*), min(date), max(date) FROM {}").format(relation)
        counts.append(connection.execute(query).fetchone())

    load(paved, files, SESSIONS[:3], audit=count)
    load(paved, files, SESSIONS[1:3], audit=count)
    assert counts == [
        (360, SESSIONS[0], SESSIONS[2]),
        (120, SESSIONS[1], SESSIONS[1]),
        (120, SESSIONS[2], SESSIONS[2]),
    ]


def test_bookkeeping_and_bars_stand_or_fall_together(paved: Database, files: Bucket) -> None:
    def note(connection: Connection, one: SessionLoad) -> None:
        connection.execute(
            "INSERT INTO kapman_meta.load_manifest (asset, partition_key, sources) VALUES ('ohlcv', %s, '[]')",
            (one.session.isoformat(),),
        )
        if one.session == SESSIONS[2]:
            raise RuntimeError("out of ink")

    before = structure(paved)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            load(paved, files, SESSIONS[:4], record=note)
        assert_nothing_happened(paved, before)
    with paved.connect() as connection:
        assert connection.execute("SELECT count(*) FROM kapman_meta.load_manifest").fetchone() == (0,)


def test_one_damaged_file_keeps_the_whole_base_load_out(paved: Database, files: Bucket) -> None:
    before = structure(paved)
    bad = SESSIONS[40]
    whole = flat_file(bad, bars(bad))
    for body, found in (
        (whole[:-20], "is cut off"),
        (b"", "is empty"),
        (flat_file(SESSIONS[41], bars(bad)), f"carry another day, most often {SESSIONS[41]}"),
        (flat_file(bad, bars(bad).with_columns(close=-1.0)), "only 0 can be used"),
        (flat_file(bad, bars(bad).with_columns(ticker=pl.lit("X"))), "122 unknown symbol"),
    ):
        files.put(key_of(bad), body)
        with pytest.raises(SourceError, match=found):
            load(paved, files, SESSIONS)
        assert_nothing_happened(paved, before)


def test_rejected_rows_come_with_their_bytes_and_the_rest_is_loaded(paved: Database, files: Bucket) -> None:
    odd = bars(SESSIONS[0]).with_columns(low=pl.when(ticker="S005").then(-1.0).otherwise("low"))
    files.put_bars(SESSIONS[0], odd)
    (one,) = load(paved, files, SESSIONS[:1])
    (quarantined,) = one.rejected
    assert (quarantined.source, quarantined.line, quarantined.reason) == (
        key_of(SESSIONS[0]),
        7,
        "price is not positive and finite",
    )
    assert quarantined.raw.startswith(b"S005,")
    assert one.rows_written == len(SYMBOLS) - 1


def test_a_bar_without_a_ticker_is_refused_by_the_foreign_key(
    role: Database, paved: Database, files: Bucket
) -> None:
    before = structure(paved)
    with pytest.raises(AuditError, match="ohlcv_ticker_id_fkey"):
        load(role, files, SESSIONS[:3], tickers=universe([*SYMBOLS, "GHOST"]))
    assert_nothing_happened(paved, before)
    load(role, files, SESSIONS[:3])
    with pytest.raises(AuditError, match="ohlcv_ticker_id_fkey"):
        load(role, files, SESSIONS[3:4], tickers=universe([*SYMBOLS, "GHOST"]))
    with paved.connect() as connection, pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute("DELETE FROM public.tickers")


def test_duplicates_are_refused_by_the_primary_key(paved: Database) -> None:
    before = structure(paved)
    insert = (
        "INSERT INTO public.ohlcv (ticker_id, date, open, high, low, close, volume) "
        "SELECT id, '2026-08-21', 1, 1, 1, 1, 1 FROM public.tickers"
    )
    with (
        pytest.raises(psycopg.errors.UniqueViolation),
        paved.connect() as connection,
        keys_off(connection),
    ):
        connection.execute(insert)
        connection.execute(insert)
    assert_nothing_happened(paved, before)


def test_an_interrupted_load_leaves_nothing_behind(paved: Database, files: Bucket) -> None:
    before = structure(paved)

    def interrupt(sessions: int, _: int) -> None:
        if sessions > len(SESSIONS) // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(paved, files, SESSIONS, progress=interrupt)
    assert_nothing_happened(paved, before)
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("ohlcv", "flat"))]
    assert left == []


def test_a_lost_server_connection_is_said_in_a_sentence(
    paved: Database, files: Bucket, server_url: str
) -> None:
    before = structure(paved)

    def cut(_: int, __: int) -> None:
        with psycopg.connect(server_url, dbname="postgres", autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (paved.name,)
            )

    with pytest.raises(DatabaseError, match=r"server went away.*run it again"):
        load(paved, files, SESSIONS, progress=cut)
    assert_nothing_happened(paved, before)


KILLED = """
import sys
from kapman_resources.database import Database
from kapman_resources.flat_files import FlatFiles
from kapman_resources.ohlcv_load import OhlcvLoader
from tests.integration import test_ohlcv_load as scene
from tests.integration.bucket import SECRET

def stop(sessions, rows):
    print(sessions, flush=True)
    if sessions > 20:
        sys.stdin.read()  # in mid-COPY of the transaction, until we are killed

files = FlatFiles(sys.argv[2], "flatfiles", "key", SECRET)
listed = files.list_sessions(scene.SESSIONS[0], scene.SESSIONS[-1])
OhlcvLoader(Database(sys.argv[1]), files).load(
    listed, scene.TICKER_ROWS, audit=scene.accept, record=scene.forget, progress=stop
)
"""


def test_a_killed_loader_leaves_the_table_empty_and_its_keys_in_force(paved: Database, files: Bucket) -> None:
    before = structure(paved)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, paved.url, files.endpoint],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as loader:
        assert loader.stdout is not None
        while (line := loader.stdout.readline()) and int(line) <= 20:
            pass
        assert line, "the loader ended before it could be killed"
        os.kill(loader.pid, signal.SIGKILL)
    assert_nothing_happened(paved, before)  # waits for the dead session's locks, if it must
    load(paved, files, SESSIONS)
    assert content(paved) == expected(SESSIONS)


def test_the_loser_of_a_deadlock_tries_again(paved: Database, files: Bucket) -> None:
    tries: list[dt.date] = []

    def unlucky(_: Connection, one: SessionLoad) -> None:
        tries.append(one.session)
        if len(tries) in {1, 3}:
            raise psycopg.errors.DeadlockDetected("deadlock detected")

    load(paved, files, SESSIONS[:1], record=unlucky)  # the base load
    load(paved, files, SESSIONS[1:2], record=unlucky)  # a session
    assert tries == [SESSIONS[0]] * 2 + [SESSIONS[1]] * 2
    assert content(paved) == expected(SESSIONS[:2])


def test_two_loads_at_once_give_what_one_gives(paved: Database, files: Bucket) -> None:
    some = SESSIONS[:6]
    diffs: list[list[RowDiff]] = []

    def run() -> None:
        diffs.append([one.diff for one in load(paved, files, some)])

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(paved) == expected(some)
    assert sorted(diffs, key=str) == sorted(
        [[RowDiff(120, 0, 0, 0)] * 6, [RowDiff(0, 0, 0, 120)] * 6], key=str
    )


def test_a_compressed_session_can_be_replaced(paved: Database, files: Bucket) -> None:
    load(paved, files, SESSIONS[:5])
    with paved.connect(autocommit=True) as connection:
        if connection.execute("SHOW timescaledb.license").fetchone() != ("timescale",):
            pytest.skip(
                "compression needs the Community edition: name such a server in KAPMAN_TEST_DATABASE_URL"
            )
        connection.execute(
            "ALTER TABLE public.ohlcv SET (timescaledb.compress, timescaledb.compress_segmentby = 'ticker_id')"
        )
        connection.execute("SELECT compress_chunk(c) FROM show_chunks('public.ohlcv') c")
    files.put_bars(SESSIONS[2], republished(SESSIONS[2]))
    (one,) = load(paved, files, [SESSIONS[2]])
    assert one.diff == RowDiff(added=0, changed=1, removed=1, unchanged=118)
    assert content(paved) == expected(
        {s: bars(s) for s in SESSIONS[:5]} | {SESSIONS[2]: republished(SESSIONS[2])}
    )
