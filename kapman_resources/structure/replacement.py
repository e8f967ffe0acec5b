"""A database made beside another one to take its place, and what a killed restore leaves of the two.

The comment of such a database says what it is, so that nothing is ever taken for remains by its name alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from kapman_resources.database import Connection
from kapman_resources.errors import DatabaseError, Refused
from kapman_resources.structure.properties import Properties, create, properties, run

_RESTORING = "kapman: a restore is under way here, or was killed; it can be dropped."
_REPLACED = "kapman: what was here until a restore; it can be dropped."
_KEPT = "kapman: what was here until a restore, kept on request."
# A rename waits five seconds for sessions to go; TimescaleDB's and Grafana's come back at once.
_ATTEMPTS = 6


@dataclass(frozen=True)
class Remains:
    """A database that a restore has left; `what` and `fix` are sentences. kept: it was to stay."""

    database: str
    what: str
    fix: str
    kept: bool = False


def restoring_name(name: str) -> str:
    """Name of the database that a restore makes for `name`, within PostgreSQL's 63 bytes."""
    return _cut(name, "_restoring")


def replaced_name(name: str) -> str:
    """Name that `name` gets when a restored database takes its place."""
    return _cut(name, "_before_restore")


def find(server: Connection, name: str) -> list[Remains]:
    """What restores of the database `name` have left on the server."""
    found = []
    for aside in (restoring_name(name), replaced_name(name)):
        there = properties(server, aside)
        # Nobody but the making of one closes a database of that name to everybody.
        unfinished = there and aside == restoring_name(name) and not there.catalog["datallowconn"]
        if there and (unfinished or there.comment == _RESTORING):
            what = f"Database {aside!r} is what a killed restore of {name!r} has left; {name!r} itself is as it was."
            fix = "The next `kapman restore`, or repave, drops it; or drop it yourself."
            found.append(Remains(aside, what, fix))
        elif there and there.comment == _REPLACED:
            what = f"Database {aside!r} is what {name!r} was before a restore that succeeded."
            found.append(
                Remains(aside, what, "The next `kapman restore`, or repave, drops it; or drop it yourself.")
            )
        elif there and there.comment == _KEPT:
            what = f"Database {aside!r} is what {name!r} was before a restore that was told to keep it."
            found.append(
                Remains(aside, what, "Drop it, or rename it, when you don't need it any more.", kept=True)
            )
    return found


def clear(server: Connection, name: str, tell: Callable[[str], None]) -> None:
    """Drop what killed restores of `name` have left; the caller holds the platform's lock on it.

    tell: is given a sentence about each, and why one could not be dropped.
    """
    for one in find(server, name):
        if not one.kept:
            reason = _drop_if_possible(server, one.database)
            tell(f"{one.what} It {f'could not be dropped: {reason}.' if reason else 'has been dropped.'}")


def discard(server: Connection, name: str, tell: Callable[[str], None]) -> None:
    """Drop the database that was prepared for `name` and didn't come so far; told only if that isn't possible."""
    if reason := _drop_if_possible(server, restoring_name(name)):
        tell(f"Database {restoring_name(name)!r} could not be dropped: {reason}. The next restore drops it.")


def prepare(server: Connection, name: str, like: Properties | None, owner: str) -> str:
    """Make the empty database that shall take the place of `name`; returns its name.

    like: the properties of the database that is there. owner: of the new one, if there is none.
    Until it takes the place, nobody but superusers can connect to it.

    Raises:
        Refused: a database of the name that this needs is there, and is not the remains of a restore.
    """
    for aside in (restoring_name(name), replaced_name(name)):
        if properties(server, aside):
            raise Refused(
                f"Database {aside!r} is there, and a restore of {name!r} needs its name.",
                fix="Drop or rename it, if nobody needs it.",
            )
    aside = restoring_name(name)
    create(server, aside, like)
    database = sql.Identifier(aside)
    with server.transaction():
        run(server, "COMMENT ON DATABASE {} IS {}", database, sql.Literal(_RESTORING))
        if like is None:
            run(server, "ALTER DATABASE {} OWNER TO {}", database, sql.Identifier(owner))
        run(server, "ALTER DATABASE {} CONNECTION LIMIT 0", database)
        run(server, "ALTER DATABASE {} ALLOW_CONNECTIONS true", database)
    return aside


def swap(server: Connection, name: str, like: Properties | None, *, keep: bool) -> None:
    """Let the prepared database take the place of `name`, at once and as a whole.

    Sessions on both are terminated. The former database is there under its new name until `drop_replaced`, or for
    good with `keep`.

    Raises:
        DatabaseError: sessions keep coming back; everything is as it was before.
    """
    aside, before = restoring_name(name), replaced_name(name)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with server.transaction():
                _rename(server, name, aside, before, like, _KEPT if keep else _REPLACED)
            break
        except psycopg.errors.ObjectInUse as error:
            if attempt == _ATTEMPTS:
                raise DatabaseError(
                    f"The restored database can't take the place of {name!r}: {error.diag.message_detail}.",
                    fix="Stop who connects to it again and again, then restore again.",
                ) from error


def drop_replaced(server: Connection, name: str, tell: Callable[[str], None]) -> None:
    """Drop the database whose place another one has taken; told only if that isn't possible."""
    if reason := _drop_if_possible(server, replaced_name(name)):
        tell(f"Database {replaced_name(name)!r} could not be dropped: {reason}. The next restore drops it.")


def _drop(server: Connection, database: str) -> None:
    run(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(database))


def _drop_if_possible(server: Connection, database: str) -> str:
    """Why it could not be dropped, e.g. because the checkpoint before that finds the disk full; empty if it was."""
    try:
        _drop(server, database)
    except psycopg.Error as error:
        return str(error.diag.message_primary or error).rstrip(".")
    return ""


def _rename(
    server: Connection, name: str, aside: str, before: str, like: Properties | None, comment: str
) -> None:
    _terminate(server, name, aside)
    if like is not None:
        run(server, "ALTER DATABASE {} RENAME TO {}", sql.Identifier(name), sql.Identifier(before))
        run(server, "COMMENT ON DATABASE {} IS {}", sql.Identifier(before), sql.Literal(comment))
    run(server, "ALTER DATABASE {} RENAME TO {}", sql.Identifier(aside), sql.Identifier(name))
    run(
        server, "COMMENT ON DATABASE {} IS {}",
        sql.Identifier(name), sql.Literal(like.comment if like else None),
    )  # fmt: skip
    limit = max(like.catalog["datconnlimit"], -1) if like else -1
    run(server, "ALTER DATABASE {} CONNECTION LIMIT {}", sql.Identifier(name), sql.Literal(limit))


def _terminate(server: Connection, *names: str) -> None:
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY (%s) AND backend_type = 'client backend'",
        (list(names),),
    )


def _cut(name: str, suffix: str) -> str:
    return name.encode()[: 63 - len(suffix)].decode(errors="ignore") + suffix
