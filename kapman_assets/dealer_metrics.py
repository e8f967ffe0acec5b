"""`dealer_metrics`: gamma exposure, gamma flip and walls of every active symbol at the close."""

from functools import partial

import dagster as dg
from pydantic import Field

from kapman_assets.audits import Audit, audit_checks
from kapman_assets.chain_metrics import ChainMetrics, ChainMetricsConfig, Computation, common_audits
from kapman_assets.daily_snapshots import AUDITS as SNAPSHOTS_AUDITS
from kapman_assets.daily_snapshots import RELATION as SNAPSHOTS_RELATION
from kapman_assets.daily_snapshots import daily_snapshots
from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.freshness import DEADLINES
from kapman_assets.materializations import inputs_as_read, table_metadata
from kapman_assets.ohlcv import ohlcv
from kapman_assets.options_chains import AUDITS as OPTIONS_AUDITS
from kapman_assets.options_chains import RELATION as OPTIONS_RELATION
from kapman_assets.options_chains import options_chains
from kapman_assets.order import require_passed
from kapman_assets.partitions import ONE_RUN, SESSIONS
from kapman_assets.resources import DatabaseResource
from kapman_assets.watchlists import watchlists
from kapman_metrics import dealer
from kapman_metrics.quality import OFF, STALE, THIN

MODEL_VERSION = "dealer-2"

_LOADED, _COVER, _CURRENT = common_audits("dealer_metrics", MODEL_VERSION)
AUDITS = (
    _LOADED,
    Audit(
        "dealer_statuses_are_explained",
        "Every row has a status of FULL, LIMITED or INVALID, and an INVALID one has a reason.",
        violations="""
            SELECT time, ticker_id, metrics->>'status' AS status FROM {relation} s
            WHERE coalesce(metrics->>'status', '') NOT IN ('FULL', 'LIMITED', 'INVALID')
               OR (metrics->>'status' = 'INVALID' AND metrics->>'status_reason' IS NULL)
        """,
        facts="""
            SELECT coalesce(jsonb_object_agg(reason, n), '{{}}') AS reasons FROM (
                SELECT coalesce(metrics->>'status_reason', 'none') AS reason, count(*) AS n
                FROM {relation} s GROUP BY 1) r
        """,
        staged=True,
    ),
    Audit(
        "dealer_exposures_are_consistent",
        "Net exposure is call plus put exposure and never exceeds the total.",
        violations="""
            SELECT time, ticker_id, metrics->'gex_net' AS gex_net, metrics->'gex_total' AS gex_total
            FROM {relation} s
            WHERE metrics->>'status' IN ('FULL', 'LIMITED')
              AND (abs((metrics->>'gex_net')::float8) > (metrics->>'gex_total')::float8 * (1 + 1e-9)
                   OR abs((metrics->>'gex_call')::float8 + (metrics->>'gex_put')::float8
                          - (metrics->>'gex_net')::float8) > (metrics->>'gex_total')::float8 * 1e-9)
        """,
        facts="""
            SELECT count(*) FILTER (WHERE (metrics->>'gex_net')::float8 > 0) AS long_gamma_rows,
                   count(*) FILTER (WHERE (metrics->>'gex_net')::float8 < 0) AS short_gamma_rows,
                   count(*) FILTER (WHERE metrics->>'gamma_flip' IS NOT NULL) AS with_gamma_flip
            FROM {relation} s
        """,
        staged=True,
        thresholds={"relative_tolerance": 1e-9},
    ),
    _COVER,
    Audit(
        "chains_are_thick_enough",
        f"In the newest session every chain has {THIN} live contracts or more; symbols without a chain are named by"
        " `option_chains_cover_active_symbols`.",
        violations="""
            SELECT t.symbol, metrics->'quality'->'live_options_count' AS live_contracts, metrics->>'status' AS status
            FROM {relation} s JOIN public.tickers t ON t.id = s.ticker_id
            WHERE time = (SELECT max(time) FROM {relation} n) AND metrics->'quality'->'flags' ? 'thin_chain'
            ORDER BY 1
        """,
        facts="""
            SELECT max(time) AS newest,
                   count(*) FILTER (WHERE (metrics->'quality'->>'live_options_count')::int > 0) AS chains,
                   min((metrics->'quality'->>'live_options_count')::int)
                       FILTER (WHERE (metrics->'quality'->>'live_options_count')::int > 0) AS fewest_live_contracts
            FROM {relation} s WHERE time = (SELECT max(time) FROM {relation} n)
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
        thresholds={"live_contracts": THIN},
    ),
    Audit(
        "greeks_are_fresh",
        f"In the newest session no more than {STALE:.0%} of a chain's gammas near the money are off by a factor of {OFF:.0f}"
        " from Black–Scholes at the contract's own IV and the session's close: greeks of another day are.",
        violations="""
            SELECT t.symbol, metrics->'quality'->'stale_greeks_share' AS stale_greeks_share,
                   metrics->'quality'->'compared_gammas' AS compared_gammas
            FROM {relation} s JOIN public.tickers t ON t.id = s.ticker_id
            WHERE time = (SELECT max(time) FROM {relation} n) AND metrics->'quality'->'flags' ? 'stale_greeks'
            ORDER BY 1
        """,
        facts="""
            SELECT max(time) AS newest, count(metrics->'quality'->>'stale_greeks_share') AS chains_compared,
                   max((metrics->'quality'->>'stale_greeks_share')::float8) AS largest_stale_greeks_share
            FROM {relation} s WHERE time = (SELECT max(time) FROM {relation} n)
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
        thresholds={"stale_share": STALE, "factor": OFF},
    ),
    _CURRENT,
)
STEP = ChainMetrics("dealer_metrics", MODEL_VERSION, AUDITS)
RELATION = STEP.relation


class DealerMetricsConfig(ChainMetricsConfig):
    """Eligibility of contracts and the model's constants (docs/metrics.md)."""

    max_dte: int = Field(dealer.DealerSettings.max_dte, ge=0, description="Days to expiry, at most.")
    min_open_interest: float = Field(
        dealer.DealerSettings.min_open_interest, ge=0, description="Open interest in contracts, at least."
    )
    min_volume: float = Field(
        dealer.DealerSettings.min_volume, ge=0, description="Volume of the session in contracts, at least."
    )

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
    deps=[daily_snapshots, options_chains, ohlcv, watchlists],
    partitions_def=SESSIONS,
    backfill_policy=ONE_RUN,
    freshness_policy=DEADLINES["dealer_metrics"].policy,
    pool="database",
    group_name="4_metrics",
    kinds={"timescaledb", "polars"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(STEP.own_part, "dealer_metrics"),
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
    """Compute and publish each session that has option chains and snapshots, unless its sources are unchanged."""
    database.hold()
    inputs, settings = inputs_as_read(context), config.settings()
    with database.connect() as connection:
        before = {
            "options_chains": (OPTIONS_AUDITS, OPTIONS_RELATION),
            "daily_snapshots": (SNAPSHOTS_AUDITS, SNAPSHOTS_RELATION),
        }
        require_passed(connection, "dealer_metrics", before, database.audit_parameters())
        sessions = STEP.covered_sessions(context, connection, ["options_chains", "daily_snapshots"])
    compute = partial(dealer.dealer_metrics_of, settings=settings, model_version=MODEL_VERSION)
    return STEP.materialize(
        context, database, sessions, config.symbols, settings, inputs, lambda *_: Computation(compute)
    )


CHECKS = audit_checks("dealer_metrics", AUDITS, RELATION)
