"""Rolling formulas over series of bars: each value is computed anew from its own n bars.

Nothing is carried along from bar to bar, because what a running sum remembers of bars that have left it
would make a value depend on where the computation began. The loops run over the lag outside and the bars
inside, so that the processor adds several bars at once; that is as fast as carrying along.

Arrays are 1-D contiguous float64, oldest bar first; a series of n-bar values has no meaning at its first
n − 1 bars.
"""

import numba
import numpy as np

Array = np.ndarray

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")
"""Compiled when first called and then kept on disk; 0/0 is NaN instead of an exception.

Numba keeps the machine code beside the source, where that can't be written in the user's cache folder, and
in NUMBA_CACHE_DIR where that is set. It compiles anew when the kernel's own file changes, and only then:
so a kernel calls no kernel of another file. (The one constant that they share, ZERO, is TA-Lib's.)
"""

# Bars worked on at a time: all lags of a piece find it in the processor's first cache.
_PIECE = 1024


def shifted(series: Array, back: int) -> Array:
    """The series `back` bars earlier; NaN at the first `back` bars."""
    earlier = np.empty_like(series)
    earlier[:back] = np.nan
    earlier[back:] = series[:-back]
    return earlier


def rolling_mean(series: Array, n: int) -> Array:
    """Arithmetic mean of the last n values, added up from the oldest."""
    return rolling_sum(series, n) / n


@kernel
def rolling_sum(series, n):  # type: ignore[no-untyped-def]
    """Sum of the last n values, added up from the oldest."""
    out = np.zeros(len(series))
    for piece in range(0, len(series), _PIECE):
        last = min(piece + _PIECE, len(series))
        for lag in range(n - 1, -1, -1):
            first = max(piece, lag)
            total = out[first:last]
            earlier = series[first - lag : max(first, last) - lag]
            for i in range(len(total)):
                total[i] += earlier[i]
    return out


@kernel
def rolling_deviations(series, middle, n, squared):  # type: ignore[no-untyped-def]
    """Sum of (x − m)², or of |x − m|, over the last n values x, m = `middle` at the last of them."""
    out = np.zeros(len(series))
    for piece in range(0, len(series), _PIECE):
        last = min(piece + _PIECE, len(series))
        for lag in range(n - 1, -1, -1):
            first = max(piece, lag)
            total = out[first:last]
            centre = middle[first:last]
            earlier = series[first - lag : max(first, last) - lag]
            if squared:
                for i in range(len(total)):
                    total[i] += (earlier[i] - centre[i]) * (earlier[i] - centre[i])
            else:
                for i in range(len(total)):
                    total[i] += abs(earlier[i] - centre[i])
    return out


def rolling_max(series: Array, n: int) -> Array:
    """Largest of the last n values."""
    return _rolling(np.maximum, series, n)


def rolling_min(series: Array, n: int) -> Array:
    """Smallest of the last n values."""
    return _rolling(np.minimum, series, n)


def _rolling(extreme: np.ufunc, series: Array, n: int) -> Array:
    """Extremes of 2, 4, 8 … values, each from two of the length before; an extreme is exact in any order."""
    width = 1
    while width < n:
        step = min(width, n - width)
        wider = series.copy()
        extreme(series[step:], series[:-step], out=wider[step:])
        series = wider
        width += step
    return series


@kernel
def bars_since_extreme(series, n, sign):  # type: ignore[no-untyped-def]
    """How many bars ago the largest (sign 1.0) or smallest (−1.0) of the last n stood; the latest of equals."""
    best = series.copy()
    out = np.zeros(len(series))
    for piece in range(0, len(series), _PIECE):
        last = min(piece + _PIECE, len(series))
        for lag in range(1, n):
            first = max(piece, lag)
            top = best[first:last]
            ago = out[first:last]
            earlier = series[first - lag : max(first, last) - lag]
            for i in range(len(top)):
                better = sign * earlier[i] > sign * top[i]
                top[i] = earlier[i] if better else top[i]
                ago[i] = float(lag) if better else ago[i]
    return out
