"""Momentum indicators over one window of bars; TA-Lib 0.8 is the oracle of every one of them.

Each function takes 1-D contiguous float64 arrays, oldest bar first, and returns the value(s) at the last
bar; NaN where the window is shorter than TA-Lib's lookback.
"""

import numpy as np

from kapman_metrics.technical.averages import (
    ZERO,
    Array,
    ema_next,
    highest,
    kernel,
    lowest,
    percent,
    true_range,
)


@kernel
def awesome_oscillator(high: Array, low: Array) -> float:
    """AO(5, 34): SMA5 − SMA34 of (H+L)/2, price units (TA-Lib AO)."""
    size = len(high)
    if size < 34:
        return np.nan
    fast = 0.0
    slow = 0.0
    for i in range(size - 34, size):
        median = (high[i] + low[i]) / 2.0
        slow += median
        if i >= size - 5:
            fast += median
    return fast / 5.0 - slow / 34.0


@kernel
def kama(close: Array) -> float:
    """Kaufman's adaptive average (10, 2, 30), price units (TA-Lib KAMA(10)).

    k += s²·(C − k) from the close of bar 10, s = ER·(2/3 − 2/31) + 2/31, ER = |C − C[−10]|/Σ10|ΔC|, and 1
    where nothing moved.
    """
    n = 10
    size = len(close)
    if size < n + 1:
        return np.nan
    slow = 2.0 / 31.0
    average = close[n - 1]
    for i in range(n, size):
        path = 0.0
        for k in range(i - n, i):
            path += abs(close[k + 1] - close[k])
        change = close[i] - close[i - n]
        efficiency = 1.0 if path <= change or path < ZERO else abs(change / path)
        constant = efficiency * (2.0 / 3.0 - slow) + slow
        average = (close[i] - average) * (constant * constant) + average
    return average


@kernel
def percentage_oscillator(values: Array) -> tuple[float, float, float]:
    """PPO / PVO (12, 26, 9) in percent: line, signal, histogram (TA-Lib PPO and PVO with EMA).

    line = 100·(EMA12 − EMA26)/EMA26, both seeded by the window's first values; signal = TA-Lib's EMA9 of
    the line, which TA-Lib itself does not return.
    """
    size = len(values)
    fast = 0.0
    slow = 0.0
    line = np.nan
    signal = 0.0
    for i in range(size):
        slow = ema_next(slow, i, values[i], 26)
        fast = ema_next(fast, i, values[i], 12)
        if i >= 25:
            line = percent(fast - slow, slow)
            signal = ema_next(signal, i - 25, line, 9)
    if size < 34:
        signal = np.nan
    return line, signal, line - signal


@kernel
def roc(close: Array) -> float:
    """Rate of change (12) in percent: 100·(C/C[−12] − 1) (TA-Lib ROC)."""
    size = len(close)
    if size < 13:
        return np.nan
    before = close[size - 13]
    return (close[-1] / before - 1.0) * 100.0 if before != 0.0 else 0.0


@kernel
def rsi_series(close: Array, n: int) -> Array:
    """Wilder's RSI, 0 to 100, as a series (TA-Lib RSI): NaN for the first n bars, 0 where nothing moved."""
    series = np.empty(len(close))
    gain = 0.0
    loss = 0.0
    for i in range(len(close)):
        change = close[i] - close[max(i - 1, 0)]
        if i <= n:
            gain += max(change, 0.0)
            loss += max(-change, 0.0)
            if i == n:
                gain /= n
                loss /= n
        else:
            gain = (gain * (n - 1) + max(change, 0.0)) / n
            loss = (loss * (n - 1) + max(-change, 0.0)) / n
        series[i] = percent(gain, gain + loss) if i >= n else np.nan
    return series


@kernel
def stochastic(high: Array, low: Array, close: Array, end: int, n: int) -> float:
    """100·(C − MINn L)/(MAXn H − MINn L) at the bar before `end`; 0 where the range is zero (TA-Lib)."""
    bottom = lowest(low, end, n)
    step = (highest(high, end, n) - bottom) / 100.0
    return (close[end - 1] - bottom) / step if step != 0.0 else 0.0


@kernel
def rsi(close: Array) -> float:
    """RSI(14), 0 to 100 (TA-Lib RSI)."""
    return rsi_series(close, 14)[-1]


@kernel
def stochrsi(close: Array) -> tuple[float, float, float]:
    """Stochastic RSI (14, 3, 3), 0 to 100: stochrsi, k, d (TA-Lib STOCHRSI(14, 14, 3)).

    stochrsi is TA-Lib's fastk and k its fastd; d is one more mean of three. `ta` scales the same numbers
    0 to 1; TA-Lib is the oracle. TA-Lib returns fastk only where fastd exists (30 bars). A range of the
    RSI under 1e-9 counts as none: after a halt it is rounding, and TA-Lib's answer is noise.
    """
    size = len(close)
    if size < 30:
        return np.nan, np.nan, np.nan
    strength = rsi_series(close, 14)
    last = 0.0
    k = 0.0
    d = 0.0
    for back in range(5 if size >= 32 else 3):
        end = size - back
        bottom = lowest(strength, end, 14)
        width = highest(strength, end, 14) - bottom
        fast = 100.0 * ((strength[end - 1] - bottom) / width) if width >= 1e-9 else 0.0
        if back == 0:
            last = fast
        if back < 3:
            k += fast / 3.0
        # Each of the three means of three that d averages holds the value of `back` bars ago once.
        d += fast * min(back + 1, 5 - back) / 9.0
    return last, k, d if size >= 32 else np.nan


@kernel
def stoch(high: Array, low: Array, close: Array) -> tuple[float, float]:
    """Fast stochastic (14, 3), 0 to 100: %K and its mean of three (TA-Lib STOCHF); both from 16 bars."""
    size = len(close)
    if size < 16:
        return np.nan, np.nan
    last = stochastic(high, low, close, size, 14)
    before = stochastic(high, low, close, size - 1, 14)
    return last, (stochastic(high, low, close, size - 2, 14) + before + last) / 3.0


@kernel
def tsi(close: Array) -> float:
    """True strength index (25, 13), −100 to 100 (TA-Lib TSI): 100·EMA13(EMA25 ΔC)/EMA13(EMA25 |ΔC|)."""
    size = len(close)
    change = 0.0
    path = 0.0
    smooth_change = 0.0
    smooth_path = 0.0
    for i in range(1, size):
        step = close[i] - close[i - 1]
        change = ema_next(change, i - 1, step, 25)
        path = ema_next(path, i - 1, abs(step), 25)
        if i >= 25:
            smooth_change = ema_next(smooth_change, i - 25, change, 13)
            smooth_path = ema_next(smooth_path, i - 25, path, 13)
    return percent(smooth_change, smooth_path) if size >= 38 else np.nan


@kernel
def ultimate_oscillator(high: Array, low: Array, close: Array) -> float:
    """Ultimate oscillator (7, 14, 28), 0 to 100 (TA-Lib ULTOSC): 100·(4·A7 + 2·A14 + A28)/7.

    A_n = ΣBP/ΣTR over n bars, BP = C − min(L, C[−1]); a term whose ΣTR is zero counts 0.
    """
    size = len(close)
    if size < 29:
        return np.nan
    pressure = 0.0
    ranges = 0.0
    total = 0.0
    for back in range(1, 29):
        i = size - back
        pressure += close[i] - min(low[i], close[i - 1])
        ranges += true_range(high, low, close, i)
        if back in (7, 14, 28):
            total += percent(pressure, ranges) * (28 // back)
    return total / 7.0


@kernel
def williams_r(high: Array, low: Array, close: Array) -> float:
    """Williams %R(14), −100 to 0 (TA-Lib WILLR); 0 where the range is zero."""
    size = len(close)
    if size < 14:
        return np.nan
    top = highest(high, size, 14)
    step = (top - lowest(low, size, 14)) / -100.0
    return (top - close[-1]) / step if step != 0.0 else 0.0


@kernel
def momentum(high: Array, low: Array, close: Array, volume: Array, out: Array) -> None:
    """Write the momentum outputs at the last bar, in the catalogue's order."""
    out[0] = awesome_oscillator(high, low)
    out[1] = kama(close)
    out[2], out[3], out[4] = percentage_oscillator(close)
    out[5], out[6], out[7] = percentage_oscillator(volume)
    out[8] = roc(close)
    out[9] = rsi(close)
    out[10], out[11], out[12] = stochrsi(close)
    out[13], out[14] = stoch(high, low, close)
    out[15] = tsi(close)
    out[16] = ultimate_oscillator(high, low, close)
    out[17] = williams_r(high, low, close)
