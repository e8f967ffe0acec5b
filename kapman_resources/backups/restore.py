"""Restoring: into a database of its own, validated there, and only then in the place of the one that was."""

import dataclasses
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kapman_resources.backups.programs import Programs, find_programs
from kapman_resources.backups.records import Backup, BackupError
from kapman_resources.backups.store import BackupStore
from kapman_resources.backups.validation import validate
from kapman_resources.backups.verify import verify
from kapman_resources.connection_errors import require_timescaledb
from kapman_resources.database import MAINTENANCE_DATABASE, Connection, Database
from kapman_resources.embedded import database_url
from kapman_resources.hosts import is_loopback
from kapman_resources.settings import Settings
from kapman_resources.structure.guards import BOOKKEEPING_SCHEMA, refuse_foreign
from kapman_resources.structure.migrations import MIGRATIONS
from kapman_resources.structure.properties import INVALID, Properties, properties, run
from kapman_resources.structure.replacement import (
    clear,
    discard,
    drop_replaced,
    prepare,
    replaced_name,
    swap,
)
from kapman_resources.structure.roles import grant_access

# A restored database has no holes, so it is rather smaller than it was; indexes are sorted beside it.
_ROOM = 1.1
_OURS = ("public", "analytics", BOOKKEEPING_SCHEMA)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Restored:
    """What `restore` did. seconds: from the empty database to the swap, without the reading before."""

    backup: Backup
    database: str
    seconds: float
    kept: str | None
    """Name of the database that was there before, if it was to be kept."""


def restoring_database(settings: Settings, holder: str, name: str | None = None) -> Database:
    """The platform's database, or the one called `name` beside it, as a role that can restore it.

    That is the role of `KAPMAN_RESTORE_URL`, else of `DATABASE_URL`.
    """
    platform = Database(database_url(settings), holder)
    url = settings.restore_url.get_secret_value() if settings.restore_url else platform.url
    return Database(make_conninfo(Database(url, holder).url, dbname=name or platform.name), holder)


def restore(
    database: Database,
    store: BackupStore,
    name: str,
    *,
    keep: bool = False,
    tell: Callable[[str], None] = log.info,
) -> Restored:
    """Put the backup of that name in the place of the database, which must be KapMan's, empty, or absent.

    The backup is checked first, restored into a database beside it, and compared with its manifest; the two
    then change names in one transaction. Until that moment nothing that was there is touched, whatever happens.

    keep: leave the former database under its new name instead of dropping it.
    tell: is given a sentence at every step.

    Raises:
        BackupError: the backup is damaged, doesn't fit the server or its disk, or isn't what was backed up.
        Refused: somebody uses the database, or it isn't KapMan's.
        DatabaseError: the server can't be reached.
    """
    with (
        database.lock(exclusive=True),
        prepared(database, store, name, tell) as (server, backup, like, began),
    ):
        swap(server, database.name, like, keep=keep)
        # The scheduler of TimescaleDB's policies ended with the former name, and comes back only when it is told.
        with database.at(server).connect(autocommit=True) as connection:
            connection.execute("SELECT _timescaledb_functions.start_background_workers()")
        seconds = time.monotonic() - began
        if not keep:
            drop_replaced(server, database.name, tell)
    return Restored(backup, database.name, seconds, replaced_name(database.name) if like and keep else None)


@contextmanager
def prepared(
    database: Database, store: BackupStore, name: str, tell: Callable[[str], None]
) -> Iterator[tuple[Connection, Backup, Properties | None, float]]:
    """The backup restored and validated in a database beside `database`, whose lock the caller holds.

    Yields a connection to the maintenance database, the backup, the properties of the database that is there,
    and when (monotonic) the restore began. What goes wrong leaves nothing behind.

    Raises:
        As `restore`.
    """
    tell(f"Checking {store.location(name)}.")
    backup = verify(store, name)
    with database.connect(autocommit=True, database=MAINTENANCE_DATABASE) as server:
        here = database.at(server)
        like = properties(server, here.name)
        programs = _fitting(server, here, backup, like)
        clear(server, here.name, tell)
        _refuse_without_room(server, backup, like, tell)
        began = time.monotonic()
        owner = _owner(server, backup, like)
        aside = prepare(server, here.name, like, owner)
        try:
            beside = dataclasses.replace(here, url=make_conninfo(here.url, dbname=aside))
            tell(f"Restoring {backup.rows:,} rows into database {aside!r}.")
            paused = _restore_into(beside, store, backup, programs)
            tell("Comparing it with the manifest.")
            with beside.connect() as connection:
                validate(connection, backup)
                _schedule(connection, paused, on=True)
                _give_to(connection, owner)
                grant_access(connection)
            yield server, backup, like, began
        except psycopg.Error as error:
            raise BackupError(
                f"Backup {name} can't be restored: {error.diag.message_primary or error}.",
                fix="Mend that, then restore again; the database that was there is as it was.",
            ) from error
        finally:
            discard(server, here.name, tell)  # after a swap there is nothing of that name


def _fitting(server: Connection, database: Database, backup: Backup, like: Properties | None) -> Programs:
    """Check that this server can take the backup in the place of the database; the programs that do it.

    Raises:
        BackupError, Refused, DatabaseError: it can't.
    """
    if like is not None and like.catalog["datconnlimit"] != INVALID:
        with database.connect(autocommit=True) as connection:
            refuse_foreign(connection)
    facts = require_timescaledb(server)
    if not facts.is_superuser:
        raise BackupError(
            f"Role {server.info.user!r} is no superuser, and TimescaleDB can be restored by nobody else.",
            fix="Set KAPMAN_RESTORE_URL to a superuser's URL of this server, for this command alone.",
        )
    if server.info.server_version // 10000 < int(backup.postgresql.partition(".")[0]):
        raise BackupError(
            f"Backup {backup.name} is of PostgreSQL {backup.postgresql}, and the server is {facts.version}.",
            fix="Restore it on a server of the same major version, or a later one.",
        )
    offered = server.execute(
        "SELECT version FROM pg_available_extension_versions WHERE name = 'timescaledb'"
    ).fetchall()
    if (backup.timescaledb,) not in offered:
        raise BackupError(
            f"Backup {backup.name} is of TimescaleDB {backup.timescaledb}, which the server doesn't offer "
            f"(it has {', '.join(sorted({str(one) for (one,) in offered}))}).",
            fix="TimescaleDB restores into the same version only: use a server that has it, then upgrade there.",
        )
    if (backup.edition, facts.edition) == ("timescale", "apache"):
        raise BackupError(
            f"Backup {backup.name} is of TimescaleDB's Community edition, and the server runs the Apache edition, "
            "which can't read its columnstore.",
            fix="Restore it on a server with timescaledb.license = 'timescale'; or rebuild: `make repave`.",
        )
    unknown = set(backup.migrations) - {path.stem for path in MIGRATIONS.glob("*.sql")}
    if unknown:
        raise BackupError(
            f"Backup {backup.name} has migrations that this checkout doesn't know: {', '.join(sorted(unknown))}.",
            fix=f"Update the checkout (the backup is of KapMan {backup.kapman}), then restore again.",
        )
    return find_programs(server.info.server_version, int(backup.pg_dump.partition(".")[0]))


def _refuse_without_room(
    server: Connection, backup: Backup, like: Properties | None, tell: Callable[[str], None]
) -> None:
    """Check that the server's disk has room for a second database, where it can be asked."""
    tablespace = like.tablespace if like else "pg_default"
    row = server.execute(
        "SELECT coalesce(nullif(pg_tablespace_location(oid), ''), current_setting('data_directory')) "
        "FROM pg_tablespace WHERE spcname = %s",
        (tablespace,),
    ).fetchone()
    needed = int(backup.database_bytes * _ROOM)
    folder = str(row[0]) if row else ""
    try:
        free = shutil.disk_usage(folder).free if _is_here(server, folder) else None
    except OSError:
        free = None
    if free is None:
        tell(f"The server's disk can't be asked from here; {_megabytes(needed)} must be free there.")
    elif free < needed:
        raise BackupError(
            f"The server's disk has {_megabytes(free)} free at {folder}, and a restore of {backup.name} needs "
            f"{_megabytes(needed)} beside the database that is there.",
            fix="Make room there, or restore on another server.",
        )


def _is_here(server: Connection, folder: str) -> bool:
    """Whether the folder that the server names is one of this machine."""
    address = server.info.hostaddr
    return (not address or is_loopback(address)) and Path(folder).exists()


def _owner(server: Connection, backup: Backup, like: Properties | None) -> str:
    """Who shall own what is restored: the owner of the database that is there, else the backup's, if he is known."""
    if like is not None:
        return like.owner
    known = server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (backup.owner,)).fetchone()
    return backup.owner if known else server.info.user


def _restore_into(database: Database, store: BackupStore, backup: Backup, programs: Programs) -> list[int]:
    """TimescaleDB's own order: the extension in the same version, pre-restore, pg_restore, post-restore.

    Returns the ids of the hypertables' policies, which are paused: retention would at once drop what has expired
    since the backup, before it is compared. They can't begin before the transaction that pauses them is over.
    """
    with database.connect(autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE EXTENSION timescaledb VERSION {}").format(sql.Literal(backup.timescaledb))
        )
    # The extension's library must be loaded anew before its functions are called.
    with database.connect(autocommit=True) as connection:
        connection.execute("SELECT public.timescaledb_pre_restore()")
    programs.restore(database, store.read_dump(backup.name))
    with database.connect() as connection:
        connection.execute("SELECT public.timescaledb_post_restore()")
        run(connection, "ALTER DATABASE {} RESET timescaledb.restoring", sql.Identifier(database.name))
        jobs = connection.execute(
            "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL AND scheduled"
        ).fetchall()
        paused = [int(job) for (job,) in jobs]
        _schedule(connection, paused, on=False)
    with database.connect(autocommit=True) as connection:
        connection.execute("ANALYZE")
    return paused


def _schedule(connection: Connection, jobs: list[int], *, on: bool) -> None:
    for job in jobs:
        connection.execute("SELECT public.alter_job(%s, scheduled => %s)", (job, on))


def _give_to(connection: Connection, owner: str) -> None:
    """Make a role the owner of everything of ours: pg_restore made it the superuser's, who restored it."""
    if owner == connection.info.user:
        return
    relations = connection.execute(
        """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p', 'v', 'm')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                          AND d.classid = 'pg_class'::regclass AND d.objid = c.oid)
        ORDER BY 1, 2
        """,
        (list(_OURS),),
    ).fetchall()
    for name in relations:
        run(connection, "ALTER TABLE {} OWNER TO {}", sql.Identifier(*name), sql.Identifier(owner))
    routines = connection.execute(
        """
        SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = ANY (%s)
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                          AND d.classid = 'pg_proc'::regclass AND d.objid = p.oid)
        ORDER BY 1
        """,
        (list(_OURS),),
    ).fetchall()
    for (signature,) in routines:
        run(connection, "ALTER ROUTINE {} OWNER TO {}", sql.SQL(signature), sql.Identifier(owner))
    for schema in _OURS[1:]:  # `public` is the database owner's by itself
        run(connection, "ALTER SCHEMA {} OWNER TO {}", sql.Identifier(schema), sql.Identifier(owner))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
