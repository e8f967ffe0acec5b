"""TA-Lib's 61 candlestick patterns at the last bar of each window."""

import ctypes
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import polars as pl
import talib
from talib import abstract

from kapman_metrics.catalogue import CANDLESTICKS
from kapman_metrics.windows import BarWindows

# The same functions as talib's, without its wrappers: those hold the GIL while a pattern is looked for, and
# the other threads' arrays wait for it.
_TA_LIB = ctypes.CDLL(talib._ta_lib.__file__)
_FROM_THE_FIRST_BAR = 0
_DEFAULT = -4e37  # TA_REAL_DEFAULT: the function's own

# Bars before a year that its patterns may look at: more than the longest lookback (14).
_LEAD = 16


def candlesticks(windows: BarWindows) -> dict[str, pl.Series]:
    """Pattern → Int64 [rows]: −200 to 200 as TA-Lib gives it, null under the pattern's minimum of bars.

    TA-Lib carries its averages of bodies and shadows along a series, so that rounding lets the bar at
    which the series starts decide a tie. Every value is therefore taken from the series that starts
    16 bars before its calendar year, whatever else is asked for or known: always within the 400 bars,
    and one call per ticker, year and pattern.
    """
    prices = windows.values[:4]
    values = np.empty((len(CANDLESTICKS), len(windows.ends)), dtype=np.int32)
    series = _series(windows)
    found = np.zeros(
        max((int(windows.ends[rows][-1]) - first for first, rows in series), default=0), np.int32
    )
    patterns = [_pattern(name, found) for name in CANDLESTICKS]
    for first, rows in series:
        ends = windows.ends[rows]
        bars = [price.ctypes.data + first * price.itemsize for price in prices]
        picked = ends - 1 - first
        together = len(picked) == picked[-1] - picked[0] + 1
        at = slice(picked[0], picked[-1] + 1) if together else picked
        for column, pattern in zip(values, patterns, strict=True):
            pattern(_FROM_THE_FIRST_BAR, int(picked[-1]), *bars)
            column[rows] = found[at]
    return {
        name: pl.select(
            pl.when(pl.Series(windows.sizes >= minimum)).then(pl.Series(column, dtype=pl.Int64))
        ).to_series()
        for (name, minimum), column in zip(CANDLESTICKS.items(), values, strict=True)
    }


def _pattern(name: str, found: np.ndarray) -> Callable[..., None]:
    """TA-Lib's function, from the first and last bar and the addresses of four prices to `found` [bars].

    The bars before the pattern's lookback have no answer: what stands there is of another series.
    """
    function = getattr(_TA_LIB, f"TA_{name.upper()}")
    lookback = getattr(_TA_LIB, f"TA_{name.upper()}_Lookback")
    places = [ctypes.c_void_p] * 4
    options = [ctypes.c_double] * len(abstract.Function(name.upper()).parameters)  # type: ignore[attr-defined]
    function.argtypes = [ctypes.c_int] * 2 + places + options + [ctypes.c_void_p] * 3
    lookback.argtypes = options
    defaults = [_DEFAULT] * len(options)
    begin, count = ctypes.c_int(), ctypes.c_int()
    out = found.ctypes.data + lookback(*defaults) * found.itemsize
    rest = (*defaults, ctypes.byref(begin), ctypes.byref(count), out)

    def search(*bars: int) -> None:
        if status := function(*bars, *rest):
            raise RuntimeError(f"TA-Lib's {name} fails with status {status}")

    return search


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
