"""What should make a reader look twice at a row: measures of its bars and of its chain, and flags beyond a threshold.

Every JSON document has them under `quality`. A flag says that something is odd, not that it is wrong: a company
can lose half its value overnight. The asset checks list the symbols by the same flags.
"""

from typing import Any

import numpy as np
import polars as pl
from numba import njit

from kapman_metrics.catalogue import Metric, chain_metric
from kapman_metrics.chain import BoolArray, FloatArray, IntArray, OptionSnapshot
from kapman_metrics.rendering import Values
from kapman_metrics.rounding import nullable
from kapman_metrics.windows import BarWindows

JUMP = 1.4
"""Factor between a bar's close before and both its open and close from which on it looks like a split.

A split moves the price overnight and for good, so the open counts too. Of the 259 large caps and ETFs of 2024 to
2026 that this was chosen on, 29 bars moved by more than 22 % and one is flagged, SMCI's crash of 2024-10-30; all
splits from 3:2 on are. Smaller ones (5:4, most spin-offs) drown in what earnings do.
"""
LONGEST_BREAK = 7
"""Calendar days between two bars of a ticker; the exchange's own breaks are of five at most."""

THIN = 25
"""Live contracts under which a chain is thin: no metric of it can have status FULL."""
MOST = 0.5
"""Share of the live contracts without a gamma, or without an IV, above which the metrics rest on the lesser part."""
STALE = 0.15
"""Share of the compared contracts whose gamma is off, above which the greeks are not of this session.

In 25 real chains it was at most 0.06. With a spot that is 5 % off it was 0 to 0.43, the more the calmer the
underlying; with that of six weeks before, 16 to 23 % off, 0.16 to 0.67.
"""
OFF = 2.0
"""Factor between the vendor's gamma and Black–Scholes' own at the same IV and the session's spot that is off.

No vendor's greeks and IV are of one model: of real ones 80 % lie within 0.81 to 1.13.
"""
# Compared are contracts near the money that live a week: there a wrong spot shows, and neither the last hours nor
# the fourth decimal, where vendors round, decides.
_NEAR, _DAYS, _SMALLEST_GAMMA = 0.10, 7, 0.001
_ENOUGH = 20
"""Contracts that must be comparable for a share of them to mean anything."""

_CLOSE = 3
"""Place of the closes among the values of `BarWindows`."""

_BARS, _DAYS_UNIT, _COUNT, _SHARE = "bars", "days", "contracts", "fraction"

BAR_QUALITY: tuple[Metric, ...] = (
    chain_metric(
        "quality.flags[]",
        "split_like_jump: split_like_jumps > 0; stale_bar: stale_bars > 0; zero_volume: zero_volume_bars > 0; "
        f"missing_bars: days_since_bar_before > {LONGEST_BREAK}",
        "text",
    ),
    chain_metric("quality.bars_in_window", "bars that the row rests on, 400 at most", _BARS),
    chain_metric(
        "quality.split_like_jumps",
        f"bars in the window whose O and C are both ≥ {JUMP}·C[−1], or both ≤ C[−1]/{JUMP}",
        _BARS,
    ),
    chain_metric("quality.last_jump_date", "session of the latest of them", "YYYY-MM-DD", "there is none"),
    chain_metric("quality.last_jump_ratio", "C/C[−1] of it: near 0.5 after a 2:1 split", "ratio", "there is none"),
    chain_metric(
        "quality.stale_bars", "bars in a row, the last included, without volume and with the prices of the one before", _BARS
    ),
    chain_metric("quality.zero_volume_bars", "bars in a row, the last included, without volume", _BARS),
    chain_metric(
        "quality.days_since_bar_before", "calendar days between the last two bars", _DAYS_UNIT, "the window has one bar"
    ),
)  # fmt: skip
"""`quality` of price_metrics_json."""

CHAIN_QUALITY: tuple[Metric, ...] = (
    chain_metric(
        "quality.flags[]",
        f"thin_chain: 1 to {THIN - 1} live contracts; without_greeks: without_greeks_share > {MOST}; "
        f"without_iv: without_iv_share > {MOST}; stale_greeks: stale_greeks_share > {STALE}",
        "text",
    ),
    chain_metric(
        "quality.live_options_count",
        "contracts whose strike and deliverable are positive and whose expiry is not before the session",
        _COUNT,
    ),
    chain_metric("quality.without_greeks_share", "live contracts without a gamma ≥ 0 / live contracts", _SHARE, "no live contract"),
    chain_metric("quality.without_iv_share", "live contracts without an IV / live contracts", _SHARE, "no live contract"),
    chain_metric(
        "quality.compared_gammas",
        f"live contracts with gamma and IV, {_DAYS} days or more to expiry, strike within {_NEAR * 100:.0f} % of spot, "
        f"the vendor's gamma or Black–Scholes' ≥ {_SMALLEST_GAMMA}",
        _COUNT,
    ),
    chain_metric(
        "quality.stale_greeks_share",
        f"of these, contracts whose gamma is off Black–Scholes' at its own IV by more than a factor of {OFF:.0f}",
        _SHARE,
        f"fewer than {_ENOUGH} of them",
        parameters="rate, dividend_yield",
    ),
)  # fmt: skip
"""`quality` of dealer_metrics_json and volatility_metrics_json."""


def bar_quality(windows: BarWindows) -> Values:
    """The path of each value of `BAR_QUALITY` in the JSON → its column [rows], from the row's window alone."""
    jumps, jump, stale, idle = _look_back(windows.starts, windows.ends, *windows.values)
    last = windows.ends - 1
    dates = windows.bars["date"].to_physical().to_numpy()
    gap = np.where(windows.sizes > 1, dates[last] - dates[np.maximum(last - 1, 0)], 0)
    close = windows.values[_CLOSE]
    with np.errstate(all="ignore"):
        ratio = np.where(jumps > 0, close[jump] / close[jump - 1], np.nan)
    flagged = {
        "split_like_jump": jumps > 0,
        "stale_bar": stale > 0,
        "zero_volume": idle > 0,
        "missing_bars": gap > LONGEST_BREAK,
    }
    values: dict[str, pl.Series] = {
        "flags": _flag_lists(flagged),
        "bars_in_window": pl.Series(windows.sizes),
        "split_like_jumps": pl.Series(jumps),
        "last_jump_date": _where(jumps > 0, pl.Series(dates[jump]).cast(pl.Date).cast(pl.String)),
        "last_jump_ratio": pl.Series(ratio, nan_to_null=True),
        "stale_bars": pl.Series(stale),
        "zero_volume_bars": pl.Series(idle),
        "days_since_bar_before": _where(windows.sizes > 1, pl.Series(gap.astype(np.int64))),
    }
    return {("quality", name): column for name, column in values.items()}


@njit(cache=True)
def _jumped(i, opens, closes):  # type: ignore[no-untyped-def]
    low, high = closes[i - 1] / JUMP, closes[i - 1] * JUMP
    up, down = opens[i] >= high and closes[i] >= high, opens[i] <= low and closes[i] <= low
    return low > 0.0 and (up or down)


@njit(cache=True)
def _look_back(starts, ends, opens, highs, lows, closes, volumes):  # type: ignore[no-untyped-def]
    """Per row: jumps in its window and the bar of the latest (0: none), stale bars and bars without volume in a row."""
    jumps, latest, stale, idle = np.zeros((4, starts.size), np.int64)
    # `count` jumps in the bars after `low` up to `high`, carried on from row to row: windows overlap.
    low = high = count = at = 0
    for row in range(starts.size):
        first, last = starts[row], ends[row] - 1
        if not low <= first <= high:
            low = high = first
            count = 0
        while high < last:
            high += 1
            if _jumped(high, opens, closes):
                count += 1
                at = high
        # The window's first bar has no bar before it that would count.
        while low < first:
            low += 1
            count -= _jumped(low, opens, closes)
        jumps[row] = count
        latest[row] = at if count else 0
        i, repeats = last, True
        while i >= first and volumes[i] <= 0.0:
            idle[row] += 1
            repeats = (
                repeats
                and i > first
                and opens[i] == opens[i - 1]
                and highs[i] == highs[i - 1]
                and lows[i] == lows[i - 1]
                and closes[i] == closes[i - 1]
            )
            stale[row] += repeats
            i -= 1
    return jumps, latest, stale, idle


def _flag_lists(flagged: dict[str, BoolArray]) -> pl.Series:
    """The names of the flags that are set, a list per row."""
    bits = [1 << place for place in range(len(flagged))]
    codes = np.sum([bit * mask for bit, mask in zip(bits, flagged.values(), strict=True)], axis=0)
    sets = [
        [name for bit, name in zip(bits, flagged, strict=True) if code & bit]
        for code in range(1 << len(bits))
    ]
    return pl.Series(sets, dtype=pl.List(pl.String)).gather(codes)


def _where(known: BoolArray, values: pl.Series) -> pl.Series:
    """The values where known, else null."""
    return values.set(pl.Series(~known), None)


def chain_quality(snapshot: OptionSnapshot) -> list[dict[str, Any]]:
    """The object of each underlying with the keys of `CHAIN_QUALITY`, in the order of the snapshot's underlyings."""
    chain, underlyings = snapshot.chain, len(snapshot)
    alive = chain.valid & (chain.days >= 0)

    def count(mask: BoolArray) -> FloatArray:
        return np.bincount(chain.underlying[mask], minlength=underlyings).astype(np.float64)

    live = count(alive)
    gammas = _share(count(alive & ~(chain.gamma >= 0)), live, least=1)
    volatilities = _share(count(alive & np.isnan(chain.volatility)), live, least=1)
    compared, off = (
        np.bincount(owner, minlength=underlyings).astype(np.float64) for owner in _compared(snapshot, alive)
    )
    stale = _share(off, compared, least=_ENOUGH)
    flags = _flag_lists(
        {
            "thin_chain": (live > 0) & (live < THIN),
            "without_greeks": gammas > MOST,
            "without_iv": volatilities > MOST,
            "stale_greeks": stale > STALE,
        }
    )
    columns: dict[str, list[Any]] = {
        "flags": flags.to_list(),
        "live_options_count": live.astype(np.int64).tolist(),
        "without_greeks_share": nullable(gammas),
        "without_iv_share": nullable(volatilities),
        "compared_gammas": compared.astype(np.int64).tolist(),
        "stale_greeks_share": nullable(stale),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _share(part: FloatArray, whole: FloatArray, *, least: int) -> FloatArray:
    """part / whole, NaN where the whole is less than `least`."""
    return np.divide(part, whole, out=np.full(whole.size, np.nan), where=whole >= least)


def _compared(snapshot: OptionSnapshot, alive: BoolArray) -> tuple[IntArray, IntArray]:
    """The underlying of each contract whose gamma can be compared, and of each of these whose gamma is off."""
    chain = snapshot.chain
    spot = snapshot.spot[chain.underlying]
    usable = alive & (chain.days >= _DAYS) & (np.abs(chain.strike - spot) <= _NEAR * spot)
    index = np.flatnonzero(usable & (chain.gamma >= 0) & np.isfinite(chain.volatility))
    model, published = chain.model[index].gamma(spot[index]), chain.gamma[index]
    tells = np.maximum(model, published) >= _SMALLEST_GAMMA
    off = tells & ((published > OFF * model) | (model > OFF * published))
    owner = chain.underlying[index]
    return owner[tells], owner[off]
