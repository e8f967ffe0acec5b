"""price_metrics_json: what a trader reads first about a bar, per ticker and date."""

import datetime
from collections.abc import Callable, Sequence
from functools import cache

import numba
import numpy as np
import polars as pl

from kapman_metrics.catalogue import PRICE
from kapman_metrics.rendering import json_column
from kapman_metrics.technical import averages
from kapman_metrics.technical.averages import Array, highest, kernel, lowest, mean, wilder_range
from kapman_metrics.technical.engine import fingerprint
from kapman_metrics.windows import HISTORY_SESSIONS, KERNEL_SIGNATURE, BarWindows

__all__ = ["HISTORY_SESSIONS", "price_metrics"]

TRADING_DAYS = 252
"""Sessions in a year: the annual scale of volatility and the length of 52 weeks."""


def price_metrics(bars: pl.DataFrame, sessions: Sequence[datetime.date]) -> pl.DataFrame:
    """Price metrics for every ticker that has a bar on one of `sessions`.

    bars and the ValueErrors: as for `kapman_metrics.technical.technical_indicators`.

    Returns ticker_id, date, price_metrics_json (String), sorted by ticker_id, date. The JSON is compact
    and flat, with every key of `kapman_metrics.catalogue.PRICE` in its order, where formulas, units and
    null rules stand.
    """
    windows = BarWindows.of(bars, sessions)
    numbers = windows.evaluate(_price_kernel(), len(PRICE))
    values = {metric.path: numbers[:, column] for column, metric in enumerate(PRICE)}
    return windows.keys.with_columns(json_column(values).alias("price_metrics_json"))


@kernel
def above_percent(value: float, base: float) -> float:
    """By how many percent a value lies above a base; not finite for a base of zero."""
    return 100.0 * (value / base - 1.0)


@kernel
def population_deviation(values: Array) -> float:
    """Standard deviation with denominator n."""
    middle = mean(values, len(values), len(values))
    total = 0.0
    for value in values:
        total += (value - middle) * (value - middle)
    return np.sqrt(total / len(values))


@kernel
def relative_volume(volume: Array) -> tuple[float, float]:
    """rvol and vsi: the volume over the mean of the 20 before, and its distance in their deviations."""
    size = len(volume)
    if size < 21:
        return np.nan, np.nan
    before = volume[size - 21 : size - 1]
    usual = mean(before, 20, 20)
    # Equal volumes have a deviation of zero, whatever rounding makes of their mean.
    spread = population_deviation(before) if highest(before, 20, 20) > lowest(before, 20, 20) else 0.0
    return volume[-1] / usual, (volume[-1] - usual) / spread


@kernel
def historical_volatility(close: Array, n: int) -> float:
    """Annualised population deviation of the last n log returns, as a fraction."""
    size = len(close)
    if size < n + 1 or lowest(close, size, n + 1) <= 0.0:
        return np.nan
    returns = np.log(close[size - n :] / close[size - n - 1 : size - 1])
    return population_deviation(returns) * np.sqrt(float(TRADING_DAYS))


@cache
def _price_kernel() -> Callable[..., None]:
    """The compiled kernel; why it is a closure: see `kapman_metrics.technical.engine`."""
    sources = fingerprint(averages)

    @numba.njit(KERNEL_SIGNATURE, nogil=True, cache=True, error_model="numpy")
    def fill(starts, ends, opens, highs, lows, closes, volumes, out):  # type: ignore[no-untyped-def]  # noqa: PLR0913
        sources  # noqa: B018 - referred to so that it is a closure variable
        for row in range(len(ends)):
            window = slice(starts[row], ends[row])
            high = highs[window]
            low = lows[window]
            close = closes[window]
            volume = volumes[window]
            size = len(close)
            last = close[-1]
            metrics = out[row]
            metrics[0] = last
            if size >= 2:
                metrics[1] = above_percent(last, close[-2])
                metrics[2] = above_percent(opens[ends[row] - 1], close[-2])
            metrics[3], metrics[4] = relative_volume(volume)
            metrics[5] = historical_volatility(close, 20)
            metrics[6] = historical_volatility(close, 60)
            metrics[7] = metrics[5]
            for index, n in enumerate((20, 50, 200)):
                if size >= n:
                    metrics[8 + index] = above_percent(last, mean(close, size, n))
            if size >= TRADING_DAYS:
                metrics[11] = highest(high, size, TRADING_DAYS)
                metrics[12] = lowest(low, size, TRADING_DAYS)
                metrics[13] = above_percent(last, metrics[11])
                metrics[14] = above_percent(last, metrics[12])
            if size >= 20:
                metrics[15] = mean(close * volume, size, 20)
            metrics[16] = 100.0 * wilder_range(high, low, close, 14, 1) / last

    return fill
