"""What must hold before the structure of a database is touched."""

import json
import socket
from dataclasses import dataclass
from typing import LiteralString

from psycopg import errors, sql

from kapman_resources.database import Connection
from kapman_resources.errors import DatabaseError, Refused
from kapman_resources.hosts import is_loopback
from kapman_resources.settings import settings

BOOKKEEPING_SCHEMA = "kapman_meta"

# Tables of Dagster's own storage: dropping them in the middle of a run would lose the run itself.
_DAGSTER_TABLES = ["event_logs", "runs"]

# Relations `c` in schemas `n` that neither the server nor an extension has brought.
_MADE_HERE: LiteralString = """
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (
          SELECT FROM pg_depend d
          WHERE d.deptype = 'e'
            AND ((d.classid = 'pg_class'::regclass AND d.objid = c.oid)
                 OR (d.classid = 'pg_namespace'::regclass AND d.objid = n.oid)))
    """


@dataclass(frozen=True)
class Consent:
    """What a pave may rest on: what somebody has said for it, and what this run has done for it.

    confirmed: the database's name, repeated by whoever asked for the pave.
    backup: name of the backup that this run has taken of the database and verified.
    """

    confirmed: str = ""
    backup: str | None = None


def refuse_unconfirmed(server: Connection, database: str, consent: Consent) -> None:
    """Check that a pave of the database, which exists on this server, is wanted here.

    In production it must be confirmed by name; so must it elsewhere if the server is not this machine, unless
    `KAPMAN_PAVE_HOSTS` lists the host.

    Raises:
        Refused: it isn't confirmed.
    """
    if consent.confirmed == database:
        return
    confirm = f"`ops: {{schema: {{config: {{confirm_database: {json.dumps(database)}}}}}}}`"
    wrong = f", and not {consent.confirmed!r}" if consent.confirmed else ""
    if settings().environment == "prod":
        raise Refused(
            f"This is production: a pave of {database!r} must name it{wrong}.",
            fix=f"If it shall be destroyed and rebuilt, put {confirm} into the run config.",
        )
    if not _is_paved_freely(server):
        info = server.info
        raise Refused(
            f"Database {database!r} is on {info.host} ({info.hostaddr}), which is not this machine: a pave of it"
            f" must name it{wrong}.",
            fix=f"If it shall be destroyed and rebuilt, put {confirm} into the run config; if databases on that"
            f" server always may be, set KAPMAN_PAVE_HOSTS={info.host}.",
        )


def refuse_without_backup(connection: Connection, consent: Consent) -> None:
    """Check that this run has a verified backup of the connection's database if it holds rows, in production.

    Raises:
        Refused: it has none.
    """
    if settings().environment == "prod" and not consent.backup and holds_rows(connection):
        raise Refused(
            f"This is production: {connection.info.dbname!r} holds rows, and this run has no verified backup of it.",
            fix="Pave through the asset, which takes one: dagster job execute -m kapman_assets -j repave.",
        )


def holds_rows(connection: Connection) -> bool:
    """Whether a table of the connection's database holds a row; bookkeeping and extensions don't count.

    A table that somebody keeps locked counts as one with rows.
    """
    tables = connection.execute(
        "SELECT n.nspname, c.relname"
        + _MADE_HERE
        + "AND c.relkind IN ('r', 'p') AND n.nspname <> %s ORDER BY 1, 2",
        (BOOKKEEPING_SCHEMA,),
    ).fetchall()
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            return any(_holds_a_row(connection, sql.Identifier(*name)) for name in tables)
    except errors.LockNotAvailable:
        return True


def _holds_a_row(connection: Connection, table: sql.Composable) -> bool:
    found = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    return found is not None and bool(found[0])


def _is_paved_freely(server: Connection) -> bool:
    """Whether the server is this machine, or one that KAPMAN_PAVE_HOSTS lists.

    The connection's address decides, and not the URL: what a name, a service file or an environment variable
    makes of it is settled by then, and beside a `hostaddr` a host's name is a label that anybody may write.
    """
    info = server.info
    if not info.hostaddr:
        return info.host.startswith(("/", "@"))
    listed = [host.strip() for host in (settings().pave_hosts or "").split(",")]
    return is_loopback(info.hostaddr) or any(info.hostaddr in _addresses(host) for host in listed if host)


def _addresses(host: str) -> set[str]:
    """The addresses of a host by name or address; none if the name is unknown."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return set()


def refuse_restoring(connection: Connection) -> None:
    """Check that no restore is under way in the connection's database.

    Raises:
        DatabaseError: it is in TimescaleDB's restoring mode, as a killed restore leaves it.
    """
    row = connection.execute("SELECT current_setting('timescaledb.restoring', true)").fetchone()
    if row and row[0] == "on":
        raise DatabaseError(
            f"Database {connection.info.dbname!r} is in TimescaleDB's restoring mode: a restore is under way "
            "or was killed.",
            fix="Wait for it or run it again, or pave the database.",
        )


def refuse_foreign(connection: Connection) -> None:
    """Check that the connection's database is empty or KapMan's.

    Raises:
        Refused: it holds tables or views but no schema `kapman_meta`, or it holds Dagster's own storage.
    """
    rows = connection.execute(
        "SELECT n.nspname || '.' || c.relname, n.nspname = 'public' AND c.relname = ANY (%(dagster)s)"
        + _MADE_HERE
        + "AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1",
        {"dagster": _DAGSTER_TABLES},
    ).fetchall()
    name = connection.info.dbname
    if sum(bool(is_dagster) for _, is_dagster in rows) == len(_DAGSTER_TABLES):
        raise Refused(
            f"Database {name!r} holds Dagster's own storage.",
            fix="Give KapMan a database of its own: change the name in DATABASE_URL.",
        )
    ours = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (BOOKKEEPING_SCHEMA,)).fetchone()
    if rows and not (ours and ours[0]):
        some = ", ".join(relation for relation, _ in rows[:3])
        raise Refused(
            f"Database {name!r} is not KapMan's: it holds {len(rows)} tables or views ({some}) "
            f"and no schema {BOOKKEEPING_SCHEMA}.",
            fix="Correct the database's name in DATABASE_URL, or empty that database yourself.",
        )
