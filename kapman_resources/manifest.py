"""The load manifest: what has been published, from which sources, and with which content."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import errors
from psycopg.types.json import Jsonb

from kapman_resources.database import Connection

WHOLE = ""
"""Partition key of an asset without partitions."""


@dataclass(frozen=True)
class Load:
    """One publication of an asset's partition; rows read = written + ignored + quarantined.

    sources: what the rows came from, e.g. [{"key": ..., "etag": ..., "size": ...}]; equal sources mean
        that a rerun has nothing to do.
    ignored: rows left out on purpose, by reason.
    details: names that people ask for (unknown symbols, symbols without a chain, ...).
    """

    asset: str
    partition_key: str
    sources: list[dict[str, Any]]
    rows_read: int
    rows_written: int
    rows_quarantined: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    content_hash: str | None = None
    code_version: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Quarantined:
    """A row that was refused: its raw bytes, where it stood, and why."""

    source: str
    line: int | None
    raw: bytes
    reason: str


def record(connection: Connection, load: Load, quarantined: Sequence[Quarantined] = ()) -> None:
    """Write a load's row, and its quarantined rows, in the caller's (publishing) transaction."""
    connection.execute(
        """
        INSERT INTO kapman_meta.load_manifest
            (asset, partition_key, sources, rows_read, rows_written, rows_ignored, rows_quarantined,
             details, content_hash, code_version, run_id)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (asset, partition_key) DO UPDATE SET
            sources = excluded.sources, rows_read = excluded.rows_read,
            rows_written = excluded.rows_written, rows_ignored = excluded.rows_ignored,
            rows_quarantined = excluded.rows_quarantined, details = excluded.details,
            content_hash = excluded.content_hash, code_version = excluded.code_version,
            run_id = excluded.run_id, loaded_at = now()
        """,
        (
            load.asset, load.partition_key, Jsonb(load.sources), load.rows_read, load.rows_written,
            Jsonb(load.ignored), load.rows_quarantined, Jsonb(load.details), load.content_hash,
            load.code_version, load.run_id,
        ),
    )  # fmt: skip
    connection.execute(
        "DELETE FROM kapman_meta.quarantine WHERE asset = %s AND partition_key = %s",
        (load.asset, load.partition_key),
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO kapman_meta.quarantine (asset, partition_key, source, line, reason, raw, run_id)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (load.asset, load.partition_key, q.source, q.line, q.reason, q.raw, load.run_id)
                for q in quarantined
            ],
        )


def published(connection: Connection, asset: str) -> dict[str, Load]:
    """The published partitions of an asset by key, ascending; empty when the database is unpaved."""
    try:
        rows = connection.execute(
            """
            SELECT partition_key, sources, rows_read, rows_written, rows_quarantined, rows_ignored,
                   details, content_hash, code_version, run_id
            FROM kapman_meta.load_manifest WHERE asset = %s ORDER BY partition_key
            """,
            (asset,),
        ).fetchall()
    except errors.UndefinedTable:
        connection.rollback()
        return {}
    return {row[0]: Load(asset, *row) for row in rows}


def sessions(loads: Iterable[str]) -> set[dt.date]:
    """The partition keys that are sessions, as dates."""
    return {dt.date.fromisoformat(key) for key in loads if key != WHOLE}
