"""Momentum indicators over one window of bars; TA-Lib 0.8 is the oracle of every one of them.

Each function takes 1-D contiguous float64 arrays, oldest bar first, and returns the value(s) at the last
bar; NaN where the window is shorter than TA-Lib's lookback.
"""

import numpy as np

from kapman_metrics.technical.averages import ZERO, ema, highest, kernel, lowest, mean, percent, true_range


@kernel
def awesome_oscillator(high, low):
    """AO(5, 34): SMA5 − SMA34 of (H+L)/2, price units (TA-Lib AO)."""
    size = len(high)
    if size < 34:
        return np.nan
    median = (high[size - 34 :] + low[size - 34 :]) / 2.0
    return mean(median, 34, 5) - mean(median, 34, 34)


@kernel
def kama(close):
    """Kaufman's adaptive average (10, 2, 30), price units (TA-Lib KAMA(10)).

    The running sum of |ΔC| is carried in TA-Lib's own order: after a stretch of equal closes its
    residue decides whether the efficiency ratio is 0 or 1.
    """
    n = 10
    size = len(close)
    if size < n + 1:
        return np.nan
    slow = 2.0 / 31.0
    fast_minus_slow = 2.0 / 3.0 - slow
    path = 0.0
    for i in range(n):
        path += abs(close[i] - close[i + 1])
    average = close[n - 1]
    for i in range(n, size):
        if i > n:
            path -= abs(close[i - n - 1] - close[i - n])
            path += abs(close[i] - close[i - 1])
        change = close[i] - close[i - n]
        efficiency = 1.0 if path <= change or abs(path) < ZERO else abs(change / path)
        constant = efficiency * fast_minus_slow + slow
        average = (close[i] - average) * (constant * constant) + average
    return average


@kernel
def percentage_oscillator(values):
    """PPO / PVO (12, 26, 9) in percent: line, signal, histogram (TA-Lib PPO and PVO with EMA).

    line = 100·(EMA12 − EMA26)/EMA26, both averages seeded so that they start on bar 26; signal = TA-Lib's
    EMA9 of the line, which TA-Lib itself does not return.
    """
    size = len(values)
    if size < 26:
        return np.nan, np.nan, np.nan
    fast = ema(values, 12, 14)
    slow = ema(values, 26, 0)
    line = np.empty(size - 25)
    for i in range(25, size):
        line[i - 25] = percent(fast[i] - slow[i], slow[i])
    signal = ema(line, 9, 0)[-1]
    return line[-1], signal, line[-1] - signal


@kernel
def roc(close):
    """Rate of change (12) in percent: 100·(C/C[−12] − 1) (TA-Lib ROC)."""
    size = len(close)
    if size < 13:
        return np.nan
    before = close[size - 13]
    return (close[-1] / before - 1.0) * 100.0 if before != 0.0 else 0.0


@kernel
def rsi_series(close, n):
    """Wilder's RSI, 0 to 100, as a series (TA-Lib RSI): NaN for the first n bars, 0 where nothing moved."""
    size = len(close)
    series = np.full(size, np.nan)
    gain = 0.0
    loss = 0.0
    for i in range(1, size):
        change = close[i] - close[i - 1]
        if i <= n:
            gain += max(change, 0.0) / n
            loss += max(-change, 0.0) / n
        else:
            gain = (gain * (n - 1) + max(change, 0.0)) / n
            loss = (loss * (n - 1) + max(-change, 0.0)) / n
        if i >= n:
            series[i] = percent(gain, gain + loss)
    return series


@kernel
def stochastic(high, low, close, end, n):
    """100·(C − MINn L)/(MAXn H − MINn L) at the bar before `end`; 0 where the range is zero (TA-Lib)."""
    bottom = lowest(low, end, n)
    step = (highest(high, end, n) - bottom) / 100.0
    return (close[end - 1] - bottom) / step if step != 0.0 else 0.0


@kernel
def rsi(close):
    """RSI(14), 0 to 100 (TA-Lib RSI)."""
    return rsi_series(close, 14)[-1]


@kernel
def stochrsi(close):
    """Stochastic RSI (14, 3, 3), 0 to 100: stochrsi, k, d (TA-Lib STOCHRSI(14, 14, 3)).

    stochrsi is TA-Lib's fastk and k its fastd; d is one more mean of three. `ta` scales the same numbers
    0 to 1; TA-Lib is the oracle. TA-Lib returns fastk only where fastd exists (30 bars).
    """
    size = len(close)
    if size < 30:
        return np.nan, np.nan, np.nan
    strength = rsi_series(close, 14)
    fast = np.full(5, np.nan)
    for back in range(5 if size >= 32 else 3):
        fast[4 - back] = stochastic(strength, strength, strength, size - back, 14)
    k = mean(fast, 5, 3)
    return fast[4], k, (mean(fast, 3, 3) + mean(fast, 4, 3) + k) / 3.0


@kernel
def stoch(high, low, close):
    """Fast stochastic (14, 3), 0 to 100: %K and its mean of three (TA-Lib STOCHF); both from 16 bars."""
    size = len(close)
    if size < 16:
        return np.nan, np.nan
    fast = np.empty(3)
    for back in range(3):
        fast[2 - back] = stochastic(high, low, close, size - back, 14)
    return fast[2], mean(fast, 3, 3)


@kernel
def tsi(close):
    """True strength index (25, 13), −100 to 100 (TA-Lib TSI): 100·EMA13(EMA25 ΔC)/EMA13(EMA25 |ΔC|)."""
    if len(close) < 38:
        return np.nan
    change = close[1:] - close[:-1]
    smooth = ema(ema(change, 25, 0), 13, 24)[-1]
    size = ema(ema(np.abs(change), 25, 0), 13, 24)[-1]
    return percent(smooth, size)


@kernel
def ultimate_oscillator(high, low, close):
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
def williams_r(high, low, close):
    """Williams %R(14), −100 to 0 (TA-Lib WILLR); 0 where the range is zero."""
    size = len(close)
    if size < 14:
        return np.nan
    top = highest(high, size, 14)
    step = (top - lowest(low, size, 14)) / -100.0
    return (top - close[-1]) / step if step != 0.0 else 0.0


@kernel
def momentum(high, low, close, volume, out):
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
