"""The structure of a database as text: two paves give the same, byte for byte."""

import hashlib
from typing import LiteralString

from psycopg import sql

from kapman_resources.database import Connection

# What belongs to an extension (its objects, and everything in its schemas, such as TimescaleDB's chunks)
# is described by the extension's version. NOT NULL is told with the columns: PostgreSQL 18 also lists it as
# a constraint. Names are quoted by search_path-independent functions, because the path is emptied first.
_OURS: LiteralString = """
    WITH ours AS (
        SELECT n.oid, n.nspname FROM pg_namespace n
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                          AND d.classid = 'pg_namespace'::regclass AND d.objid = n.oid)
    ), relation AS (
        SELECT c.*, format('%I.%I', ours.nspname, c.relname) AS name
        FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
        WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                          AND d.classid = 'pg_class'::regclass AND d.objid = c.oid)
    )
"""

_SECTIONS: tuple[tuple[str, LiteralString], ...] = (
    (
        "extensions",
        "SELECT format('%s %s in %s', e.extname, e.extversion, n.nspname) AS line "
        "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace",
    ),
    (
        "schemas",
        "SELECT format('%s | %s', nspname, obj_description(oid, 'pg_namespace')) AS line FROM ours",
    ),
    (
        "relations",
        """
        SELECT format('%s kind %s persistence %s options %s | %s', name, relkind, relpersistence,
                      coalesce(reloptions::text, '-'), obj_description(oid, 'pg_class'))
               || CASE WHEN relkind IN ('v', 'm') THEN E'\\n' || pg_get_viewdef(oid) ELSE '' END AS line
        FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        """,
    ),
    (
        "columns",
        """
        SELECT format('%s %s %s %s%s%s%s%s%s | %s', name, lpad(a.attnum::text, 3, '0'), a.attname,
                      format_type(a.atttypid, a.atttypmod),
                      CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
                      coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''),
                      coalesce(' identity ' || nullif(a.attidentity::text, ''), ''),
                      coalesce(' generated ' || nullif(a.attgenerated::text, ''), ''),
                      coalesce(' compression ' || nullif(a.attcompression::text, ''), ''),
                      col_description(a.attrelid, a.attnum)) AS line
        FROM relation JOIN pg_attribute a ON a.attrelid = relation.oid
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
        """,
    ),
    (
        "constraints",
        """
        SELECT format('%s %s %s%s', name, k.conname, pg_get_constraintdef(k.oid),
                      CASE WHEN k.convalidated THEN '' ELSE ' (not validated)' END) AS line
        FROM relation JOIN pg_constraint k ON k.conrelid = relation.oid WHERE k.contype <> 'n'
        """,
    ),
    (
        "indexes",
        """
        SELECT format('%s%s', pg_get_indexdef(i.indexrelid), CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END)
               AS line
        FROM relation JOIN pg_index i ON i.indrelid = relation.oid
        """,
    ),
    (
        "triggers",
        """
        SELECT pg_get_triggerdef(t.oid) AS line
        FROM relation JOIN pg_trigger t ON t.tgrelid = relation.oid WHERE NOT t.tgisinternal
        """,
    ),
    (
        "functions and types",
        """
        SELECT p.oid::regprocedure::text || E'\\n' || pg_get_functiondef(p.oid) AS line
        FROM pg_proc p JOIN ours ON ours.oid = p.pronamespace
        WHERE p.prokind IN ('f', 'p', 'w') AND NOT EXISTS (
            SELECT FROM pg_depend d
            WHERE d.deptype = 'e' AND d.classid = 'pg_proc'::regclass AND d.objid = p.oid)
        UNION ALL
        SELECT format('type %s %s %s', t.oid::regtype, t.typtype,
                      (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
                       FROM pg_enum e WHERE e.enumtypid = t.oid))
        FROM pg_type t JOIN ours ON ours.oid = t.typnamespace
        WHERE t.typtype IN ('d', 'e', 'r') AND NOT EXISTS (
            SELECT FROM pg_depend d
            WHERE d.deptype = 'e' AND d.classid = 'pg_type'::regclass AND d.objid = t.oid)
        """,
    ),
    (
        "hypertables",
        """
        SELECT format('%I.%I compression %s', hypertable_schema, hypertable_name, compression_enabled) AS line
        FROM timescaledb_information.hypertables
        """,
    ),
    (
        "dimensions",
        """
        SELECT format('%I.%I %s %s %s %s %s', hypertable_schema, hypertable_name, dimension_number,
                      column_name, column_type, dimension_type,
                      coalesce(time_interval::text, integer_interval::text, num_partitions::text)) AS line
        FROM timescaledb_information.dimensions
        """,
    ),
    (
        "columnstore",
        """
        SELECT format('%s segment by %s order by %s', hypertable, segmentby, orderby) AS line
        FROM timescaledb_information.hypertable_columnstore_settings
        """,
    ),
    (
        "policies",
        """
        SELECT format('%I.%I %s every %s %s', hypertable_schema, hypertable_name, proc_name, schedule_interval,
                      config - 'hypertable_id') AS line
        FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL
        """,
    ),
)


def structure_dump(connection: Connection) -> str:
    """Everything structural of the database, one sorted section after the other.

    Independent of oids, chunks, names of jobs, the moment of creation and the session's settings; the same
    for every pave on one server. Extensions are told by name and version.
    """
    parts: list[str] = []
    # Rolled back, because SET LOCAL would outlive a savepoint in the caller's transaction.
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL search_path = ''")
        connection.execute("SET LOCAL IntervalStyle = 'postgres'")
        for heading, query in _SECTIONS:
            statement = sql.SQL('{} SELECT line FROM ({}) AS section ORDER BY line COLLATE "C"')
            rows = connection.execute(statement.format(sql.SQL(_OURS), sql.SQL(query))).fetchall()
            parts += [f"# {heading}", *(str(line) for (line,) in rows), ""]
    return "\n".join(parts)


def structure_fingerprint(connection: Connection) -> str:
    """SHA-256 of the structure's text, in hexadecimal."""
    return hashlib.sha256(structure_dump(connection).encode()).hexdigest()
