"""price_metrics_json: what a trader reads first about a bar, per ticker and date."""

import datetime
from collections.abc import Sequence

import numpy as np
import polars as pl

from kapman_metrics.catalogue import PRICE
from kapman_metrics.lanes import wilder
from kapman_metrics.rendering import Values, json_column
from kapman_metrics.rolling import (
    Array,
    rolling_deviations,
    rolling_max,
    rolling_mean,
    rolling_min,
    shifted,
)
from kapman_metrics.windows import HISTORY_SESSIONS, BarWindows, Block, Columns

__all__ = ["HISTORY_SESSIONS", "price_metrics", "price_values"]

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
    return windows.keys.with_columns(json_column(price_values(windows)).alias("price_metrics_json"))


def price_values(windows: BarWindows) -> Values:
    """The same as numbers: the path of each value in the JSON → its column [rows]."""
    numbers = windows.evaluate(_metrics, [metric.minimum_bars for metric in PRICE])
    return {metric.path: column for metric, column in zip(PRICE, numbers, strict=True)}


def _metrics(block: Block) -> Columns:
    """All price metrics, in the catalogue's order."""
    close, before = block.now(block.close), block.now(block.close, 1)
    recent, year = block.recent(62), block.recent(TRADING_DAYS)
    volatility = historical_volatility(recent, 20)
    top = year.now(rolling_max(year.high, TRADING_DAYS))
    bottom = year.now(rolling_min(year.low, TRADING_DAYS))
    true_range = block.lanes.average(block.true_range, wilder(14))
    return (
        close,
        above_percent(close, before),
        above_percent(block.now(block.open), before),
        *relative_volume(recent),
        volatility,
        historical_volatility(recent, 60),
        volatility,
        *(above_percent(close, year.now(rolling_mean(year.close, n))) for n in (20, 50, 200)),
        top,
        bottom,
        above_percent(close, top),
        above_percent(close, bottom),
        recent.now(rolling_mean(recent.close * recent.volume, 20)),
        100.0 * true_range / close,
    )


def above_percent(value: Array, base: Array) -> Array:
    """By how many percent a value lies above a base; not finite for a base of zero."""
    return 100.0 * (value / base - 1.0)


def population_deviation(series: Array, n: int) -> Array:
    """Standard deviation of the last n values with denominator n."""
    return np.sqrt(rolling_deviations(series, rolling_mean(series, n), n, True) / n)


def relative_volume(block: Block) -> Columns:
    """rvol and vsi: the volume over the mean of the 20 before, and its distance in their deviations.

    Equal volumes have a deviation of zero, whatever rounding makes of their mean.
    """
    usual = block.now(rolling_mean(block.volume, 20), 1)
    varied = block.now(rolling_max(block.volume, 20) > rolling_min(block.volume, 20), 1)
    spread = np.where(varied, block.now(population_deviation(block.volume, 20), 1), 0.0)
    volume = block.now(block.volume)
    return volume / usual, (volume - usual) / spread


def historical_volatility(block: Block, n: int) -> Array:
    """Annualised population deviation of the last n log returns, as a fraction; null where a price is ≤ 0."""
    before = shifted(block.close, 1)
    returns = np.where((block.close > 0.0) & (before > 0.0), np.log(block.close / before), np.nan)
    return block.now(population_deviation(returns, n)) * np.sqrt(float(TRADING_DAYS))
