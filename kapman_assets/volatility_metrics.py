"""`volatility_metrics`: implied volatility, skew, term structure and IV rank of every active symbol at the close."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import dagster as dg
import polars as pl

from kapman_assets.audits import Audit, audit_checks
from kapman_assets.chain_metrics import ChainMetrics, ChainMetricsConfig, Computation, common_audits
from kapman_assets.daily_snapshots import daily_snapshots
from kapman_assets.dealer_metrics import AUDITS as DEALER_AUDITS
from kapman_assets.dealer_metrics import RELATION as DEALER_RELATION
from kapman_assets.dealer_metrics import dealer_metrics
from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.freshness import DEADLINES
from kapman_assets.materializations import inputs_as_read, table_metadata
from kapman_assets.ohlcv import ohlcv
from kapman_assets.options_chains import options_chains
from kapman_assets.order import require_passed
from kapman_assets.partitions import ONE_RUN, SESSIONS
from kapman_assets.resources import DatabaseResource
from kapman_assets.watchlists import watchlists
from kapman_metrics import volatility
from kapman_metrics.chain import OptionSnapshot
from kapman_resources.database import Connection
from kapman_resources.sessions import session_close, sessions_between

MODEL_VERSION = "volatility-1"

# 252 sessions are a year of them; no year and a half of calendar days has fewer.
_HISTORY_DAYS = 550

_LOADED, _COVER, _CURRENT = common_audits("volatility_metrics", MODEL_VERSION)
AUDITS = (
    _LOADED,
    Audit(
        "volatility_statuses_are_explained",
        "Every row has a status of FULL, LIMITED or INVALID, one that isn't FULL has a reason, and an IV rank that is"
        " null says why.",
        violations="""
            SELECT time, ticker_id, metrics->>'status' AS status, metrics->>'iv_rank_status' AS iv_rank_status
            FROM {relation} s
            WHERE coalesce(metrics->>'status', '') NOT IN ('FULL', 'LIMITED', 'INVALID')
               OR (metrics->>'status' = 'FULL') <> (metrics->>'status_reason' IS NULL)
               OR (coalesce(metrics->>'iv_rank_status', '') = 'known') <> (metrics->>'iv_rank' IS NOT NULL)
        """,
        facts="""
            SELECT coalesce(jsonb_object_agg(reason, n), '{{}}') AS reasons FROM (
                SELECT coalesce(metrics->>'status_reason', 'none') AS reason, count(*) AS n
                FROM {relation} s GROUP BY 1) r
        """,
        staged=True,
    ),
    Audit(
        "volatilities_are_possible",
        "Implied volatilities are above 0, ranks and percentiles lie in 0 to 100.",
        violations="""
            SELECT time, ticker_id, v.key AS metric, v.value
            FROM {relation} s CROSS JOIN LATERAL jsonb_each(metrics) v
            WHERE jsonb_typeof(v.value) = 'number'
              AND (v.key IN ('avg_iv', 'avg_call_iv', 'avg_put_iv', 'front_month_iv', 'back_month_iv',
                             'atm_iv_30d', 'atm_iv_90d', 'expected_move_30d') AND v.value::float8 <= 0
                   OR v.key IN ('iv_rank', 'iv_percentile') AND v.value::float8 NOT BETWEEN 0 AND 100)
        """,
        facts="""
            SELECT min((metrics->>'avg_iv')::float8) AS lowest_avg_iv,
                   max((metrics->>'avg_iv')::float8) AS highest_avg_iv, count(metrics->>'iv_rank') AS with_iv_rank
            FROM {relation} s
        """,
        staged=True,
        thresholds={"lowest_rank": 0, "highest_rank": 100},
    ),
    _COVER,
    _CURRENT,
)
STEP = ChainMetrics("volatility_metrics", MODEL_VERSION, AUDITS)
RELATION = STEP.relation


class VolatilityMetricsConfig(ChainMetricsConfig):
    """The model's constants (docs/metrics.md)."""

    def settings(self) -> volatility.VolatilitySettings:
        """As the pure function takes them."""
        return volatility.VolatilitySettings(rate=self.rate, dividend_yield=self.dividend_yield)


@dataclass(frozen=True)
class PastSnapshots:
    """What a session takes from `daily_snapshots`: average IVs of the sessions before, and its own `hv_20`."""

    history: pl.DataFrame
    hv_20: dict[str, float | None]

    @property
    def source(self) -> dict[str, str]:
        """As the load manifest names it: by a hash of what was read."""
        rows = [*self.history.rows(), *sorted(self.hv_20.items())]
        digest = hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()
        return {"asset": "daily_snapshots", "iv_history_and_hv_20": digest[:16]}


@dg.asset(
    deps=[dealer_metrics, daily_snapshots, options_chains, ohlcv, watchlists],
    partitions_def=SESSIONS,
    backfill_policy=ONE_RUN,
    freshness_policy=DEADLINES["volatility_metrics"].policy,
    pool="database",
    group_name="4_metrics",
    kinds={"timescaledb", "polars"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(STEP.own_part, "volatility_metrics"),
    code_version=MODEL_VERSION,
    description=(
        "Implied volatility, 25-delta skew, term structure, expected move, IV rank and percentile of every active"
        " symbol, from the session's option chains and the IVs of up to 252 sessions before; an active symbol"
        " without a chain gets an INVALID row. Formulas: docs/metrics.md."
    ),
)
@fails_in_a_sentence
def volatility_metrics(
    context: dg.AssetExecutionContext, config: VolatilityMetricsConfig, database: DatabaseResource
) -> dg.MaterializeResult:
    """Compute and publish each session that has dealer metrics, unless its sources are unchanged.

    Oldest first: a session's IV rank rests on what was published for those before it.
    """
    database.hold()
    inputs, settings = inputs_as_read(context), config.settings()
    with database.connect() as connection:
        before = {"dealer_metrics": (DEALER_AUDITS, DEALER_RELATION)}
        require_passed(connection, "volatility_metrics", before, database.audit_parameters())
        sessions = STEP.covered_sessions(context, connection, ["dealer_metrics"])

    def prepare(connection: Connection, session: dt.date, everyone: Sequence[str]) -> Computation:
        past = read_past_snapshots(connection, everyone, session)

        def compute(snapshot: OptionSnapshot) -> pl.DataFrame:
            ids = snapshot.underlyings["ticker_id"]
            hv_20 = pl.Series("hv_20", [past.hv_20.get(i) for i in ids], dtype=pl.Float64)
            known = replace(snapshot, underlyings=snapshot.underlyings.with_columns(hv_20))
            return volatility.volatility_metrics_of(
                known, past.history, settings=settings, model_version=MODEL_VERSION
            )

        return Computation(compute, [past.source])

    return STEP.materialize(context, database, sessions, config.symbols, settings, inputs, prepare)


def read_past_snapshots(connection: Connection, ids: Sequence[str], session: dt.date) -> PastSnapshots:
    """The average IVs of the 252 sessions before, and the session's realized volatilities."""
    close, before = session_close(session), session - dt.timedelta(days=1)
    window = sessions_between(session - dt.timedelta(days=_HISTORY_DAYS), before)
    first = session_close(window[-volatility.HISTORY_SESSIONS :][0])
    past = connection.execute(
        """
        SELECT ticker_id::text, (time AT TIME ZONE 'America/New_York')::date,
               (volatility_metrics_json->>'avg_iv')::float8
        FROM public.daily_snapshots
        WHERE time >= %(first)s AND time < %(close)s AND ticker_id = ANY (%(ids)s::uuid[])
          AND volatility_metrics_json->>'avg_iv' IS NOT NULL
        ORDER BY ticker_id, time
        """,
        {"first": first, "close": close, "ids": list(ids)},
    )
    schema = {"ticker_id": pl.String, "session": pl.Date, "avg_iv": pl.Float64}
    today = connection.execute(
        """
        SELECT ticker_id::text, (price_metrics_json->>'hv_20')::float8 FROM public.daily_snapshots
        WHERE time = %(close)s AND ticker_id = ANY (%(ids)s::uuid[])
        """,
        {"close": close, "ids": list(ids)},
    )
    return PastSnapshots(pl.DataFrame(past.fetchall(), schema=schema, orient="row"), dict(today.fetchall()))


CHECKS = audit_checks("volatility_metrics", AUDITS, RELATION)
