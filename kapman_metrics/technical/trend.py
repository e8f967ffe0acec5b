"""Trend indicators; TA-Lib 0.8 is the oracle unless a docstring names `ta` 0.11.

Each function takes a `Block` and returns its column(s) [rows]; the catalogue's minimum of bars makes the
first rows null. `parabolic` and `schaff` have modules of their own.
"""

import numpy as np
from numba import uintp

from kapman_metrics.lanes import exponential
from kapman_metrics.rolling import (
    Array,
    bars_since_extreme,
    kernel,
    rolling_deviations,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_sum,
    shifted,
)
from kapman_metrics.technical.crossovers import macd
from kapman_metrics.technical.parabolic import psar
from kapman_metrics.technical.ratios import ZERO
from kapman_metrics.technical.schaff import stc
from kapman_metrics.windows import Block, Columns


def adx(block: Block) -> Columns:
    """Directional movement (14), 0 to 100: adx, adx_pos, adx_neg (TA-Lib ADX, PLUS_DI, MINUS_DI).

    +DM and −DM and the true range are summed over 13 bars, then S − S/14 + x; DI = 100·S(DM)/S(TR); ADX is
    the mean of the first 14 DX, then Wilder's 13 : 1, and stands still where no direction is defined.
    """
    rise = block.high - shifted(block.high, 1)
    fall = shifted(block.low, 1) - block.low
    plus = np.where((rise > 0.0) & (rise > fall), rise, 0.0)
    minus = np.where((fall > 0.0) & (rise < fall), fall, 0.0)
    layout = block.lanes.layout()
    panels = layout.panel(3)
    up, down, ranges = map(block.lanes.flat, (plus, minus, block.true_range))
    directional_movement(up, down, ranges, layout.groups, 14, panels)
    return [layout.at_end(panel) for panel in panels]


@kernel
def directional_movement(plus, minus, ranges, groups, n, panels):  # type: ignore[no-untyped-def]
    """Panels of ADX, +DI and −DI over n bars; DX = 100·|S(−DM) − S(+DM)|/(S(−DM) + S(+DM))."""
    for group in range(len(groups)):
        _directional_movement(plus, minus, ranges, groups[group], n, panels)


@kernel
def _directional_movement(plus, minus, ranges, group, n, panels):  # type: ignore[no-untyped-def]
    begin, pitch, steps, lanes, kept, out = group
    up, down, span, average = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
    share = 1.0 / n
    for step in range(1, steps):
        at = uintp(begin + step * pitch)
        keep = 1.0 if step < n else 1.0 - share
        for lane in range(uintp(lanes)):
            up[lane] = keep * up[lane] + plus[at + lane]
            down[lane] = keep * down[lane] + minus[at + lane]
            span[lane] = keep * span[lane] + ranges[at + lane]
        if step >= n:
            keep = 1.0 if step < 2 * n else 1.0 - share
            for lane in range(uintp(lanes)):
                moved = up[lane] + down[lane]
                moving = keep * average[lane] + share * (100.0 * (abs(down[lane] - up[lane]) / moved))
                # TA-Lib's limit of 1e-14 for the sum of the two DI, 100·(S(+DM) + S(−DM))/S(TR).
                defined = span[lane] >= ZERO and 100.0 * moved >= ZERO * span[lane]
                average[lane] = moving if defined else average[lane]
        if step >= steps - kept:
            place = uintp(out + (step - (steps - kept)) * lanes)
            for lane in range(uintp(lanes)):
                still = span[lane] < ZERO
                panels[0, place + lane] = average[lane]
                panels[1, place + lane] = 0.0 if still else 100.0 * (up[lane] / span[lane])
                panels[2, place + lane] = 0.0 if still else 100.0 * (down[lane] / span[lane])


def aroon(block: Block) -> Columns:
    """Aroon (25), 0 to 100: up, down, up − down (TA-Lib AROON, AROONOSC); the latest extreme wins a tie."""
    top = block.now(bars_since_extreme(block.high, 26, 1.0))
    bottom = block.now(bars_since_extreme(block.low, 26, -1.0))
    factor = 100.0 / 25
    return factor * (25 - top), factor * (25 - bottom), factor * (bottom - top)


def cci(block: Block) -> Array:
    """Commodity channel index (20) (TA-Lib CCI): (TP − SMA20 TP)/(0.015·mean |TP − SMA20 TP|), 0 if flat.

    Equal values have a deviation of zero, whatever rounding makes of their mean.
    """
    middle = rolling_mean(block.typical, 20)
    deviation = rolling_deviations(block.typical, middle, 20, False) / 20
    flat = rolling_max(block.typical, 20) == rolling_min(block.typical, 20)
    return block.now(np.where(flat, 0.0, (block.typical - middle) / (0.015 * deviation)))


def dpo(block: Block) -> Array:
    """Detrended price oscillator (20), price units: C[−11] − SMA20 (TA-Lib DPO)."""
    return block.now(block.close, 11) - block.now(rolling_mean(block.close, 20))


def ema(block: Block) -> Columns:
    """Exponential averages of the close over 12, 14 and 26 bars, price units (TA-Lib EMA)."""
    return [block.lanes.average(block.close, exponential(n)) for n in (12, 14, 26)]


def ichimoku(block: Block) -> Columns:
    """Ichimoku (9, 26, 52), price units: conversion line, base line, spans a and b, not displaced (`ta`).

    Each line is half-way between the highest high and the lowest low of its bars; a = (conversion + base)/2.
    `ta` gives b from the first bar on whatever range there is; here it takes its 52 bars, because a
    shorter one is another indicator.
    """
    conversion, base, late = (
        block.now(rolling_max(block.high, n) + rolling_min(block.low, n)) / 2.0 for n in (9, 26, 52)
    )
    return conversion, base, 0.5 * (conversion + base), late


def kst(block: Block) -> Columns:
    """Know sure thing: kst, its signal (mean of 9) and their difference (`ta`).

    kst = 100·(SMA10 ROC10 + 2·SMA10 ROC15 + 3·SMA10 ROC20 + 4·SMA15 ROC30). `ta` fills missing lags with
    the mean of all closes, future ones included, and so starts at bar 15; here the first value has all
    its 45 bars and the first signal its 53.
    """

    def mean_change(lag: int, n: int) -> Array:
        before = shifted(block.close, lag)
        return rolling_mean((block.close - before) / before, n)

    line = 100.0 * (
        mean_change(10, 10)
        + 2.0 * mean_change(15, 10)
        + 3.0 * mean_change(20, 10)
        + 4.0 * mean_change(30, 15)
    )
    last, signal = block.now(line), block.now(rolling_mean(line, 9))
    return last, signal, last - signal


def mass_index(block: Block) -> Array:
    """Mass index (9, 25): Σ25 of EMA9(H−L)/EMA9(EMA9(H−L)) (TA-Lib MASSI); a ratio of zeros counts 1."""
    layout = block.lanes.layout(back=24)
    single, double = block.lanes.cascade(
        block.high - block.low, exponential(9), exponential(9, first=8), back=24
    )
    return ratio_sum(single, double, layout.last, layout.pitch, np.minimum(layout.kept, 25))


@kernel
def ratio_sum(part, whole, last, pitch, kept):  # type: ignore[no-untyped-def]
    """[rows]: Σ part/whole over the row's last `kept` steps in panels of a `Layout`; 1 where `whole` is 0."""
    out = np.zeros(len(last))
    for row in range(len(last)):
        for back in range(kept[row] - 1, -1, -1):
            at = last[row] - back * pitch[row]
            out[row] += part[at] / whole[at] if whole[at] != 0.0 else 1.0
    return out


def sma(block: Block) -> Columns:
    """Simple moving averages of the close over 14, 20, 50 and 200 bars, price units (TA-Lib SMA)."""
    recent = block.recent(200)
    return [recent.now(rolling_mean(recent.close, n)) for n in (14, 20, 50, 200)]


def trix(block: Block) -> Array:
    """TRIX (15), percent: one-bar change of the triple EMA15, 0 for a base of 0 (TA-Lib TRIX)."""
    levels = (exponential(15, first=first) for first in (0, 14, 28))
    triple, layout = block.lanes.cascade(block.close, *levels, back=1)[2], block.lanes.layout(back=1)
    last, before = layout.at_end(triple), layout.at_end(triple, back=1)
    return np.where(before != 0.0, (last / before - 1.0) * 100.0, 0.0)


def vortex(block: Block) -> Columns:
    """Vortex (14): Σ|H − L[−1]|/ΣTR, Σ|L − H[−1]|/ΣTR, their difference (TA-Lib VORTEX); 0 without range."""
    plus = block.now(rolling_sum(np.abs(block.high - shifted(block.low, 1)), 14))
    minus = block.now(rolling_sum(np.abs(block.low - shifted(block.high, 1)), 14))
    ranges = block.now(rolling_sum(block.true_range, 14))
    still = np.abs(ranges) < ZERO
    up, down = np.where(still, 0.0, plus / ranges), np.where(still, 0.0, minus / ranges)
    return up, down, up - down


def wma(block: Block) -> Array:
    """Weighted moving average (9), weights 1 to 9 over 45, price units (TA-Lib WMA)."""
    total = sum(weight * block.now(block.close, 9 - weight) for weight in range(1, 10))
    return np.asarray(total / 45.0)


def trend(block: Block, recent: Block) -> Columns:
    """The trend outputs, in the catalogue's order."""
    return (
        *adx(block),
        *aroon(recent),
        cci(recent),
        dpo(recent),
        *ema(block),
        *ichimoku(recent),
        *kst(recent),
        *macd(block),
        mass_index(block),
        *psar(block),
        *sma(block),
        stc(block),
        trix(block),
        *vortex(recent),
        wma(recent),
    )
