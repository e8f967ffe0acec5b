"""The pave: the database, and nothing but the database, is dropped and made anew, empty."""

import logging
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from kapman_resources.connection_errors import require_timescaledb
from kapman_resources.database import MAINTENANCE_DATABASE, Connection, Database
from kapman_resources.errors import DatabaseError, KapmanError, Refused
from kapman_resources.structure.guards import (
    Consent,
    holds_rows,
    refuse_foreign,
    refuse_unconfirmed,
    refuse_without_backup,
)
from kapman_resources.structure.migrations import migrate
from kapman_resources.structure.properties import INVALID, Properties, create, properties, run
from kapman_resources.structure.replacement import clear

log = logging.getLogger(__name__)

_LOCK_SPACE = 0x4B504156  # "KPAV"
_NO_CONSENT = Consent()
_PROTECTED = {MAINTENANCE_DATABASE, "postgres", "template0", "template1"}


def pave(database: Database, consent: Consent = _NO_CONSENT) -> None:
    """Drop the database, make it anew with the same properties, and apply every migration.

    Connections are terminated. Owner, encoding, locale, tablespace, connection limit, comment, grants and
    settings of the database are kept; roles and other databases are not touched. A database that doesn't
    exist is created. Whatever happens in between, running it again completes it.

    Raises:
        DatabaseError: no usable server or TimescaleDB, or the role may not do it.
        Refused: a maintenance database, a database that is not KapMan's, one in production or on another
            machine without the consent that it takes, or another pave at work.
        StructureError: a migration failed.
    """
    with database.connect(autocommit=True, database=MAINTENANCE_DATABASE) as server:
        require_timescaledb(server)
        here = database.at(server)
        locked = server.execute(
            "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK_SPACE, database.name)
        ).fetchone()
        if not (locked and locked[0]):
            raise Refused(
                f"Another pave of database {database.name!r} is at work.", fix="Wait until it has ended."
            )
        for objection in _objections(server, here, consent):
            raise objection
        clear(server, database.name, log.info)
        try:
            _replace(server, here, consent)
        except psycopg.Error as error:
            raise DatabaseError(
                f"Database {database.name!r} can't be paved: {error.diag.message_primary or error}.",
                fix="Mend that (the role must own the database and have CREATEDB), then pave again.",
            ) from error
        migrate(here)


def objections(database: Database, consent: Consent) -> list[KapmanError]:
    """Every reason for which `pave` would refuse the database as it is now; changes nothing.

    That a backup is missing is none of them: it is taken when all else is well.

    Raises:
        DatabaseError: no usable server or TimescaleDB.
    """
    with database.connect(autocommit=True, database=MAINTENANCE_DATABASE) as server:
        require_timescaledb(server)
        return _objections(server, database.at(server), consent)


def would_lose_rows(database: Database) -> bool:
    """Whether a pave would destroy rows: the database exists, and `holds_rows`."""
    with database.connect(autocommit=True, database=MAINTENANCE_DATABASE) as server:
        old, here = properties(server, database.name), database.at(server)
    if old is None or _is_half_dropped(old):
        return False
    with here.connect(autocommit=True) as connection:
        return holds_rows(connection)


def _objections(server: Connection, database: Database, consent: Consent) -> list[KapmanError]:
    name, old = database.name, properties(server, database.name)
    found = [_objection(_refuse_protected, name), _objection(_refuse_powerless, server, name)]
    if old and not _is_half_dropped(old):
        found.append(_objection(refuse_unconfirmed, server, name, consent))
        found.append(_objection(_refuse_foreign_content, database))
    return [objection for objection in found if objection]


def _objection(guard: Callable[..., None], *arguments: Any) -> KapmanError | None:
    try:
        guard(*arguments)
    except KapmanError as error:
        return error
    return None


def _refuse_protected(name: str) -> None:
    if name in _PROTECTED:
        raise Refused(
            f"Database {name!r} belongs to the server.",
            fix="Name a database of KapMan's own in DATABASE_URL, e.g. `kapman`.",
        )


def _refuse_powerless(server: Connection, name: str) -> None:
    row = server.execute(
        """
        SELECT r.rolsuper OR r.rolcreatedb AND NOT EXISTS (
            SELECT FROM pg_database d WHERE d.datname = %s AND NOT pg_has_role(d.datdba, 'USAGE'))
        FROM pg_roles r WHERE r.rolname = current_user
        """,
        (name,),
    ).fetchone()
    if not (row and row[0]):
        raise DatabaseError(
            f"Database {name!r} can't be paved by role {server.info.user!r}: that takes its owner, with CREATEDB.",
            fix="Connect as the owner (DATABASE_URL), or give the role both: ALTER DATABASE ... OWNER TO, "
            "ALTER ROLE ... CREATEDB.",
        )


def _refuse_foreign_content(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        refuse_foreign(connection)


def _replace(server: Connection, database: Database, consent: Consent) -> None:
    """Put an empty database in the place of this one.

    The new one is complete, under another name and closed to connections, before the old one is dropped: a
    crash leaves the old one, or the new one under its other name, and never loses the properties.
    """
    name, aside = database.name, paving_name(database.name)
    old, prepared = properties(server, name), properties(server, aside)
    if prepared and prepared.catalog["datallowconn"]:
        raise Refused(
            f"Database {aside!r}, whose name the pave needs, is not the remains of one.",
            fix=f"Rename it, or choose another name than {name!r} in DATABASE_URL.",
        )
    half_dropped = old is not None and _is_half_dropped(old)
    if old and not half_dropped:
        with database.connect(autocommit=True) as connection:
            refuse_without_backup(connection, consent)
    if not (prepared and (old is None or half_dropped)):
        run(server, "DROP DATABASE IF EXISTS {}", sql.Identifier(aside))
        create(server, aside, old)
    # The server locks the name first and terminates then, so nobody reconnects in between.
    run(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(name))
    with server.transaction():
        run(server, "ALTER DATABASE {} RENAME TO {}", sql.Identifier(aside), sql.Identifier(name))
        run(server, "ALTER DATABASE {} ALLOW_CONNECTIONS true", sql.Identifier(name))


def _is_half_dropped(old: Properties) -> bool:
    return bool(old.catalog["datconnlimit"] == INVALID)


def paving_name(name: str) -> str:
    """Name of the database in preparation, within PostgreSQL's 63 bytes."""
    return name.encode()[:56].decode(errors="ignore") + "_paving"
