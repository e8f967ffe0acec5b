"""What a database holds, table by table, so that a restored one can be compared with its backup."""

from psycopg import sql

from kapman_resources.backups.records import TableContent
from kapman_resources.content_hash import content_hash
from kapman_resources.database import Connection
from kapman_resources.structure.guards import BOOKKEEPING_SCHEMA
from kapman_resources.tables import TABLES


def all_tables(connection: Connection) -> list[tuple[str, str]]:
    """(schema, name) of every table of the contract and of the bookkeeping, the contract's first."""
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", (BOOKKEEPING_SCHEMA,)
    ).fetchall()
    return [("public", name) for name in TABLES] + [(BOOKKEEPING_SCHEMA, str(name)) for (name,) in rows]


def table_contents(connection: Connection) -> tuple[TableContent, ...]:
    """Rows and content hash of every table; reads all of them once.

    The contract's tables are hashed as `kapman hash` does, the bookkeeping's by the text of whole rows: a
    restore gives back also what two repaves don't have in common, such as the moment of a load.
    """
    contents = []
    for schema, name in all_tables(connection):
        if schema == "public":
            found = content_hash(connection, TABLES[name])
            contents.append(TableContent(f"{schema}.{name}", found.rows, found.hash))
        else:
            contents.append(_whole_rows(connection, schema, name))
    return tuple(contents)


def _whole_rows(connection: Connection, schema: str, name: str) -> TableContent:
    row = connection.execute(
        sql.SQL('SELECT count(*), sum(hashtextextended(t::text COLLATE "C", 0)) FROM {} t').format(
            sql.Identifier(schema, name)
        )
    ).fetchone()
    rows, total = row if row else (0, None)
    return TableContent(f"{schema}.{name}", int(rows), f"{int(total or 0) % 2**64:016x}")
