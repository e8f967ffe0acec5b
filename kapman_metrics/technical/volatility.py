"""Volatility indicators.

Bands come from TA-Lib 0.8; their widths and positions, which TA-Lib does not return, follow `ta` 0.11.
Unlike `ta`, a flag is null, not 0, while its band is missing. Each function takes a `Block` and returns its
column(s) [rows]; the catalogue's minimum of bars makes the first rows null.
"""

import numpy as np

from kapman_metrics.lanes import exponential, wilder
from kapman_metrics.rolling import (
    Array,
    rolling_deviations,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_sum,
    shifted,
)
from kapman_metrics.technical.ratios import flag, place
from kapman_metrics.windows import Block, Columns


def atr(block: Block) -> Array:
    """Average true range (14), price units (TA-Lib ATR): mean of the first 14, then Wilder's 13 : 1."""
    return block.lanes.average(block.true_range, wilder(14))


def channel(close: Array, top: Array, bottom: Array, middle: Array) -> Columns:
    """A channel's hband, lband, mband, pband, wband, hband and lband indicators, all [rows].

    pband is a fraction, null for zero width; wband is in percent of the middle; the indicators are 1.0
    where the close is outside (`ta`).
    """
    width = 100.0 * (top - bottom) / middle
    return top, bottom, middle, place(close, bottom, top), width, flag(close > top), flag(close < bottom)


def bbands(block: Block) -> Columns:
    """Bollinger bands (20, 2): hband, lband, mavg, pband, wband, hband and lband indicators.

    SMA20 ± 2 population standard deviations (TA-Lib BBANDS), a variance under 1e-14 counting as zero as
    in TA-Lib.
    """
    middle = rolling_mean(block.close, 20)
    variance = block.now(rolling_deviations(block.close, middle, 20, True)) / 20
    width = np.where(variance >= 1e-14, 2.0 * np.sqrt(variance), 0.0)
    centre = block.now(middle)
    return channel(block.now(block.close), centre + width, centre - width, centre)


def donchian(block: Block) -> Columns:
    """Donchian channel (20): hband, lband, mband (TA-Lib DONCHIAN), pband, wband (`ta`).

    pband is a fraction, null for zero width; wband is in percent of SMA20 of the close.
    """
    top, bottom = block.now(rolling_max(block.high, 20)), block.now(rolling_min(block.low, 20))
    wband = 100.0 * (top - bottom) / block.now(rolling_mean(block.close, 20))
    return top, bottom, (top + bottom) / 2.0, place(block.now(block.close), bottom, top), wband


def keltner(block: Block) -> Columns:
    """Keltner channel (20, ATR 10, 2): hband, lband, mband, pband, wband, hband and lband indicators.

    EMA20 of (H+L+C)/3 ± 2·ATR10 with the average true range seeded by bars 11 to 20 (TA-Lib KC). `ta`'s
    default is another channel without any ATR, and its EMA variant runs on the close.
    """
    middle = block.lanes.average(block.typical, exponential(20))
    width = 2.0 * block.lanes.average(block.true_range, wilder(10, first=10))
    return channel(block.now(block.close), middle + width, middle - width, middle)


def ulcer_index(block: Block) -> Array:
    """Ulcer index (14), percent (`ta`): √(Σ14 r²/14), r = 100·(C − M)/M, M = highest of the last ≤ 14 closes."""
    top = block.close
    for back in range(1, 14):
        top = np.where(block.age >= back, np.fmax(top, shifted(block.close, back)), top)
    fall = 100.0 * (block.close - top) / top
    return np.sqrt(block.now(rolling_sum(fall * fall, 14)) / 14)


def volatility(block: Block, recent: Block) -> Columns:
    """The volatility outputs, in the catalogue's order."""
    return (atr(block), *bbands(recent), *donchian(recent), *keltner(block), ulcer_index(recent))
