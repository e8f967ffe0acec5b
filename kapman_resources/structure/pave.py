"""The pave: the database, and nothing but the database, is dropped and made anew, empty."""

import csv
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from kapman_resources.connection_errors import require_timescaledb
from kapman_resources.database import MAINTENANCE_DATABASE, Connection, Database
from kapman_resources.errors import DatabaseError, Refused
from kapman_resources.structure.guards import refuse_foreign
from kapman_resources.structure.migrations import migrate

_LOCK_SPACE = 0x4B504156  # "KPAV"
_PROTECTED = {MAINTENANCE_DATABASE, "postgres", "template0", "template1"}
_INVALID = -2  # datconnlimit of a database whose DROP was interrupted; nothing can connect to it
_UNLIMITED = -1

# Settings whose value is a list of quoted names (GUC_LIST_QUOTE): as one literal they would become one name.
_LIST_SETTINGS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "temp_tablespaces",
}


@dataclass(frozen=True)
class _Properties:
    """What a database is besides its content."""

    catalog: dict[str, Any]
    """Its row of pg_database, whose columns differ between major versions."""
    owner: str
    encoding: str
    tablespace: str
    comment: str | None
    grants: tuple[tuple[str | None, str, bool], ...] | None
    """(grantee or None for PUBLIC, privilege, with grant option); None: the defaults."""
    settings: tuple[tuple[str | None, str], ...]
    """(role or None, `name=value`)."""


def pave(database: Database) -> None:
    """Drop the database, make it anew with the same properties, and apply every migration.

    Connections are terminated. Owner, encoding, locale, tablespace, connection limit, comment, grants and
    settings of the database are kept; roles and other databases are not touched. A database that doesn't
    exist is created. Whatever happens in between, running it again completes it.

    Raises:
        DatabaseError: no usable server or TimescaleDB, or the role may not do it.
        Refused: a maintenance database, a database that is not KapMan's, or another pave at work.
        StructureError: a migration failed.
    """
    if database.name in _PROTECTED:
        raise Refused(
            f"Database {database.name!r} belongs to the server.",
            fix="Name a database of KapMan's own in DATABASE_URL, e.g. `kapman`.",
        )
    with database.connect(autocommit=True, database=MAINTENANCE_DATABASE) as server:
        require_timescaledb(server)
        locked = server.execute(
            "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK_SPACE, database.name)
        ).fetchone()
        if not (locked and locked[0]):
            raise Refused(
                f"Another pave of database {database.name!r} is at work.", fix="Wait until it has ended."
            )
        try:
            _replace(server, database)
        except psycopg.Error as error:
            raise DatabaseError(
                f"Database {database.name!r} can't be paved: {error.diag.message_primary or error}.",
                fix="Mend that (the role must own the database and have CREATEDB), then pave again.",
            ) from error
        migrate(database)


def _replace(server: Connection, database: Database) -> None:
    """Put an empty database in the place of this one.

    The new one is complete, under another name and closed to connections, before the old one is dropped: a
    crash leaves the old one, or the new one under its other name, and never loses the properties.
    """
    name, aside = database.name, _aside(database.name)
    old, prepared = _properties(server, name), _properties(server, aside)
    if prepared and prepared.catalog["datallowconn"]:
        raise Refused(
            f"Database {aside!r}, whose name the pave needs, is not the remains of one.",
            fix=f"Rename it, or choose another name than {name!r} in DATABASE_URL.",
        )
    half_dropped = old is not None and old.catalog["datconnlimit"] == _INVALID
    if old and not half_dropped:
        with database.connect(autocommit=True) as connection:
            refuse_foreign(connection)
    if not (prepared and (old is None or half_dropped)):
        _run(server, "DROP DATABASE IF EXISTS {}", sql.Identifier(aside))
        _create(server, aside, old)
    # The server locks the name first and terminates then, so nobody reconnects in between.
    _run(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(name))
    with server.transaction():
        _run(server, "ALTER DATABASE {} RENAME TO {}", sql.Identifier(aside), sql.Identifier(name))
        _run(server, "ALTER DATABASE {} ALLOW_CONNECTIONS true", sql.Identifier(name))


def _create(server: Connection, name: str, like: _Properties | None) -> None:
    """Create an empty database that nobody can connect to yet, with the properties of `like`.

    template0, because template1 may hold anything (images put an older TimescaleDB there).
    """
    options: list[sql.Composable] = [sql.SQL("TEMPLATE template0 ALLOW_CONNECTIONS false")]
    options += _options(like) if like else [sql.SQL("ENCODING 'UTF8'")]
    statement = sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(" ").join(options))
    server.execute(statement)
    if like is None:
        return
    database = sql.Identifier(name)
    if like.comment is not None:
        _run(server, "COMMENT ON DATABASE {} IS {}", database, sql.Literal(like.comment))
    if like.grants is not None:
        _run(server, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
        _run(server, "REVOKE ALL ON DATABASE {} FROM {}", database, sql.Identifier(like.owner))
        for grantee, privilege, grantable in like.grants:
            server.execute(
                sql.SQL("GRANT {} ON DATABASE {} TO {} {}").format(
                    sql.SQL(privilege),
                    database,
                    sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC"),
                    sql.SQL("WITH GRANT OPTION" if grantable else ""),
                )
            )
    for role, setting in like.settings:
        variable, _, value = setting.partition("=")
        target = sql.SQL("DATABASE {}").format(database)
        if role:
            target = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
        server.execute(
            sql.SQL("ALTER {} SET {} = {}").format(
                target, sql.Identifier(*variable.split(".")), _value(variable, value)
            )
        )


def _options(like: _Properties) -> list[sql.Composable]:
    catalog = like.catalog
    given: dict[str, Any] = {
        "OWNER": sql.Identifier(like.owner),
        "ENCODING": like.encoding,
        "LC_COLLATE": catalog["datcollate"],
        "LC_CTYPE": catalog["datctype"],
        "CONNECTION LIMIT": max(catalog["datconnlimit"], _UNLIMITED),
    }
    # Naming even the default tablespace takes a right on it that an ordinary owner doesn't have.
    if like.tablespace != "pg_default":
        given["TABLESPACE"] = sql.Identifier(like.tablespace)
    # PostgreSQL 17 renamed daticulocale to datlocale, when a second provider came to use it.
    locale = catalog.get("datlocale", catalog.get("daticulocale"))
    match catalog["datlocprovider"]:
        case "i":
            given |= {"LOCALE_PROVIDER": sql.SQL("icu"), "ICU_LOCALE": locale}
            if rules := catalog.get("daticurules"):
                given["ICU_RULES"] = rules
        case "b":
            given |= {"LOCALE_PROVIDER": sql.SQL("builtin"), "BUILTIN_LOCALE": locale}
        case _:
            given["LOCALE_PROVIDER"] = sql.SQL("libc")
    return [
        sql.SQL("{} = {}").format(
            sql.SQL(option), value if isinstance(value, sql.Composable) else sql.Literal(value)
        )
        for option, value in given.items()
    ]


def _properties(server: Connection, name: str) -> _Properties | None:
    """The properties of the database of that name, or None if there is none."""
    row = server.execute(
        """
        SELECT to_jsonb(d), pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), t.spcname,
               shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL, d.oid
        FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
        WHERE d.datname = %s
        """,
        (name,),
    ).fetchone()
    if row is None:
        return None
    catalog, owner, encoding, tablespace, comment, has_grants, oid = row
    grants = server.execute(
        """
        SELECT CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable
        FROM pg_database d, aclexplode(d.datacl) a WHERE d.oid = %s ORDER BY 1, 2
        """,
        (oid,),
    ).fetchall()
    # timescaledb.restoring is what a killed restore leaves behind; it would cripple the new database.
    settings = server.execute(
        """
        SELECT r.rolname, setting
        FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS setting
             LEFT JOIN pg_roles r ON r.oid = s.setrole
        WHERE s.setdatabase = %s AND setting NOT LIKE 'timescaledb.restoring=%%' ORDER BY 1, 2
        """,
        (oid,),
    ).fetchall()
    return _Properties(
        catalog, owner, encoding, tablespace, comment, tuple(grants) if has_grants else None, tuple(settings)
    )


def _aside(name: str) -> str:
    """Name of the database in preparation, within PostgreSQL's 63 bytes."""
    return name.encode()[:56].decode(errors="ignore") + "_paving"


def _value(variable: str, value: str) -> sql.Composable:
    if variable not in _LIST_SETTINGS:
        return sql.Literal(value)
    return sql.SQL(", ").join(sql.Literal(part) for part in next(csv.reader([value], skipinitialspace=True)))


def _run(server: Connection, statement: LiteralString, *names: sql.Composable) -> None:
    server.execute(sql.SQL(statement).format(*names))
