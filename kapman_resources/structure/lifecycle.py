"""How long rows live: one declaration, two enforcers, depending on the edition of TimescaleDB."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql

from kapman_resources.database import Connection, Database
from kapman_resources.errors import Refused
from kapman_resources.tables import TABLES

RETENTION = dt.timedelta(days=730)
"""On every hypertable; whole chunks are dropped, so up to one chunk interval more is kept."""
COLUMNSTORE_AFTER = dt.timedelta(days=120)
COLUMNSTORE_TABLE = "options_chains"
SEGMENT_BY = "ticker_id"
ORDER_BY = "time DESC"
HYPERTABLES = tuple(table.name for table in TABLES.values() if table.hypertable)


@dataclass(frozen=True)
class Lifecycle:
    """Who enforces the retention of this database, and whether it has a columnstore."""

    edition: Literal["timescale", "apache"]
    enforcer: Literal["policy", "platform job"]
    columnstore: Literal["available", "not available in this edition"]


def apply_lifecycle(connection: Connection) -> Lifecycle:
    """Attach the retention and columnstore policies that the edition has; idempotent.

    A policy with another interval is replaced; one that is right is left alone, with its job's history.
    """
    row = connection.execute("SELECT current_setting('timescaledb.license')").fetchone()
    if row is None or row[0] != "timescale":
        return Lifecycle("apache", "platform job", "not available in this edition")
    with connection.transaction():
        for table in HYPERTABLES:
            _retain(connection, f"public.{table}")
        _keep_in_columns(connection, f"public.{COLUMNSTORE_TABLE}")
    return Lifecycle("timescale", "policy", "available")


def drop_expired_chunks(database: Database, as_of: dt.date) -> list[str]:
    """Drop the chunks that end before `as_of` - 730 days, where no policy can; returns their names.

    The platform's daily job on the Apache edition; on the Community edition its policies are on duty and
    this does nothing. Whole chunks only, as the policy would.

    Raises:
        Refused: a loader's open transaction held a table for ten seconds.
    """
    dropped: list[str] = []
    for table in HYPERTABLES:
        with database.connect() as connection:
            row = connection.execute("SELECT current_setting('timescaledb.license')").fetchone()
            if row is not None and row[0] == "timescale":
                return []
            # Foreign keys make drop_chunks lock `tickers` as well: waiting longer would make every
            # reader queue behind us.
            connection.execute("SET LOCAL lock_timeout = '10s'")
            type_ = TABLES[table].column(TABLES[table].time_column or "").type
            try:
                chunks = connection.execute(
                    sql.SQL("SELECT public.drop_chunks(%s::regclass, older_than => %s::date::{})").format(
                        sql.SQL(type_)
                    ),
                    (f"public.{table}", as_of - RETENTION),
                ).fetchall()
            except psycopg.errors.LockNotAvailable:
                raise Refused(
                    f"Expired chunks of {table} could not be dropped: a load holds the table.",
                    fix="Run the retention job again when no load is running.",
                ) from None
            dropped += sorted(str(chunk[0]) for chunk in chunks)
    return dropped


def _retain(connection: Connection, table: str) -> None:
    if _has_policy(connection, table, "policy_retention", "drop_after", RETENTION):
        return
    connection.execute("SELECT public.remove_retention_policy(%s::regclass, if_exists => true)", (table,))
    connection.execute(
        "SELECT public.add_retention_policy(%s::regclass, drop_after => %s::interval)", (table, RETENTION)
    )


def _keep_in_columns(connection: Connection, table: str) -> None:
    settings = connection.execute(
        "SELECT segmentby, orderby FROM timescaledb_information.hypertable_columnstore_settings "
        "WHERE hypertable = %s::regclass",
        (table,),
    ).fetchone()
    # The view quotes names where it must ("time" is a type's name).
    if settings is None or (settings[0], str(settings[1]).replace('"', "")) != (SEGMENT_BY, ORDER_BY):
        connection.execute(
            sql.SQL(
                "ALTER TABLE {} SET (timescaledb.enable_columnstore = true, "
                "timescaledb.segmentby = {}, timescaledb.orderby = {})"
            ).format(sql.Identifier(*table.split(".")), SEGMENT_BY, ORDER_BY)
        )
    if _has_policy(connection, table, "policy_compression", "compress_after", COLUMNSTORE_AFTER):
        return
    connection.execute("CALL public.remove_columnstore_policy(%s::regclass, if_exists => true)", (table,))
    connection.execute(
        "CALL public.add_columnstore_policy(%s::regclass, after => %s::interval)", (table, COLUMNSTORE_AFTER)
    )


def _has_policy(
    connection: Connection, table: str, procedure: str, setting: str, after: dt.timedelta
) -> bool:
    row = connection.execute(
        "SELECT (config->>%s)::interval = %s::interval FROM timescaledb_information.jobs "
        "WHERE proc_name = %s AND format('%%I.%%I', hypertable_schema, hypertable_name) = %s",
        (setting, after, procedure, table),
    ).fetchone()
    return row is not None and bool(row[0])
