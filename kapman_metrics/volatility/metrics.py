"""`volatility_metrics_json`: one row per underlying from the option snapshot of a session."""

import math
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
import polars as pl

from kapman_metrics.chain import (
    BoolArray,
    Chain,
    FloatArray,
    IntArray,
    OptionSnapshot,
    count_by_verdict,
    first_failure,
    read_snapshot,
    sum_by,
)
from kapman_metrics.quality import chain_quality
from kapman_metrics.rounding import nullable
from kapman_metrics.volatility.history import Standing, standing
from kapman_metrics.volatility.levels import POINTS, amount, iv_levels, ratio
from kapman_metrics.volatility.settings import VolatilitySettings
from kapman_metrics.volatility.surface import (
    Skew,
    at_days,
    at_the_money,
    atm_statuses,
    skew_25_delta,
    surface_of,
)

FILTERS = ("invalid_terms", "expired", "missing_iv")
"""The filters in the order in which they are asked; a contract is counted under the first that removes it."""

FULL_CONTRACTS = 25
"""Contracts with an IV from which on the status may be FULL."""

_QUOTED = len(FILTERS)
_NEAR, _FAR = 30, 90
"""Terms of the at-the-money volatilities, calendar days."""

SCHEMA = pl.Schema(
    {
        "ticker_id": pl.String(),
        "symbol": pl.String(),
        "status": pl.String(),
        "status_reason": pl.String(),
        "avg_iv": pl.Float64(),
        "atm_iv_30d": pl.Float64(),
        "iv_rank": pl.Float64(),
        "iv_options_count": pl.Int64(),
        "total_options_count": pl.Int64(),
        "volatility_metrics_json": pl.String(),
    }
)
"""What `volatility_metrics` returns."""


def volatility_metrics(
    contracts: pl.DataFrame,
    underlyings: pl.DataFrame,
    history: pl.DataFrame,
    *,
    snapshot_time: datetime,
    session: date,
    settings: VolatilitySettings,
    model_version: str,
) -> pl.DataFrame:
    """Volatility metrics of every underlying, also of those without contracts, sorted by `ticker_id`.

    `contracts`, `underlyings`, `snapshot_time`, `session` and the errors raised: see `read_snapshot`. Of the
    underlyings also hv_20 (the session's realized volatility, fraction per year, nullable; may be left out).
    `history`: the `avg_iv` of up to 252 sessions before, see `standing`.
    """
    snapshot = read_snapshot(
        contracts, underlyings, snapshot_time=snapshot_time, session=session, carry=settings
    )
    return volatility_metrics_of(snapshot, history, settings=settings, model_version=model_version)


def volatility_metrics_of(
    snapshot: OptionSnapshot, history: pl.DataFrame, *, settings: VolatilitySettings, model_version: str
) -> pl.DataFrame:
    """Volatility metrics from a snapshot that was read already, as `SCHEMA` says.

    `volatility_metrics_json` has every key of `VOLATILITY_METRICS`, numbers to 12 significant digits, null
    where a figure can't be computed. Volatilities are fractions per year (0.2 = 20 %), differences between two
    of them vol points (1.5 = 0.015). Skews are put minus call: positive where downside protection costs more
    (desks also quote the risk reversal the other way round). Definitions: the entries of `VOLATILITY_METRICS`.

    Raises ValueError if the snapshot was valued with another rate or yield than those of `settings`, or for a
    history that is none (see `standing`).
    """
    snapshot.require(settings)
    rows, chain = snapshot.underlyings, snapshot.chain
    verdict = first_failure([~chain.valid, chain.days < 0, np.isnan(chain.volatility)])
    counts = count_by_verdict(chain, verdict, len(FILTERS) + 1, len(snapshot))

    levels = iv_levels(chain, verdict == _QUOTED, len(snapshot))
    surface = surface_of(chain, snapshot.spot)
    atm = at_the_money(surface, settings.max_strike_distance)
    atm_30d, atm_90d = (at_days(surface, atm, days) for days in (_NEAR, _FAR))
    columns = {
        **_statuses(counts, snapshot.spot, atm_30d),
        **{name: nullable(values) for name, values in levels.items()},
        **_term_structure(snapshot, atm_30d, atm_90d),
        **_skew(skew_25_delta(surface)),
        **_ratios(chain, verdict >= FILTERS.index("missing_iv"), len(snapshot)),
        **_standing(standing(levels["avg_iv"], history, rows["ticker_id"], snapshot.session)),
        **_counts(chain, verdict == _QUOTED, counts),
        "quality": chain_quality(snapshot),
    }
    inputs = {
        **asdict(settings),
        "snapshot_time": snapshot.time.astimezone(UTC).isoformat(),
        "model_version": model_version,
    }
    documents = _documents(columns, snapshot, counts[:, :_QUOTED], inputs)
    identity = {name: rows[name].to_list() for name in ("ticker_id", "symbol")}
    scalars = {name: columns[name] for name in SCHEMA if name in columns}
    return pl.DataFrame({**identity, **scalars, "volatility_metrics_json": documents}, schema=SCHEMA)


def _statuses(counts: IntArray, spot: FloatArray, atm_30d: FloatArray) -> dict[str, list[Any]]:
    """FULL, or what is missing: without any IV the row is INVALID, with some of it LIMITED."""
    quoted = counts[:, _QUOTED]
    live = quoted + counts[:, FILTERS.index("missing_iv")]
    invalid = [counts.sum(axis=1) == 0, live == 0, quoted == 0]
    limited = [np.isnan(spot), quoted < FULL_CONTRACTS, np.isnan(atm_30d)]
    reasons = ["no_options", "all_contracts_filtered", "no_iv", "no_spot", "few_contracts", "no_atm_iv_30d"]
    reason = np.select([*invalid, *limited], reasons, default="")
    status = np.select([np.logical_or.reduce(invalid), reason != ""], ["INVALID", "LIMITED"], default="FULL")
    return {"status": status.tolist(), "status_reason": [text or None for text in reason.tolist()]}


def _ratios(chain: Chain, live: BoolArray, underlyings: int) -> dict[str, list[float | None]]:
    """Puts over calls and trades over open interest, of the live contracts, whether they have an IV or not."""
    index = np.flatnonzero(live)
    side = chain.underlying[index] + np.where(chain.call[index], 0, underlyings)
    interest, volume = (
        sum_by(side, amount(column)[index], 2 * underlyings).reshape(2, underlyings)
        for column in (chain.open_interest, chain.volume)
    )
    return {
        "put_call_oi_ratio": nullable(ratio(interest[1], interest[0])),
        "put_call_volume_ratio": nullable(ratio(volume[1], volume[0])),
        "oi_ratio": nullable(ratio(volume.sum(axis=0), interest.sum(axis=0))),
    }


def _term_structure(
    snapshot: OptionSnapshot, atm_30d: FloatArray, atm_90d: FloatArray
) -> dict[str, list[Any]]:
    points = (atm_90d - atm_30d) * POINTS
    return {
        "spot": nullable(snapshot.spot),
        "atm_iv_30d": nullable(atm_30d),
        "atm_iv_30d_status": atm_statuses(snapshot.spot, atm_30d),
        "atm_iv_90d": nullable(atm_90d),
        "atm_iv_90d_status": atm_statuses(snapshot.spot, atm_90d),
        "iv_term_structure": nullable(points),
        "iv_term_structure_slope": nullable(points / (_FAR - _NEAR)),
        "expected_move_30d": nullable(atm_30d * math.sqrt(_NEAR / 365.0) * snapshot.spot),
        "iv_hv_spread": nullable((atm_30d - snapshot.given("hv_20")) * POINTS),
    }


def _skew(skew: Skew) -> dict[str, list[Any]]:
    return {
        "iv_skew_25d": nullable(skew.put_minus_call * POINTS),
        "iv_skew_25d_status": skew.status,
        "iv_skew_25d_days": skew.days,
    }


def _standing(known_before: Standing) -> dict[str, list[Any]]:
    return {
        "iv_rank": nullable(known_before.rank),
        "iv_rank_status": known_before.rank_status,
        "iv_percentile": nullable(known_before.percentile),
        "iv_history_sessions": known_before.sessions.tolist(),
    }


def _counts(chain: Chain, quoted: BoolArray, counts: IntArray) -> dict[str, list[Any]]:
    calls = np.bincount(chain.underlying[quoted & chain.call], minlength=len(counts))
    return {
        "iv_options_count": counts[:, _QUOTED].tolist(),
        "iv_call_options_count": calls.tolist(),
        "iv_put_options_count": (counts[:, _QUOTED] - calls).tolist(),
        "total_options_count": counts.sum(axis=1).tolist(),
    }


def _documents(
    columns: dict[str, list[Any]], snapshot: OptionSnapshot, filters: IntArray, inputs: dict[str, Any]
) -> list[str]:
    rows = snapshot.underlyings
    sources = rows["spot_source"].to_list() if "spot_source" in rows.columns else [None] * len(snapshot)
    documents = []
    for u, (hv_20, source) in enumerate(zip(nullable(snapshot.given("hv_20")), sources, strict=True)):
        document = {
            **{name: values[u] for name, values in columns.items()},
            "spot_source": source if columns["spot"][u] is not None else None,
            "filters": dict(zip(FILTERS, filters[u].tolist(), strict=True)),
            "inputs": {**inputs, "hv_20": hv_20},
        }
        documents.append(msgspec.json.encode(document).decode())
    return documents
