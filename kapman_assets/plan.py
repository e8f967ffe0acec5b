"""What a repave would do, told without doing it: what it drops, fetches and computes, and what would refuse it."""

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import dagster as dg
from psycopg import sql

from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_assets.scope import every_symbol
from kapman_resources import manifest, structure
from kapman_resources.clock import as_of, live_session
from kapman_resources.database import Connection, Database
from kapman_resources.errors import KapmanError
from kapman_resources.manifest import Load
from kapman_resources.sessions import retained_sessions
from kapman_resources.settings import settings
from kapman_resources.structure import Consent
from kapman_resources.tables import TABLES
from kapman_resources.watchlist_files import read_watchlists

REPAVE_JOB = "repave"
DRY_RUN_TAG = "kapman/dry_run"
_TICKERS_A_PAGE = 1000
_RUNS_LOOKED_AT = 50


@dataclass(frozen=True)
class Dropped:
    """A table that a pave drops: its rows, and its chunks if it is a hypertable."""

    table: str
    rows: int
    chunks: int | None


@dataclass(frozen=True)
class Files:
    """The vendor's flat files of the window: how many and how large, by what became of them since the last load.

    known: with the ETag that the bars in the database were made from, so that they give the same rows again.
    """

    files: int
    bytes: int
    known: int
    republished: int
    new: int


@dataclass(frozen=True)
class Chains:
    """Option sessions of the window that can be had, those of which the vault holds chains, and what is live.

    live_session: if chains of it have to be fetched, `live_chains` of them.
    """

    sessions: int
    archived_sessions: int
    live_session: dt.date | None
    live_chains: int


@dataclass(frozen=True)
class LastRepave:
    """The last repave that succeeded."""

    run_id: str
    ended: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a repave would do now. Nothing is None but what isn't there, or what `unknown` gives the reason for.

    refusals: what would refuse the pave, each a sentence with its fix.
    """

    environment: str
    as_of: dt.date
    database: str
    server: str
    exists: bool
    database_bytes: int | None
    dropped: list[Dropped]
    backup: str | None
    files: Files | None
    chains: Chains | None
    reference_pages: int | None
    symbols: int | None
    last_repave: LastRepave | None
    refusals: list[str]
    unknown: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Its fields, days as YYYY-MM-DD."""
        return asdict(self, dict_factory=lambda pairs: {
            name: value.isoformat() if isinstance(value, dt.date) else value for name, value in pairs
        })  # fmt: skip

    def lines(self) -> Iterator[str]:
        """The plan as people read it."""
        yield f"A repave as of {self.as_of} (KAPMAN_ENV={self.environment}) would do this. Nothing has been changed."
        yield from self._dropping()
        yield from self._fetching()
        yield from self._computing()
        if self.last_repave:
            last = self.last_repave
            yield f"The last repave ({last.run_id[:8]}, {last.ended}) took {last.seconds:,.0f} s."
        else:
            yield "No repave that succeeded is on record, so nothing says how long it takes."
        for reason in self.unknown:
            yield f"Not known: {reason}"
        for refusal in self.refusals:
            yield f"WOULD BE REFUSED: {refusal}"
        if not self.refusals:
            yield "No guard objects."

    def _dropping(self) -> Iterator[str]:
        if not self.exists:
            yield f"Dropped: nothing. {self.server} has no database {self.database!r}; it would be made."
            return
        size = f", {_size(self.database_bytes)}" if self.database_bytes is not None else ""
        yield f"Dropped: database {self.database!r} on {self.server}{size}."
        for table in self.dropped:
            chunks = (
                ""
                if table.chunks is None
                else f" in {table.chunks:,} chunk{'' if table.chunks == 1 else 's'}"
            )
            yield f"  {table.table:<28}{table.rows:>12,} rows{chunks}"
        yield f"Backed up first, and verified: {self.backup or 'nothing'}."
        yield "Kept: roles, other databases, the vault, the backups, Dagster's records."

    def _fetching(self) -> Iterator[str]:
        pages = "all pages" if self.reference_pages is None else f"about {self.reference_pages:,} pages"
        yield f"Fetched: the reference tickers ({pages})."
        if self.files:
            of = self.files
            yield (
                f"  {of.files:,} flat files, {_size(of.bytes)}: {of.known:,} as loaded before, "
                f"{of.republished:,} republished, {of.new:,} not loaded yet."
            )
        if self.chains:
            live = self.chains.live_session
            yield f"  Option chains of {self.chains.archived_sessions:,} sessions, from the vault." + (
                f" {self.chains.live_chains:,} chains of {live} from the vendor." if live else ""
            )

    def _computing(self) -> Iterator[str]:
        if self.symbols is None or not self.files:
            return
        yield f"Computed: snapshots of {self.files.files:,} sessions x {self.symbols:,} active symbols, at most."
        if self.chains:
            yield (
                f"  Dealer and volatility metrics of {self.chains.sessions:,} sessions x {self.symbols:,}"
                " active symbols, at most."
            )


def plan_repave(
    instance: dg.DagsterInstance, database: DatabaseResource, vendor: VendorResource, confirmed: str = ""
) -> Plan:
    """Look at the database, list the vendor's bucket and the vault; read no file, fetch no page, write nothing.

    In the demo the simulator is started, because it is the one who is asked.

    confirmed: the database's name, as `confirm_database` of the run config would say it.

    Raises:
        DatabaseError: the server can't be reached, or can't be used.
    """
    owner, today = database.owner, as_of()
    refusals = structure.objections(owner, Consent(confirmed))
    if holders := owner.holders():
        refusals.append(owner.in_use_by(holders))
    exists = owner.exists()
    unknown: list[str] = []
    held = _held(owner, unknown) if exists else _Held()
    window = retained_sessions(today)
    files = _asked(unknown, lambda: _files(vendor, window, held.loads))
    symbols = _asked(unknown, lambda: _symbols(held))
    chains = _asked(unknown, lambda: _chains(vendor, window, symbols or []))
    return Plan(
        environment=settings().environment,
        as_of=today,
        database=owner.name,
        server=owner.server(),
        exists=exists,
        database_bytes=held.bytes,
        dropped=held.tables,
        backup=_backup(held),
        files=files,
        chains=chains,
        reference_pages=held.reference_pages,
        symbols=None if symbols is None else len(symbols),
        last_repave=last_repave(instance),
        refusals=[str(refusal) for refusal in refusals],
        unknown=unknown,
    )


def last_repave(instance: dg.DagsterInstance) -> LastRepave | None:
    """The newest successful run of job `repave`."""
    wanted = dg.RunsFilter(job_name=REPAVE_JOB, statuses=[dg.DagsterRunStatus.SUCCESS])
    record = newest_run(instance, wanted)
    if record is None or record.start_time is None or record.end_time is None:
        return None
    ended = dt.datetime.fromtimestamp(record.end_time, dt.UTC)
    return LastRepave(
        record.dagster_run.run_id,
        f"{ended:%Y-%m-%d %H:%M} UTC",
        round(record.end_time - record.start_time, 1),
    )


def newest_run(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> dg.RunRecord | None:
    """The newest of these runs that was no dry run."""
    records = instance.get_run_records(wanted, limit=_RUNS_LOOKED_AT)
    return next((record for record in records if DRY_RUN_TAG not in record.dagster_run.tags), None)


@dataclass(frozen=True)
class _Held:
    """What the database holds now."""

    bytes: int | None = None
    tables: list[Dropped] = field(default_factory=list)
    loads: dict[str, Load] = field(default_factory=dict)
    tickers: set[str] = field(default_factory=set)
    has_rows: bool = False

    @property
    def reference_pages(self) -> int | None:
        """How many pages the reference tickers had, about; None where nothing tells."""
        return math.ceil(len(self.tickers) / _TICKERS_A_PAGE) or None


def _held(owner: Database, unknown: list[str]) -> _Held:
    def look() -> _Held:
        with owner.connect() as connection:
            tables = list(_tables(connection))
            is_loaded = any(table.rows for table in tables if table.table == "public.tickers")
            return _Held(
                _value(connection, "SELECT pg_database_size(current_database())"),
                tables,
                manifest.published(connection, "ohlcv"),
                set(every_symbol(connection)) if is_loaded else set(),
                structure.would_lose_rows(owner),
            )

    return _asked(unknown, look) or _Held()


def _tables(connection: Connection) -> Iterator[Dropped]:
    bookkeeping = [("kapman_meta", "load_manifest"), ("kapman_meta", "quarantine")]
    for schema, name in [*(("public", name) for name in TABLES), *bookkeeping]:
        table = sql.Identifier(schema, name)
        if not _value(connection, "SELECT to_regclass(%s) IS NOT NULL", table.as_string(connection)):
            continue
        chunks = (
            _value(
                connection,
                "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_schema = %s AND hypertable_name = %s",
                schema,
                name,
            )
            if schema == "public" and TABLES[name].hypertable
            else None
        )
        yield Dropped(
            f"{schema}.{name}", _value(connection, sql.SQL("SELECT count(*) FROM {}").format(table)), chunks
        )


def _files(vendor: VendorResource, window: Sequence[dt.date], loads: dict[str, Load]) -> Files:
    found = vendor.flat_files().list_sessions(window[0], window[-1])
    offered = {session.isoformat(): info for session, info in found.items() if session in set(window)}
    loaded = {key: load.sources[0].get("etag") for key, load in loads.items() if load.sources}
    known = sum(loaded.get(key) == info.etag for key, info in offered.items())
    new = sum(key not in loaded for key in offered)
    size = sum(info.size for info in offered.values())
    return Files(len(offered), size, known, len(offered) - known - new, new)


def _symbols(held: _Held) -> list[str]:
    """The symbols of the watchlist files; only those that are tickers, where the database holds any."""
    listed = set(read_watchlists(settings().watchlists).frame["symbol"])
    return sorted(listed & held.tickers if held.tickers else listed)


def _chains(vendor: VendorResource, window: Sequence[dt.date], symbols: Sequence[str]) -> Chains:
    vault, live = vendor.vault(), live_session()
    archived = set(vault.sessions("options")) & set(window)
    missing = set(symbols) - set(vault.subjects("options", live)) if live else set()
    fetched = {live} if missing else set()
    return Chains(len(archived | fetched), len(archived), live if missing else None, len(missing))


def _backup(held: _Held) -> str | None:
    """Where a backup would go; None if none would be taken."""
    if settings().environment != "prod" or not held.has_rows:
        return None
    return f"the whole database, to {settings().backups}"


def _asked(unknown: list[str], ask: Any) -> Any:
    """The answer, or None and the reason among the unknown."""
    try:
        return ask()
    except KapmanError as error:
        unknown.append(str(error))
        return None


def _value(connection: Connection, query: Any, *parameters: Any) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def _size(size: int | None) -> str:
    return f"{(size or 0) / 1e6:,.1f} MB"
