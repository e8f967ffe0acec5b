"""`options_chains`: option-chain snapshots of the active symbols at the close of a session.

A snapshot is now or never: the vendor has no history of it. So raw pages are archived before anything
reads them, and a past session is rebuilt from the vault alone.
"""

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dagster as dg
import polars as pl
from pydantic import Field

from kapman_assets.audits import Audit, audit_checks, audit_stage
from kapman_assets.failures import fails_in_a_sentence, vendor_retries
from kapman_assets.freshness import DEADLINES
from kapman_assets.materializations import (
    inputs_as_read,
    materialized_sessions,
    named_sessions,
    table_metadata,
)
from kapman_assets.ohlcv import AUDITS as OHLCV_AUDITS
from kapman_assets.ohlcv import RELATION as OHLCV_RELATION
from kapman_assets.ohlcv import ohlcv
from kapman_assets.order import require_passed
from kapman_assets.partitions import ONE_RUN, SESSIONS, selected_sessions
from kapman_assets.progress import ProgressLog
from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_assets.scope import active_symbols
from kapman_assets.watchlists import AUDITS as WATCHLISTS_AUDITS
from kapman_assets.watchlists import RELATION as WATCHLISTS_RELATION
from kapman_assets.watchlists import watchlists
from kapman_resources import manifest
from kapman_resources.clock import live_session
from kapman_resources.content_hash import content_hash
from kapman_resources.database import Connection
from kapman_resources.errors import SourceError, VendorError
from kapman_resources.options_load import (
    RELATION,
    ArchivedChain,
    FreshChains,
    PublishedSession,
    Snapshot,
    archived_sources,
    fresh_and_archived,
    publish_session,
    read_chains,
)
from kapman_resources.publish import retried
from kapman_resources.sessions import session_close
from kapman_resources.tables import OPTIONS_CHAINS
from kapman_resources.vault import Vault
from kapman_resources.vendor_pages import RawPage

CODE_VERSION = "1"

AUDITS = (
    Audit(
        "options_chains_are_loaded",
        "There are contracts, unless no session of the window has an archive.",
        violations="""
            SELECT m.partition_key AS session FROM kapman_meta.load_manifest m
            WHERE m.asset = 'options_chains' AND m.partition_key >= (%(sessions)s::date[])[1]::text
              AND m.rows_written > 0
              AND NOT EXISTS (SELECT 1 FROM {relation} o
                              WHERE o.time >= m.partition_key::date AND o.time < m.partition_key::date + 1)
        """,
        facts="""
            SELECT count(*) AS contracts, count(DISTINCT time) AS sessions, count(DISTINCT ticker_id) AS symbols,
                   min(time) AS first_snapshot, max(time) AS last_snapshot
            FROM {relation}
        """,
    ),
    Audit(
        "option_keys_are_unique",
        "A contract occurs once in a snapshot: (time, ticker, expiration, strike, type).",
        violations="""
            SELECT time, ticker_id, expiration_date, strike_price, option_type, count(*) AS occurrences
            FROM {relation} GROUP BY 1, 2, 3, 4, 5 HAVING count(*) > 1
        """,
        facts="""
            SELECT (SELECT string_agg(a.attname, ', ' ORDER BY k.position)
                    FROM pg_constraint c
                    CROSS JOIN unnest(c.conkey) WITH ORDINALITY k (attnum, position)
                    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
                    WHERE c.conrelid = 'public.options_chains'::regclass AND c.contype IN ('u', 'p')) AS key_columns
        """,
        staged=True,
        enforced=True,
    ),
    Audit(
        "option_contracts_are_sane",
        "Strikes are positive, expirations are not before the session, quantities and volatilities are not negative.",
        violations="""
            SELECT time, ticker_id, expiration_date, strike_price, option_type, volume, open_interest, implied_volatility
            FROM {relation}
            WHERE strike_price <= 0
               -- The first is cheap and, whatever the connection's time zone, true of all that the second refuses.
               OR (expiration_date <= time::date + 1
                   AND expiration_date < (time AT TIME ZONE 'America/New_York')::date)
               OR volume < 0 OR open_interest < 0 OR implied_volatility < 0 OR gamma = 'NaN' OR delta NOT BETWEEN -1.0001 AND 1.0001
        """,
        facts="""
            SELECT count(*) AS contracts, count(*) FILTER (WHERE option_type = 'C') AS calls,
                   count(*) FILTER (WHERE option_type = 'P') AS puts,
                   min(strike_price)::float8 AS lowest_strike, max(strike_price)::float8 AS highest_strike,
                   max(expiration_date) AS last_expiration
            FROM {relation}
        """,
        staged=True,
        thresholds={"strike": 0, "largest_delta": 1.0001},
    ),
    Audit(
        "option_snapshots_are_at_the_close",
        "Every snapshot's time is the close of a session.",
        violations="""
            SELECT time, count(*) AS contracts FROM {relation}
            WHERE time >= (%(closes)s::timestamptz[])[1] AND NOT time = ANY (%(closes)s) GROUP BY time
        """,
        facts="SELECT array_agg(DISTINCT time::text) AS times FROM {relation}",
        staged=True,
    ),
    Audit(
        "option_chains_cover_active_symbols",
        "In the newest snapshot every active symbol has contracts.",
        violations="""
            SELECT DISTINCT w.symbol FROM public.watchlists w JOIN public.tickers t USING (symbol)
            WHERE w.active AND NOT EXISTS (
                SELECT 1 FROM {relation} o
                WHERE o.ticker_id = t.id AND o.time = (SELECT max(time) FROM {relation}))
            ORDER BY 1
        """,
        facts="""
            SELECT max(time) AS snapshot, count(DISTINCT ticker_id) AS symbols, count(*) AS contracts,
                   count(DISTINCT (ticker_id, expiration_date)) AS expirations,
                   round(count(*)::numeric / nullif(count(DISTINCT (ticker_id, expiration_date)), 0), 1)::float8
                       AS contracts_per_expiration
            FROM {relation} WHERE time = (SELECT max(time) FROM {relation})
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
    ),
    Audit(
        "every_expiration_has_calls_and_puts",
        "In the newest snapshot each symbol's expirations have both calls and puts.",
        violations="""
            SELECT t.symbol, o.expiration_date, count(*) FILTER (WHERE option_type = 'C') AS calls,
                   count(*) FILTER (WHERE option_type = 'P') AS puts
            FROM {relation} o JOIN public.tickers t ON t.id = o.ticker_id
            WHERE o.time = (SELECT max(time) FROM {relation})
            GROUP BY 1, 2
            HAVING count(*) FILTER (WHERE option_type = 'C') = 0 OR count(*) FILTER (WHERE option_type = 'P') = 0
            ORDER BY 1, 2
        """,
        facts="""
            SELECT count(DISTINCT expiration_date) AS expirations, min(expiration_date) AS first_expiration,
                   max(expiration_date) AS last_expiration
            FROM {relation} WHERE time = (SELECT max(time) FROM {relation})
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
    ),
    Audit(
        "most_contracts_have_greeks",
        "In the newest snapshot each symbol has gamma and implied volatility for at least half of its contracts.",
        violations="""
            SELECT t.symbol, count(*) AS contracts, count(o.gamma) AS with_gamma, count(o.implied_volatility) AS with_iv
            FROM {relation} o JOIN public.tickers t ON t.id = o.ticker_id
            WHERE o.time = (SELECT max(time) FROM {relation})
            GROUP BY 1 HAVING least(count(o.gamma), count(o.implied_volatility)) * 2 < count(*) ORDER BY 1
        """,
        facts="""
            SELECT count(*) AS contracts, count(gamma) AS with_gamma, count(implied_volatility) AS with_iv,
                   count(*) FILTER (WHERE open_interest > 0) AS with_open_interest,
                   count(*) FILTER (WHERE volume > 0) AS with_volume, count(bid) AS with_bid
            FROM {relation} WHERE time = (SELECT max(time) FROM {relation})
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
        thresholds={"share_with_greeks": 0.5},
    ),
    Audit(
        "option_rows_are_accounted_for",
        "Contracts read = written + ignored (by reason) + quarantined, for every session.",
        violations="""
            SELECT partition_key AS session, rows_read, rows_written, rows_ignored, rows_quarantined
            FROM kapman_meta.load_manifest
            WHERE asset = 'options_chains'
              AND rows_read <> rows_written + rows_quarantined
                    + (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(rows_ignored))
        """,
        facts="""
            SELECT coalesce(sum(rows_read), 0)::bigint AS contracts_read, coalesce(sum(rows_written), 0)::bigint AS contracts_written,
                   coalesce(sum(rows_quarantined), 0)::bigint AS contracts_quarantined,
                   count(*) FILTER (WHERE partition_key <> '') AS sessions
            FROM kapman_meta.load_manifest WHERE asset = 'options_chains'
        """,
    ),
)


class OptionsChainsConfig(dg.Config):
    """Scope and pace of a snapshot."""

    symbols: list[str] = Field([], description="Only these active symbols (smoke tests); empty: all of them.")
    concurrency: int = Field(8, ge=1, le=64, description="Chains fetched at once.")
    refetch: bool = Field(False, description="Fetch the live session again although it is archived.")
    vault_only: bool = Field(
        False, description="Fetch nothing: load the live session too from what is archived."
    )
    sessions: list[str] = Field([], description="Only these sessions of the run's range; empty: all of them.")
    reload: bool = Field(False, description="Load again also what is unchanged.")


@dg.asset(
    deps=[ohlcv, watchlists],
    partitions_def=SESSIONS,
    backfill_policy=ONE_RUN,
    freshness_policy=DEADLINES["options_chains"].policy,
    retry_policy=vendor_retries(),
    pool="vendor",
    group_name="3_market_data",
    kinds={"timescaledb", "rest"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(OPTIONS_CHAINS),
    code_version=CODE_VERSION,
    description=(
        "Option chains of every active watchlist symbol at the session's close. The newest session is fetched"
        " while the market is closed; **past sessions come from the vault alone**. In a range, sessions that"
        " nobody archived are skipped and stay unmaterialized."
    ),
)
@fails_in_a_sentence
def options_chains(
    context: dg.AssetExecutionContext,
    config: OptionsChainsConfig,
    database: DatabaseResource,
    vendor: VendorResource,
) -> dg.MaterializeResult:
    """Archive the live chains, then publish every wanted session whose archive is new or has changed."""
    database.hold()
    inputs = inputs_as_read(context)
    with database.connect() as connection:
        before = {
            "ohlcv": (OHLCV_AUDITS, OHLCV_RELATION),
            "watchlists": (WATCHLISTS_AUDITS, WATCHLISTS_RELATION),
        }
        require_passed(connection, "options_chains", before, database.audit_parameters())
        symbols = active_symbols(connection, config.symbols)

    wanted, vault = selected_sessions(context, config.sessions), vendor.vault()
    loads, live = [], live_session()
    if live in wanted and not config.vault_only:
        loads += archive_and_load(context, config, database, vendor, live, symbols)
    archived = set(vault.sessions("options"))
    covered = [session for session in wanted if session in archived]
    _require_archive(context, wanted, covered)

    pending = [
        session for session in covered if session.isoformat() not in {one.partition_key for one in loads}
    ]
    kept = {} if config.reload else _unchanged(config, database, vault, pending, symbols)
    progress, rows = ProgressLog(context.log, "options_chains", len(pending) - len(kept)), 0
    for done, session in enumerate((session for session in pending if session not in kept), start=1):
        chains = partial(read_chains, vault, session, list(symbols))
        loads.append(load_session(context, config, database, session, symbols, chains))
        rows += loads[-1].rows_written
        progress(done, rows)
    for load in loads:
        _tell(context, load)
    context.log.info(f"{len(loads)} sessions published, {len(kept)} unchanged.")
    with database.connect() as connection:
        # The step has passed also where no session of a range is archived: the coverage says so.
        manifest.record(
            connection,
            manifest.Load("options_chains", manifest.WHOLE, [], 0, 0, run_id=context.run.run_id,
                          details={"sessions_asked": len(wanted), "sessions_archived": len(covered)}),
        )  # fmt: skip
    return materialized_sessions(
        context, loads, inputs, unchanged=kept.values(), progress=progress, database=database
    )


def archive_and_load(
    context: dg.AssetExecutionContext,
    config: OptionsChainsConfig,
    database: DatabaseResource,
    vendor: VendorResource,
    session: dt.date,
    symbols: Mapping[str, str],
) -> list[manifest.Load]:
    """Fetch and archive the live session's chains; one that was never published is loaded as they arrive.

    The archive comes first: it gets every chain that can be had, whatever becomes of the loading.
    """
    vault, names = vendor.vault(), list(symbols)
    fresh = FreshChains(vault, session, overwrite=config.refetch)
    fetch = partial(
        archive_live, context.log, vendor, vault, session, names,
        concurrency=config.concurrency, refetch=config.refetch,
    )  # fmt: skip
    with database.connect() as connection:
        published = manifest.published(connection, "options_chains")
    if session.isoformat() in published or not symbols:
        fetch()
        return []

    def load() -> manifest.Load:
        fresh.wait()
        chains = partial(fresh_and_archived, fresh, vault, session, names)
        return load_session(context, config, database, session, symbols, chains)

    with ThreadPoolExecutor(1, "publish") as thread:
        loading = thread.submit(load)
        with fresh:
            fetch(fresh=fresh)
        return [loading.result()]


def archive_live(  # noqa: PLR0913  (the asset and `kapman vault archive` say what to fetch, and how)
    log: logging.Logger,
    vendor: VendorResource,
    vault: Vault,
    session: dt.date,
    symbols: Sequence[str],
    *,
    concurrency: int,
    refetch: bool,
    fresh: FreshChains | None = None,
) -> dict[str, VendorError]:
    """Fetch the chains that the vault doesn't hold yet for the live session, archiving each raw.

    Returns the errors of the symbols whose chain could not be had. `refetch` asks for what it holds, too.
    fresh: archives in its place, and hands the chains over to whoever loads them meanwhile.

    Raises:
        EntitlementError: the key's plan doesn't include option snapshots; nothing more is fetched.
        VendorError: no chain at all could be fetched.
    """
    held = set() if refetch else set(vault.subjects("options", session))
    missing = [symbol for symbol in symbols if symbol not in held]
    if not missing:
        log.info(f"All {len(symbols)} chains of {session} are in the vault; nothing to fetch.")
        return {}

    progress, pages_so_far = ProgressLog(log, f"fetch of {session}", len(missing), ("chains", "pages")), 0

    def archive(symbol: str, pages: list[RawPage]) -> None:
        nonlocal pages_so_far
        pages_so_far += len(pages)
        if fresh:
            fresh.archive(symbol, pages)
        else:
            vault.archive(kind="options", session=session, subject=symbol, pages=pages, overwrite=refetch)

    def tell(done: int, total: int) -> None:
        progress(done, pages_so_far)
        if fresh:
            fresh.progress(done, total)

    fetched = vendor.api(concurrency).chains(missing, on_chain=archive, on_progress=tell)
    for symbol, error in sorted(fetched.failed.items()):
        log.error(f"No chain of {symbol} for {session}: {error}")
    if fetched.failed and len(fetched.failed) == len(missing):
        raise next(iter(fetched.failed.values()))
    log.info(f"{len(missing) - len(fetched.failed)} chains of {session} fetched and archived.")
    return fetched.failed


def load_session(
    context: dg.AssetExecutionContext,
    config: OptionsChainsConfig,
    database: DatabaseResource,
    session: dt.date,
    symbols: Mapping[str, str],
    chains: Callable[[], Iterable[tuple[str, ArchivedChain]]],
) -> manifest.Load:
    """Make the session's contracts equal to the chains', all at once; `config.symbols` touches those only.

    chains: called once for each try.
    """
    taken: dict[str, ArchivedChain] = {}
    loads: list[manifest.Load] = []
    parameters = database.audit_parameters()

    def contracts() -> Iterator[tuple[str, pl.DataFrame]]:
        taken.clear()
        for symbol, archived in chains():
            taken[symbol] = archived
            yield symbols[symbol], archived.chain.frame

    def record(connection: Connection, published: PublishedSession) -> None:
        snapshot = Snapshot.of(list(symbols), taken)
        rejected = snapshot.rejected(session)
        load = manifest.Load(
            "options_chains", session.isoformat(), snapshot.sources,
            rows_read=snapshot.rows_read, rows_written=published.rows_written,
            rows_quarantined=len(rejected), ignored=snapshot.ignored,
            details={**snapshot.details, **_only(config, symbols), **published.diff.details},
            content_hash=published.content_hash, code_version=CODE_VERSION, run_id=context.run.run_id,
        )  # fmt: skip
        manifest.record(connection, load, rejected)
        loads.append(load)

    def publish() -> None:
        publish_session(
            database.database,
            session,
            list(symbols.values()),
            contracts(),
            partial=bool(config.symbols),
            audit=lambda connection, rows, in_place: audit_stage(
                connection, AUDITS, rows, parameters, in_place=in_place
            ),
            record=record,
        )

    retried(publish)
    return loads[-1]


def _tell(context: dg.AssetExecutionContext, load: manifest.Load) -> None:
    """What a load did to rows that were there before, and whom it has no contracts of."""
    added, changed, removed = (load.details[f"rows_{what}"] for what in ("added", "changed", "removed"))
    if added < load.rows_written or removed:
        context.log.info(
            f"{load.partition_key}: {added:,} contracts added, {changed:,} changed, {removed:,} removed,"
            f" {load.rows_written - added - changed:,} unchanged."
        )
    if absent := load.details["symbols_without_contracts"]:
        context.log.warning(f"No contracts of {load.partition_key} for {', '.join(absent)}.")


def _unchanged(
    config: OptionsChainsConfig,
    database: DatabaseResource,
    vault: Vault,
    sessions: Sequence[dt.date],
    symbols: Mapping[str, str],
) -> dict[dt.date, manifest.Load]:
    """The sessions that were loaded from these very archives and whose rows are still what was loaded."""

    def is_published(connection: Connection, session: dt.date, load: manifest.Load) -> bool:
        close = session_close(session)
        without = set(symbols) - {source["symbol"] for source in load.sources}
        return (
            load.code_version == CODE_VERSION
            and load.sources == archived_sources(vault, session, list(symbols))
            and without <= set(load.details["symbols_without_contracts"])
            and load.details.get("only") == _only(config, symbols).get("only")
            and load.content_hash == content_hash(connection, OPTIONS_CHAINS, close, close).hash
        )

    with database.connect() as connection:
        done = manifest.published(connection, "options_chains")
        held = {session: done[session.isoformat()] for session in sessions if session.isoformat() in done}
        return {session: load for session, load in held.items() if is_published(connection, session, load)}


def _only(config: OptionsChainsConfig, symbols: Mapping[str, str]) -> dict[str, list[str]]:
    """What the manifest says of a load that covers some of the active symbols."""
    return {"only": sorted(symbols)} if config.symbols else {}


def _require_archive(
    context: dg.AssetExecutionContext, wanted: list[dt.date], covered: list[dt.date]
) -> None:
    """One session alone must be archived; a range skips the sessions that are not and says how many.

    Raises:
        SourceError: the single wanted session is not in the vault.
    """
    missing = [session for session in wanted if session not in covered]
    if len(wanted) == 1 and missing:
        raise SourceError(
            f"The option chains of {wanted[0]} are not in the vault, and a snapshot can't be fetched afterwards.",
            fix="Only sessions whose snapshot was archived at their close can be loaded; `daily_options` archives them.",
        )
    if missing:
        context.log.warning(
            f"Option chains cover {len(covered)} of {len(wanted)} sessions; no archive has {named_sessions(missing)}."
        )


CHECKS = audit_checks("options_chains", AUDITS, RELATION)
