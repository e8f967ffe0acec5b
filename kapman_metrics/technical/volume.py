"""Volume indicators and returns over one window of bars.

Each function takes 1-D contiguous float64 arrays, oldest bar first, and returns the value(s) at the last
bar; NaN where the window is too short or a denominator is zero. Cumulative ones start at the window's
first bar. TA-Lib 0.8 is the oracle unless a docstring names `ta` 0.11.
"""

import numpy as np

from kapman_metrics.technical.averages import Array, ema_next, kernel, typical

ROUNDING = 1e-14
"""Relative difference below which two typical prices are the same."""


@kernel
def money_flow_volume(high: Array, low: Array, close: Array, volume: Array, i: int) -> float:
    """Volume signed by where the close lies in the bar, −V at the low to +V at the high; 0 if H = L."""
    width = high[i] - low[i]
    if width <= 0.0:
        return 0.0
    return ((close[i] - low[i]) - (high[i] - close[i])) / width * volume[i]


@kernel
def adi(high: Array, low: Array, close: Array, volume: Array) -> float:
    """Accumulation/distribution line, shares: cumulated money flow volume (TA-Lib AD)."""
    total = 0.0
    for i in range(len(close)):
        total += money_flow_volume(high, low, close, volume, i)
    return total


@kernel
def cmf(high: Array, low: Array, close: Array, volume: Array) -> float:
    """Chaikin money flow (20), −1 to 1: Σ money flow volume / ΣV, 0 without volume (TA-Lib CMF)."""
    size = len(close)
    if size < 20:
        return np.nan
    flow = 0.0
    total = 0.0
    for i in range(size - 20, size):
        flow += money_flow_volume(high, low, close, volume, i)
        total += volume[i]
    return flow / total if total > 0.0 else 0.0


@kernel
def ease_at(high: Array, low: Array, volume: Array, i: int) -> float:
    """10⁸·((H − H[−1]) + (L − L[−1]))·(H − L)/(2V) at bar i; NaN without volume."""
    if volume[i] <= 0.0:
        return np.nan
    move = (high[i] - high[i - 1]) + (low[i] - low[i - 1])
    return 1e8 * (move * (high[i] - low[i]) / (2.0 * volume[i]))


@kernel
def eom(high: Array, low: Array, volume: Array) -> tuple[float, float]:
    """Ease of movement (14): today's and the mean of 14 (`ta`); null where a bar has no volume.

    `ta` lets a bar without volume be infinite and its mean undefined; both are null here.
    """
    size = len(high)
    if size < 2:
        return np.nan, np.nan
    today = ease_at(high, low, volume, size - 1)
    if size < 15:
        return today, np.nan
    total = 0.0
    for i in range(size - 14, size):
        total += ease_at(high, low, volume, i)
    return today, total / 14.0


@kernel
def fi(close: Array, volume: Array) -> float:
    """Elder's force index (13), price × shares: EMA13 of (C − C[−1])·V (TA-Lib EFI)."""
    force = 0.0
    for i in range(1, len(close)):
        force = ema_next(force, i - 1, (close[i] - close[i - 1]) * volume[i], 13)
    return force if len(close) >= 14 else np.nan


@kernel
def mfi(high: Array, low: Array, close: Array, volume: Array) -> float:
    """Money flow index (14), 0 to 100 (TA-Lib MFI): 100·Σ TP·V on rising TP over Σ on moving TP.

    0 under one dollar of flow. A change that only rounding makes of equal sums H+L+C is none, as in TA-Lib.
    """
    size = len(close)
    if size < 15:
        return np.nan
    up = 0.0
    down = 0.0
    for i in range(size - 14, size):
        price = typical(high, low, close, i)
        change = price - typical(high, low, close, i - 1)
        if change > ROUNDING * price:
            up += price * volume[i]
        elif change < -ROUNDING * price:
            down += price * volume[i]
    return 100.0 * (up / (up + down)) if up + down >= 1.0 else 0.0


@kernel
def nvi(close: Array, volume: Array) -> float:
    """Negative volume index: 1000 at the window's start, moved by C/C[−1] when volume falls (TA-Lib NVI)."""
    index = 1000.0
    for i in range(1, len(close)):
        if volume[i] < volume[i - 1] and close[i - 1] != 0.0:
            index += index * ((close[i] - close[i - 1]) / close[i - 1])
    return index


@kernel
def obv(close: Array, volume: Array) -> float:
    """On-balance volume, shares: starts with the first volume, ± V as the close moves (TA-Lib OBV)."""
    total = volume[0]
    for i in range(1, len(close)):
        if close[i] > close[i - 1]:
            total += volume[i]
        elif close[i] < close[i - 1]:
            total -= volume[i]
    return total


@kernel
def vpt(close: Array, volume: Array) -> float:
    """Volume price trend, shares: cumulated V·(C/C[−1] − 1) from 0 (TA-Lib PVT)."""
    total = 0.0
    for i in range(1, len(close)):
        if close[i - 1] != 0.0:
            total += volume[i] * ((close[i] - close[i - 1]) / close[i - 1])
    return total


@kernel
def vwap(high: Array, low: Array, close: Array, volume: Array) -> float:
    """Rolling volume-weighted average price (14), price units: Σ TP·V / ΣV (`ta`); null without volume."""
    size = len(close)
    if size < 14:
        return np.nan
    dollars = 0.0
    shares = 0.0
    for i in range(size - 14, size):
        dollars += typical(high, low, close, i) * volume[i]
        shares += volume[i]
    return dollars / shares if shares > 0.0 else np.nan


@kernel
def flows(high: Array, low: Array, close: Array, volume: Array, out: Array) -> None:
    """Write the volume outputs at the last bar, in the catalogue's order."""
    out[0] = adi(high, low, close, volume)
    out[1] = cmf(high, low, close, volume)
    out[2], out[3] = eom(high, low, volume)
    out[4] = fi(close, volume)
    out[5] = mfi(high, low, close, volume)
    out[6] = nvi(close, volume)
    out[7] = obv(close, volume)
    out[8] = vpt(close, volume)
    out[9] = vwap(high, low, close, volume)


@kernel
def returns(close: Array, out: Array) -> None:
    """Write cr, dlr, dr at the last bar, all in percent (`ta`).

    cr = 100·(C/first C of the window − 1); dlr = 100·ln(C/C[−1]); dr = 100·(C/C[−1] − 1). `ta` 0.11 itself
    leaves dr undefined on the first bar, and so do we.
    """
    last = close[-1]
    out[0] = 100.0 * (last / close[0] - 1.0)
    if len(close) > 1:
        out[1] = 100.0 * np.log(last / close[-2])
        out[2] = 100.0 * (last / close[-2] - 1.0)
