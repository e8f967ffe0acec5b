"""TA-Lib's 61 candlestick patterns at the last bar of each window."""

from itertools import pairwise

import numpy as np
import polars as pl
import talib

from kapman_metrics.catalogue import CANDLESTICKS
from kapman_metrics.windows import BarWindows

# Bars before a quarter that its patterns may look at: more than the longest lookback (14).
_LEAD = 16


def candlesticks(windows: BarWindows) -> dict[str, pl.Series]:
    """Pattern → Int64 [rows]: −200 to 200 as TA-Lib gives it, null under the pattern's minimum of bars.

    TA-Lib carries its averages of bodies and shadows along a series, so that rounding lets the bar at
    which the series starts decide a tie. Every value is therefore taken from the series that starts
    16 bars before its calendar quarter, whatever else is asked for or known: at most some 80 of the 400
    bars, and one call per ticker, quarter and pattern.
    """
    patterns = [getattr(talib, name.upper()) for name in CANDLESTICKS]
    prices = windows.prices()
    values = np.empty((len(patterns), len(windows.ends)), dtype=np.int64)
    for first, rows in _series(windows):
        ends = windows.ends[rows]
        bars = [price[first : ends[-1]] for price in prices]
        picked = ends - 1 - first
        for index, pattern in enumerate(patterns):
            values[index, rows] = pattern(*bars)[picked]
    lengths = windows.ends - windows.starts
    return {
        name: pl.select(pl.when(pl.Series(lengths >= minimum)).then(pl.Series(column))).to_series()
        for (name, minimum), column in zip(CANDLESTICKS.items(), values, strict=True)
    }


def _series(windows: BarWindows) -> list[tuple[int, slice]]:
    """The series to hand to TA-Lib: index of the first bar, and the rows of the result it answers."""
    quarter = pl.col("date").dt.year() * 4 + pl.col("date").dt.quarter()
    bars = windows.bars.select(
        pl.int_range(pl.len()).alias("bar"), "ticker_id", quarter.alias("quarter")
    ).with_columns(pl.col("bar").min().over("ticker_id", "quarter").alias("first"))
    anchors = bars["first"].to_numpy()[windows.ends - 1]
    bounds = np.append(np.flatnonzero(np.diff(anchors, prepend=-1)), len(anchors)).tolist()
    return [
        (int(max(windows.starts[row], anchors[row] - _LEAD)), slice(row, following))
        for row, following in pairwise(bounds)
    ]
