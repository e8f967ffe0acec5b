"""`daily_snapshots`: technical indicators and price metrics at the close of a session."""

import datetime as dt
from collections.abc import Sequence
from typing import Literal

import dagster as dg
import polars as pl
from pydantic import Field

from kapman_assets.audits import Audit, audit_checks, audit_stage
from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.materializations import materialized_sessions, named_sessions, table_metadata
from kapman_assets.ohlcv import AUDITS as OHLCV_AUDITS
from kapman_assets.ohlcv import RELATION as OHLCV_RELATION
from kapman_assets.ohlcv import ohlcv
from kapman_assets.options_chains import AUDITS as OPTIONS_AUDITS
from kapman_assets.options_chains import RELATION as OPTIONS_RELATION
from kapman_assets.options_chains import options_chains
from kapman_assets.order import published_sessions, require_passed, unpublished
from kapman_assets.partitions import ONE_RUN, SESSIONS, selected_sessions
from kapman_assets.progress import ProgressLog
from kapman_assets.resources import DatabaseResource
from kapman_assets.scope import active_symbols, every_symbol
from kapman_metrics.price import price_metrics
from kapman_metrics.technical import technical_indicators
from kapman_resources import manifest
from kapman_resources.bars import read_bars
from kapman_resources.content_hash import content_hash
from kapman_resources.database import Connection
from kapman_resources.publish import relation, stage, upsert_staged
from kapman_resources.sessions import session_close
from kapman_resources.tables import DAILY_SNAPSHOTS

RELATION = relation(DAILY_SNAPSHOTS)
MODEL_VERSION = "metrics-1"
OWN_COLUMNS = ("technical_indicators_json", "price_metrics_json")
OWN_PART = DAILY_SNAPSHOTS.only("time", "ticker_id", *OWN_COLUMNS)
SESSIONS_A_TRANSACTION = 25  # bounds memory: 140 symbols × 25 sessions × 5 KB of JSON

AUDITS = (
    Audit(
        "daily_snapshots_are_loaded",
        "There are rows with technical indicators.",
        violations="""
            SELECT 'no snapshot has technical indicators' AS problem
            WHERE NOT EXISTS (SELECT 1 FROM {relation} WHERE technical_indicators_json IS NOT NULL)
        """,
        facts="""
            SELECT count(*) AS snapshots, count(technical_indicators_json) AS with_technical_indicators,
                   count(price_metrics_json) AS with_price_metrics, count(dealer_metrics_json) AS with_dealer_metrics,
                   count(DISTINCT time) AS sessions, count(DISTINCT ticker_id) AS tickers,
                   min(time) AS first_snapshot, max(time) AS last_snapshot
            FROM {relation}
        """,
        staged=True,
    ),
    Audit(
        "snapshots_have_both_metrics",
        "A row with technical indicators has price metrics, and the other way round.",
        violations="""
            SELECT time, ticker_id FROM {relation}
            WHERE (technical_indicators_json IS NULL) <> (price_metrics_json IS NULL)
        """,
        facts="""
            SELECT count(technical_indicators_json) AS with_technical_indicators,
                   count(price_metrics_json) AS with_price_metrics FROM {relation}
        """,
        staged=True,
    ),
    Audit(
        "snapshots_are_at_the_close",
        "Every snapshot's time is the close of a session.",
        violations="""
            SELECT time, count(*) AS rows FROM {relation}
            WHERE time >= (%(closes)s::timestamptz[])[1] AND NOT time = ANY (%(closes)s) GROUP BY time
        """,
        facts="SELECT count(DISTINCT time) AS sessions, min(time) AS first, max(time) AS last FROM {relation}",
        staged=True,
    ),
    Audit(
        "snapshots_cover_every_bar_of_the_newest_session",
        "In the newest session every active symbol that has a bar has a snapshot with technical indicators.",
        violations="""
            SELECT DISTINCT w.symbol
            FROM public.watchlists w JOIN public.tickers t USING (symbol)
            JOIN public.ohlcv o ON o.ticker_id = t.id
             AND o.date = (SELECT (max(time) AT TIME ZONE 'America/New_York')::date FROM {relation}
                           WHERE technical_indicators_json IS NOT NULL)
            WHERE w.active AND NOT EXISTS (
                SELECT 1 FROM {relation} s
                WHERE s.ticker_id = t.id AND s.technical_indicators_json IS NOT NULL
                  AND s.time = (SELECT max(time) FROM {relation} WHERE technical_indicators_json IS NOT NULL))
            ORDER BY 1
        """,
        facts="""
            SELECT max(time) AS newest,
                   count(*) FILTER (WHERE time = (SELECT max(time) FROM {relation} WHERE technical_indicators_json IS NOT NULL))
                       AS snapshots_of_newest
            FROM {relation} WHERE technical_indicators_json IS NOT NULL
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
    ),
)


class DailySnapshotsConfig(dg.Config):
    """Scope of the computation."""

    scope: Literal["watchlists", "universe"] = Field(
        "watchlists",
        description="`universe`: every ticker with a bar of the session, not only active symbols.",
    )
    symbols: list[str] = Field(
        [], description="Only these active symbols (smoke tests); empty: the whole scope."
    )


@dg.asset(
    deps=[options_chains, ohlcv],
    partitions_def=SESSIONS,
    backfill_policy=ONE_RUN,
    group_name="market",
    kinds={"timescaledb", "polars"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(DAILY_SNAPSHOTS),
    code_version=MODEL_VERSION,
    description=(
        "Technical indicators and price metrics of every active symbol at the session's close, from the last"
        " 400 bars in `ohlcv` and nothing else. Formulas: docs/metrics.md."
    ),
)
@fails_in_a_sentence
def daily_snapshots(
    context: dg.AssetExecutionContext, config: DailySnapshotsConfig, database: DatabaseResource
) -> dg.MaterializeResult:
    """Read the bars once, compute each session, publish whole sessions."""
    database.hold()
    wanted = selected_sessions(context)
    with database.connect() as connection:
        before = {
            "ohlcv": (OHLCV_AUDITS, OHLCV_RELATION),
            "options_chains": (OPTIONS_AUDITS, OPTIONS_RELATION),
        }
        require_passed(connection, "daily_snapshots", before, database.audit_parameters())
        sessions = published_sessions(connection, "daily_snapshots", "ohlcv", wanted)
        every = config.scope == "universe" and not config.symbols
        scope = every_symbol(connection) if every else active_symbols(connection, config.symbols)
        sources = {key: load.content_hash for key, load in manifest.published(connection, "ohlcv").items()}
        bars = read_bars(connection, list(scope.values()), sessions[-1])
    missing = unpublished(wanted, sessions)
    if missing:
        context.log.warning(f"No bars of {len(missing)} sessions: {named_sessions(missing)}.")

    loads, progress, rows = [], ProgressLog(context.log, "daily_snapshots", len(sessions)), 0
    for start in range(0, len(sessions), SESSIONS_A_TRANSACTION):
        batch = sessions[start : start + SESSIONS_A_TRANSACTION]
        frame = compute_snapshots(bars, batch)
        for load in publish_snapshots(context, database, batch, frame, config, scope, sources):
            loads.append(load)
            rows += load.rows_written
        progress(len(loads), rows)
    return materialized_sessions(context, loads)


def compute_snapshots(bars: pl.DataFrame, sessions: Sequence[dt.date]) -> pl.DataFrame:
    """time, ticker_id, technical_indicators_json, price_metrics_json, model_version for each bar of the sessions."""
    closes = pl.DataFrame(
        {"date": list(sessions), "time": [session_close(session) for session in sessions]},
        schema={"date": pl.Date, "time": pl.Datetime("us", "UTC")},
    )
    return (
        technical_indicators(bars, sessions)
        .join(price_metrics(bars, sessions), on=["ticker_id", "date"], how="full", coalesce=True)
        .join(closes, on="date")
        .select("time", "ticker_id", *OWN_COLUMNS, model_version=pl.lit(MODEL_VERSION))
        .sort("time", "ticker_id")
    )


def publish_snapshots(
    context: dg.AssetExecutionContext,
    database: DatabaseResource,
    sessions: Sequence[dt.date],
    frame: pl.DataFrame,
    config: DailySnapshotsConfig,
    scope: dict[str, str],
    sources: dict[str, str | None],
) -> list[manifest.Load]:
    """Make the sessions' own columns equal to the frame, all at once, and record each session."""
    closes = {session: session_close(session) for session in sessions}
    counts = dict(frame.group_by("time").len().iter_rows())
    with database.connect() as connection:
        staged = stage(connection, DAILY_SNAPSHOTS, frame)
        audit_stage(connection, AUDITS, staged, database.audit_parameters())
        upsert_staged(connection, DAILY_SNAPSHOTS, staged, [*OWN_COLUMNS, "model_version"])
        withdraw_snapshots(connection, list(closes.values()), scope, partial=bool(config.symbols))
        loads = [
            manifest.Load(
                "daily_snapshots", session.isoformat(),
                [{"asset": "ohlcv", "partition": session.isoformat(), "content_hash": sources[session.isoformat()]}],
                rows_read=counts.get(close, 0), rows_written=counts.get(close, 0),
                details={"scope": config.scope, **({"only": config.symbols} if config.symbols else {})},
                content_hash=content_hash(connection, OWN_PART, close, close).hash,
                code_version=MODEL_VERSION, run_id=context.run.run_id,
            )
            for session, close in closes.items()
        ]  # fmt: skip
        for load in loads:
            manifest.record(connection, load)
    return loads


def withdraw_snapshots(
    connection: Connection, closes: list[dt.datetime], scope: dict[str, str], *, partial: bool
) -> None:
    """Clear our columns in rows that are no longer computed; rows that then hold nothing are removed.

    partial: only the scope's tickers are looked at, the others are not ours to judge in this run.
    """
    connection.execute(
        """
        UPDATE public.daily_snapshots d SET technical_indicators_json = NULL, price_metrics_json = NULL
        WHERE d.time = ANY (%(closes)s)
          AND (NOT %(partial)s OR d.ticker_id = ANY (%(scope)s::uuid[]))
          AND NOT EXISTS (SELECT 1 FROM pg_temp.stage_daily_snapshots s
                          WHERE s.time = d.time AND s.ticker_id = d.ticker_id)
        """,
        {"closes": closes, "partial": partial, "scope": list(scope.values())},
    )
    connection.execute(
        """
        DELETE FROM public.daily_snapshots d
        WHERE d.time = ANY (%s)
          AND num_nonnulls(technical_indicators_json, price_metrics_json,
                           dealer_metrics_json, volatility_metrics_json) = 0
          AND NOT EXISTS (SELECT 1 FROM public.recommendations r
                          WHERE r.snapshot_time = d.time AND r.ticker_id = d.ticker_id)
        """,
        (closes,),
    )


CHECKS = audit_checks("daily_snapshots", AUDITS, RELATION)
