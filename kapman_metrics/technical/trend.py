"""Trend indicators over one window of bars.

Each function takes 1-D contiguous float64 arrays, oldest bar first, and returns the value(s) at the last
bar; NaN where the window is too short. TA-Lib 0.8 is the oracle unless a docstring names `ta` 0.11.
`parabolic` has a module of its own.
"""

import numpy as np

from kapman_metrics.technical.averages import (
    ZERO,
    Array,
    ema,
    ema_next,
    ewm_next,
    highest,
    kernel,
    lowest,
    mean,
    percent,
    true_range,
    typical,
)
from kapman_metrics.technical.parabolic import psar


@kernel
def adx(high: Array, low: Array, close: Array) -> tuple[float, float, float]:
    """Directional movement (14), 0 to 100: adx, adx_pos, adx_neg (TA-Lib ADX, PLUS_DI, MINUS_DI).

    +DM and −DM and the true range are summed over 13 bars, then S − S/14 + x; DI = 100·S(DM)/S(TR); ADX is
    the mean of the first 14 DX, then Wilder's 13 : 1, and stands still where no direction is defined.
    """
    n = 14
    size = len(close)
    plus = 0.0
    minus = 0.0
    ranges = 0.0
    average = 0.0
    for i in range(1, size):
        rise = high[i] - high[i - 1]
        fall = low[i - 1] - low[i]
        if i >= n:
            plus -= plus / n
            minus -= minus / n
            ranges -= ranges / n
        if fall > 0.0 and rise < fall:
            minus += fall
        elif rise > 0.0 and rise > fall:
            plus += rise
        ranges += true_range(high, low, close, i)
        if i >= n and abs(ranges) >= ZERO:
            up = 100.0 * (plus / ranges)
            down = 100.0 * (minus / ranges)
            if abs(up + down) >= ZERO:
                index = 100.0 * (abs(down - up) / (up + down))
                average = average + index / n if i < 2 * n else (average * (n - 1) + index) / n
    if size <= n:
        return np.nan, np.nan, np.nan
    return average if size >= 2 * n else np.nan, percent(plus, ranges), percent(minus, ranges)


@kernel
def aroon(high: Array, low: Array) -> tuple[float, float, float]:
    """Aroon (25), 0 to 100: up, down, up − down (TA-Lib AROON, AROONOSC); the latest extreme wins a tie."""
    n = 25
    size = len(high)
    if size < n + 1:
        return np.nan, np.nan, np.nan
    top = size - n - 1
    bottom = size - n - 1
    for i in range(size - n, size):
        if high[i] >= high[top]:
            top = i
        if low[i] <= low[bottom]:
            bottom = i
    factor = 100.0 / n
    up = factor * (n - (size - 1 - top))
    down = factor * (n - (size - 1 - bottom))
    return up, down, factor * (top - bottom)


@kernel
def cci(high: Array, low: Array, close: Array) -> float:
    """Commodity channel index (20) (TA-Lib CCI): (TP − SMA20 TP)/(0.015·mean |TP − SMA20 TP|), 0 if flat."""
    n = 20
    size = len(close)
    if size < n:
        return np.nan
    last = typical(high, low, close, size - 1)
    flat = True
    middle = 0.0
    for i in range(size - n, size):
        middle += typical(high, low, close, i)
        flat = flat and typical(high, low, close, i) == last
    middle /= n
    deviation = 0.0
    for i in range(size - n, size):
        deviation += abs(typical(high, low, close, i) - middle)
    # Equal values have a deviation of zero, whatever rounding makes of their mean.
    return 0.0 if flat else (last - middle) / (0.015 * (deviation / n))


@kernel
def dpo(close: Array) -> float:
    """Detrended price oscillator (20), price units: C[−11] − SMA20 (TA-Lib DPO)."""
    size = len(close)
    if size < 20:
        return np.nan
    return close[size - 12] - mean(close, size, 20)


@kernel
def middle_of_range(high: Array, low: Array, n: int) -> float:
    """Half-way between the highest high and the lowest low of the last n bars."""
    size = len(high)
    return (highest(high, size, n) + lowest(low, size, n)) / 2.0 if size >= n else np.nan


@kernel
def ichimoku(high: Array, low: Array) -> tuple[float, float, float, float]:
    """Ichimoku (9, 26, 52), price units: conversion line, base line, spans a and b, not displaced (`ta`).

    a = (conversion + base)/2. `ta` gives b from the first bar on whatever range there is; here it takes
    its 52 bars, because a shorter one is another indicator.
    """
    conversion = middle_of_range(high, low, 9)
    base = middle_of_range(high, low, 26)
    return conversion, base, 0.5 * (conversion + base), middle_of_range(high, low, 52)


@kernel
def mean_change(close: Array, end: int, lag: int, n: int) -> float:
    """Mean of C/C[−lag] − 1 over the n bars before index `end`."""
    total = 0.0
    for i in range(end - n, end):
        total += (close[i] - close[i - lag]) / close[i - lag]
    return total / n


@kernel
def kst(close: Array) -> tuple[float, float, float]:
    """Know sure thing: kst, its signal (mean of 9) and their difference (`ta`).

    kst = 100·(SMA10 ROC10 + 2·SMA10 ROC15 + 3·SMA10 ROC20 + 4·SMA15 ROC30). `ta` fills missing lags with
    the mean of all closes, future ones included, and so starts at bar 15; here the first value has all
    its 45 bars and the first signal its 53.
    """
    size = len(close)
    line = np.nan
    total = 0.0
    for end in range(max(size - 8, 45), size + 1):
        line = 100.0 * (
            mean_change(close, end, 10, 10)
            + 2.0 * mean_change(close, end, 15, 10)
            + 3.0 * mean_change(close, end, 20, 10)
            + 4.0 * mean_change(close, end, 30, 15)
        )
        total += line
    signal = total / 9.0 if size >= 53 else np.nan
    return line, signal, line - signal


@kernel
def macd(close: Array) -> tuple[float, float, float]:
    """MACD (12, 26, 9), price units: line, signal, difference (TA-Lib MACD), all three from 34 bars.

    Both averages are seeded so that they start on bar 26.
    """
    fast = 0.0
    slow = 0.0
    signal = 0.0
    for i in range(len(close)):
        slow = ema_next(slow, i, close[i], 26)
        if i >= 14:
            fast = ema_next(fast, i - 14, close[i], 12)
        if i >= 25:
            signal = ema_next(signal, i - 25, fast - slow, 9)
    if len(close) < 34:
        return np.nan, np.nan, np.nan
    return fast - slow, signal, fast - slow - signal


@kernel
def mass_index(high: Array, low: Array) -> float:
    """Mass index (9, 25): Σ25 of EMA9(H−L)/EMA9(EMA9(H−L)) (TA-Lib MASSI); a ratio of zeros counts 1."""
    size = len(high)
    single = 0.0
    double = 0.0
    total = 0.0
    for i in range(size):
        single = ema_next(single, i, high[i] - low[i], 9)
        if i >= 8:
            double = ema_next(double, i - 8, single, 9)
        if i >= size - 25:
            total += single / double if double != 0.0 else 1.0
    return total if size >= 41 else np.nan


@kernel
def sma(close: Array, n: int) -> float:
    """Simple moving average, price units (TA-Lib SMA)."""
    size = len(close)
    return mean(close, size, n) if size >= n else np.nan


@kernel
def cycle_position(values: Array, i: int) -> float:
    """100·(x − MIN10)/(MAX10 − MIN10) at index i; NaN where any of the ten is missing or all are equal."""
    if i < 9:
        return np.nan
    bottom = values[i]
    top = values[i]
    for k in range(i - 9, i):
        if np.isnan(values[k]):
            return np.nan
        bottom = min(bottom, values[k])
        top = max(top, values[k])
    return 100.0 * (values[i] - bottom) / (top - bottom)


@kernel
def stc(close: Array) -> float:
    """Schaff trend cycle (23, 50, 10, smoothing 3 and 3), 0 to 100 (`ta`).

    Two stochastics over 10 bars, each followed by EMA3, of EMA23 − EMA50; averages seeded with the first
    value. Where a stochastic has no range the average keeps its last value, as pandas does.
    """
    fast = slow = smooth = cycle = (np.nan, 1.0, 0)
    series = np.empty((2, len(close)))
    value = np.nan
    for i in range(len(close)):
        fast, quick = ewm_next(fast, close[i], 23)
        slow, late = ewm_next(slow, close[i], 50)
        series[0, i] = quick - late
        smooth, series[1, i] = ewm_next(smooth, cycle_position(series[0], i), 3)
        cycle, value = ewm_next(cycle, cycle_position(series[1], i), 3)
    return value


@kernel
def trix(close: Array) -> float:
    """TRIX (15), percent: one-bar change of the triple EMA15 (TA-Lib TRIX)."""
    single = 0.0
    double = 0.0
    triple = 0.0
    before = 0.0
    for i in range(len(close)):
        single = ema_next(single, i, close[i], 15)
        if i >= 14:
            double = ema_next(double, i - 14, single, 15)
        if i >= 28:
            before = triple
            triple = ema_next(triple, i - 28, double, 15)
    if len(close) < 44:
        return np.nan
    return (triple / before - 1.0) * 100.0 if before != 0.0 else 0.0


@kernel
def vortex(high: Array, low: Array, close: Array) -> tuple[float, float, float]:
    """Vortex (14): Σ|H − L[−1]|/ΣTR, Σ|L − H[−1]|/ΣTR, their difference (TA-Lib VORTEX); 0 without range."""
    size = len(close)
    if size < 15:
        return np.nan, np.nan, np.nan
    plus = 0.0
    minus = 0.0
    ranges = 0.0
    for i in range(size - 14, size):
        plus += abs(high[i] - low[i - 1])
        minus += abs(low[i] - high[i - 1])
        ranges += true_range(high, low, close, i)
    if abs(ranges) < ZERO:
        return 0.0, 0.0, 0.0
    return plus / ranges, minus / ranges, plus / ranges - minus / ranges


@kernel
def wma(close: Array) -> float:
    """Weighted moving average (9), weights 1 to 9 over 45, price units (TA-Lib WMA)."""
    size = len(close)
    if size < 9:
        return np.nan
    total = 0.0
    for weight in range(1, 10):
        total += weight * close[size - 10 + weight]
    return total / 45.0


@kernel
def trend(high: Array, low: Array, close: Array, out: Array) -> None:
    """Write the trend outputs at the last bar, in the catalogue's order."""
    out[0], out[1], out[2] = adx(high, low, close)
    out[3], out[4], out[5] = aroon(high, low)
    out[6] = cci(high, low, close)
    out[7] = dpo(close)
    out[8] = ema(close, 12)
    out[9] = ema(close, 14)
    out[10] = ema(close, 26)
    out[11], out[12], out[13], out[14] = ichimoku(high, low)
    out[15], out[16], out[17] = kst(close)
    out[18], out[19], out[20] = macd(close)
    out[21] = mass_index(high, low)
    out[22], out[23], out[24], out[25], out[26] = psar(high, low)
    out[27] = sma(close, 14)
    out[28] = sma(close, 20)
    out[29] = sma(close, 50)
    out[30] = sma(close, 200)
    out[31] = stc(close)
    out[32] = trix(close)
    out[33], out[34], out[35] = vortex(high, low, close)
    out[36] = wma(close)
