"""The declared list of what volatility_metrics_json holds; `docs/metrics.md` is generated from it."""

from kapman_metrics.catalogue import Metric
from kapman_metrics.catalogue import chain_metric as metric
from kapman_metrics.quality import CHAIN_QUALITY

_IV, _POINTS, _COUNT, _TEXT = "per year, 0.2 = 20 %", "vol points, 1.5 = 0.015", "contracts", "text"
_NO_IV = "no live contract with an IV"
_NO_ATM = "no spot; no expiry with an ATM IV on one side of the term"

VOLATILITY_METRICS: tuple[Metric, ...] = (
    metric("status", "FULL: 25 or more live contracts with an IV, a spot and an ATM IV at 30 days; LIMITED: some IV, but not all that; INVALID: no IV", _TEXT),
    metric(
        "status_reason",
        "the first that holds of no_options, all_contracts_filtered, no_iv (INVALID); no_spot, few_contracts, no_atm_iv_30d (LIMITED)",
        _TEXT,
        "status is FULL",
    ),
    metric("avg_iv", "Σ IV·OI / ΣOI of all live contracts with an IV; their plain mean if ΣOI is 0", _IV, _NO_IV),
    metric("avg_call_iv", "the same of the calls", _IV, "no live call with an IV"),
    metric("avg_put_iv", "the same of the puts", _IV, "no live put with an IV"),
    metric("iv_stddev", "population standard deviation of the IVs, not weighted", _IV, _NO_IV),
    metric("iv_skew_call_put", "100·(avg_put_iv − avg_call_iv)", _POINTS, "one of them is null"),
    metric("front_month_iv", "plain mean of the IVs with |days to expiry − 30| ≤ 15", _IV, "no such contract"),
    metric("back_month_iv", "plain mean of the IVs with |days to expiry − 90| ≤ 30", _IV, "no such contract"),
    metric("spot", "close of the session, else the vendor's underlying price", "dollars", "neither is known"),
    metric("spot_source", "ohlcv or vendor_underlying_price", _TEXT, "spot is null"),
    metric(
        "atm_iv_30d",
        "IV at spot in 30 calendar days, linear in total variance σ²·days between the expiries around; an expiry's IV at spot: "
        "mean of calls and puts, each linear in strike between spot's neighbours; nothing is extrapolated",
        _IV,
        _NO_ATM,
        parameters="max_strike_distance",
    ),
    metric("atm_iv_30d_status", "known; no_spot; no_bracket: on one side of 30 days no expiry has an ATM IV", _TEXT),
    metric("atm_iv_90d", "the same in 90 calendar days", _IV, _NO_ATM, parameters="max_strike_distance"),
    metric("atm_iv_90d_status", "known; no_spot; no_bracket: on one side of 90 days no expiry has an ATM IV", _TEXT),
    metric("iv_term_structure", "100·(atm_iv_90d − atm_iv_30d)", _POINTS, "one of them is null"),
    metric("iv_term_structure_slope", "iv_term_structure / 60", "vol points per calendar day", "iv_term_structure is null"),
    metric("expected_move_30d", "atm_iv_30d·√(30/365)·spot, one standard deviation", "dollars", "atm_iv_30d is null"),
    metric("iv_hv_spread", "100·(atm_iv_30d − hv_20), hv_20 from price_metrics_json", _POINTS, "one of them is null"),
    metric(
        "iv_skew_25d",
        "100·(IV of the put − of the call at |Δ| = 0.25) on the expiry nearest 30 days: linear in |Δ| between the two contracts around, "
        "else the nearest contract within 0.15; Δ is Black–Scholes at the contract's own IV",
        _POINTS,
        "iv_skew_25d_status is neither interpolated nor nearest_contract",
        parameters="rate, dividend_yield",
        oracle="QuantLib, vollib",
    ),
    metric(
        "iv_skew_25d_status",
        "interpolated; nearest_contract on a side; no_spot; no_expiry with calls and puts; no_25_delta contract on a side",
        _TEXT,
    ),
    metric("iv_skew_25d_days", "calendar days to the expiry used: of those with an IV of a call and of a put the nearest to 30, the earlier of two", "days", "no such expiry or no spot"),
    metric("put_call_oi_ratio", "ΣOI of live puts / of live calls", "ratio", "calls have none"),
    metric("put_call_volume_ratio", "Σvolume of live puts / of live calls", "ratio", "calls have none"),
    metric("oi_ratio", "Σvolume / ΣOI of all live contracts", "ratio", "no open interest"),
    metric(
        "iv_rank",
        "100·(IV − min)/(max − min), clamped to 0 to 100: today's avg_iv among those of up to 252 prior sessions",
        "0 to 100",
        "iv_rank_status is not known",
    ),
    metric("iv_rank_status", "known; no_iv today; history_too_short: under 20 sessions; flat_history: max = min", _TEXT),
    metric("iv_percentile", "share of those sessions with an avg_iv at or below today's", "%", "no_iv today or history_too_short"),
    metric("iv_history_sessions", "prior sessions of the 252 with an avg_iv", "sessions"),
    metric("iv_options_count", "contracts that no filter removed: live, with an IV", _COUNT),
    metric("iv_call_options_count", "of these the calls", _COUNT),
    metric("iv_put_options_count", "of these the puts", _COUNT),
    metric("total_options_count", "contracts in the snapshot", _COUNT),
    metric("filters.invalid_terms", "strike or shares per contract not a positive number; a contract counts under the first filter that removes it", _COUNT),
    metric("filters.expired", "expired before the session", _COUNT),
    metric("filters.missing_iv", "no IV above 0", _COUNT),
    *CHAIN_QUALITY,
    metric("inputs.rate", "risk-free rate, continuously compounded", "fraction per year"),
    metric("inputs.dividend_yield", "dividend yield, continuously compounded", "fraction per year"),
    metric("inputs.max_strike_distance", "farthest a strike may be to count as spot's neighbour: |strike − spot| / spot", "fraction"),
    metric("inputs.hv_20", "the session's hv_20", _IV, "price_metrics_json has none"),
    metric("inputs.snapshot_time", "close of the session, UTC", "ISO 8601"),
    metric("inputs.model_version", "version of the model that computed the row", _TEXT),
)  # fmt: skip
"""volatility_metrics_json: every leaf, with its path."""
