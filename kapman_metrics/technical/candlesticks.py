"""TA-Lib's 61 candlestick patterns at the last bar of each window."""

from itertools import pairwise

import numpy as np
import polars as pl
import talib

from kapman_metrics.catalogue import CANDLESTICKS
from kapman_metrics.windows import BarWindows

# Bars before a year that its patterns may look at: more than the longest lookback (14).
_LEAD = 16


def candlesticks(windows: BarWindows) -> dict[str, pl.Series]:
    """Pattern → Int64 [rows]: −200 to 200 as TA-Lib gives it, null under the pattern's minimum of bars.

    TA-Lib carries its averages of bodies and shadows along a series, so that rounding lets the bar at
    which the series starts decide a tie. Every value is therefore taken from the series that starts
    16 bars before its calendar year, whatever else is asked for or known: always within the 400 bars,
    and one call per ticker, year and pattern.
    """
    # Past the wrapper that looks for pandas and polars series, which costs more than the pattern.
    patterns = [getattr(talib, name.upper()).__wrapped__ for name in CANDLESTICKS]
    prices = windows.values[:4]
    values = np.empty((len(patterns), len(windows.ends)), dtype=np.int32)
    for first, rows in _series(windows):
        ends = windows.ends[rows]
        bars = [price[first : ends[-1]] for price in prices]
        picked = ends - 1 - first
        together = len(picked) == picked[-1] - picked[0] + 1
        at = slice(picked[0], picked[-1] + 1) if together else picked
        for column, pattern in zip(values, patterns, strict=True):
            column[rows] = pattern(*bars)[at]
    return {
        name: pl.select(
            pl.when(pl.Series(windows.sizes >= minimum)).then(pl.Series(column, dtype=pl.Int64))
        ).to_series()
        for (name, minimum), column in zip(CANDLESTICKS.items(), values, strict=True)
    }


def _series(windows: BarWindows) -> list[tuple[int, slice]]:
    """The series to hand to TA-Lib: index of the first bar, and the rows of the result it answers."""
    years = windows.bars["date"].dt.year().to_numpy()
    new_years = np.flatnonzero(np.diff(years, prepend=0))
    year_begins = new_years[np.searchsorted(new_years, windows.ends - 1, side="right") - 1]
    anchors = np.maximum(windows.firsts, year_begins)
    bounds = np.append(np.flatnonzero(np.diff(anchors, prepend=-1)), len(anchors)).tolist()
    return [
        (int(max(windows.starts[row], anchors[row] - _LEAD)), slice(row, following))
        for row, following in pairwise(bounds)
    ]
