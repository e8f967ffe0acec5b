"""What a database is besides its content, and how another one is made with the same."""

import csv
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql

from kapman_resources.database import Connection

INVALID = -2
"""`datconnlimit` of a database whose DROP was interrupted; nothing can connect to it."""
_UNLIMITED = -1

# Settings whose value is a list of quoted names (GUC_LIST_QUOTE): as one literal they would become one name.
_LIST_SETTINGS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "temp_tablespaces",
}


@dataclass(frozen=True)
class Properties:
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


def create(server: Connection, name: str, like: Properties | None) -> None:
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
        run(server, "COMMENT ON DATABASE {} IS {}", database, sql.Literal(like.comment))
    if like.grants is not None:
        run(server, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
        run(server, "REVOKE ALL ON DATABASE {} FROM {}", database, sql.Identifier(like.owner))
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


def _options(like: Properties) -> list[sql.Composable]:
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


def properties(server: Connection, name: str) -> Properties | None:
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
    return Properties(
        catalog, owner, encoding, tablespace, comment, tuple(grants) if has_grants else None, tuple(settings)
    )


def _value(variable: str, value: str) -> sql.Composable:
    if variable not in _LIST_SETTINGS:
        return sql.Literal(value)
    return sql.SQL(", ").join(sql.Literal(part) for part in next(csv.reader([value], skipinitialspace=True)))


def run(server: Connection, statement: LiteralString, *names: sql.Composable) -> None:
    """Run a statement with names or literals in its braces."""
    server.execute(sql.SQL(statement).format(*names))
