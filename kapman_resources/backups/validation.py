"""Whether a restored database is what its backup was: content, keys, views, structure, policies."""

from collections.abc import Iterator

import psycopg
from psycopg import sql

from kapman_resources.backups.content import table_contents
from kapman_resources.backups.records import Backup, BackupError
from kapman_resources.database import Connection
from kapman_resources.structure.fingerprint import structure_fingerprint
from kapman_resources.structure.lifecycle import HYPERTABLES, apply_lifecycle


def validate(connection: Connection, backup: Backup) -> None:
    """Compare the connection's database with the manifest, then attach the policies that the edition has.

    Raises:
        BackupError: names everything that differs.
    """
    problems = [*_content(connection, backup), *_orphans(connection), *_views(connection)]
    if structure_fingerprint(connection) != backup.structure and _is_comparable(connection, backup):
        problems.append("the structure's fingerprint is another one")
    apply_lifecycle(connection)
    problems += _policies(connection)
    if problems:
        raise BackupError(
            f"What was restored from {backup.name} is not what was backed up: {'; '.join(problems)}.",
            fix="Use another backup: `kapman backup --list`; the database that was there is as it was.",
        )


def _content(connection: Connection, backup: Backup) -> Iterator[str]:
    restored = {table.name: table for table in table_contents(connection)}
    for table in backup.tables:
        found = restored.pop(table.name, None)
        if found is None:
            yield f"{table.name} is missing"
        elif found.rows != table.rows:
            yield f"{table.name} has {found.rows:,} rows instead of {table.rows:,}"
        elif found.hash != table.hash:
            yield f"{table.name} has other content (hash {found.hash} instead of {table.hash})"
    yield from (f"{name} is not of the backup" for name in restored)


def _orphans(connection: Connection) -> Iterator[str]:
    """Rows whose foreign key points nowhere: the constraints say there are none, and this asks the rows."""
    keys = connection.execute(
        """
        SELECT k.conname, k.conrelid::regclass::text, n.nspname, c.relname, fn.nspname, fc.relname,
               (SELECT array_agg(a.attname ORDER BY p.at) FROM unnest(k.conkey) WITH ORDINALITY p (number, at)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.number),
               (SELECT array_agg(a.attname ORDER BY p.at) FROM unnest(k.confkey) WITH ORDINALITY p (number, at)
                JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.number)
        FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class fc ON fc.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = fc.relnamespace
        WHERE k.contype = 'f' AND n.nspname = 'public' ORDER BY 2, 1
        """
    ).fetchall()
    for name, table, schema, relation, parent_schema, parent, columns, keyed in keys:
        pairs = sql.SQL(" AND ").join(
            sql.SQL("p.{} = c.{}").format(sql.Identifier(key), sql.Identifier(column))
            for column, key in zip(columns, keyed, strict=True)
        )
        given = sql.SQL(", ").join(sql.SQL("c.{}").format(sql.Identifier(column)) for column in columns)
        row = connection.execute(
            sql.SQL(
                "SELECT count(*) FROM {} c WHERE num_nulls({}) = 0 AND NOT EXISTS (SELECT FROM {} p WHERE {})"
            ).format(sql.Identifier(schema, relation), given, sql.Identifier(parent_schema, parent), pairs)
        ).fetchone()
        if row and row[0]:
            yield f"{row[0]:,} rows of {table} are orphans ({name})"


def _views(connection: Connection) -> Iterator[str]:
    views = connection.execute(
        "SELECT viewname FROM pg_views WHERE schemaname = 'analytics' ORDER BY 1"
    ).fetchall()
    for (view,) in views:
        try:
            with connection.transaction():
                connection.execute(
                    sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier("analytics", view))
                )
        except psycopg.Error as error:
            yield f"view analytics.{view} can't be read: {error.diag.message_primary}"


def _is_comparable(connection: Connection, backup: Backup) -> bool:
    """Whether the two servers write a structure in the same words: the wording of views is a major version's."""
    row = connection.execute("SELECT current_setting('timescaledb.license')").fetchone()
    major = int(backup.postgresql.partition(".")[0])
    return connection.info.server_version // 10000 == major and row is not None and row[0] == backup.edition


def _policies(connection: Connection) -> Iterator[str]:
    missing = connection.execute(
        """
        SELECT wanted.name FROM unnest(%s::text[]) AS wanted (name)
        WHERE current_setting('timescaledb.license') = 'timescale'
          AND NOT EXISTS (SELECT FROM timescaledb_information.jobs
                          WHERE proc_name = 'policy_retention' AND hypertable_schema = 'public'
                            AND hypertable_name = wanted.name)
        """,
        (list(HYPERTABLES),),
    ).fetchall()
    yield from (f"{name} has no retention policy" for (name,) in missing)
