"""The database server and the market database: reachable, of the right kind, whole, and nothing left behind."""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import psycopg
from psycopg import sql

from kapman_resources.backups import scratch_name
from kapman_resources.connection_errors import explain, require_timescaledb
from kapman_resources.database import MAINTENANCE_DATABASE, Connection, Database
from kapman_resources.diagnosis import Finding, Probe, collected
from kapman_resources.embedded import EmbeddedServer
from kapman_resources.settings import Settings
from kapman_resources.structure import replacement
from kapman_resources.structure.lifecycle import COLUMNSTORE_TABLE, HYPERTABLES
from kapman_resources.structure.pave import paving_name

SECONDS = 4
"""That a connection, and each statement, may take."""

REPAVE = "Build it: make repave."
CLOCK_TOLERATED, CLOCK_BROKEN = 2.0, 60.0  # seconds


def probes(settings: Settings) -> Mapping[str, Probe]:
    """The probe of the database; an embedded server that is down is said to be, not started."""
    return {"database": partial(database, settings)}


def database(settings: Settings) -> Iterator[Finding]:
    """Everything about the database; one finding if its server can't be reached."""
    if settings.database_url:
        url, kind = settings.database_url.get_secret_value(), "of DATABASE_URL"
    else:
        embedded = EmbeddedServer(settings.home / "postgres")
        state = embedded.status().state
        if state != "running":
            yield Finding("database", "fail", f"the embedded server is {state}", "Start it: kapman db start.")
            return
        url, kind = embedded.url(), "embedded"
    url, name = Database(url).url, Database(url).name
    with _connect(url, MAINTENANCE_DATABASE) as connection:
        yield Finding("database", "ok", f"{kind}, {connection.info.host}:{connection.info.port} answers")
        yield from _each(connection, _clock)
        for probe in (_restoring, _leftovers):
            yield from _each(connection, partial(probe, name=name))
        there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
    if there is None:
        yield Finding("market database", "warn", f"{name!r} doesn't exist yet", REPAVE)
        return
    with _connect(url, name) as connection:
        yield from _each(connection, _server)
        row = connection.execute("SELECT to_regclass('kapman_meta.load_manifest') IS NOT NULL").fetchone()
        if row != (True,):
            yield Finding("market database", "warn", f"{name!r} has not been paved yet", REPAVE)
            return
        for ask in (_contents, partial(_policies, pinned=settings.as_of is not None), _migration_lock):
            yield from _each(connection, ask)


def _connect(url: str, name: str) -> Connection:
    try:
        return psycopg.connect(
            url,
            dbname=name,
            autocommit=True,
            connect_timeout=SECONDS,
            application_name="kapman: doctor",
            options=f"-c statement_timeout={SECONDS}s -c default_transaction_read_only=on -c timezone=UTC",
        )
    except psycopg.OperationalError as error:
        raise explain(error, url) from None


def _each(connection: Connection, ask: Callable[[Connection], Iterator[Finding]]) -> Iterator[Finding]:
    """One question's findings; a question that fails is a finding, and the next one is asked."""
    name = getattr(ask, "func", ask).__name__.strip("_").replace("_", " ")
    yield from collected(name, lambda: ask(connection))


def _server(connection: Connection) -> Iterator[Finding]:
    facts = require_timescaledb(connection)
    edition = {"timescale": "Community", "apache": "Apache"}.get(facts.edition or "", "unknown")
    yield Finding(
        "TimescaleDB",
        "ok",
        f"{facts.timescaledb_version}, {edition} edition, on PostgreSQL {facts.version}",
    )


def _clock(connection: Connection) -> Iterator[Finding]:
    before = time.time()
    ((there,),) = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchall()
    after = time.time()
    # The server looked at its clock somewhere between.
    yield skew("clock of the database", max(before - there, there - after, 0.0))


def skew(name: str, seconds: float) -> Finding:
    """The finding for a clock that differs from this machine's by that much."""
    found = f"{seconds:.1f} s from this machine's"
    if seconds > CLOCK_BROKEN:
        return Finding(name, "fail", found, "Set the clocks (NTP): signatures and schedules depend on them.")
    if seconds > CLOCK_TOLERATED:
        return Finding(name, "warn", found, "Set the clocks (NTP).")
    return Finding(name, "ok", found)


def _restoring(connection: Connection, *, name: str) -> Iterator[Finding]:
    row = connection.execute(
        """
        SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = %s AND s.setconfig @> ARRAY['timescaledb.restoring=on']
        """,
        (name,),
    ).fetchone()
    if row:
        yield Finding(
            "restoring mode",
            "fail",
            f"{name!r} is in TimescaleDB's restoring mode: a restore is under way, or was killed",
            "Run the restore again (kapman restore FILE), or make repave.",
        )


def _leftovers(connection: Connection, *, name: str) -> Iterator[Finding]:
    """What commands make beside the database, and take away when they end."""
    for remains in replacement.find(connection, name):
        yield Finding("leftover database", "ok" if remains.kept else "warn", remains.what, remains.fix)
    candidates = [paving_name(name), scratch_name(name)]
    rows = connection.execute(
        """
        SELECT d.datname, (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = d.datname)
        FROM pg_database d WHERE d.datname = ANY (%s) ORDER BY 1
        """,
        (candidates,),
    ).fetchall()
    for leftover, sessions in rows:
        if sessions:
            yield Finding("leftover database", "ok", f"{leftover!r} is being worked in")
            continue
        drop = sql.SQL("DROP DATABASE {}").format(sql.Identifier(leftover)).as_string()
        yield Finding(
            "leftover database",
            "warn",
            f"{leftover!r} was left by a command that was killed",
            f"The same command again clears it; or, if nothing in it is wanted: {drop}.",
        )


def _contents(connection: Connection) -> Iterator[Finding]:
    [(size, bars, chains)] = connection.execute(
        """
        SELECT pg_database_size(current_database()),
               (SELECT max(partition_key) FROM kapman_meta.load_manifest WHERE asset = 'ohlcv'),
               (SELECT max(partition_key) FROM kapman_meta.load_manifest WHERE asset = 'options_chains')
        """
    ).fetchall()
    yield Finding(
        "market database",
        "ok",
        f"{connection.info.dbname!r}, {size / 1e9:,.2f} GB; newest bars {bars or 'none'}, newest chains {chains or 'none'}",
    )


def _policies(connection: Connection, *, pinned: bool) -> Iterator[Finding]:
    name = "lifecycle policies"
    if connection.execute("SELECT current_setting('timescaledb.license')").fetchone() != ("timescale",):
        yield Finding(name, "ok", "none in the Apache edition: the platform's nightly job is on duty")
        return
    rows = connection.execute(
        """
        SELECT j.proc_name, j.hypertable_name, j.scheduled, s.last_run_status, s.total_failures,
               s.last_successful_finish
        FROM timescaledb_information.jobs j LEFT JOIN timescaledb_information.job_stats s USING (job_id)
        WHERE j.hypertable_schema = 'public' ORDER BY 1, 2
        """
    ).fetchall()
    wanted = {("policy_retention", table) for table in HYPERTABLES} | {
        ("policy_compression", COLUMNSTORE_TABLE)
    }
    attached = {(policy, table) for policy, table, *_ in rows}
    apply = "Apply them: dagster asset materialize -m kapman_assets --select schema."
    for policy, table in sorted(wanted - attached):
        yield Finding(name, "fail", f"{policy} of {table} is missing", apply)
    for policy, table, scheduled, last, failures, _ in rows:
        if last == "Failed":
            yield Finding(
                name,
                "fail",
                f"{policy} of {table} failed the last time ({failures} failures)",
                "SELECT * FROM timescaledb_information.job_errors; says why.",
            )
        if policy == "policy_retention" and scheduled is pinned:
            state = "runs although KAPMAN_AS_OF pins today" if pinned else "is paused"
            yield Finding(name, "fail", f"{policy} of {table} {state}", apply)
    if wanted <= attached and all(last != "Failed" for *_, last, _, _ in rows):
        runs = [finish for *_, finish in rows if isinstance(finish, dt.datetime) and finish.year > 1]
        last = f"last finished {max(runs):%Y-%m-%d %H:%M}Z" if runs else "not yet due"
        yield Finding(name, "ok", f"{len(rows)} attached, {last}")


def _migration_lock(connection: Connection) -> Iterator[Finding]:
    if connection.execute("SELECT to_regclass('kapman_meta.yoyo_lock')").fetchone() == (None,):
        return
    row = connection.execute(
        """
        SELECT pid, ctime::text,
               EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                       WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted)
        FROM kapman_meta.yoyo_lock WHERE locked = 1
        """
    ).fetchone()
    if row and not row[2]:
        yield Finding(
            "migration lock",
            "warn",
            f"held since {row[1]} by process {row[0]}, which is gone",
            "dagster asset materialize -m kapman_assets --select schema clears it.",
        )
