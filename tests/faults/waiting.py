"""Stopping a step at an exact moment by locks of the test's own, and seeing that it waits there."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg import sql

from kapman_resources.database import Connection
from tests.integration.conftest import Platform

T = TypeVar("T")
LONG = 120.0
"""Seconds after which a condition counts as never met; a busy machine is no failure."""
GATE = 0x4741_5445


def until(condition: Callable[[], T | None], what: str, still: Callable[[], bool] = lambda: True) -> T:
    """Poll until the condition has a true value, and return it.

    still: whether waiting makes sense at all, e.g. because a process lives.
    """
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        if found := condition():
            return found
        assert still(), f"it ended before {what}"
        time.sleep(0.02)
    raise AssertionError(f"in {LONG:g} s never: {what}")


def waiting_statement(platform: Platform) -> str | None:
    """The statement with which a session of the platform waits for a lock now; None if none does."""
    with platform.database.connect(autocommit=True, database="postgres") as connection:
        row = connection.execute(
            """
            SELECT query FROM pg_stat_activity
            WHERE datname = %s AND wait_event_type = 'Lock' AND application_name LIKE 'kapman: %%run%%'
            """,
            (platform.database.name,),
        ).fetchone()
    return str(row[0]) if row else None


def sessions_of_runs(platform: Platform) -> list[int]:
    """Process ids of the sessions that runs have open in the platform's database."""
    with platform.database.connect(autocommit=True, database="postgres") as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'kapman: %%run%%'",
            (platform.database.name,),
        ).fetchall()
    return [pid for (pid,) in rows]


def rows_copied(platform: Platform) -> int | None:
    """Rows that a COPY under way has taken so far; None if there is no COPY into a table."""
    with platform.database.connect(autocommit=True, database="postgres") as connection:
        row = connection.execute(
            "SELECT tuples_processed FROM pg_stat_progress_copy WHERE datname = %s AND command = 'COPY FROM'",
            (platform.database.name,),
        ).fetchone()
    return int(row[0]) if row else None


@contextmanager
def _locked(platform: Platform, statement: sql.SQL | sql.Composed) -> Iterator[Connection]:
    connection = psycopg.connect(platform.database.url, application_name="tests")
    try:
        connection.execute(statement)
        yield connection
    finally:
        connection.close()  # which may have lost its server meanwhile


@contextmanager
def closed_before_publishing(platform: Platform) -> Iterator[None]:
    """Nobody may start to publish bars: the step stops before its first COPY."""
    lock = sql.SQL("SELECT pg_advisory_xact_lock(hashtextextended('publish ohlcv', 0))")
    with _locked(platform, lock):
        yield


@contextmanager
def closed_before_commit(platform: Platform) -> Iterator[Callable[[], None]]:
    """Nobody may write the manifest: the step stops with its rows copied and nothing committed.

    Yields a function that opens the way.
    """
    with _locked(platform, sql.SQL("LOCK TABLE kapman_meta.load_manifest IN SHARE MODE")) as connection:
        yield connection.rollback


@contextmanager
def closed_at_row(platform: Platform, condition: sql.Composable) -> Iterator[None]:
    """A row of `ohlcv` that meets the condition stops the statement that inserts it.

    A constraint does it, because the base load silences triggers.
    """
    with platform.connect() as connection:
        connection.execute(
            sql.SQL(
                """
                CREATE FUNCTION public.gate(closed boolean) RETURNS boolean LANGUAGE plpgsql AS
                'BEGIN IF closed THEN PERFORM pg_advisory_xact_lock_shared({gate}); END IF; RETURN true; END';
                ALTER TABLE public.ohlcv ADD CONSTRAINT gate CHECK (public.gate({condition})) NOT VALID
                """
            ).format(gate=sql.Literal(GATE), condition=condition)
        )
    try:
        with _locked(platform, sql.SQL("SELECT pg_advisory_xact_lock({})").format(sql.Literal(GATE))):
            yield
    finally:
        with psycopg.connect(platform.database.url) as connection:
            connection.execute("ALTER TABLE public.ohlcv DROP CONSTRAINT gate")
            connection.execute("DROP FUNCTION public.gate")
