"""Staging and publishing: rows become visible all at once, in one transaction, or not at all."""

from collections.abc import Sequence

import polars as pl
from psycopg import sql

from kapman_resources.binary_copy import copy_frame
from kapman_resources.database import Connection
from kapman_resources.tables import Table


def relation(table: Table) -> sql.Identifier:
    """The published table, qualified."""
    return sql.Identifier("public", table.name)


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
