"""Moving averages and extremes that several indicators share, as Numba kernels.

Arrays are 1-D contiguous float64, oldest bar first; "the last" is the bar of the asked date. Two kinds
of exponential average live here because the two oracles seed theirs differently: TA-Lib with the mean
of the first n values, pandas (which `ta` uses) with the first value.

These functions are compiled into the caller that `engine` builds and are never cached on their own.
"""

from typing import Any

import numba
import numpy as np

Array = np.ndarray
State = tuple[float, float, int]

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "no_rewrites": True,
}
kernel = numba.njit(**_OPTIONS)
"""Compile into other kernels only: 0/0 is NaN instead of an exception, no wrapper for calls from Python.

The wrappers and the rewriting of array expressions, which no kernel needs, are a third of the time that
a cold compilation takes.
"""

ZERO = 1e-14
"""TA-Lib's TA_IS_ZERO: denominators closer to zero than this count as zero."""


@kernel
def mean(values: Array, end: int, n: int) -> float:
    """Arithmetic mean of the n values before index `end`."""
    total = 0.0
    for i in range(end - n, end):
        total += values[i]
    return total / n


@kernel
def highest(values: Array, end: int, n: int) -> float:
    """Largest of the n values before index `end`."""
    top = values[end - n]
    for i in range(end - n + 1, end):
        top = max(top, values[i])
    return top


@kernel
def lowest(values: Array, end: int, n: int) -> float:
    """Smallest of the n values before index `end`."""
    bottom = values[end - n]
    for i in range(end - n + 1, end):
        bottom = min(bottom, values[i])
    return bottom


@kernel
def ema_next(average: float, seen: int, value: float, n: int) -> float:
    """One step of TA-Lib's EMA: the mean of the first n values, then weight 2/(n+1).

    `seen` counts the values before this one; up to the n-th, `average` carries their sum.
    """
    if seen < n - 1:
        return average + value
    if seen == n - 1:
        return (average + value) / n
    return (value - average) * (2.0 / (n + 1)) + average


@kernel
def ema(values: Array, n: int) -> float:
    """TA-Lib's EMA at the last value; NaN for fewer than n."""
    average = 0.0
    for i in range(len(values)):
        average = ema_next(average, i, values[i], n)
    return average if len(values) >= n else np.nan


@kernel
def ewm_next(state: State, value: float, n: int) -> tuple[State, float]:
    """One step of pandas' `ewm(span=n, min_periods=n, adjust=False).mean()`, gaps included.

    `state` is (average, weight of what came before, values seen), (NaN, 1.0, 0) at first. A NaN repeats
    the last average while that weight decays. The arithmetic follows pandas' own order of operations,
    because the stochastics built on it divide by differences that rounding alone can make zero or not.
    Returns the new state and the value of the series at this step, NaN for fewer than n values seen.
    """
    average, weight, seen = state
    alpha = 1.0 / (1.0 + (n - 1) / 2.0)
    if not np.isnan(average):
        weight *= 1.0 - alpha
    if not np.isnan(value):
        seen += 1
        if np.isnan(average):
            average = value
        else:
            if average != value:
                if n == 3:  # pandas' exception for weights of one half: after a gap they still add up to 1
                    alpha = 1.0 - weight
                average = (weight * average + alpha * value) / (weight + alpha)
            weight = 1.0
    return (average, weight, seen), average if seen >= n else np.nan


@kernel
def typical(high: Array, low: Array, close: Array, i: int) -> float:
    """(H + L + C)/3 of bar i."""
    return (high[i] + low[i] + close[i]) / 3.0


@kernel
def true_range(high: Array, low: Array, close: Array, i: int) -> float:
    """Largest of today's range and the distances of its ends from yesterday's close; i ≥ 1."""
    return max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1]))


@kernel
def wilder_range(high: Array, low: Array, close: Array, n: int, first: int) -> float:
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
def percent(part: float, whole: float) -> float:
    """100 · part / whole, and TA-Lib's 0 where the denominator counts as zero."""
    if abs(whole) < ZERO:
        return 0.0
    return 100.0 * (part / whole)
