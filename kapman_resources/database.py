"""Connections to the one database, and the lock that keeps a repave and the loads apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from kapman_resources.connection_errors import WRITE_URL, explain, parse
from kapman_resources.errors import DatabaseError, Refused
from kapman_resources.hosts import verified

Connection = psycopg.Connection[tuple]

# Advisory locks are per database, and the pave drops ours: the lock lives in the maintenance database
# of the same server, under a number made from our database's name.
MAINTENANCE_DATABASE = "postgres"
_LOCK_SPACE = 0x4B41504D  # "KAPM"


@dataclass(frozen=True)
class Database:
    """Where the database is and on whose behalf we connect.

    url: a libpq URL; never printed (repr leaves it out). A server that isn't this machine must show a verified
        certificate (`hosts.verified`).
    holder: shown as `application_name`, so that a lock's holder can be named, e.g. `repave run 1a2b3c4d`.
    """

    url: str = field(repr=False)
    holder: str = "kapman"

    def __post_init__(self) -> None:
        """Whoever connects with this URL, pg_dump and psql too, verifies the server."""
        object.__setattr__(self, "url", verified(self.url))

    @property
    def name(self) -> str:
        """Name of the database.

        Raises:
            DatabaseError: the URL can't be read, or names no database.
        """
        name = parse(self.url).get("dbname")
        if not name:
            raise DatabaseError("DATABASE_URL names no database.", fix=WRITE_URL)
        return name

    def at(self, server: Connection) -> "Database":
        """The same database on the very server of this connection.

        A URL may name several hosts, or leave them to the environment, a service file or a resolver, and every
        new connection may then end elsewhere.
        """
        info = server.info
        place = {"host": info.host, "port": f"{info.port}"}
        if info.hostaddr:
            place["hostaddr"] = info.hostaddr
        return replace(self, url=make_conninfo(self.url, **place))

    def with_password(self, password: str) -> "Database":
        """The same database with a password that the URL doesn't hold."""
        return replace(self, url=make_conninfo(self.url, password=password))

    @contextmanager
    def connect(self, *, autocommit: bool = False, database: str | None = None) -> Iterator[Connection]:
        """A connection in UTC, closed at the end; without `autocommit` one transaction, committed at the end.

        Raises:
            DatabaseError: the server can't be reached or refuses us, goes away, or has no room left; one
                sentence, with the fix.
        """
        try:
            connection = psycopg.connect(
                self.url,
                dbname=database or self.name,
                autocommit=autocommit,
                application_name=f"kapman: {self.holder}"[:63],
                options="-c timezone=UTC -c datestyle=ISO -c extra_float_digits=1",
                connect_timeout=10,
            )
        except psycopg.OperationalError as error:
            raise explain(error, self.url) from None
        with _explained(connection), connection:
            yield connection

    def exists(self) -> bool:
        """Whether the server has the database."""
        with self.connect(autocommit=True, database=MAINTENANCE_DATABASE) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.name,))
            return found.fetchone() is not None

    @contextmanager
    def lock(self, *, exclusive: bool) -> Iterator[None]:
        """Hold the platform's lock: `exclusive` for a repave, shared for a load.

        A load and a repave, or two repaves, never run at once; two loads may.

        Raises:
            Refused: somebody else holds it; the sentence names the holder, and since when.
        """
        function = sql.SQL("pg_try_advisory_lock" if exclusive else "pg_try_advisory_lock_shared")
        with self.connect(autocommit=True, database=MAINTENANCE_DATABASE) as connection:
            statement = sql.SQL("SELECT {}(%s, hashtext(%s))").format(function)
            taken = connection.execute(statement, (_LOCK_SPACE, self.name)).fetchone()
            if taken is None or not taken[0]:
                raise self.in_use_by(self._holders(connection) or "another session")
            yield  # the lock goes with the connection, also when this process dies

    def holders(self) -> str:
        """Who holds the platform's lock, as people read it; empty if nobody does."""
        with self.connect(autocommit=True, database=MAINTENANCE_DATABASE) as connection:
            return self._holders(connection)

    def in_use_by(self, holders: str) -> Refused:
        """The refusal of whoever wants the platform's lock now."""
        return Refused(
            f"Database {self.name!r} is in use by {holders}.",
            fix="Wait until that run has ended (the Runs page shows it), then start this one again.",
        )

    def server(self) -> str:
        """Where the server is, as people write it: host and port, or the folder of its socket."""
        with self.connect(autocommit=True, database=MAINTENANCE_DATABASE) as connection:
            return f"{connection.info.host}:{connection.info.port}"

    def _holders(self, connection: Connection) -> str:
        rows = connection.execute(
            """
            SELECT coalesce(nullif(a.application_name, ''), 'another session'), l.pid,
                   coalesce(host(a.client_addr), CASE WHEN a.backend_start IS NOT NULL THEN 'a local socket' END),
                   to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
            FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
            WHERE l.locktype = 'advisory' AND l.granted
              AND l.classid = %s::bigint::oid AND l.objid = (hashtext(%s)::bigint & 4294967295)::oid
            ORDER BY 1, 2
            """,
            (_LOCK_SPACE, self.name),
        ).fetchall()
        return ", ".join(_holder(*row) for row in rows)


def _holder(name: str, pid: int, client: str | None, since: str | None) -> str:
    """Who holds a lock; where it connects from and since when only the same role and monitors are told."""
    seen = f", connected from {client} since {since} UTC" if since else ""
    return f"{name.removeprefix('kapman: ')} (server process {pid}{seen})"


@contextmanager
def _explained(connection: Connection) -> Iterator[None]:
    """What ends a transaction from outside, as sentences; deadlocks and the like are the caller's to judge."""
    try:
        yield
    except errors.DiskFull as error:
        raise DatabaseError(
            f"The database server's disk is full: {error.diag.message_primary}.",
            fix="Nothing of the transaction was published. Make room on the server, then run it again.",
        ) from error
    except psycopg.OperationalError as error:
        if not connection.broken:
            raise
        reason = str(error).partition("\n")[0]
        raise DatabaseError(
            f"The database server went away: {reason}.",
            fix="Nothing of the transaction was published. Start the server, then run it again.",
        ) from error
