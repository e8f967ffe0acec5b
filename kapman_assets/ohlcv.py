"""`ohlcv`: daily bars of the whole market, the base layer and the only reader of the flat files."""

import datetime as dt
from collections.abc import Mapping

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
from kapman_assets.order import require_passed
from kapman_assets.partitions import ONE_RUN, SESSIONS, selected_sessions
from kapman_assets.progress import ProgressLog
from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_assets.tickers import AUDITS as TICKERS_AUDITS
from kapman_assets.tickers import RELATION as TICKERS_RELATION
from kapman_assets.tickers import tickers
from kapman_assets.watchlists import AUDITS as WATCHLISTS_AUDITS
from kapman_assets.watchlists import RELATION as WATCHLISTS_RELATION
from kapman_assets.watchlists import watchlists
from kapman_resources import manifest
from kapman_resources.database import Connection
from kapman_resources.errors import SourceError
from kapman_resources.flat_files import ObjectInfo
from kapman_resources.ohlcv_load import OhlcvLoader, SessionLoad, published_hash
from kapman_resources.publish import relation
from kapman_resources.tables import OHLCV

RELATION = relation(OHLCV)
CODE_VERSION = "1"
NAMES_KEPT = 1000

AUDITS = (
    Audit(
        "ohlcv_is_loaded",
        "There are bars.",
        violations="SELECT 'no bar' AS problem WHERE NOT EXISTS (SELECT 1 FROM {relation})",
        facts="""
            SELECT (SELECT count(*) FROM {relation}) AS bars,
                   (SELECT count(*) FROM (SELECT DISTINCT ticker_id FROM {relation}) t) AS tickers,
                   count(*) AS sessions, min(date) AS first_session, max(date) AS last_session
            FROM (SELECT DISTINCT date FROM {relation}) loaded
        """,
        staged=True,
    ),
    Audit(
        "ohlcv_prices_are_sane",
        "Low ≤ open, close ≤ high; prices are positive and finite, volumes are finite and not negative.",
        violations="""
            SELECT ticker_id, date, open, high, low, close, volume FROM {relation}
            WHERE NOT (low > 0 AND high < 'Infinity' AND low <= least(open, close) AND high >= greatest(open, close)
                       AND volume >= 0 AND volume < 'Infinity')
        """,
        facts="""
            SELECT count(*) AS bars, count(*) FILTER (WHERE volume = 0) AS bars_without_volume,
                   count(*) FILTER (WHERE high = low) AS bars_without_range, max(high) AS highest_price
            FROM {relation}
        """,
        staged=True,
        enforced=True,
    ),
    Audit(
        "ohlcv_has_no_orphans",
        "Every bar belongs to a ticker.",
        violations="""
            SELECT o.ticker_id, count(*) AS bars FROM {relation} o
            WHERE NOT EXISTS (SELECT 1 FROM public.tickers t WHERE t.id = o.ticker_id) GROUP BY o.ticker_id
        """,
        facts="""
            SELECT (SELECT count(*) FROM public.tickers) AS tickers,
                   (SELECT count(*) FROM (SELECT DISTINCT ticker_id FROM {relation}) t) AS tickers_with_bars
        """,
        staged=True,
    ),
    Audit(
        "ohlcv_dates_are_sessions",
        "Every bar's date is a trading session that is not in the future.",
        violations="""
            SELECT date, count(*) AS bars FROM {relation}
            WHERE date > %(as_of)s OR (date >= (%(sessions)s::date[])[1] AND NOT date = ANY (%(sessions)s::date[]))
            GROUP BY date ORDER BY date
        """,
        facts="SELECT min(date) AS first_session, max(date) AS last_session, %(as_of)s::date AS as_of FROM {relation}",
        staged=True,
    ),
    Audit(
        "ohlcv_covers_every_session",
        "From the vendor's first file to the as-of session no session is missing (the newest has a check of its own).",
        violations="""
            WITH loaded AS (SELECT DISTINCT date FROM {relation})
            SELECT s AS missing_session FROM unnest(%(sessions)s::date[]) s
            WHERE s >= (SELECT min(date) FROM loaded) AND s < %(as_of)s AND s NOT IN (SELECT date FROM loaded)
            ORDER BY s
        """,
        facts="""
            SELECT cardinality(%(sessions)s::date[]) AS sessions_in_window,
                   count(*) FILTER (WHERE date = ANY (%(sessions)s::date[])) AS sessions_loaded,
                   min(date) AS first_session, max(date) AS last_session
            FROM (SELECT DISTINCT date FROM {relation}) loaded
        """,
        blocking=False,
    ),
    Audit(
        "ohlcv_has_the_newest_session",
        "The as-of session is loaded; its file appears about 11:00 New York on the next day.",
        violations="""
            SELECT %(as_of)s::date AS missing_session
            WHERE NOT EXISTS (SELECT 1 FROM {relation} WHERE date = %(as_of)s)
        """,
        facts="SELECT max(date) AS last_session, %(as_of)s::date AS as_of FROM {relation}",
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
    ),
    Audit(
        "ohlcv_rows_are_accounted_for",
        "Rows read = written + ignored (by reason) + quarantined, for every session, and the table holds what was written.",
        violations="""
            SELECT m.partition_key AS session, m.rows_read, m.rows_written, m.rows_ignored, m.rows_quarantined,
                   coalesce(b.bars, 0) AS bars
            FROM kapman_meta.load_manifest m
            LEFT JOIN (SELECT date, count(*) AS bars FROM {relation} GROUP BY date) b
                   ON b.date::text = m.partition_key
            WHERE m.asset = 'ohlcv' AND m.partition_key >= (%(sessions)s::date[])[1]::text
              AND (m.rows_read <> m.rows_written + m.rows_quarantined
                       + (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(m.rows_ignored))
                   OR m.rows_written <> coalesce(b.bars, 0))
            ORDER BY m.partition_key
        """,
        facts="""
            SELECT coalesce(sum(rows_read), 0)::bigint AS rows_read, coalesce(sum(rows_written), 0)::bigint AS rows_written,
                   coalesce(sum(rows_quarantined), 0)::bigint AS rows_quarantined,
                   (SELECT coalesce(jsonb_object_agg(reason, n), '{{}}') FROM (
                        SELECT key AS reason, sum(value::bigint)::bigint AS n
                        FROM kapman_meta.load_manifest i, jsonb_each_text(i.rows_ignored)
                        WHERE i.asset = 'ohlcv' GROUP BY key) r) AS rows_ignored
            FROM kapman_meta.load_manifest WHERE asset = 'ohlcv'
        """,
    ),
)


class OhlcvConfig(dg.Config):
    """Which of the run's sessions are loaded."""

    sessions: list[str] = Field([], description="Only these sessions of the run's range; empty: all of them.")
    reload: bool = Field(False, description="Load again also what is unchanged.")


@dg.asset(
    deps=[watchlists, tickers],
    partitions_def=SESSIONS,
    backfill_policy=ONE_RUN,
    freshness_policy=DEADLINES["ohlcv"].policy,
    retry_policy=vendor_retries(),
    pool="vendor",
    group_name="3_market_data",
    kinds={"timescaledb", "s3"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(OHLCV),
    code_version=CODE_VERSION,
    description=(
        "Daily bars of the whole market from the vendor's flat files, one partition a session, over the rolling"
        " 730 days. Symbols that are no tickers are ignored and counted by name; rows that can't be used are in"
        " quarantine. Sessions whose file is unchanged are left alone."
    ),
)
@fails_in_a_sentence
def ohlcv(
    context: dg.AssetExecutionContext, config: OhlcvConfig, database: DatabaseResource, vendor: VendorResource
) -> dg.MaterializeResult:
    """Load the sessions whose files are new or republished; what is unchanged is left alone."""
    database.hold()
    inputs = inputs_as_read(context)
    parameters = database.audit_parameters()
    with database.connect() as connection:
        before = {
            "tickers": (TICKERS_AUDITS, TICKERS_RELATION),
            "watchlists": (WATCHLISTS_AUDITS, WATCHLISTS_RELATION),
        }
        require_passed(connection, "ohlcv", before, parameters)
        universe = _universe(connection)
        done = manifest.published(connection, "ohlcv")
        universe_hash = manifest.published(connection, "tickers")[manifest.WHOLE].content_hash

    wanted = selected_sessions(context, config.sessions)
    flat_files = vendor.flat_files()
    found = flat_files.list_sessions(wanted[0], wanted[-1])
    files = {session: info for session, info in found.items() if session in wanted}
    _require_files(context, wanted, files)
    with database.connect() as connection:
        pending = {
            session: info
            for session, info in files.items()
            if config.reload
            or not _is_published(connection, session, done.get(session.isoformat()), info, universe_hash)
        }
    progress = ProgressLog(context.log, "ohlcv", len(pending))

    def load_of(loaded: SessionLoad) -> manifest.Load:
        return manifest.Load(
            "ohlcv", loaded.session.isoformat(), [_source(loaded.source, universe_hash)],
            rows_read=loaded.rows_read, rows_written=loaded.rows_written,
            rows_quarantined=len(loaded.rejected), ignored=loaded.ignored,
            details={"unknown_symbols": loaded.unknown_symbols[:NAMES_KEPT], **loaded.diff.details},
            content_hash=loaded.content_hash, code_version=CODE_VERSION, run_id=context.run.run_id,
        )  # fmt: skip

    def record(connection: Connection, loaded: SessionLoad) -> None:
        manifest.record(connection, load_of(loaded), loaded.rejected)

    loaded = OhlcvLoader(database.database, flat_files).load(
        pending,
        universe,
        audit=lambda connection, staged: audit_stage(
            connection, AUDITS, staged, parameters, in_place=staged == RELATION
        ),
        record=record,
        progress=progress,
    )
    unchanged = len(files) - len(pending)
    context.log.info(f"{len(loaded)} sessions published, {unchanged} unchanged.")
    kept = [done[session.isoformat()] for session in files if session not in pending]
    return materialized_sessions(
        context, map(load_of, loaded), inputs, unchanged=kept, progress=progress, database=database
    )


def _universe(connection: Connection) -> pl.DataFrame:
    """symbol (String), id (String) of every ticker."""
    rows = connection.execute("SELECT symbol, id::text FROM public.tickers ORDER BY symbol").fetchall()
    return pl.DataFrame(rows, schema={"symbol": pl.String, "id": pl.String}, orient="row")


def _source(info: ObjectInfo, universe_hash: str | None) -> dict[str, object]:
    """What a session's bars were made from: the file, and the tickers that decide which rows count."""
    return {"key": info.key, "etag": info.etag, "size": info.size, "tickers": universe_hash}


def _is_published(
    connection: Connection,
    session: dt.date,
    load: manifest.Load | None,
    info: ObjectInfo,
    universe_hash: str | None,
) -> bool:
    """Whether the session was loaded from these very sources and the table still holds what was loaded."""
    return (
        load is not None
        and load.code_version == CODE_VERSION
        and load.sources == [_source(info, universe_hash)]
        and load.content_hash == published_hash(connection, session)
    )


def _require_files(
    context: dg.AssetExecutionContext, wanted: list[dt.date], files: Mapping[dt.date, ObjectInfo]
) -> None:
    """One session without a file is an error; in a range the sessions without one are named and skipped.

    Raises:
        SourceError: none of the wanted sessions has a file.
    """
    missing = [session for session in wanted if session not in files]
    if len(missing) == len(wanted):
        raise SourceError(
            f"The vendor has no flat file for {named_sessions(missing)}.",
            fix="Files appear about 11:00 New York on the next day; check KAPMAN_S3_ENDPOINT and KAPMAN_S3_BUCKET if it should be there.",
        )
    first = min(files)
    earlier, holes = [s for s in missing if s < first], [s for s in missing if s > first]
    if earlier:
        context.log.info(
            f"The vendor's files begin with {first}: {len(earlier)} earlier sessions are left out."
        )
    if holes:
        context.log.warning(f"No flat file for {len(holes)} sessions: {named_sessions(holes)}.")


CHECKS = audit_checks("ohlcv", AUDITS, RELATION)
