"""What is written down beside a dump: its manifest, the claim on its name, and the drills that restored it."""

import datetime as dt
from dataclasses import dataclass

import msgspec

from kapman_resources.errors import KapmanError

FORMAT = 1
"""Version of the records' own form."""


class BackupError(KapmanError):
    """A backup can't be taken, read or restored."""


class TableContent(msgspec.Struct, frozen=True):
    """A table (`schema.name`): its rows, and the hash of their content."""

    name: str
    rows: int
    hash: str


class Backup(msgspec.Struct, frozen=True):
    """The manifest of a dump; all of it, and the dump, are of one snapshot of the database.

    name: `full_YYYYMMDD_HHMM` in UTC, with `_2`, `_3`, … for more than one in a minute.
    database, server, owner: name of the database, identifier of its server's cluster, role that owned it.
    as_of: the platform's today.
    postgresql, timescaledb, edition, kapman, pg_dump: versions, and TimescaleDB's licence.
    structure: fingerprint of the structure. migrations: ids of those that were applied, ascending.
    tables: every table of the contract and of the bookkeeping.
    database_bytes: on the server's disk. dump_bytes, sha256: of the dump.
    seconds: that taking it took.
    """

    format: int
    name: str
    database: str
    server: str
    owner: str
    taken_at: dt.datetime
    taken_by: str
    as_of: dt.date
    postgresql: str
    timescaledb: str
    edition: str
    kapman: str
    pg_dump: str
    structure: str
    migrations: tuple[str, ...]
    tables: tuple[TableContent, ...]
    database_bytes: int
    dump_bytes: int
    sha256: str
    seconds: float

    @property
    def rows(self) -> int:
        """Rows of the contract's tables."""
        return sum(table.rows for table in self.tables if table.name.startswith("public."))


class Claim(msgspec.Struct, frozen=True):
    """A name that is being written to, or deleted: what bears it doesn't count, unless its manifest is there."""

    name: str
    database: str
    server: str
    by: str
    at: dt.datetime


class Drill(msgspec.Struct, frozen=True):
    """A restore into a scratch database, compared and dropped.

    error: why it failed; None if the restored database equals the manifest.
    seconds: that the whole took. restore_seconds: from the empty database to a usable one, if it came so far.
    """

    format: int
    name: str
    backup: str
    database: str
    started_at: dt.datetime
    by: str
    rows: int
    dump_bytes: int
    seconds: float
    restore_seconds: float | None = None
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the backup could be restored to equal content."""
        return self.error is None


@dataclass(frozen=True)
class Remains:
    """Something that a killed backup has left in the store; `what` and `fix` are sentences."""

    name: str
    what: str
    fix: str
