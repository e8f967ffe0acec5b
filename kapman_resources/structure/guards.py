"""What must hold before the structure of a database is touched."""

from kapman_resources.database import Connection
from kapman_resources.errors import DatabaseError, Refused

BOOKKEEPING_SCHEMA = "kapman_meta"

# Tables of Dagster's own storage: dropping them in the middle of a run would lose the run itself.
_DAGSTER_TABLES = ["event_logs", "runs"]


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
        """
        SELECT n.nspname || '.' || c.relname, n.nspname = 'public' AND c.relname = ANY (%(dagster)s)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (
              SELECT FROM pg_depend d
              WHERE d.deptype = 'e'
                AND ((d.classid = 'pg_class'::regclass AND d.objid = c.oid)
                     OR (d.classid = 'pg_namespace'::regclass AND d.objid = n.oid)))
        ORDER BY 1
        """,
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
