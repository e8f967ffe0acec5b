"""Volatility indicators over one window of bars.

Each function takes 1-D contiguous float64 arrays, oldest bar first, and returns the value(s) at the last
bar; NaN where the window is too short. Bands come from TA-Lib 0.8; their widths and positions, which
TA-Lib does not return, follow `ta` 0.11. Unlike `ta`, a flag is null, not 0, while its band is missing.
"""

import numpy as np

from kapman_metrics.technical.averages import (
    Array,
    ema_next,
    highest,
    kernel,
    lowest,
    mean,
    typical,
    wilder_range,
)


@kernel
def position(close: float, bottom: float, top: float) -> float:
    """Where the close lies in a band: 0 at the bottom, 1 at the top; NaN for a band without width."""
    return (close - bottom) / (top - bottom) if top != bottom else np.nan


@kernel
def above(value: float, bound: float) -> float:
    """1.0 where value > bound, 0.0 where not, NaN where the bound is missing."""
    if np.isnan(bound):
        return np.nan
    return 1.0 if value > bound else 0.0


@kernel
def atr(high: Array, low: Array, close: Array) -> float:
    """Average true range (14), price units (TA-Lib ATR): mean of the first 14, then Wilder's 13 : 1."""
    return wilder_range(high, low, close, 14, 1)


@kernel
def bbands(close: Array) -> tuple[float, float, float, float, float, float, float]:
    """Bollinger bands (20, 2): hband, lband, mavg, pband, wband, hband and lband indicators.

    SMA20 ± 2 population standard deviations (TA-Lib BBANDS), a variance under 1e-14 counting as zero as
    in TA-Lib; pband is a fraction and null for zero width, wband is in percent of the middle (`ta`).
    """
    n = 20
    size = len(close)
    if size < n:
        return np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan
    middle = mean(close, size, n)
    variance = 0.0
    for i in range(size - n, size):
        variance += (close[i] - middle) * (close[i] - middle)
    variance /= n
    width = 2.0 * np.sqrt(variance) if variance >= 1e-14 else 0.0
    top = middle + width
    bottom = middle - width
    last = close[-1]
    wband = 100.0 * (top - bottom) / middle
    return top, bottom, middle, position(last, bottom, top), wband, above(last, top), above(-last, -bottom)


@kernel
def donchian(high: Array, low: Array, close: Array) -> tuple[float, float, float, float, float]:
    """Donchian channel (20): hband, lband, mband (TA-Lib DONCHIAN), pband, wband (`ta`).

    pband is a fraction, null for zero width; wband is in percent of SMA20 of the close.
    """
    n = 20
    size = len(close)
    if size < n:
        return np.nan, np.nan, np.nan, np.nan, np.nan
    top = highest(high, size, n)
    bottom = lowest(low, size, n)
    wband = 100.0 * (top - bottom) / mean(close, size, n)
    return top, bottom, (top + bottom) / 2.0, position(close[-1], bottom, top), wband


@kernel
def keltner(high: Array, low: Array, close: Array) -> tuple[float, float, float, float, float, float, float]:
    """Keltner channel (20, ATR 10, 2): hband, lband, mband, pband, wband, hband and lband indicators.

    EMA20 of (H+L+C)/3 ± 2·ATR10 with the average true range seeded by bars 11 to 20 (TA-Lib KC). `ta`'s
    default is another channel without any ATR, and its EMA variant runs on the close. pband is a
    fraction, null for zero width; wband is in percent of the middle (`ta`).
    """
    if len(close) < 20:
        return np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan
    middle = 0.0
    for i in range(len(close)):
        middle = ema_next(middle, i, typical(high, low, close, i), 20)
    width = 2.0 * wilder_range(high, low, close, 10, 10)
    top = middle + width
    bottom = middle - width
    last = close[-1]
    wband = 100.0 * (top - bottom) / middle
    return top, bottom, middle, position(last, bottom, top), wband, above(last, top), above(-last, -bottom)


@kernel
def ulcer_index(close: Array) -> float:
    """Ulcer index (14), percent (`ta`): √(Σ r²/14), r = 100·(C − M)/M, M = highest of the last ≤ 14 closes."""
    n = 14
    size = len(close)
    if size < n:
        return np.nan
    total = 0.0
    for end in range(size - n + 1, size + 1):
        top = highest(close, end, min(n, end))
        fall = 100.0 * (close[end - 1] - top) / top
        total += fall * fall
    return np.sqrt(total / n)


@kernel
def volatility(high: Array, low: Array, close: Array, out: Array) -> None:
    """Write the volatility outputs at the last bar, in the catalogue's order."""
    out[0] = atr(high, low, close)
    out[1], out[2], out[3], out[4], out[5], out[6], out[7] = bbands(close)
    out[8], out[9], out[10], out[11], out[12] = donchian(high, low, close)
    out[13], out[14], out[15], out[16], out[17], out[18], out[19] = keltner(high, low, close)
    out[20] = ulcer_index(close)
