"""Taking a backup: dump, hashes and counts of one snapshot, published when they are complete."""

import datetime as dt
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import psycopg
from psycopg import sql

from kapman_resources.backups.content import all_tables, table_contents
from kapman_resources.backups.programs import Programs, find_programs
from kapman_resources.backups.records import FORMAT, Backup, Claim, Remains
from kapman_resources.backups.store import BackupStore, backup_names
from kapman_resources.clock import as_of
from kapman_resources.connection_errors import require_timescaledb
from kapman_resources.database import MAINTENANCE_DATABASE, Connection, Database
from kapman_resources.errors import Refused
from kapman_resources.structure.fingerprint import structure_fingerprint
from kapman_resources.structure.guards import refuse_foreign, refuse_restoring

_LOCK_SPACE = 0x4B42434B  # "KBCK"
_LOCK_WAIT = "60s"

log = logging.getLogger(__name__)


@dataclass
class _Tally:
    """Size and SHA-256 of the chunks that have passed."""

    size: int = 0

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256()

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.size += len(chunk)
            self._hash.update(chunk)
            yield chunk

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def take(
    database: Database,
    store: BackupStore,
    *,
    taken_by: str,
    at: dt.datetime,
    locked: bool = False,
    tell: Callable[[str], None] = log.info,
) -> Backup:
    """Take a full backup of the database and publish it in the store; nothing is ever overwritten.

    taken_by: who or what takes it, for the manifest, e.g. `backup run 1a2b3c4d`.
    at: now (aware); its minute in UTC is the backup's name.
    locked: the caller holds the platform's lock already, as a pave does.
    tell: is given a sentence about whatever a killed backup has left and this one removes.

    Loads may run meanwhile, a repave may not. Whatever happens, a backup that isn't complete doesn't count.

    Raises:
        BackupError: there is no pg_dump that fits, it fails, or the store can't be written.
        Refused: a repave or another backup is at work, or the database isn't KapMan's.
        DatabaseError: the server can't be reached, or the database is in a restore.
    """
    began = time.monotonic()
    with ExitStack() as held:
        if not locked:
            held.enter_context(database.lock(exclusive=False))
        server = held.enter_context(_alone(database))
        here = database.at(server)
        with here.connect() as connection:
            refuse_foreign(connection)
            refuse_restoring(connection)
            facts = require_timescaledb(connection)
            programs = find_programs(connection.info.server_version)
            identity = server_identity(connection)
        clear_remains(store, database.name, identity, tell)
        name = _claimed(store, database.name, identity, taken_by, at)
        try:
            connection = held.enter_context(here.connect())
            described = _dumped(connection, here, store, programs, name)
            backup = Backup(
                format=FORMAT,
                name=name,
                database=database.name,
                server=identity,
                taken_at=at.astimezone(dt.UTC),
                taken_by=taken_by,
                as_of=as_of(),
                postgresql=facts.version,
                timescaledb=facts.timescaledb_version,
                edition=facts.edition or "",
                kapman=version("kapman"),
                pg_dump=programs.version,
                seconds=round(time.monotonic() - began, 1),
                **described,
            )
            store.publish(backup)
        except BaseException:
            store.remove_claimed(name)
            raise
    return backup


def remains(store: BackupStore) -> list[Remains]:
    """What isn't a backup although it lies there: names that are claimed, and dumps without a manifest."""
    found = [
        Remains(
            claim.name,
            f"{claim.name} at {store.url} is being written, or was when {claim.by} was killed: begun at "
            f"{claim.at:%Y-%m-%d %H:%M} UTC for database {claim.database!r}.",
            "The next backup of that database removes it.",
        )
        for claim in store.claims()
    ]
    found += [
        Remains(
            name,
            f"{name} at {store.url} has no manifest, so it is no backup.",
            "Bring its .json file back, or delete it yourself.",
        )
        for name in store.unclaimed()
    ]
    return found


def clear_remains(store: BackupStore, database: str, server: str, tell: Callable[[str], None]) -> None:
    """Remove what killed backups of this database have left; the caller is the only one at work on it."""
    for claim in store.claims():
        if (claim.database, claim.server) == (database, server):
            store.remove_claimed(claim.name)
            tell(f"Removed {claim.name}, which {claim.by} left incomplete at {claim.at:%Y-%m-%d %H:%M} UTC.")


def server_identity(connection: Connection) -> str:
    """Identifier of the server's cluster, which no other has."""
    [(identifier,)] = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchall()
    return str(identifier)


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """A connection to the maintenance database that keeps a second backup of this database out."""
    with database.connect(autocommit=True, database=MAINTENANCE_DATABASE) as server:
        taken = server.execute(
            "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK_SPACE, database.name)
        ).fetchone()
        if not (taken and taken[0]):
            raise Refused(
                f"Another backup of database {database.name!r} is at work.",
                fix="Wait until it has ended; `kapman backup --list` shows it then.",
            )
        yield server


def _claimed(store: BackupStore, database: str, server: str, by: str, at: dt.datetime) -> str:
    """The first name of that minute that nobody has had."""
    return next(
        name
        for name in backup_names(at)
        if store.claim(Claim(name, database, server, by, at.astimezone(dt.UTC)))
    )


def _dumped(
    connection: Connection, database: Database, store: BackupStore, programs: Programs, name: str
) -> dict[str, Any]:
    """Dump the database into the store, and what its manifest tells of the snapshot that was dumped."""
    snapshot = _snapshot(connection)
    tally = _Tally()
    with ThreadPoolExecutor(1, "dump") as pool, programs.dump(database, snapshot) as dump:
        stored = pool.submit(store.write_dump, name, tally.of(dump.chunks()))
        [(owner, size)] = connection.execute(
            "SELECT pg_get_userbyid(datdba), pg_database_size(oid) FROM pg_database "
            "WHERE datname = current_database()"
        ).fetchall()
        described = {
            "owner": owner,
            "structure": structure_fingerprint(connection),
            "migrations": applied_migrations(connection),
            "tables": table_contents(connection),
            "database_bytes": size,
        }
        stored.result()
    return {**described, "dump_bytes": tally.size, "sha256": tally.sha256}


def applied_migrations(connection: Connection) -> tuple[str, ...]:
    """Ids of the migrations that the database has, ascending."""
    rows = connection.execute(
        "SELECT migration_id FROM kapman_meta.migration_checksums ORDER BY 1"
    ).fetchall()
    return tuple(str(migration) for (migration,) in rows)


def _snapshot(connection: Connection) -> str:
    """Begin the transaction that everything is read in; its name for pg_dump.

    The tables are locked against DDL before the snapshot is taken: a chunk that retention drops between the two
    would be in neither, and yet in the snapshot.
    """
    tables = all_tables(connection)
    connection.rollback()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_WAIT))
    names = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
    try:
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    except psycopg.errors.LockNotAvailable:
        raise Refused(
            f"Somebody has been changing the structure of database {connection.info.dbname!r} for a minute.",
            fix="Wait until that has ended, then take the backup again.",
        ) from None
    [(snapshot,)] = connection.execute("SELECT pg_export_snapshot()").fetchall()
    return str(snapshot)
