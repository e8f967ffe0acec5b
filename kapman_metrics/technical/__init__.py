"""technical_indicators_json: 89 indicator values and 61 candlestick patterns per ticker and date."""

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from kapman_metrics.catalogue import TECHNICAL
from kapman_metrics.rendering import Values, json_column
from kapman_metrics.technical import momentum, trend, volatility, volume
from kapman_metrics.technical.candlesticks import candlesticks
from kapman_metrics.windows import HISTORY_SESSIONS, BarWindows, Block, Columns

__all__ = ["HISTORY_SESSIONS", "technical_indicators", "technical_values"]

# Bars that rolling formulas look at: 53 for the signal of KST. SMA200 takes its own.
_LONGEST_LOOK = 53

_COMPUTED = [metric for metric in TECHNICAL if metric.output]


def technical_indicators(bars: pl.DataFrame, sessions: Sequence[datetime.date]) -> pl.DataFrame:
    """All technical indicators for every ticker that has a bar on one of `sessions`.

    bars: ticker_id (String), date (Date), open, high, low, close (Float64, price units), volume (Float64,
    shares), in any order, unique by (ticker_id, date); each ticker's last `HISTORY_SESSIONS` bars up to
    each session are what its values are made of. A null volume counts as 0.

    Returns ticker_id, date, technical_indicators_json (String), sorted by ticker_id, date. The JSON is
    compact, with every key of `kapman_metrics.catalogue.TECHNICAL` in its order; a value that cannot be
    computed is null, patterns are integers. Formulas, parameters and their sources: that catalogue and
    the docstrings of this package's modules.

    Raises ValueError for bars that break the rules above (`BarWindows.of`).
    """
    windows = BarWindows.of(bars, sessions)
    return windows.keys.with_columns(
        json_column(technical_values(windows)).alias("technical_indicators_json")
    )


def technical_values(windows: BarWindows) -> Values:
    """The same as numbers: the path of each value in the JSON → its column [rows]."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        patterns = thread.submit(candlesticks, windows)
        numbers = windows.evaluate(_indicators, [metric.minimum_bars for metric in _COMPUTED])
    return {
        **{metric.path: column for metric, column in zip(_COMPUTED, numbers, strict=True)},
        **{("pattern_recognition", name): column for name, column in patterns.result().items()},
    }


def _indicators(block: Block) -> Columns:
    """All computed outputs, in the catalogue's order."""
    recent = block.recent(_LONGEST_LOOK)
    return (
        *momentum.momentum(block, recent),
        *volatility.volatility(block, recent),
        *trend.trend(block, recent),
        *volume.flows(block, recent),
        *volume.returns(block),
    )
