"""TA-Lib's 61 candlestick patterns at the last bar of each window."""

import ctypes
import functools

import numpy as np
import polars as pl
import talib
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from talib import abstract

from kapman_metrics.catalogue import CANDLESTICKS
from kapman_metrics.rolling import kernel
from kapman_metrics.windows import BarWindows

# Bars before a year that its patterns may look at: more than the longest lookback (14).
_LEAD = 16
_LONGEST_YEAR = 366


def candlesticks(windows: BarWindows) -> dict[str, pl.Series]:
    """Pattern → Int64 [rows]: −200 to 200 as TA-Lib gives it, null under the pattern's minimum of bars.

    TA-Lib carries its averages of bodies and shadows along a series, so that rounding lets the bar at
    which the series starts decide a tie. Every value is therefore taken from the series that starts
    16 bars before its calendar year, whatever else is asked for or known: always within the 400 bars,
    and one call per ticker, year and pattern.
    """
    values = np.empty((len(CANDLESTICKS), len(windows.ends)), dtype=np.int32)
    if status := search(*_functions(), windows.values[:4], *_series(windows), windows.ends, values):
        raise RuntimeError(f"TA-Lib's candlestick patterns end with status {status}")
    return {
        name: pl.select(
            pl.when(pl.Series(windows.sizes >= minimum)).then(pl.Series(column, dtype=pl.Int64))
        ).to_series()
        for (name, minimum), column in zip(CANDLESTICKS.items(), values, strict=True)
    }


@functools.cache
def _functions() -> tuple[np.ndarray, np.ndarray]:
    """The addresses of TA-Lib's functions [patterns], and the option of each [patterns], NaN where it has none."""
    library = ctypes.CDLL(talib._ta_lib.__file__)
    names = [name.upper() for name in CANDLESTICKS]
    addresses = [ctypes.cast(getattr(library, f"TA_{name}"), ctypes.c_void_p).value for name in names]
    options = [[*abstract.Function(name).parameters.values(), np.nan][0] for name in names]  # type: ignore[attr-defined]
    return np.array(addresses, np.uintp), np.array(options, np.float64)


def _series(windows: BarWindows) -> tuple[np.ndarray, np.ndarray]:
    """The series to hand to TA-Lib: the first bar of each, and its first row in the result, with their end at the end."""
    years = windows.bars["date"].dt.year().to_numpy()
    new_years = np.flatnonzero(np.diff(years, prepend=0))
    year_begins = new_years[np.searchsorted(new_years, windows.ends - 1, side="right") - 1]
    anchors = np.maximum(windows.firsts, year_begins)
    rows = np.flatnonzero(np.diff(anchors, prepend=-1))
    return np.maximum(windows.starts[rows], anchors[rows] - _LEAD), np.append(rows, len(anchors))


@intrinsic
def _call(_typing, function, arguments):  # type: ignore[no-untyped-def]
    """The status that the C function at an address returns."""

    def code(_context, builder, _signature, values):  # type: ignore[no-untyped-def]
        address, packed = values
        unpacked = cgutils.unpack_tuple(builder, packed)
        kind = ir.FunctionType(ir.IntType(32), [value.type for value in unpacked])
        return builder.call(builder.inttoptr(address, kind.as_pointer()), unpacked)

    return types.int32(function, arguments), code


@kernel
def search(functions, options, prices, begins, bounds, ends, values):  # type: ignore[no-untyped-def]
    """Fills `values` [patterns × rows]; returns the first status of TA-Lib's other than success, which is 0.

    TA-Lib's C functions are called from here because its Python wrappers take three times as long for a
    series of a year as the function does, and hold the GIL meanwhile. A bar for which a function gives no
    answer gets 0. `found` has room for every series, because a ticker has one bar a day at most.
    """
    open_, high, low, close = prices
    begin_and_count = np.zeros(2, np.int32)
    place = begin_and_count.ctypes.data
    found = np.empty(_LEAD + _LONGEST_YEAR, np.int32)
    for series in range(len(begins)):
        begin, first_row, after = begins[series], bounds[series], bounds[series + 1]
        last = np.int32(ends[after - 1] - 1 - begin)
        bars = (
            np.int32(0),
            last,
            open_.ctypes.data + begin * open_.itemsize,
            high.ctypes.data + begin * high.itemsize,
            low.ctypes.data + begin * low.itemsize,
            close.ctypes.data + begin * close.itemsize,
        )
        result = (place, place + begin_and_count.itemsize, found.ctypes.data)
        for pattern in range(len(functions)):
            if np.isnan(options[pattern]):
                status = _call(functions[pattern], bars + result)
            else:
                option = (options[pattern],)
                status = _call(functions[pattern], bars + option + result)
            if status != 0:
                return status
            for row in range(first_row, after):
                at = ends[row] - 1 - begin - begin_and_count[0]
                values[pattern, row] = found[at] if 0 <= at < begin_and_count[1] else 0
    return 0
