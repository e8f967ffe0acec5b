"""Connections that can't write: a small pool of them, and what goes wrong as sentences."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import IsolationLevel, errors, sql
from psycopg_pool import ConnectionPool, PoolTimeout

from kapman_resources.connection_errors import explain
from kapman_resources.database import Connection
from kapman_resources.errors import DatabaseError, StructureError

STATEMENT_SECONDS = 10
"""Longest that a query of the page may take; a check of the data-health tab has HEALTH_SECONDS."""
HEALTH_SECONDS = 120
_WAIT_SECONDS = 3

_MIGRATE = "dagster asset materialize -m kapman_assets --select schema"


class ReadOnlyDatabase:
    """The database as the market page sees it.

    locate: gives the URL of the database; asked again for each new connection, because a repave makes a new
        database and the embedded server may come back on another port.

    Every session is read-only from its first moment (`default_transaction_read_only`), has a statement timeout,
    and opens its transactions as READ ONLY; use the role kapman_reader where even that shouldn't be trusted.
    """

    def __init__(self, locate: Callable[[], str], *, connections: int = 4) -> None:
        self._locate = locate
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            locate,
            kwargs={
                "options": "-c default_transaction_read_only=on -c timezone=UTC -c datestyle=ISO -c jit=off"
                f" -c statement_timeout={STATEMENT_SECONDS}s -c idle_in_transaction_session_timeout=5min",
                "application_name": "kapman: market page",
                "connect_timeout": _WAIT_SECONDS,
            },
            configure=_configure,
            # A repave drops the database and with it our idle connections: noticed before a page needs one.
            check=ConnectionPool.check_connection,
            min_size=1,
            max_size=connections,
            timeout=_WAIT_SECONDS,
            reconnect_timeout=_WAIT_SECONDS,
            max_idle=300,
            name="market",
            open=True,
        )

    def close(self) -> None:
        """End all connections."""
        self._pool.close()

    @contextmanager
    def snapshot(self, seconds: int = STATEMENT_SECONDS) -> Iterator[Connection]:
        """One read-only transaction that sees one state of the database, whatever is published meanwhile.

        seconds: how long a statement may take.

        Raises:
            DatabaseError: no server or database, no right to read, or a query that took too long.
            StructureError: the database is empty, or its structure older than this program.
        """
        try:
            with self._pool.connection() as connection:
                if seconds != STATEMENT_SECONDS:
                    limit = sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(seconds * 1000))
                    connection.execute(limit)
                yield connection
        except PoolTimeout:
            raise self._reason() from None
        except psycopg.Error as error:
            raise self._explained(error) from error

    def _reason(self) -> DatabaseError:
        """Why the pool has no connection to give."""
        url = self._locate()
        try:
            psycopg.connect(url, connect_timeout=_WAIT_SECONDS).close()
        except psycopg.OperationalError as error:
            return explain(error, url)
        return DatabaseError(
            "All of the page's connections to the database are busy.", fix="Reload the page in a moment."
        )

    def _explained(self, error: psycopg.Error) -> DatabaseError | StructureError:
        said = error.diag.message_primary or str(error).partition("\n")[0]
        match error:
            case errors.UndefinedTable() | errors.UndefinedColumn() | errors.InvalidSchemaName():
                return self._structure(said)
            case errors.InsufficientPrivilege():
                return DatabaseError(
                    f"The page's role may not read everything: {said}.",
                    fix="Grant it what docs/analytics.md lists under “Who may read them”.",
                )
            case errors.QueryCanceled():
                return DatabaseError(
                    "The database took too long to answer, and the query was given up.",
                    fix="Reload the page; if it stays slow, look at the load with `kapman db psql -c 'SELECT * FROM pg_stat_activity'`.",
                )
            case psycopg.OperationalError():
                return DatabaseError(
                    f"The database went away: {said}.",
                    fix="A repave may be running. Reload the page in a moment; `kapman db status` shows the server.",
                )
        return DatabaseError(
            f"The database refused a query: {said}.", fix="Look at the log of `kapman market`."
        )

    def _structure(self, said: str) -> StructureError:
        """Whether the database has none of our tables, or an older version of them."""
        with self._pool.connection() as connection:
            [(found,)] = connection.execute(
                "SELECT to_regclass('public.daily_snapshots') IS NOT NULL"
            ).fetchall()
            name = connection.info.dbname
        if found:
            return StructureError(
                f"Database {name!r} has an older structure than this program: {said}.",
                fix=f"Bring it up to date, which destroys nothing: {_MIGRATE}",
            )
        return StructureError(f"Database {name!r} has no market in it yet.", fix="Build it: make repave")


def _configure(connection: Connection) -> None:
    connection.read_only = True
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
