"""`dealer_metrics_json`: one row per underlying from the option snapshot of a session."""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import polars as pl

from kapman_metrics.chain import (
    Chain,
    FloatArray,
    IntArray,
    OptionSnapshot,
    count_by_verdict,
    read_snapshot,
    sum_by,
)
from kapman_metrics.dealer.eligibility import ELIGIBLE, FILTERS, verdicts
from kapman_metrics.dealer.levels import (
    Profile,
    Wall,
    listed_strikes,
    max_pain,
    profile_by_strike,
    walls,
)
from kapman_metrics.dealer.repricing import Repricing, reprice
from kapman_metrics.dealer.settings import PROXIMITY_WEIGHTS, SIGN_CONVENTION, DealerSettings
from kapman_metrics.quality import chain_quality
from kapman_metrics.rounding import nullable, significant

FULL_ELIGIBLE = 25
"""Eligible contracts from which on the status may be FULL."""
HIGH_CONFIDENCE = 50
MEDIUM_CONFIDENCE = 10
"""Eligible contracts from which on confidence is high, medium; low below, invalid without any."""

_PER_ONE_PERCENT = 0.01
_DAYS_PER_YEAR = 365.0

SCHEMA = pl.Schema(
    {
        "ticker_id": pl.String(),
        "symbol": pl.String(),
        "status": pl.String(),
        "status_reason": pl.String(),
        "gex_net": pl.Float64(),
        "gex_total": pl.Float64(),
        "gamma_flip": pl.Float64(),
        "eligible_options_count": pl.Int64(),
        "total_options_count": pl.Int64(),
        "dealer_metrics_json": pl.String(),
    }
)
"""What `dealer_metrics` returns."""


@dataclass(frozen=True)
class _Exposures:
    """Sums over the eligible contracts of each underlying; NaN where what the sum needs is missing."""

    gex_call: FloatArray
    gex_put: FloatArray
    vex: FloatArray
    cex: FloatArray
    zero_dte_gex: FloatArray

    @property
    def net(self) -> FloatArray:
        return self.gex_call + self.gex_put

    @property
    def total(self) -> FloatArray:
        return self.gex_call - self.gex_put


def dealer_metrics(
    contracts: pl.DataFrame,
    underlyings: pl.DataFrame,
    *,
    snapshot_time: datetime,
    session: date,
    settings: DealerSettings,
    model_version: str,
) -> pl.DataFrame:
    """Dealer metrics of every underlying, also of those without contracts, sorted by `ticker_id`.

    `contracts`, `underlyings`, `snapshot_time`, `session` and the errors raised: see `read_snapshot`. Of the
    underlyings also spot_source (String, nullable), and if the caller knows it, iv_rank (0 to 100, nullable),
    which then weights `dgpi`.
    """
    snapshot = read_snapshot(
        contracts, underlyings, snapshot_time=snapshot_time, session=session, carry=settings
    )
    return dealer_metrics_of(snapshot, settings=settings, model_version=model_version)


def dealer_metrics_of(
    snapshot: OptionSnapshot, *, settings: DealerSettings, model_version: str
) -> pl.DataFrame:
    """Dealer metrics from a snapshot that was read already, as `SCHEMA` says.

    `dealer_metrics_json` has every key of `DEALER_METRICS`, numbers to 12 significant digits, null where a
    figure can't be computed. Definitions: the entries of `DEALER_METRICS`.

    Raises ValueError if the snapshot was valued with another rate or yield than those of `settings`.
    """
    snapshot.require(settings)
    rows, spot, chain = snapshot.underlyings, snapshot.spot, snapshot.chain
    verdict = verdicts(chain, settings)
    counts = count_by_verdict(chain, verdict, len(FILTERS) + 1, rows.height)

    alive = (verdict != FILTERS.index("invalid_terms")) & (chain.days >= 0)
    live = chain.where(alive)
    taken = (verdict[alive] == ELIGIBLE) & np.isfinite(spot[live.underlying])
    eligible, strikes = live.where(taken), listed_strikes(live, rows.height)
    gex = _absolute_gex(eligible, spot)
    profile = profile_by_strike(eligible, strikes.group[taken], gex, strikes)
    exposures = _expose(eligible, gex, spot)
    repricing = reprice(eligible, spot, settings)
    columns = _scalars(counts, spot, exposures, repricing, snapshot.given("iv_rank"), settings)
    columns["max_pain"] = nullable(max_pain(live, strikes, rows.height))
    columns["quality"] = chain_quality(snapshot)
    documents = _documents(
        columns,
        rows,
        filters=counts[:, :ELIGIBLE],
        profiles=_profiles(profile, rows.height),
        call_walls=walls(profile, 0, spot, settings),
        put_walls=walls(profile, 1, spot, settings),
        constants={
            "wall_definition": _wall_definition(settings),
            "inputs": _inputs(settings, snapshot.time, model_version),
        },
    )
    identity = {name: rows[name].to_list() for name in ("ticker_id", "symbol")}
    scalars = {name: columns[name] for name in SCHEMA if name in columns}
    return pl.DataFrame({**identity, **scalars, "dealer_metrics_json": documents}, schema=SCHEMA)


def _absolute_gex(chain: Chain, spot: FloatArray) -> FloatArray:
    """|GEX| of each contract, dollars per 1 % of spot: γ · OI · shares · S² · 0.01 with the vendor's γ."""
    price = spot[chain.underlying]
    return chain.gamma * chain.open_interest * chain.shares * price * price * _PER_ONE_PERCENT


def _expose(chain: Chain, gex: FloatArray, spot: FloatArray) -> _Exposures:
    """Sums per underlying; `gex` is |GEX| of each contract. vex and cex rest on the contracts with an IV."""

    sides = sum_by(chain.underlying * 2 + np.where(chain.call, 0, 1), gex, 2 * spot.size).reshape(-1, 2)
    today = np.flatnonzero(chain.days == 0)
    with_iv = np.isfinite(chain.volatility)
    known = np.bincount(chain.underlying, minlength=spot.size) > 0
    repriced = np.bincount(chain.underlying[with_iv], minlength=spot.size) > 0
    holding = np.where(chain.call, 1.0, -1.0) * chain.open_interest * chain.shares * spot[chain.underlying]

    def exposed(sensitivity: FloatArray) -> FloatArray:
        """Σ holding · sensitivity of the contracts that have one."""
        values = np.where(with_iv, holding * sensitivity, 0.0)
        return np.where(repriced, sum_by(chain.underlying, values, spot.size), np.nan)

    return _Exposures(
        gex_call=np.where(known, sides[:, 0], np.nan),
        gex_put=np.where(known, -sides[:, 1], np.nan),
        vex=exposed(chain.model.vanna()) * 0.01,
        cex=exposed(chain.model.charm(chain.call)) / _DAYS_PER_YEAR,
        zero_dte_gex=np.where(known, sum_by(chain.underlying[today], gex[today], spot.size), np.nan),
    )


def dealer_gamma_pressure(
    net: FloatArray, total: FloatArray, slope: FloatArray, iv_rank: FloatArray
) -> FloatArray:
    """DGPI in [−100, 100], elementwise:
    sign(net) · log10(|net| + 1) · 10 · (1 + clamp(slope/total, −0.3, 0.3)) · (0.7 + iv_rank/333).

    `net`, `total`, `slope` in dollars per 1 %; the last factor is left out where `iv_rank` is NaN. NaN where
    one of the other three is NaN or `total` is 0.
    """
    steepness = np.divide(slope, total, out=np.full_like(total, np.nan), where=total != 0)
    volatility = np.where(np.isnan(iv_rank), 1.0, 0.7 + iv_rank / 333.0)
    pressure = np.sign(net) * np.log10(np.abs(net) + 1.0) * 10.0 * (1.0 + np.clip(steepness, -0.3, 0.3))
    return np.clip(pressure * volatility, -100.0, 100.0)


def _scalars(
    counts: IntArray,
    spot: FloatArray,
    exposures: _Exposures,
    repricing: Repricing,
    iv_rank: FloatArray,
    settings: DealerSettings,
) -> dict[str, list[Any]]:
    """The one-value fields, a list with an element per underlying each.

    A row with a reason is INVALID. Of the others the count alone decides: they have exposure and a known
    position, and 25 contracts are at least medium confidence.
    """
    net, total = exposures.net, exposures.total
    eligible = counts[:, ELIGIBLE]
    listed = counts.sum(axis=1)
    share = np.divide(exposures.zero_dte_gex, total, out=np.full_like(total, np.nan), where=total != 0)
    reason = _reasons(listed, eligible, spot, total)
    return {
        "status": np.select(
            [reason != "", eligible >= FULL_ELIGIBLE], ["INVALID", "FULL"], default="LIMITED"
        ).tolist(),
        "status_reason": [text or None for text in reason.tolist()],
        "gex_total": nullable(total),
        "gex_net": nullable(net),
        "gex_call": nullable(exposures.gex_call),
        "gex_put": nullable(exposures.gex_put),
        "gamma_flip": nullable(repricing.gamma_flip),
        "gamma_flip_status": repricing.flip_status,
        "gex_slope": nullable(repricing.gex_slope),
        "dgpi": nullable(dealer_gamma_pressure(net, total, repricing.gex_slope, iv_rank)),
        "position": _positions(net, settings).tolist(),
        "confidence": np.select(
            [eligible >= HIGH_CONFIDENCE, eligible >= MEDIUM_CONFIDENCE, eligible > 0],
            ["high", "medium", "low"],
            default="invalid",
        ).tolist(),
        "vex": nullable(exposures.vex),
        "cex": nullable(exposures.cex),
        "zero_dte_share": nullable(share),
        "spot": nullable(spot),
        "eligible_options_count": eligible.tolist(),
        "repriced_options_count": repricing.contracts.tolist(),
        "total_options_count": listed.tolist(),
    }


def _reasons(listed: IntArray, eligible: IntArray, spot: FloatArray, total: FloatArray) -> Any:
    """Why a row is INVALID, the most fundamental reason first; empty where nothing is wrong."""
    return np.select(
        [listed == 0, np.isnan(spot), eligible == 0, total == 0],
        ["no_options", "no_spot", "all_contracts_filtered", "zero_gex"],
        default="",
    )


def _positions(net: FloatArray, settings: DealerSettings) -> Any:
    return np.select(
        [np.isnan(net), np.abs(net) < settings.neutral_gex, net > 0],
        ["unknown", "neutral", "long_gamma"],
        default="short_gamma",
    )


def _profiles(profile: Profile, underlyings: int) -> list[dict[str, list[float]]]:
    """Signed exposure by strike: call_gex ≥ 0 and put_gex ≤ 0 add up to gex_net."""
    call, put = significant(profile.gex[0]), significant(-profile.gex[1])
    bounds = np.searchsorted(profile.underlying, np.arange(underlyings + 1)).tolist()
    return [
        {
            "strike": profile.strike[a:b].tolist(),
            "call_gex": call[a:b].tolist(),
            "put_gex": put[a:b].tolist(),
        }
        for a, b in pairwise(bounds)
    ]


def _documents(
    columns: dict[str, list[Any]],
    rows: pl.DataFrame,
    *,
    filters: IntArray,
    profiles: list[dict[str, list[float]]],
    call_walls: list[list[Wall]],
    put_walls: list[list[Wall]],
    constants: dict[str, Any],
) -> list[str]:
    documents = []
    for u, source in enumerate(rows["spot_source"].to_list()):
        calls, puts = call_walls[u], put_walls[u]
        document = {
            **{name: values[u] for name, values in columns.items()},
            "spot_source": source if columns["spot"][u] is not None else None,
            "call_walls": calls,
            "put_walls": puts,
            "call_wall": calls[0] if calls else None,
            "put_wall": puts[0] if puts else None,
            "profile": profiles[u],
            "filters": dict(zip(FILTERS, filters[u].tolist(), strict=True)),
            **constants,
        }
        documents.append(msgspec.json.encode(document).decode())
    return documents


def _wall_definition(settings: DealerSettings) -> dict[str, Any]:
    lower_bounds = (0.0, *(bound for bound, _ in PROXIMITY_WEIGHTS[:-1]))
    return {
        "gex": "sum of |GEX| by strike and side over all expiries, dollars per 1 %",
        "rank": "gex × proximity weight, ties to the lower strike",
        "max_moneyness": settings.max_moneyness,
        "proximity_weights": [
            {"max_moneyness": min(bound, settings.max_moneyness), "weight": weight}
            for lower, (bound, weight) in zip(lower_bounds, PROXIMITY_WEIGHTS, strict=True)
            if lower < settings.max_moneyness
        ],
        "walls": settings.walls,
    }


def _inputs(settings: DealerSettings, snapshot_time: datetime, model_version: str) -> dict[str, Any]:
    return {
        **asdict(settings),
        "sign_convention": SIGN_CONVENTION,
        "snapshot_time": snapshot_time.astimezone(UTC).isoformat(),
        "model_version": model_version,
    }
