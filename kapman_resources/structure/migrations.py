"""yoyo's migrations in `schema/`, applied over psycopg 3 on a connection of ours."""

import datetime as dt
import glob
import hashlib
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration, MigrationList, default_migration_table

from kapman_resources.connection_errors import require_timescaledb
from kapman_resources.database import Connection, Database
from kapman_resources.errors import Refused, StructureError
from kapman_resources.settings import PROJECT
from kapman_resources.structure.guards import BOOKKEEPING_SCHEMA, refuse_foreign, refuse_restoring
from kapman_resources.structure.lifecycle import apply_lifecycle
from kapman_resources.structure.roles import grant_access
from kapman_resources.tables import TABLES, Column

MIGRATIONS = PROJECT / "schema"
_LOCK = 0x4B4D4947  # "KMIG"


class _SilentCursor(psycopg.Cursor[tuple]):
    """yoyo prints the rows of every statement that has a description; `kapman db url | ...` must stay clean."""

    @property
    def description(self) -> None:
        return None


class _Backend(PostgresqlPsycopgBackend):
    """yoyo on an open connection; a migration, yoyo's mark and our checksum commit together.

    yoyo itself applies on a second connection and marks afterwards: killed in between, the migration would
    be applied twice.
    """

    create_lock_table_sql = PostgresqlPsycopgBackend.create_lock_table_sql.replace(
        "CREATE TABLE", "CREATE TABLE IF NOT EXISTS"
    )

    def __init__(self, connection: Connection) -> None:
        self._open = connection
        super().__init__(connection.info.dbname, default_migration_table)

    def connect(self, dburi: str) -> Connection:
        return self._open

    def cursor(self) -> _SilentCursor:
        return _SilentCursor(self._open)

    def list_tables(self, **kwargs: Any) -> list[str]:
        rows = self._open.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (BOOKKEEPING_SCHEMA,)
        ).fetchall()
        return [str(name) for (name,) in rows]

    def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, Any]:
        # yoyo asks the operating system for a user name and the resolver for a full host name: the first
        # fails for a uid without a passwd entry, the second may take seconds.
        return {
            "id": str(uuid.uuid1()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": self._open.info.user,
            "hostname": socket.gethostname(),
            "created_at_utc": dt.datetime.now(dt.UTC).replace(tzinfo=None),
            "operation": operation,
        }

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        with self.transaction():
            migration.process_steps(self, "apply", force=force)
            self.mark_one(migration, log=False)
            self.log_migration(migration, "apply")
            self._open.execute(
                "INSERT INTO kapman_meta.migration_checksums (migration_id, checksum) VALUES (%s, %s)",
                (migration.id, checksum(Path(migration.path))),
            )

    def rollback_one(self, migration: Migration, force: bool = False) -> None:
        with self.transaction():
            migration.process_steps(self, "rollback", force=force)
            self.unmark_one(migration, log=False)
            self.log_migration(migration, "rollback")
            self._open.execute(
                "DELETE FROM kapman_meta.migration_checksums WHERE migration_id = %s", (migration.id,)
            )


def checksum(path: Path) -> str:
    """SHA-256 of a migration's text; line endings don't count (git may change them)."""
    return hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()


def migrate(database: Database, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the pending migrations, comments, lifecycle and grants; returns the ids of what was applied.

    Destroys nothing: with nothing pending, a database full of data stays as it is.

    Raises:
        DatabaseError: no usable server or TimescaleDB.
        Refused: the database is not KapMan's, or somebody else has been migrating it for a minute.
        StructureError: an applied migration was edited or is unknown, or one failed (and left nothing).
    """
    migrations = _read(folder)
    with _migrating(database) as backend:
        _refuse_edited(backend.connection, migrations)
        pending = list(backend.to_apply(migrations))
        for migration in pending:
            _run(backend.apply_one, migration)
        _comment(backend.connection)
        apply_lifecycle(backend.connection)
        grant_access(backend.connection)
    return [migration.id for migration in pending]


def pending(connection: Connection, folder: Path = MIGRATIONS) -> list[str]:
    """The ids of the migrations that the connection's database doesn't have yet; changes nothing.

    Raises:
        StructureError: an applied migration was edited or is unknown.
    """
    migrations = _read(folder)
    known = connection.execute("SELECT to_regclass('kapman_meta.migration_checksums') IS NOT NULL").fetchone()
    if not (known and known[0]):
        return [migration.id for migration in migrations]
    _refuse_edited(connection, migrations)
    rows = connection.execute("SELECT migration_id FROM kapman_meta.migration_checksums").fetchall()
    applied = {str(name) for (name,) in rows}
    return [migration.id for migration in migrations if migration.id not in applied]


def roll_back(database: Database, folder: Path = MIGRATIONS) -> list[str]:
    """Take every applied migration back, newest first, with all the data; returns their ids.

    The extensions and the schema `kapman_meta` with yoyo's tables stay.

    Raises:
        As `migrate`.
    """
    migrations = _read(folder)
    with _migrating(database) as backend:
        applied = list(backend.to_rollback(migrations))
        for migration in applied:
            _run(backend.rollback_one, migration)
    return [migration.id for migration in applied]


def column_comment(column: Column) -> str:
    """The comment that a column carries in the database: its description, and its unit in brackets."""
    return column.description + (f" [{column.unit}]" if column.unit not in ("", "1") else "")


def _read(folder: Path) -> MigrationList:
    migrations = read_migrations(glob.escape(str(folder)))
    if not migrations:
        raise StructureError(
            f"There are no migrations in {folder}.",
            fix="Run from a checkout of the project, installed with `pip install -e .`.",
        )
    return migrations


def _run(action: Callable[[Migration], None], migration: Migration) -> None:
    try:
        action(migration)
    except psycopg.Error as error:
        raise StructureError(
            f"Migration {migration.id} failed and left nothing behind: {error}",
            fix=f"Correct {Path(migration.path).name} or the database, then run it again.",
        ) from error


@contextmanager
def _migrating(database: Database) -> Iterator[_Backend]:
    """yoyo's backend under a lock that dies with its connection; its tables are in `kapman_meta`."""
    with database.connect(autocommit=True) as connection:
        require_timescaledb(connection)
        refuse_foreign(connection)
        refuse_restoring(connection)
        connection.execute("SET lock_timeout = '60s'")
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        except psycopg.errors.LockNotAvailable:
            raise Refused(
                f"Somebody else has been migrating database {database.name!r} for a minute.",
                fix="Wait until that has ended, then run this again.",
            ) from None
        connection.execute("CREATE SCHEMA IF NOT EXISTS kapman_meta")
        connection.execute(
            """
            CREATE TABLE IF NOT EXISTS kapman_meta.migration_checksums (
                migration_id text        NOT NULL,
                checksum     text        NOT NULL,
                applied_at   timestamptz NOT NULL DEFAULT now(),
                CONSTRAINT migration_checksums_pkey PRIMARY KEY (migration_id)
            )
            """
        )
        # yoyo names its tables without a schema. `public` stays in the path for TimescaleDB's functions,
        # without which create_hypertable fails.
        connection.execute("SELECT set_config('search_path', %s, false)", (f"{BOOKKEEPING_SCHEMA}, public",))
        backend = _Backend(connection)
        backend.create_lock_table()
        # Whoever holds the advisory lock is the only one at work, so a row in yoyo's lock table is that of
        # a process that is gone. (Its pid proves nothing: in containers the same few are used again.)
        backend.break_lock()
        with backend.lock():
            yield backend


def _refuse_edited(connection: Connection, migrations: MigrationList) -> None:
    here = {migration.id: checksum(Path(migration.path)) for migration in migrations}
    applied = connection.execute(
        "SELECT migration_id, checksum, applied_at::date FROM kapman_meta.migration_checksums ORDER BY 1"
    ).fetchall()
    for migration_id, applied_checksum, applied_on in applied:
        if migration_id not in here:
            raise StructureError(
                f"Migration {migration_id} was applied on {applied_on}, and this checkout doesn't know it.",
                fix="Update the checkout, or pave the database.",
            )
        if here[migration_id] != applied_checksum:
            raise StructureError(
                f"Migration {migration_id} was edited after it was applied on {applied_on}.",
                fix="Restore the file and put the change into a new migration, or pave the database.",
            )


def _comment(connection: Connection) -> None:
    """Put the declarations' descriptions on the tables and columns."""
    with connection.transaction():
        for table in TABLES.values():
            name = sql.Identifier("public", table.name)
            connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(name, table.description))
            for column in table.columns:
                connection.execute(
                    sql.SQL("COMMENT ON COLUMN {} IS {}").format(
                        sql.Identifier("public", table.name, column.name), column_comment(column)
                    )
                )
