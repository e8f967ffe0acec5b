"""What a table or a partition holds, as one short number that two equal databases share."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from kapman_resources.database import Connection
from kapman_resources.tables import TABLES, Column, Table

_SEED = 0x6B61706D616E  # "kapman"
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class ContentHash:
    """Number of rows, and 16 hexadecimal digits made from their recorded columns."""

    rows: int
    hash: str


def content_hash(
    connection: Connection,
    table: Table,
    first: dt.date | None = None,
    last: dt.date | None = None,
    *,
    columns: Sequence[str] = (),
    present: Sequence[str] = (),
) -> ContentHash:
    """Hash the recorded columns (`Table.recorded`) of a table, or of its sessions `first` to `last`.

    first, last: inclusive bounds on the table's time column, None for open. Dates on a timestamptz column
        are days in UTC, which is where the close of a session lies in that session's day; a datetime is
        taken as it is.
    columns: hash these columns only, in this order.
    present: hash only the rows in which one of these columns has a value: the part of a row that one of
        several writers owns doesn't depend on rows that only another one made.

    The sum, modulo 2⁶⁴, of a 64-bit hash of every row: it depends neither on the order of the rows nor on
    chunks, indexes, columnstore, time zone or DateStyle, and a duplicate row counts. Rows are hashed by
    PostgreSQL's own `hash_record_extended`, by value and not by spelling (`1.50` = `1.5000`, `-0` = `0`),
    which has been the same on every little-endian server since PostgreSQL 14 in either edition. JSON is
    hashed by its canonical text, where `1` and `1.0` differ. 5.5 million bars take 2.7 s on two cores;
    their text took 7 s and MD5 18.

    Limits: not cryptographic, since whoever wants two contents of equal hash can make them; by accident
    one change in 2⁶⁴ goes unseen. PostgreSQL doesn't promise its hash functions across major versions, so
    compare across them only after checking one table that is known to be equal.

    Raises:
        ValueError: bounds for a table that has no time column.
    """
    hashed = [table.column(name) for name in columns] or list(table.recorded)
    query = sql.SQL("SELECT count(*), sum({}) FROM {} WHERE {} AND {}").format(
        _row_hash(hashed),
        sql.Identifier(table.schema, table.name),
        _between(table, first, last),
        _present(present),
    )
    row = connection.execute(query).fetchone()
    rows, total = row if row else (0, None)
    return ContentHash(int(rows), f"{int(total or 0) % 2**64:016x}")


def database_hashes(connection: Connection) -> list[tuple[str, str, int]]:
    """(table, hash, rows) of every table of the contract, in the contract's order."""
    hashes = {name: content_hash(connection, table) for name, table in TABLES.items()}
    return [(name, one.hash, one.rows) for name, one in hashes.items()]


def _row_hash(hashed: Sequence[Column]) -> sql.Composed:
    # hash_record_extended is linear in the columns' hashes (each times a power of 31), so a plain sum would
    # not see a value move from one row to another. Hashing the result once more makes it a property of the
    # whole row; as text, because PostgreSQL hashes a bigint by 32 bits only.
    columns = sql.SQL(", ").join(_hashable(column) for column in hashed)
    return sql.SQL(
        'hashtextextended(hash_record_extended(ROW({}), {seed})::text COLLATE "C", {seed})'
    ).format(columns, seed=sql.Literal(_SEED))


def _hashable(column: Column) -> sql.Composable:
    # jsonb_hash_extended rotates and XORs: the same change to two values 32 tokens apart cancels out.
    cast = "::text" if column.type == "jsonb" else ""
    return sql.Identifier(column.name) + sql.SQL(cast)


def _between(table: Table, first: dt.date | None, last: dt.date | None) -> sql.Composable:
    if first is None and last is None:
        return sql.SQL("true")
    if table.time_column is None:
        raise ValueError(f"{table.name} has no time column to be bounded by")
    name = sql.Identifier(table.time_column)
    of_days = table.column(table.time_column).type == "date"
    conditions: list[sql.Composable] = []
    if first is not None:
        start = first if of_days or isinstance(first, dt.datetime) else _midnight(first)
        conditions.append(sql.SQL("{} >= {}").format(name, start))
    if last is not None:
        if of_days or isinstance(last, dt.datetime):
            conditions.append(sql.SQL("{} <= {}").format(name, last))
        else:
            conditions.append(sql.SQL("{} < {}").format(name, _midnight(last + _DAY)))
    return sql.SQL(" AND ").join(conditions)


def _present(names: Sequence[str]) -> sql.Composable:
    if not names:
        return sql.SQL("true")
    return sql.SQL("num_nonnulls({}) > 0").format(sql.SQL(", ").join(map(sql.Identifier, names)))


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
