"""Least privilege: a role that paves, one that loads, one that reads; each may do that and nothing more.

Roles belong to the server, which a pave never touches: `kapman db roles --apply` makes them, on purpose, once.
Their rights in the database are gone with it: every pave and every migration grants them again.
"""

from collections.abc import Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from kapman_resources.database import Connection
from kapman_resources.errors import DatabaseError
from kapman_resources.structure.guards import BOOKKEEPING_SCHEMA

OWNER, LOADER, READER = "kapman_owner", "kapman_loader", "kapman_reader"
ROLES = (OWNER, LOADER, READER)

_ATTRIBUTES: dict[str, LiteralString] = {OWNER: "LOGIN CREATEDB", LOADER: "LOGIN", READER: "LOGIN"}
_READ_SCHEMAS = ("public", "analytics")
# Of the bookkeeping the checks ask the manifest alone, so that is all that a reader sees: the quarantine holds
# what others sent, as it came (`analytics.quarantined` counts it), and which migrations were applied is the owner's.
_READ_BOOKKEEPING = ("load_manifest",)
_LOADED_BOOKKEEPING = ("load_manifest", "quarantine")


def make_roles(server: Connection) -> tuple[str, ...]:
    """Make those of the roles that the server doesn't have, without a password; returns their names.

    A role that exists keeps its attributes and its password, whatever they are.

    Raises:
        DatabaseError: the connection's role may not make roles.
    """
    missing = [role for role in ROLES if role not in existing_roles(server)]
    try:
        with server.transaction():
            for role in missing:
                server.execute(_create(role))
            if OWNER in missing and _is_superuser(server):
                for statement in _rights_of_owner():
                    server.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"Role {server.info.user!r} may not make the roles {', '.join(missing)}: {error.diag.message_primary}.",
            fix="Let an administrator of the server run what `kapman db roles` prints.",
        ) from error
    return tuple(missing)


def grant_access(connection: Connection) -> tuple[str, ...]:
    """Grant the roles that exist what they may do in the connection's database; returns their names.

    For the owner of all that is in it, after a pave, a migration or a restore. Idempotent. In a database that
    isn't paved yet they get what the database itself has to give; the pave grants them the rest.
    """
    found = existing_roles(connection)
    row = connection.execute("SELECT to_regclass('analytics.loads') IS NOT NULL").fetchone()
    with connection.transaction():
        for statement in _grants(connection.info.dbname, found, paved=bool(row and row[0])):
            connection.execute(statement)
    return found


def existing_roles(connection: Connection) -> tuple[str, ...]:
    """Those of the three roles that the server has."""
    rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", (list(ROLES),))
    names = {str(name) for (name,) in rows}
    return tuple(role for role in ROLES if role in names)


def script(database: str) -> str:
    """What `make_roles` and `grant_access` do, as a script for psql and an administrator of the server.

    The roles get no password: psql's `\\password` asks for one and leaves it in no history and no log.
    """
    lines = [
        sql.SQL("SELECT {create} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {role}) \\gexec")
        .format(create=sql.Literal(_create(role).as_string()), role=sql.Literal(role))
        .as_string()
        for role in ROLES
    ]
    statements = [*_rights_of_owner(), *_grants(database, ROLES, paved=True)]
    return "\n".join([*lines, *(f"{statement.as_string()};" for statement in statements)])


def _create(role: str) -> sql.Composed:
    return sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role), sql.SQL(_ATTRIBUTES[role]))


def _rights_of_owner() -> list[sql.Composed]:
    """What only a superuser can give away: a pave names the tablespace, a base load rests the foreign key."""
    return [
        _grant("CREATE ON TABLESPACE {}", OWNER, sql.Identifier("pg_default")),
        _grant("SET ON PARAMETER {}", OWNER, sql.Identifier("session_replication_role")),
    ]


def _grants(database: str, roles: Sequence[str], *, paved: bool) -> list[sql.Composed]:
    """The rights of the loader and the reader; the owner owns what there is, and needs none."""
    name = sql.Identifier(database)
    statements: list[sql.Composed] = []
    if LOADER in roles:
        statements.append(_grant("CONNECT, TEMPORARY ON DATABASE {}", LOADER, name))  # stages are temporary
    if READER in roles:
        statements.append(_grant("CONNECT ON DATABASE {}", READER, name))
    if not paved:
        return statements
    read = sql.SQL(", ").join(map(sql.Identifier, _READ_SCHEMAS))
    used = sql.SQL(", ").join(map(sql.Identifier, (*_READ_SCHEMAS, BOOKKEEPING_SCHEMA)))
    for role in roles:
        if role != OWNER:
            statements.append(_grant("USAGE ON SCHEMA {}", role, used))
            statements.append(_grant("SELECT ON ALL TABLES IN SCHEMA {}", role, read))
    if READER in roles:
        statements.append(_grant("SELECT ON {}", READER, _bookkeeping(_READ_BOOKKEEPING)))
    if LOADER in roles:
        change = "INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {}"
        statements.append(_grant(change, LOADER, sql.Identifier("public")))
        own = "SELECT, INSERT, UPDATE, DELETE ON {}"
        statements.append(_grant(own, LOADER, _bookkeeping(_LOADED_BOOKKEEPING)))
    return statements


def _bookkeeping(tables: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(BOOKKEEPING_SCHEMA, table) for table in tables)


def _grant(rights: LiteralString, role: str, names: sql.Composable) -> sql.Composed:
    return sql.SQL("GRANT {} TO {}").format(sql.SQL(rights).format(names), sql.Identifier(role))


def _is_superuser(connection: Connection) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    return bool(row and row[0])
