"""`dealer_metrics`: gamma exposure, gamma flip and walls of every active symbol at the close."""

import datetime as dt
from collections.abc import Mapping

import dagster as dg
import polars as pl
from psycopg import sql
from pydantic import Field

from kapman_assets.audits import Audit, audit_checks, audit_stage
from kapman_assets.daily_snapshots import AUDITS as SNAPSHOTS_AUDITS
from kapman_assets.daily_snapshots import RELATION, daily_snapshots
from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.materializations import materialized_sessions, named_sessions, table_metadata
from kapman_assets.options_chains import AUDITS as OPTIONS_AUDITS
from kapman_assets.options_chains import RELATION as OPTIONS_RELATION
from kapman_assets.options_chains import options_chains
from kapman_assets.order import published_sessions, require_passed, unpublished
from kapman_assets.partitions import ONE_RUN, SESSIONS, selected_sessions
from kapman_assets.progress import ProgressLog
from kapman_assets.resources import DatabaseResource
from kapman_assets.scope import active_symbols
from kapman_metrics import dealer
from kapman_resources import manifest
from kapman_resources.bars import read_closes, read_contracts
from kapman_resources.content_hash import content_hash
from kapman_resources.database import Connection
from kapman_resources.publish import stage, upsert_staged
from kapman_resources.sessions import expiry_closes, session_close
from kapman_resources.tables import DAILY_SNAPSHOTS

MODEL_VERSION = "dealer-1"
OWN_PART = DAILY_SNAPSHOTS.only("time", "ticker_id", "dealer_metrics_json")

AUDITS = (
    Audit(
        "dealer_metrics_are_loaded",
        "Every session whose option chains are published has dealer metrics for its active symbols.",
        violations="""
            SELECT m.partition_key AS session FROM kapman_meta.load_manifest m
            WHERE m.asset = 'dealer_metrics' AND m.partition_key <> '' AND m.rows_written > 0
              AND NOT EXISTS (SELECT 1 FROM {relation} s WHERE s.dealer_metrics_json IS NOT NULL
                              AND (s.time AT TIME ZONE 'America/New_York')::date::text = m.partition_key)
        """,
        facts="""
            SELECT count(dealer_metrics_json) AS rows, count(DISTINCT time) FILTER (WHERE dealer_metrics_json IS NOT NULL) AS sessions,
                   count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'FULL') AS full,
                   count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'LIMITED') AS limited,
                   count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'INVALID') AS invalid
            FROM {relation}
        """,
    ),
    Audit(
        "dealer_statuses_are_explained",
        "Every row has a status of FULL, LIMITED or INVALID, and an INVALID one has a reason.",
        violations="""
            SELECT time, ticker_id, dealer_metrics_json->>'status' AS status FROM {relation}
            WHERE dealer_metrics_json IS NOT NULL
              AND (coalesce(dealer_metrics_json->>'status', '') NOT IN ('FULL', 'LIMITED', 'INVALID')
                   OR (dealer_metrics_json->>'status' = 'INVALID' AND dealer_metrics_json->>'status_reason' IS NULL))
        """,
        facts="""
            SELECT coalesce(jsonb_object_agg(reason, n), '{{}}') AS reasons FROM (
                SELECT coalesce(dealer_metrics_json->>'status_reason', 'none') AS reason, count(*) AS n
                FROM {relation} WHERE dealer_metrics_json IS NOT NULL GROUP BY 1) r
        """,
        staged=True,
    ),
    Audit(
        "dealer_exposures_are_consistent",
        "Net exposure is call plus put exposure and never exceeds the total.",
        violations="""
            SELECT time, ticker_id, dealer_metrics_json->'gex_net' AS gex_net, dealer_metrics_json->'gex_total' AS gex_total
            FROM {relation}
            WHERE dealer_metrics_json->>'status' IN ('FULL', 'LIMITED')
              AND (abs((dealer_metrics_json->>'gex_net')::float8) > (dealer_metrics_json->>'gex_total')::float8 * (1 + 1e-9)
                   OR abs((dealer_metrics_json->>'gex_call')::float8 + (dealer_metrics_json->>'gex_put')::float8
                          - (dealer_metrics_json->>'gex_net')::float8) > (dealer_metrics_json->>'gex_total')::float8 * 1e-9)
        """,
        facts="""
            SELECT count(*) FILTER (WHERE (dealer_metrics_json->>'gex_net')::float8 > 0) AS long_gamma_rows,
                   count(*) FILTER (WHERE (dealer_metrics_json->>'gex_net')::float8 < 0) AS short_gamma_rows,
                   count(*) FILTER (WHERE dealer_metrics_json->>'gamma_flip' IS NOT NULL) AS with_gamma_flip
            FROM {relation}
        """,
        staged=True,
    ),
    Audit(
        "dealer_metrics_cover_active_symbols",
        "In the newest session every active symbol has a row, valid or not, and at least one is FULL.",
        violations="""
            WITH newest AS (SELECT max(time) AS time FROM {relation} WHERE dealer_metrics_json IS NOT NULL)
            SELECT DISTINCT w.symbol, 'no row' AS problem
            FROM public.watchlists w JOIN public.tickers t USING (symbol) CROSS JOIN newest
            WHERE w.active AND newest.time IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM {relation} s
                WHERE s.ticker_id = t.id AND s.time = newest.time AND s.dealer_metrics_json IS NOT NULL)
            UNION ALL
            SELECT NULL, 'no row is FULL' FROM newest
            WHERE newest.time IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM {relation} s WHERE s.time = newest.time AND s.dealer_metrics_json->>'status' = 'FULL')
        """,
        facts="""
            SELECT max(time) AS newest,
                   count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'FULL') AS full,
                   count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'LIMITED') AS limited,
                   count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'INVALID') AS invalid
            FROM {relation}
            WHERE time = (SELECT max(time) FROM {relation} WHERE dealer_metrics_json IS NOT NULL)
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
    ),
)


class DealerMetricsConfig(dg.Config):
    """Eligibility of contracts and the model's constants (docs/metrics.md)."""

    symbols: list[str] = Field([], description="Only these active symbols (smoke tests); empty: all of them.")
    max_dte: int = Field(dealer.DealerSettings.max_dte, ge=0, description="Days to expiry, at most.")
    min_open_interest: float = Field(dealer.DealerSettings.min_open_interest, ge=0)
    min_volume: float = Field(dealer.DealerSettings.min_volume, ge=0)
    rate: float = Field(dealer.DealerSettings.rate, description="Risk-free rate, continuous, a year.")
    dividend_yield: float = Field(dealer.DealerSettings.dividend_yield, description="Continuous, a year.")

    def settings(self) -> dealer.DealerSettings:
        """As the pure function takes them."""
        return dealer.DealerSettings(
            max_dte=self.max_dte,
            min_open_interest=self.min_open_interest,
            min_volume=self.min_volume,
            rate=self.rate,
            dividend_yield=self.dividend_yield,
        )


@dg.asset(
    deps=[daily_snapshots, options_chains],
    partitions_def=SESSIONS,
    backfill_policy=ONE_RUN,
    group_name="market",
    kinds={"timescaledb", "polars"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(DAILY_SNAPSHOTS),
    code_version=MODEL_VERSION,
    description=(
        "Gamma exposure, gamma flip, walls, vanna and charm exposure of every active symbol, from the session's"
        " option chains; an active symbol without a chain gets an INVALID row. Formulas: docs/metrics.md."
    ),
)
@fails_in_a_sentence
def dealer_metrics(
    context: dg.AssetExecutionContext, config: DealerMetricsConfig, database: DatabaseResource
) -> dg.MaterializeResult:
    """Compute and publish each session that has option chains and snapshots."""
    database.hold()
    wanted = selected_sessions(context)
    with database.connect() as connection:
        before = {
            "options_chains": (OPTIONS_AUDITS, OPTIONS_RELATION),
            "daily_snapshots": (SNAPSHOTS_AUDITS, RELATION),
        }
        require_passed(connection, "dealer_metrics", before, database.audit_parameters())
        sessions = covered_sessions(context, connection, wanted)
        symbols = active_symbols(connection, config.symbols)
        chains = manifest.published(connection, "options_chains")

    loads, progress, rows = [], ProgressLog(context.log, "dealer_metrics", len(sessions)), 0
    for session in sessions:
        load = publish_session(context, database, session, chains[session.isoformat()], config, symbols)
        loads.append(load)
        rows += load.rows_written
        progress(len(loads), rows)
    return materialized_sessions(context, loads)


def covered_sessions(
    context: dg.AssetExecutionContext, connection: Connection, wanted: list[dt.date]
) -> list[dt.date]:
    """The wanted sessions that have both chains and snapshots; a range may have none and says so.

    Raises:
        OrderViolation: a single session lacks one of them.
    """
    alone = len(wanted) == 1
    chains = manifest.sessions(manifest.published(connection, "options_chains"))
    if alone or chains & set(wanted):
        sessions = published_sessions(connection, "dealer_metrics", "options_chains", wanted)
        sessions = published_sessions(connection, "dealer_metrics", "daily_snapshots", sessions)
    else:
        sessions = []
    missing = unpublished(wanted, sessions)
    if missing:
        context.log.warning(
            f"Dealer metrics cover {len(sessions)} of {len(wanted)} sessions;"
            f" no option chains or snapshots of {named_sessions(missing)}."
        )
    return sessions


def publish_session(
    context: dg.AssetExecutionContext,
    database: DatabaseResource,
    session: dt.date,
    chains: manifest.Load,
    config: DealerMetricsConfig,
    symbols: Mapping[str, str],
) -> manifest.Load:
    """Compute one session and publish it in one transaction."""
    close, ids = session_close(session), list(symbols.values())
    with database.connect() as connection:
        contracts = read_contracts(connection, ids, close)
        contracts = contracts.join(
            expiry_closes(contracts["expiration_date"]),
            on="expiration_date",
            how="left",
            maintain_order="left",
        )
        frame = dealer.dealer_metrics(
            contracts,
            spots(symbols, read_closes(connection, ids, session), chains.details["underlying_prices"]),
            snapshot_time=close,
            session=session,
            settings=config.settings(),
            model_version=MODEL_VERSION,
        )
        rows = frame.select(
            "ticker_id", "dealer_metrics_json", time=pl.lit(close), model_version=pl.lit(MODEL_VERSION)
        )
        staged = stage(connection, DAILY_SNAPSHOTS, rows)
        audit_stage(connection, AUDITS, staged, database.audit_parameters())
        # A row that `daily_snapshots` made keeps that step's model version.
        upsert_staged(
            connection, DAILY_SNAPSHOTS, staged, ["dealer_metrics_json"], inserted=["model_version"]
        )
        if not config.symbols:
            clear_others(connection, close)
        statuses = dict(frame["status"].value_counts(sort=True).iter_rows())
        load = manifest.Load(
            "dealer_metrics", session.isoformat(),
            [{"asset": "options_chains", "partition": session.isoformat(), "content_hash": chains.content_hash}],
            rows_read=len(frame), rows_written=len(frame),
            details={"statuses": statuses, "contracts": len(contracts),
                     **({"only": config.symbols} if config.symbols else {})},
            content_hash=content_hash(connection, OWN_PART, close, close).hash,
            code_version=MODEL_VERSION, run_id=context.run.run_id,
        )  # fmt: skip
        manifest.record(connection, load)
    return load


def clear_others(connection: Connection, close: dt.datetime) -> None:
    """Dealer metrics of symbols that are no longer active don't outlive a recomputation of the session."""
    connection.execute(
        sql.SQL(
            """
            UPDATE public.daily_snapshots d SET dealer_metrics_json = NULL
            WHERE d.time = %s AND d.dealer_metrics_json IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM pg_temp.stage_daily_snapshots s WHERE s.ticker_id = d.ticker_id)
            """
        ),
        (close,),
    )


def spots(
    symbols: Mapping[str, str], closes: Mapping[str, float], vendor_prices: Mapping[str, float]
) -> pl.DataFrame:
    """Spot of each symbol: the session's close, else the vendor's underlying price in the archived snapshot."""
    rows = [
        (ticker_id, symbol, closes[ticker_id], "ohlcv")
        if ticker_id in closes
        else (
            ticker_id,
            symbol,
            vendor_prices.get(symbol),
            "vendor_underlying_price" if symbol in vendor_prices else None,
        )
        for symbol, ticker_id in symbols.items()
    ]
    return pl.DataFrame(
        rows,
        schema={"ticker_id": pl.String, "symbol": pl.String, "spot": pl.Float64, "spot_source": pl.String},
        orient="row",
    )


CHECKS = audit_checks("dealer_metrics", AUDITS, RELATION)
