"""Moving averages and extremes that several indicators share, as Numba kernels.

Arrays are 1-D contiguous float64, oldest bar first; "the last" is the bar of the asked date. Two kinds
of exponential average live here because the two oracles seed theirs differently: TA-Lib with the mean
of the first n values, pandas (which `ta` uses) with the first value.

These functions are compiled into the caller that `engine` builds and are never cached on their own.
"""

import numba
import numpy as np

kernel = numba.njit(nogil=True, error_model="numpy")
"""Compile lazily, without the GIL; 0/0 is NaN instead of an exception."""

ZERO = 1e-14
"""TA-Lib's TA_IS_ZERO: denominators closer to zero than this count as zero."""


@kernel
def mean(values, end, n):
    """Arithmetic mean of the n values before index `end`."""
    total = 0.0
    for i in range(end - n, end):
        total += values[i]
    return total / n


@kernel
def highest(values, end, n):
    """Largest of the n values before index `end`."""
    top = values[end - n]
    for i in range(end - n + 1, end):
        top = max(top, values[i])
    return top


@kernel
def lowest(values, end, n):
    """Smallest of the n values before index `end`."""
    bottom = values[end - n]
    for i in range(end - n + 1, end):
        bottom = min(bottom, values[i])
    return bottom


@kernel
def ema(values, n, first):
    """TA-Lib's EMA as a series: the mean of values[first:first+n], then weight 2/(n+1); NaN before."""
    size = len(values)
    series = np.full(size, np.nan)
    if size < first + n:
        return series
    weight = 2.0 / (n + 1)
    average = mean(values, first + n, n)
    series[first + n - 1] = average
    for i in range(first + n, size):
        average = (values[i] - average) * weight + average
        series[i] = average
    return series


@kernel
def ewm(values, n):
    """pandas' `ewm(span=n, min_periods=n, adjust=False).mean()` as a series, gaps included.

    A NaN repeats the last average while the weight of what came before decays. The arithmetic follows
    pandas' own order of operations, because the stochastics built on it divide by differences that
    rounding alone can make zero or not.
    """
    size = len(values)
    series = np.full(size, np.nan)
    alpha = 1.0 / (1.0 + (n - 1) / 2.0)
    average = np.nan
    weight = 1.0
    seen = 0
    for i in range(size):
        value = values[i]
        if not np.isnan(value):
            seen += 1
            if np.isnan(average):
                average = value
            else:
                weight *= 1.0 - alpha
                if average != value:
                    average = (weight * average + alpha * value) / (weight + alpha)
                weight = 1.0
        elif not np.isnan(average):
            weight *= 1.0 - alpha
        if seen >= n:
            series[i] = average
    return series


@kernel
def true_range(high, low, close, i):
    """Largest of today's range and the distances of its ends from yesterday's close; i ≥ 1."""
    return max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1]))


@kernel
def wilder_range(high, low, close, n, first):
    """Wilder's average true range: mean of the n true ranges from index `first` ≥ 1, then (n−1 : 1)."""
    size = len(close)
    if size < first + n:
        return np.nan
    total = 0.0
    for i in range(first, first + n):
        total += true_range(high, low, close, i)
    average = total / n
    for i in range(first + n, size):
        average = (average * (n - 1) + true_range(high, low, close, i)) / n
    return average


@kernel
def percent(part, whole):
    """100 · part / whole, and TA-Lib's 0 where the denominator counts as zero."""
    if abs(whole) < ZERO:
        return 0.0
    return 100.0 * (part / whole)
