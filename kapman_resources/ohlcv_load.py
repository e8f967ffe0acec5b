"""Publishing bars into `public.ohlcv`: all of a load's sessions, or one, become visible at once or not at all.

Two ways, chosen by the table. The empty table (the repave) is filled in one transaction, chunk by chunk in
key order, with its keys proved at the end instead of row by row, which costs a quarter and still rejects
duplicates and orphans (benchmarks/ohlcv_load.py). Otherwise each session is staged and made equal to its
stage in a transaction of its own.
"""

import datetime as dt
import hashlib
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TypeVar

import numpy as np
import polars as pl
from psycopg import sql

from kapman_resources.binary_copy import copy_blocks, encode, fixed_rows
from kapman_resources.database import Connection, Database
from kapman_resources.errors import SourceError, StructureError
from kapman_resources.flat_file_decoding import FileBooks, TickerIndex, decode_bars
from kapman_resources.flat_files import FlatFiles, ObjectInfo
from kapman_resources.manifest import Quarantined
from kapman_resources.publish import (
    RowDiff,
    hold_tickers,
    lock_publishing,
    make_equal,
    may_rest,
    owns,
    refusals_explained,
    relation,
    retried,
    stage,
    triggers_at_rest,
)
from kapman_resources.tables import OHLCV

RELATION = relation(OHLCV)
COLUMNS = [column.name for column in OHLCV.recorded]

# Two threads decode while the main one feeds the COPY: polars, isal and NumPy release the GIL, and the
# server, not the client, sets the pace (performance.md). Groups ahead bound the memory.
_WORKERS = 2
_GROUPS_AHEAD = 3
_SESSIONS_A_GROUP = 64

# A file of which more than a tenth can't be used is damaged, not odd: replacing a session by what is left
# of it would delete good bars.
_MOST_REJECTED = 0.1

# PostgreSQL's binary COPY format: signature, flags and an empty extension; a 16-bit -1 at the end.
_COPY_HEADER, _COPY_TRAILER = 19, 2

Audit = Callable[[Connection, sql.Composable], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class SessionLoad:
    """A published session: rows_read = rows_written + Σ ignored + len(rejected).

    source: the version of the object that was read (it may be newer than the listing).
    unknown_symbols: names behind `ignored["unknown symbol"]`, ascending.
    content_hash: of the session's rows, see `content_hash`.
    """

    session: dt.date
    source: ObjectInfo
    rows_read: int
    rows_written: int
    ignored: dict[str, int]
    unknown_symbols: list[str]
    rejected: list[Quarantined]
    content_hash: str
    diff: RowDiff


@dataclass(frozen=True)
class OhlcvLoader:
    """Loads sessions from the flat files into the database."""

    database: Database
    flat_files: FlatFiles

    def load(
        self,
        sessions: Mapping[dt.date, ObjectInfo],
        tickers: pl.DataFrame,
        *,
        audit: Audit,
        record: Callable[[Connection, SessionLoad], None],
        progress: Callable[[int, int], None] = lambda sessions, rows: None,
    ) -> list[SessionLoad]:
        """Publish these sessions, ascending; what was loaded before them stays if a later one fails.

        An empty table gets all of them in one transaction or none. It can be interrupted at any time.

        tickers: `symbol`, `id` (both String) of every ticker in the database.
        audit: given the relation with the rows to be published; raises AuditError to refuse them.
        record: called once a session inside the publishing transaction.
        progress: told the sessions and rows published (for the empty table: copied) so far.

        Raises:
            SourceError: a file can't be read or isn't what its name says.
            AuditError: rows break a rule of the audit or of the database.
            DatabaseError: the server went away, or its disk is full.
        """
        if not sessions:
            return []
        index = TickerIndex.of(tickers)
        ordered = dict(sorted(sessions.items()))
        with refusals_explained(OHLCV):
            loads = retried(lambda: self._load_base(ordered, index, audit, record, progress))
            return loads if loads is not None else self._load_each(ordered, index, audit, record, progress)

    def rehearse(self, session: dt.date, source: ObjectInfo, tickers: pl.DataFrame) -> SessionLoad:
        """What `load` would make of a session's file by now; nothing is published, the database isn't asked.

        Its `diff` counts every row as added.

        Raises:
            SourceError: as `load`.
        """
        prepared = self._prepared({session: source}, [[session]], TickerIndex.of(tickers), _as_they_are)
        with closing(prepared):
            ((load,), _) = next(prepared)
        return load

    def _load_base(
        self,
        sessions: Mapping[dt.date, ObjectInfo],
        index: TickerIndex,
        audit: Audit,
        record: Callable[[Connection, SessionLoad], None],
        progress: Callable[[int, int], None],
    ) -> list[SessionLoad] | None:
        """All sessions in one transaction; None if the table holds rows."""
        loads: list[SessionLoad] = []
        rows = 0
        with self.database.connect() as connection:
            lock_publishing(connection, OHLCV)
            if not is_empty(connection):
                return None
            hold_tickers(connection, OHLCV, (uuid.UUID(bytes=one) for one in index.ids))
            groups = _by_chunk(list(sessions), chunk_days(connection))
            with (
                keys_off(connection) as triggers_off,
                closing(self._prepared(sessions, groups, index, _in_key_order)) as prepared,
            ):
                for published, blocks in prepared:
                    rows += _copy_into_chunk(connection, published, blocks, triggers_off=triggers_off)
                    loads += published
                    progress(len(loads), rows)
            audit(connection, RELATION)
            for load in loads:
                record(connection, load)
        return loads

    def _load_each(
        self,
        sessions: Mapping[dt.date, ObjectInfo],
        index: TickerIndex,
        audit: Audit,
        record: Callable[[Connection, SessionLoad], None],
        progress: Callable[[int, int], None],
    ) -> list[SessionLoad]:
        """Each session in a transaction of its own."""
        loads: list[SessionLoad] = []
        groups = [[session] for session in sessions]
        with (
            self.database.connect(autocommit=True) as connection,
            closing(self._prepared(sessions, groups, index, _as_they_are)) as prepared,
        ):
            for (decoded,), bars in prepared:
                loads.append(retried(partial(_publish, connection, decoded, bars, audit, record)))
                progress(len(loads), sum(load.rows_written for load in loads))
        return loads

    def _prepared(
        self,
        sessions: Mapping[dt.date, ObjectInfo],
        groups: list[list[dt.date]],
        index: TickerIndex,
        finish: Callable[[pl.DataFrame, np.ndarray], tuple[list[str], Result]],
    ) -> Generator[tuple[list[SessionLoad], Result], None, None]:
        """Groups of sessions, read, decoded and finished by threads, a few groups ahead of the caller.

        finish: given a group's bars (columns COLUMNS, ordered by session and ticker) and the tickers'
            positions in `index.ids`, returns the sessions' content hashes and what the caller needs.
        """
        ahead: deque[Future[tuple[list[SessionLoad], Result]]] = deque()
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="ohlcv")
        try:
            with closing(self.flat_files.read_many(sessions.values())) as files:
                for group in groups:
                    batch = [(session, *next(files)) for session in group]
                    ahead.append(pool.submit(_prepare, batch, index, finish))
                    if len(ahead) >= _GROUPS_AHEAD:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def load_session(connection: Connection, session: dt.date, bars: pl.DataFrame, audit: Audit) -> RowDiff:
    """Make the table's rows of a session equal to `bars`, in the caller's transaction.

    bars: columns COLUMNS, `ticker_id` unique, `date` = session. Rows that are equal are left alone, so
    that a rerun writes nothing. Works on compressed chunks too.

    Raises:
        AuditError: the audit refused the staged rows.
    """
    staged = stage(connection, OHLCV, bars)
    audit(connection, staged)
    return make_equal(connection, OHLCV, staged, sql.SQL("o.date = {}").format(sql.Literal(session)))


def is_empty(connection: Connection) -> bool:
    """Whether `public.ohlcv` holds no row."""
    found = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(RELATION)).fetchone()
    return found is not None and not found[0]


def chunk_days(connection: Connection) -> int:
    """Length of the hypertable's chunks in days."""
    found = connection.execute(
        """
        SELECT extract(day FROM time_interval)::int FROM timescaledb_information.dimensions
        WHERE hypertable_schema = 'public' AND hypertable_name = %s AND column_name = %s
        """,
        (OHLCV.name, OHLCV.time_column),
    ).fetchone()
    if found is None:
        raise StructureError(
            f"public.{OHLCV.name} is no hypertable on {OHLCV.time_column}.",
            fix="Run `make repave`, which makes the database anew.",
        )
    return int(found[0])


def _copy_into_chunk(
    connection: Connection, loads: list[SessionLoad], rows: list[memoryview], *, triggers_off: bool
) -> int:
    """COPY the rows of these sessions, all of one chunk, straight into that chunk; returns how many.

    rows: the first row, then the others. The hypertable makes the chunk for the first one and then steps
    aside: it would look for the chunk of every row anew, a third of the time. The chunk's own constraint
    refuses rows of other chunks.
    """
    first, *others = rows
    copied = copy_blocks(connection, RELATION, COLUMNS, iter([first]))
    (chunk,) = connection.execute(
        sql.SQL(
            """
            SELECT n.nspname, c.relname FROM {} o
            JOIN pg_class c ON c.oid = o.tableoid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE o.date BETWEEN {} AND {} LIMIT 1
            """
        ).format(RELATION, sql.Literal(loads[0].session), sql.Literal(loads[-1].session))
    ).fetchall()
    with triggers_at_rest(connection) if triggers_off else nullcontext():
        return copied + copy_blocks(connection, sql.Identifier(*chunk), COLUMNS, iter(others))


@contextmanager
def keys_off(connection: Connection) -> Iterator[bool]:
    """Without primary and foreign keys inside; at the end they are the same again, and hold for every row.

    For the empty table only, in one transaction: nobody else ever sees the table without its keys. A role that
    doesn't own the table leaves them where they are, and pays for them row by row.

    Yields whether the foreign key's triggers may rest during the COPY of rows whose tickers are held; it is then
    left in place, because adding it again costs 0.4 us a row.
    """
    resting = may_rest(connection, OHLCV)
    if not owns(connection, OHLCV):
        yield resting
        return
    keys = connection.execute(
        """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = %s::regclass AND contype::text = ANY (%s)
        ORDER BY contype = 'f', conname
        """,
        (RELATION.as_string(connection), ["p", "u"] if resting else ["p", "u", "f"]),
    ).fetchall()
    for name, _ in reversed(keys):
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(RELATION, sql.Identifier(name))
        )
    yield resting
    for name, definition in keys:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                RELATION, sql.Identifier(name), sql.SQL(definition)
            )
        )


def content_hash(bars: pl.DataFrame) -> str:
    """SHA-256 of the bars (columns COLUMNS, in key order) in PostgreSQL's binary COPY format.

    The same as of `COPY (SELECT <COLUMNS> FROM public.ohlcv WHERE … ORDER BY ticker_id, date) TO STDOUT
    (FORMAT binary)` without header and trailer: a database can be held to it at any time.
    """
    digest = hashlib.sha256()
    for block in encode(OHLCV, bars):
        digest.update(block)
    return digest.hexdigest()


def published_hash(connection: Connection, session: dt.date) -> str:
    """`content_hash` of the session's rows as they are in the database now."""
    query = sql.SQL(
        "COPY (SELECT {} FROM {} WHERE date = {} ORDER BY ticker_id) TO STDOUT (FORMAT binary)"
    ).format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), RELATION, sql.Literal(session))
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        rows = b"".join(copy)
    return hashlib.sha256(rows[_COPY_HEADER:-_COPY_TRAILER]).hexdigest()


def _prepare(
    batch: list[tuple[dt.date, ObjectInfo, bytes]],
    index: TickerIndex,
    finish: Callable[[pl.DataFrame, np.ndarray], tuple[list[str], Result]],
) -> tuple[list[SessionLoad], Result]:
    """Decode a group's files; `finish` as in `OhlcvLoader._prepared`."""
    decoded = decode_bars([(session, body) for session, _, body in batch], index)
    for (_, info, _), books in zip(batch, decoded.books, strict=True):
        _refuse_unusable(books, info)
    hashes, finished = finish(index.with_ids(decoded.bars), decoded.bars["ticker"].to_numpy())
    loads = [
        SessionLoad(
            session,
            info,
            rows_read=books.rows_read,
            rows_written=books.bars,
            ignored=books.ignored,
            unknown_symbols=books.unknown_symbols["symbol"].to_list(),
            rejected=[Quarantined(info.key, line, raw, why) for line, raw, why in books.rejected.iter_rows()],
            content_hash=content,
            diff=RowDiff(books.bars, 0, 0, 0),
        )
        for (session, info, _), books, content in zip(batch, decoded.books, hashes, strict=True)
    ]
    return loads, finished


def _in_key_order(bars: pl.DataFrame, tickers: np.ndarray) -> tuple[list[str], list[memoryview]]:
    """The sessions' content hashes, and the rows for COPY ordered by ticker and session: the first, the others."""
    order = np.argsort(tickers, kind="stable")
    rows = fixed_rows(OHLCV, bars)
    if rows is None:
        return _hashes(bars), [*encode(OHLCV, bars[order[:1]]), *encode(OHLCV, bars[order[1:]])]
    sessions = np.flatnonzero(np.diff(bars["date"].to_physical().to_numpy())) + 1
    hashes = [hashlib.sha256(session.data).hexdigest() for session in np.split(rows, sessions)]
    ordered = rows[order]
    return hashes, [ordered[:1].reshape(-1).data, ordered[1:].reshape(-1).data]


def _as_they_are(bars: pl.DataFrame, _: np.ndarray) -> tuple[list[str], pl.DataFrame]:
    return _hashes(bars), bars


def _hashes(bars: pl.DataFrame) -> list[str]:
    return [content_hash(session) for session in bars.partition_by("date", maintain_order=True)]


def _publish(
    connection: Connection,
    decoded: SessionLoad,
    bars: pl.DataFrame,
    audit: Audit,
    record: Callable[[Connection, SessionLoad], None],
) -> SessionLoad:
    with connection.transaction():
        lock_publishing(connection, OHLCV)
        load = replace(decoded, diff=load_session(connection, decoded.session, bars, audit))
        record(connection, load)
    return load


def _refuse_unusable(books: FileBooks, info: ObjectInfo) -> None:
    rejected = books.rejected.height
    if books.bars and rejected <= max(10, books.rows_read * _MOST_REJECTED):
        return
    reasons = books.ignored | dict(books.rejected["reason"].value_counts(sort=True).iter_rows())
    found = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    raise SourceError(
        f"Of the {books.rows_read} rows of {info.key} only {books.bars} can be used ({found}).",
        fix="Nothing of it was loaded. Look at the file; if all symbols are unknown, materialize `tickers`.",
    )


def _by_chunk(sessions: Sequence[dt.date], days: int) -> list[list[dt.date]]:
    """Ascending sessions in groups that fill one chunk after the other (chunks start at the epoch)."""
    epoch = dt.date(1970, 1, 1)
    chunks = (list(group) for _, group in groupby(sessions, lambda day: (day - epoch).days // days))
    return [
        chunk[start : start + _SESSIONS_A_GROUP]
        for chunk in chunks
        for start in range(0, len(chunk), _SESSIONS_A_GROUP)
    ]
