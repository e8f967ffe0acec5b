"""What must hold before the structure of a database is touched."""

from kapman_resources.database import Connection
from kapman_resources.errors import DatabaseError, Refused

BOOKKEEPING_SCHEMA = "kapman_meta"
MINIMUM_TIMESCALEDB = (2, 19)
MINIMUM_POSTGRESQL = 15

# Tables of Dagster's own storage: dropping them in the middle of a run would lose the run itself.
_DAGSTER_TABLES = ["event_logs", "runs"]

_GET_TIMESCALEDB = (
    "Point DATABASE_URL at a PostgreSQL 15 to 18 with TimescaleDB 2.19 or later, or leave it unset to use "
    "the embedded server (`kapman db start`)."
)


def require_timescaledb(connection: Connection) -> None:
    """Check that the server can carry the contract, before anything is dropped or created.

    Raises:
        DatabaseError: PostgreSQL or TimescaleDB is missing, not preloaded or too old, or a killed restore
            has left this database in restoring mode.
    """
    version = connection.info.server_version
    if version < MINIMUM_POSTGRESQL * 10000:
        raise DatabaseError(f"The server is PostgreSQL {version // 10000}.", fix=_GET_TIMESCALEDB)
    row = connection.execute(
        """
        SELECT coalesce(installed_version, default_version),
               current_setting('timescaledb.max_background_workers', true) IS NOT NULL,
               coalesce(current_setting('timescaledb.restoring', true), 'off')
        FROM (VALUES ('timescaledb')) AS wanted (name) LEFT JOIN pg_available_extensions USING (name)
        """
    ).fetchone()
    available, preloaded, restoring = row or (None, False, "off")
    if available is None:
        raise DatabaseError("The server has no TimescaleDB.", fix=_GET_TIMESCALEDB)
    if not preloaded:
        raise DatabaseError(
            "The server has TimescaleDB but does not load it.",
            fix="Add timescaledb to shared_preload_libraries in postgresql.conf and restart the server.",
        )
    if tuple(int(part) for part in available.split("-")[0].split(".")[:2]) < MINIMUM_TIMESCALEDB:
        raise DatabaseError(f"The server's TimescaleDB is {available}.", fix=_GET_TIMESCALEDB)
    if restoring == "on":
        raise DatabaseError(
            f"Database {connection.info.dbname!r} is in TimescaleDB's restoring mode, left by a restore that "
            "did not end.",
            fix="Run the restore again, or pave the database.",
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
