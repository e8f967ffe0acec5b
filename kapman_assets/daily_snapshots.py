"""`daily_snapshots`: technical indicators and price metrics at the close of a session."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import dagster as dg
import polars as pl
from pydantic import Field

from kapman_assets.audits import Audit, audit_checks, audit_stage
from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.freshness import DEADLINES
from kapman_assets.lineage import (
    SNAPSHOT_SOURCES,
    Sources,
    currency_audit,
    held_sources,
    only_symbols,
    without_watchlists,
)
from kapman_assets.materializations import (
    inputs_as_read,
    materialized_sessions,
    named_sessions,
    table_metadata,
)
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
from kapman_assets.watchlists import watchlists
from kapman_metrics.price import price_values
from kapman_metrics.quality import JUMP, LONGEST_BREAK, bar_quality
from kapman_metrics.rendering import json_column
from kapman_metrics.technical import technical_values
from kapman_metrics.windows import BarWindows
from kapman_resources import manifest
from kapman_resources.bars import read_bars
from kapman_resources.content_hash import content_hash
from kapman_resources.database import Connection
from kapman_resources.publish import relation, stage, upsert_staged
from kapman_resources.sessions import session_close
from kapman_resources.tables import DAILY_SNAPSHOTS

RELATION = relation(DAILY_SNAPSHOTS)
MODEL_VERSION = "metrics-2"
OWN_COLUMNS = ("technical_indicators_json", "price_metrics_json")
OWN_PART = DAILY_SNAPSHOTS.only("time", "ticker_id", *OWN_COLUMNS)
RECENT_DAYS = 30
"""Calendar days for which a split-like jump is news; afterwards the row alone remembers it."""
_ROWS_A_TRANSACTION = 5_000  # bounds the memory: a row is 5 KB of JSON

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
    Audit(
        "snapshots_without_split_like_jumps",
        f"In the newest session no active symbol's price has jumped overnight by a factor of {JUMP} or more in the last"
        f" {RECENT_DAYS} days. Prices are not adjusted: after a split, indicators that look back over it are off, for 200"
        " sessions and more; `price_metrics_json->'quality'` keeps saying so.",
        violations="""
            SELECT t.symbol, q.last_jump_date AS session, q.last_jump_ratio AS close_to_close
            FROM {relation} s JOIN public.tickers t ON t.id = s.ticker_id
            CROSS JOIN jsonb_to_record(s.price_metrics_json->'quality')
                AS q (flags jsonb, last_jump_date date, last_jump_ratio float8)
            WHERE s.time = (SELECT max(time) FROM {relation} WHERE price_metrics_json IS NOT NULL)
              AND q.flags ? 'split_like_jump' AND q.last_jump_date > (s.time AT TIME ZONE 'America/New_York')::date - %(days)s
              AND EXISTS (SELECT 1 FROM public.watchlists w WHERE w.symbol = t.symbol AND w.active)
            ORDER BY 1
        """,
        facts="""
            SELECT max(time) AS newest,
                   count(*) FILTER (WHERE price_metrics_json->'quality'->'flags' ? 'split_like_jump')
                       AS with_a_jump_in_400_bars
            FROM {relation} WHERE time = (SELECT max(time) FROM {relation} WHERE price_metrics_json IS NOT NULL)
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
        parameters={"days": RECENT_DAYS},
        thresholds={"jump_factor": JUMP, "days": RECENT_DAYS},
    ),
    Audit(
        "snapshots_are_not_stale",
        f"In the newest session every active symbol has a bar, with volume, and no more than {LONGEST_BREAK} days lie between"
        " its last two bars.",
        violations="""
            SELECT a.symbol, coalesce(s.price_metrics_json->'quality'->'flags', '["no_bar"]') AS flags,
                   (SELECT max(date) FROM public.ohlcv o WHERE o.ticker_id = a.id) AS last_bar
            FROM (SELECT max(time) AS time FROM {relation} WHERE price_metrics_json IS NOT NULL) newest
            CROSS JOIN (SELECT DISTINCT t.symbol, t.id FROM public.watchlists w JOIN public.tickers t USING (symbol)
                        WHERE w.active) a
            LEFT JOIN {relation} s ON s.ticker_id = a.id AND s.time = newest.time AND s.price_metrics_json IS NOT NULL
            WHERE s.price_metrics_json->'quality'->'flags' ?| ARRAY['stale_bar', 'zero_volume', 'missing_bars']
               OR s.ticker_id IS NULL AND newest.time IS NOT NULL AND NOT EXISTS (
                   SELECT 1 FROM public.ohlcv o
                   WHERE o.ticker_id = a.id AND o.date = (newest.time AT TIME ZONE 'America/New_York')::date)
            ORDER BY 1
        """,
        facts="""
            SELECT max(time) AS newest,
                   count(*) FILTER (WHERE price_metrics_json->'quality'->'flags' ? 'zero_volume') AS zero_volume,
                   count(*) FILTER (WHERE price_metrics_json->'quality'->'flags' ? 'stale_bar') AS stale_bar,
                   count(*) FILTER (WHERE price_metrics_json->'quality'->'flags' ? 'missing_bars') AS missing_bars
            FROM {relation} WHERE time = (SELECT max(time) FROM {relation} WHERE price_metrics_json IS NOT NULL)
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
        thresholds={"days_between_bars": LONGEST_BREAK},
    ),
    currency_audit(
        "daily_snapshots_are_current",
        "daily_snapshots",
        SNAPSHOT_SOURCES,
        MODEL_VERSION,
        "Every snapshot was computed from the bars that the database holds now, for the symbols that are active now.",
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
    deps=[options_chains, ohlcv, watchlists],
    partitions_def=SESSIONS,
    backfill_policy=ONE_RUN,
    freshness_policy=DEADLINES["daily_snapshots"].policy,
    pool="database",
    group_name="4_metrics",
    kinds={"timescaledb", "polars"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(OWN_PART),
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
    """Read the bars once, compute each session whose sources have changed, publish whole sessions."""
    database.hold()
    inputs = inputs_as_read(context)
    wanted = selected_sessions(context)
    with database.connect() as connection:
        before = {
            "ohlcv": (OHLCV_AUDITS, OHLCV_RELATION),
            "options_chains": (OPTIONS_AUDITS, OPTIONS_RELATION),
        }
        require_passed(connection, "daily_snapshots", before, database.audit_parameters())
        sessions = published_sessions(connection, "daily_snapshots", "ohlcv", wanted)
        held = held_sources(connection, SNAPSHOT_SOURCES)
        done = manifest.published(connection, "daily_snapshots")
        kept = {
            session: load
            for session in sessions
            if (load := done.get(session.isoformat()))
            and is_current(connection, session, load, held[session.isoformat()], config)
        }
        pending = [session for session in sessions if session not in kept]
        every = config.scope == "universe" and not config.symbols
        scope = every_symbol(connection) if every else active_symbols(connection, config.symbols)
        bars = read_bars(connection, list(scope.values()), pending[-1]) if pending else pl.DataFrame()
    missing = unpublished(wanted, sessions)
    if missing:
        context.log.warning(f"No bars of {len(missing)} sessions: {named_sessions(missing)}.")

    loads, progress, rows = [], ProgressLog(context.log, "daily_snapshots", len(pending)), 0
    for batch in batched(pending, sessions_a_transaction(len(scope))):
        frame = compute_snapshots(bars, batch)
        for load in publish_snapshots(context, database, batch, frame, config, scope, held):
            loads.append(load)
            rows += load.rows_written
        progress(len(loads), rows)
    context.log.info(f"{len(loads)} sessions computed, {len(kept)} unchanged.")
    return materialized_sessions(
        context, loads, inputs, unchanged=kept.values(), progress=progress, database=database
    )


def sessions_a_transaction(tickers: int) -> int:
    """How many sessions of so many tickers are computed and published together."""
    return max(1, _ROWS_A_TRANSACTION // max(1, tickers))


def batched(sessions: Sequence[dt.date], size: int) -> Iterator[Sequence[dt.date]]:
    """The sessions in their order, so many at a time."""
    return (sessions[start : start + size] for start in range(0, len(sessions), size))


def sources_of(held: Sources, config: DailySnapshotsConfig) -> Sources:
    """What a session is made from with this configuration."""
    if config.symbols:
        return only_symbols(held, config.symbols)
    return without_watchlists(held) if config.scope == "universe" else held


def is_current(
    connection: Connection,
    session: dt.date,
    load: manifest.Load,
    held: Sources,
    config: DailySnapshotsConfig,
) -> bool:
    """Whether the session was computed from these sources and the table still holds what was published.

    Where only some symbols are asked for, a whole session that is current has them.
    """
    whole = [held, without_watchlists(held)] if config.symbols else []
    return (
        load.code_version == MODEL_VERSION
        and load.sources in [sources_of(held, config), *whole]
        and load.content_hash == own_hash(connection, session)
    )


def own_hash(connection: Connection, session: dt.date) -> str:
    """Content hash of what this step has written of the session: other steps share its rows, or make their own."""
    close = session_close(session)
    return content_hash(connection, OWN_PART, close, close, present=OWN_COLUMNS).hash


def compute_snapshots(bars: pl.DataFrame, sessions: Sequence[dt.date]) -> pl.DataFrame:
    """time, ticker_id, technical_indicators_json, price_metrics_json, model_version for each bar of the sessions."""
    closes = pl.DataFrame(
        {"date": list(sessions), "time": [session_close(session) for session in sessions]},
        schema={"date": pl.Date, "time": pl.Datetime("us", "UTC")},
    )
    windows = BarWindows.of(bars, sessions)
    return (
        windows.keys.with_columns(
            technical_indicators_json=json_column(technical_values(windows)),
            price_metrics_json=json_column({**price_values(windows), **bar_quality(windows)}),
        )
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
    held: Mapping[str, Sources],
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
                sources_of(held[session.isoformat()], config),
                rows_read=counts.get(close, 0), rows_written=counts.get(close, 0),
                details={"scope": config.scope, **({"only": config.symbols} if config.symbols else {})},
                content_hash=own_hash(connection, session),
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
