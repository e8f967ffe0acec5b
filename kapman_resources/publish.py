"""Staging and publishing: rows become visible all at once, in one transaction, or not at all."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString, TypeVar

import polars as pl
import psycopg
from psycopg import errors, sql

from kapman_resources.binary_copy import copy_frame
from kapman_resources.database import Connection
from kapman_resources.errors import AuditError
from kapman_resources.tables import TICKERS, Table

Result = TypeVar("Result")

_ATTEMPTS = 5


@dataclass(frozen=True)
class RowDiff:
    """What publishing a session did to the table's rows."""

    added: int
    changed: int
    removed: int
    unchanged: int

    @property
    def details(self) -> dict[str, int]:
        """As named numbers for the manifest."""
        return {
            "rows_added": self.added,
            "rows_changed": self.changed,
            "rows_removed": self.removed,
        }


def relation(table: Table) -> sql.Identifier:
    """The published table, qualified."""
    return sql.Identifier(table.schema, table.name)


def stage(connection: Connection, table: Table, frame: pl.DataFrame) -> sql.Identifier:
    """A temporary table with the frame's rows and the table's column types, gone at the transaction's end.

    frame: some or all of the table's recorded columns, by name; the others stay null.
    """
    name = sql.Identifier("pg_temp", f"stage_{table.name}")
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING COMPRESSION) ON COMMIT DROP").format(
            sql.Identifier(f"stage_{table.name}"), relation(table)
        )
    )
    # LIKE keeps NOT NULL; the bookkeeping columns are filled by the published table's defaults.
    for column in table.columns:
        if column.name not in frame.columns and not column.nullable:
            connection.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(
                    name, sql.Identifier(column.name)
                )
            )
    copy_frame(connection, name, table, with_binary_ids(table, frame))
    connection.execute(sql.SQL("ANALYZE {}").format(name))
    return name


def with_binary_ids(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its uuid columns as 16 bytes each, where they are text."""
    return frame.with_columns(
        pl.col(column.name).str.replace_all("-", "", literal=True).str.decode("hex")
        for column in table.columns
        if column.type == "uuid" and frame.schema.get(column.name) == pl.String
    )


def lift_decompression_limit(connection: Connection) -> None:
    """Let this transaction's statements change as many rows of the columnstore as they need.

    By default a statement may decompress 100,000 rows; a session's shares its batches with its neighbours.
    """
    connection.execute("SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0")


def make_equal(
    connection: Connection, table: Table, staged: sql.Composable, scope: sql.Composable
) -> RowDiff:
    """Make the published rows of a scope equal to the staged ones, which are all within it.

    scope: a condition on the table's rows `o`, of constants, so that the planner leaves out the other chunks.
    Rows that are equal are left alone, so that a rerun writes nothing. Works on compressed chunks too.
    """
    lift_decompression_limit(connection)
    columns = [column.name for column in table.recorded]
    values = [name for name in columns if name not in table.key]
    names = {
        "table": relation(table),
        "staged": staged,
        "scope": scope,
        "same": sql.SQL(" AND ").join(
            sql.SQL("o.{0} = s.{0}").format(sql.Identifier(name)) for name in table.key
        ),
        "columns": _columns(columns),
        "key": _columns(table.key),
        "ours": sql.SQL(", ").join(sql.Identifier("o", name) for name in values),
        "theirs": sql.SQL(", ").join(sql.Identifier("s", name) for name in values),
        "assignments": sql.SQL(", ").join(
            sql.SQL("{0} = s.{0}").format(sql.Identifier(name)) for name in values
        ),
    }
    counted = connection.execute(sql.SQL("SELECT count(*) FROM {staged}").format(**names)).fetchone()
    removed, changed, added = (
        connection.execute(sql.SQL(statement).format(**names)).rowcount for statement in _MAKE_EQUAL
    )
    return RowDiff(added, changed, removed, (counted[0] if counted else 0) - added - changed)


_MAKE_EQUAL: tuple[LiteralString, ...] = (
    "DELETE FROM {table} o WHERE {scope} AND NOT EXISTS (SELECT FROM {staged} s WHERE {same})",
    """
    UPDATE {table} o SET {assignments}, created_at = now() FROM {staged} s
    WHERE {scope} AND {same} AND ({ours}) IS DISTINCT FROM ({theirs})
    """,
    """
    INSERT INTO {table} ({columns}) SELECT {columns} FROM {staged} s
    WHERE NOT EXISTS (SELECT FROM {table} o WHERE {scope} AND {same}) ORDER BY {key}
    """,
)
"""Rows that vanished, rows that differ, rows that are new."""


def lock_publishing(connection: Connection, table: Table) -> None:
    """Publications into the table, one at a time; the lock goes with the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"publish {table.name}",))


def hold_tickers(connection: Connection, table: Table, ids: Iterable[uuid.UUID]) -> None:
    """Lock these tickers as the table's foreign key would, so that none can vanish before the transaction ends.

    Raises:
        AuditError: one of them is no ticker.
    """
    wanted = set(ids)
    rows = connection.execute(
        sql.SQL("SELECT id FROM {} WHERE id = ANY (%s) FOR KEY SHARE").format(relation(TICKERS)),
        (list(wanted),),
    )
    if orphans := sorted(wanted - {row[0] for row in rows}):
        raise AuditError(
            f"The rows break {table.name}_ticker_id_fkey of public.{table.name}: there is no ticker {orphans[0]}.",
            fix="Nothing was published. If tickers changed meanwhile, materialize `tickers`, then load again.",
        )


def may_rest(connection: Connection, table: Table) -> bool:
    """Whether the role may silence triggers, and inserts into the table fire none but the foreign key's."""
    found = connection.execute(
        """
        SELECT has_parameter_privilege('session_replication_role', 'SET') AND NOT EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgname <> 'ts_insert_blocker')
        """,
        (relation(table).as_string(connection),),
    ).fetchone()
    return found is not None and bool(found[0])


def owns(connection: Connection, table: Table) -> bool:
    """Whether the role may change the table itself: its owner, a member of that role, or a superuser."""
    found = connection.execute(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s::regclass",
        (relation(table).as_string(connection),),
    ).fetchone()
    return found is not None and bool(found[0])


@contextmanager
def triggers_at_rest(connection: Connection) -> Iterator[None]:
    """Foreign keys ask nothing inside: for a COPY of rows whose tickers are held, and nothing else.

    The key's question, `SELECT 1 FROM tickers WHERE id = … FOR KEY SHARE` for every row, takes two thirds of a
    load (docs/decisions.md). DDL must stay outside: it needs TimescaleDB's event triggers, which rest too.
    """
    connection.execute("SET LOCAL session_replication_role = replica")
    yield
    connection.execute("SET LOCAL session_replication_role = origin")


@contextmanager
def refusals_explained(table: Table) -> Iterator[None]:
    """The database's refusals as sentences."""
    try:
        yield
    except psycopg.IntegrityError as error:
        raise AuditError(
            f"The rows break {error.diag.constraint_name or 'a rule'} of public.{table.name}: "
            f"{error.diag.message_detail or error.diag.message_primary}.",
            fix="Nothing was published. If tickers changed meanwhile, materialize `tickers`, then load again.",
        ) from error


def retried(publish: Callable[[], Result]) -> Result:
    """Foreign keys and the creation of chunks can deadlock with other sessions: the loser tries again."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return publish()
        except (errors.DeadlockDetected, errors.SerializationFailure):
            time.sleep(0.1 * attempt)
    return publish()


def insert_staged(connection: Connection, table: Table, staged: sql.Composable) -> int:
    """Insert every staged row into the published table; returns how many."""
    columns = _columns([column.name for column in table.recorded])
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
        relation(table), columns, columns, staged
    )
    return connection.execute(statement).rowcount


def upsert_staged(
    connection: Connection,
    table: Table,
    staged: sql.Composable,
    columns: Sequence[str],
    *,
    inserted: Sequence[str] = (),
    also: sql.Composable | None = None,
) -> int:
    """Insert staged rows, or set `columns` where the key exists and a value differs; rows written.

    inserted: columns that a new row gets too, but that don't make an existing one different.
    also: further assignments for a row that changes, e.g. `updated_at = now()`.
    """
    names = list(dict.fromkeys([*table.key, *columns, *inserted]))
    target = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns
    )
    differs = sql.SQL("({}) IS DISTINCT FROM ({})").format(
        sql.SQL(", ").join(sql.Identifier("t", name) for name in columns),
        sql.SQL(", ").join(sql.Identifier("excluded", name) for name in columns),
    )
    statement = sql.SQL(
        "INSERT INTO {table} AS t ({names}) SELECT {names} FROM {staged}"
        " ON CONFLICT ({key}) DO UPDATE SET {target} WHERE {differs}"
    ).format(
        table=relation(table),
        names=_columns(names),
        staged=staged,
        key=_columns(table.key),
        target=sql.SQL(", ").join([target, *([also] if also else [])]),
        differs=differs,
    )
    return connection.execute(statement).rowcount


def _columns(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
