"""The declared list of what dealer_metrics_json holds; `docs/metrics.md` is generated from it."""

from kapman_metrics.catalogue import Metric, ValueType, chain_metric
from kapman_metrics.dealer.eligibility import FILTERS
from kapman_metrics.quality import CHAIN_QUALITY

_GEX, _USD, _COUNT, _TEXT = "dollars per 1 % of spot", "dollars", "contracts", "text"
_NO_GEX = "no spot or no eligible contract"
_NO_IV = "no spot or no eligible contract with an IV"
_BLACK_SCHOLES = "QuantLib, vollib"


def _wall_fields(side: str) -> tuple[Metric, ...]:
    one, many = f"{side}_wall", f"{side}_walls[]"
    parameters = "walls, max_moneyness"
    fields: tuple[tuple[str, str, str, ValueType], ...] = (
        ("strike", "strike", _USD, "number"),
        ("gex", "Σ|GEX| of the side at the strike, all expiries", _GEX, "number"),
        ("open_interest", "ΣOI of the side's eligible contracts at the strike", _COUNT, "number"),
        ("contracts", "number of the side's eligible contracts at the strike", _COUNT, "integer"),
        ("moneyness", "|strike − spot| / spot", "fraction", "number"),
        ("distance_from_spot", "strike − spot", _USD, "number"),
    )
    listed = tuple(
        chain_metric(f"{many}.{name}", text, unit, parameters=parameters, type=type)
        for name, text, unit, type in fields
    )
    first = tuple(
        chain_metric(
            f"{one}.{name}", f"{name} of the first of {side}_walls", unit, f"no {side} wall", type=type
        )
        for name, _, unit, type in fields
    )
    return (*listed, *first)


DEALER_METRICS: tuple[Metric, ...] = (
    chain_metric("status", "FULL: 25 or more eligible; LIMITED: 1 to 24; INVALID: see status_reason", _TEXT),
    chain_metric(
        "status_reason",
        "the first that holds of no_options, no_spot, all_contracts_filtered, zero_gex",
        _TEXT,
        "status is not INVALID",
    ),
    chain_metric("gex_total", "Σ|γ·OI·shares·S²·0.01|, γ the vendor's", _GEX, _NO_GEX, oracle=_BLACK_SCHOLES),
    chain_metric("gex_net", "gex_call + gex_put", _GEX, _NO_GEX, oracle=_BLACK_SCHOLES),
    chain_metric("gex_call", "Σ γ·OI·shares·S²·0.01 of calls, ≥ 0", _GEX, _NO_GEX),
    chain_metric("gex_put", "−Σ γ·OI·shares·S²·0.01 of puts, ≤ 0", _GEX, _NO_GEX),
    chain_metric(
        "gamma_flip",
        "spot at which net GEX of Black–Scholes gammas at each contract's own IV changes sign: the change nearest "
        "spot on the grid by linear interpolation, then the exact zero between its two points",
        _USD,
        "gamma_flip_status is not found",
        parameters="grid_width, grid_step, rate, dividend_yield",
        oracle="closed form for two strikes",
    ),
    chain_metric(
        "gamma_flip_status",
        "found; no_crossing on the grid; no_iv on any eligible contract; not_computed without spot or eligible "
        "contracts",
        _TEXT,
    ),
    chain_metric(
        "gex_slope",
        "(net GEX repriced at 1.01·S − at 0.99·S)/2",
        "dollars per 1 % of spot, per 1 % of spot",
        _NO_IV,
        parameters="rate, dividend_yield",
    ),
    chain_metric(
        "dgpi",
        "sign(net)·log10(|net|+1)·10·(1+clamp(gex_slope/gex_total, −0.3, 0.3))·(0.7+iv_rank/333 if known), "
        "clamped to ±100",
        "−100 to 100",
        "gex_slope is null or gex_total is 0",
    ),
    chain_metric(
        "position",
        "neutral if |gex_net| < neutral_gex, else long_gamma or short_gamma by its sign; unknown without gex_net",
        _TEXT,
        parameters="neutral_gex",
    ),
    chain_metric("confidence", "of eligible contracts: high ≥ 50, medium ≥ 10, low ≥ 1, else invalid", _TEXT),
    chain_metric(
        "vex",
        "Σ ±vanna·OI·shares·S·0.01, + calls, − puts",
        "dollars of delta per vol point",
        _NO_IV,
        parameters="rate, dividend_yield",
        oracle=_BLACK_SCHOLES,
    ),
    chain_metric(
        "cex",
        "Σ ±charm/365·OI·shares·S, + calls, − puts",
        "dollars of delta per calendar day",
        _NO_IV,
        parameters="rate, dividend_yield",
        oracle=_BLACK_SCHOLES,
    ),
    chain_metric("zero_dte_share", "Σ|GEX| of contracts that expire this session / gex_total", "fraction", "gex_total is 0 or null"),
    chain_metric("spot", "close of the session, else the vendor's underlying price", _USD, "neither is known"),
    chain_metric("spot_source", "ohlcv or vendor_underlying_price", _TEXT, "spot is null"),
    chain_metric("eligible_options_count", "contracts that no filter removed", _COUNT),
    chain_metric("repriced_options_count", "eligible contracts with an IV: those behind flip, slope, vex, cex", _COUNT),
    chain_metric("total_options_count", "contracts in the snapshot", _COUNT),
    chain_metric(
        "max_pain",
        "listed strike with the least Σ OI·shares·intrinsic value over all live contracts; ties to the lowest",
        _USD,
        "no open interest",
        oracle="brute force",
    ),
    *_wall_fields("call"),
    *_wall_fields("put"),
    chain_metric("profile.strike[]", "strikes with eligible contracts, ascending", _USD),
    chain_metric("profile.call_gex[]", "Σ GEX of the calls at the strike, ≥ 0", _GEX),
    chain_metric("profile.put_gex[]", "Σ GEX of the puts at the strike, ≤ 0", _GEX),
    *(
        chain_metric(f"filters.{name}", f"{text}; a contract counts under the first filter that removes it", _COUNT, parameters=parameter)
        for (name, text, parameter) in zip(
            FILTERS,
            (
                "strike or shares per contract not a positive number",
                "expired before the session",
                "calendar days to expiry above max_dte",
                "no gamma",
                "gamma below 0",
                "open interest missing or below min_open_interest",
                "volume missing or below min_volume",
            ),
            ("", "", "max_dte", "", "", "min_open_interest", "min_volume"),
            strict=True,
        )
    ),
    *CHAIN_QUALITY,
    chain_metric("wall_definition.gex", "what a wall's gex sums", _TEXT),
    chain_metric("wall_definition.rank", "what walls are ranked by: gex × proximity weight, ties to the lower strike", _TEXT),
    chain_metric("wall_definition.max_moneyness", "farthest a wall may be: |strike − spot| / spot", "fraction"),
    chain_metric("wall_definition.proximity_weights[].max_moneyness", "upper bound of the band, inclusive", "fraction"),
    chain_metric("wall_definition.proximity_weights[].weight", "weight of the band", "factor"),
    chain_metric("wall_definition.walls", "most walls that a side lists", "walls"),
    chain_metric("inputs.max_dte", "filter: most calendar days to expiry", "days"),
    chain_metric("inputs.min_open_interest", "filter: least open interest", _COUNT, type="number"),
    chain_metric("inputs.min_volume", "filter: least volume of the session", _COUNT, type="number"),
    chain_metric("inputs.walls", "most walls that a side lists", "walls"),
    chain_metric("inputs.max_moneyness", "farthest a wall may be: |strike − spot| / spot", "fraction"),
    chain_metric("inputs.rate", "risk-free rate, continuously compounded", "fraction per year"),
    chain_metric("inputs.dividend_yield", "dividend yield, continuously compounded", "fraction per year"),
    chain_metric("inputs.grid_width", "reach of the flip's grid on either side of spot", "fraction of spot"),
    chain_metric("inputs.grid_step", "step of the flip's grid", "fraction of spot"),
    chain_metric("inputs.neutral_gex", "|gex_net| below which the position is neutral", _GEX),
    chain_metric("inputs.sign_convention", "calls_long_puts_short: dealers are assumed long calls and short puts", _TEXT),
    chain_metric("inputs.snapshot_time", "close of the session, UTC", "ISO 8601"),
    chain_metric("inputs.model_version", "version of the model that computed the row", _TEXT),
)  # fmt: skip
"""dealer_metrics_json: every leaf, with its path. A list that may be empty has its elements' fields under []."""
