"""How long rows live: one declaration, two enforcers.

The Community edition's retention policies are on duty where the platform's today is the clock's. They know no
other today, so with `KAPMAN_AS_OF` they are attached but paused, and there, as on the Apache edition, which
has none, the platform's nightly job drops what has expired.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql

from kapman_resources.database import Connection, Database
from kapman_resources.errors import Refused
from kapman_resources.settings import settings
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
    With `KAPMAN_AS_OF` retention is paused: by the clock it would take the window's oldest sessions away.
    """
    on_duty = settings().as_of is None
    row = connection.execute("SELECT current_setting('timescaledb.license')").fetchone()
    if row is None or row[0] != "timescale":
        return Lifecycle("apache", "platform job", "not available in this edition")
    with connection.transaction():
        for table in HYPERTABLES:
            _retain(connection, f"public.{table}", on_duty=on_duty)
        _keep_in_columns(connection, f"public.{COLUMNSTORE_TABLE}")
    return Lifecycle("timescale", "policy" if on_duty else "platform job", "available")


def drop_expired_chunks(database: Database, as_of: dt.date) -> list[str]:
    """Drop the chunks that end before `as_of` - 730 days, where no policy is on duty; returns their names.

    The platform's nightly job. Whole chunks only, as the policy would.

    Raises:
        Refused: a loader's open transaction held a table for ten seconds.
    """
    dropped: list[str] = []
    for table in HYPERTABLES:
        with database.connect() as connection:
            if _is_retained_by_policy(connection, table):
                continue
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


def _is_retained_by_policy(connection: Connection, table: str) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention' "
        "AND scheduled AND hypertable_schema = 'public' AND hypertable_name = %s)",
        (table,),
    ).fetchone()
    return row is not None and bool(row[0])


def _retain(connection: Connection, table: str, *, on_duty: bool) -> None:
    if not _has_policy(connection, table, "policy_retention", "drop_after", RETENTION):
        connection.execute("SELECT public.remove_retention_policy(%s::regclass, if_exists => true)", (table,))
        connection.execute(
            "SELECT public.add_retention_policy(%s::regclass, drop_after => %s::interval)", (table, RETENTION)
        )
    connection.execute(
        "SELECT public.alter_job(job_id, scheduled => %s) FROM timescaledb_information.jobs "
        "WHERE proc_name = 'policy_retention' AND scheduled <> %s "
        "AND format('%%I.%%I', hypertable_schema, hypertable_name) = %s",
        (on_duty, on_duty, table),
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
