"""Momentum indicators; TA-Lib 0.8 is the oracle of every one of them.

Each function takes a `Block` and returns its column(s) [rows]; what a row with too few bars gets has no
meaning, because the catalogue's minimum of bars makes it null.
"""

import numpy as np

from kapman_metrics.lanes import exponential, wilder
from kapman_metrics.rolling import (
    Array,
    kernel,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_sum,
    shifted,
)
from kapman_metrics.technical.crossovers import percentage_oscillator
from kapman_metrics.technical.ratios import ZERO, percent
from kapman_metrics.windows import Block, Columns


def awesome_oscillator(block: Block) -> Array:
    """AO(5, 34): SMA5 − SMA34 of (H+L)/2, price units (TA-Lib AO)."""
    median = (block.high + block.low) / 2.0
    return block.now(rolling_mean(median, 5) - rolling_mean(median, 34))


def kama(block: Block) -> Array:
    """Kaufman's adaptive average (10, 2, 30), price units (TA-Lib KAMA(10)).

    k += s²·(C − k) from the close of bar 10, s = ER·(2/3 − 2/31) + 2/31, ER = |C − C[−10]|/Σ10|ΔC|, and 1
    where nothing moved.
    """
    path = rolling_sum(np.abs(block.change), 10)
    change = block.close - shifted(block.close, 10)
    efficiency = np.where((path <= change) | (path < ZERO), 1.0, np.abs(change / path))
    slow = 2.0 / 31.0
    weight = (efficiency * (2.0 / 3.0 - slow) + slow) ** 2
    keep, add = 1.0 - weight, weight * block.close
    return block.lanes.affine(block.close, keep, add, first=9)


def roc(block: Block) -> Array:
    """Rate of change (12) in percent: 100·(C/C[−12] − 1), 0 for a base of 0 (TA-Lib ROC)."""
    before = block.now(block.close, 12)
    return np.where(before != 0.0, (block.now(block.close) / before - 1.0) * 100.0, 0.0)


def strength(block: Block) -> Columns:
    """RSI(14) and the stochastic RSI (14, 3, 3), 0 to 100: rsi, stochrsi, k, d.

    rsi = 100·G/(G + L), Wilder's means of gains and losses, 0 where nothing moved (TA-Lib RSI). stochrsi is
    TA-Lib's fastk and k its fastd of STOCHRSI(14, 14, 3); d is one more mean of three. `ta` scales the same
    numbers 0 to 1; TA-Lib is the oracle. A range of the RSI under 1e-9 counts as none: after a halt it is
    rounding, and TA-Lib's answer is noise.
    """
    gains, losses = np.maximum(block.change, 0.0), np.maximum(-block.change, 0.0)
    gain, loss = (block.lanes.cascade(moves, wilder(14), back=17)[0] for moves in (gains, losses))
    layout = block.lanes.layout(back=17)
    return list(strengths(gain, loss, layout.last, layout.pitch, layout.kept))


@kernel
def strengths(gain, loss, last, pitch, kept):  # type: ignore[no-untyped-def]
    """rsi, stochrsi, k, d of each row, from the panels of a `Layout` with `last`, `pitch` and `kept`."""
    out = np.empty((4, len(last)))
    rsi = np.zeros(18)
    fast = np.zeros(5)
    for row in range(len(last)):
        for back in range(min(18, kept[row])):
            at = last[row] - back * pitch[row]
            up, down = gain[at], loss[at]
            rsi[back] = 0.0 if up + down < ZERO else 100.0 * (up / (up + down))
        for back in range(5):
            bottom = top = rsi[back]
            for i in range(back + 1, back + 14):
                bottom = min(bottom, rsi[i])
                top = max(top, rsi[i])
            fast[back] = 100.0 * ((rsi[back] - bottom) / (top - bottom)) if top - bottom >= 1e-9 else 0.0
        out[0, row] = rsi[0]
        out[1, row] = fast[0]
        out[2, row] = (fast[0] + fast[1] + fast[2]) / 3.0
        # Each of the three means of three that d averages holds the value of `back` bars ago once.
        out[3, row] = (fast[0] + 2.0 * fast[1] + 3.0 * fast[2] + 2.0 * fast[3] + fast[4]) / 9.0
    return out


def stoch(block: Block) -> Columns:
    """Fast stochastic (14, 3), 0 to 100: 100·(C − MIN14 L)/(MAX14 H − MIN14 L), 0 without range, and its SMA3.

    TA-Lib STOCHF; both from 16 bars.
    """
    bottom = rolling_min(block.low, 14)
    step = (rolling_max(block.high, 14) - bottom) / 100.0
    fast = np.where(step != 0.0, (block.close - bottom) / step, 0.0)
    return block.now(fast), block.now(rolling_mean(fast, 3))


def tsi(block: Block) -> Array:
    """True strength index (25, 13), −100 to 100 (TA-Lib TSI): 100·EMA13(EMA25 ΔC)/EMA13(EMA25 |ΔC|)."""
    levels = exponential(25, first=1), exponential(13, first=25)
    change, path = (block.lanes.average(moves, *levels) for moves in (block.change, np.abs(block.change)))
    return percent(change, path)


def ultimate_oscillator(block: Block) -> Array:
    """Ultimate oscillator (7, 14, 28), 0 to 100 (TA-Lib ULTOSC): 100·(4·A7 + 2·A14 + A28)/7.

    A_n = ΣBP/ΣTR over n bars, BP = C − min(L, C[−1]); a term whose ΣTR is zero counts 0.
    """
    pressure = block.close - np.minimum(block.low, shifted(block.close, 1))
    terms = (
        share * percent(block.now(rolling_sum(pressure, n)), block.now(rolling_sum(block.true_range, n)))
        for n, share in ((7, 4.0), (14, 2.0), (28, 1.0))
    )
    return np.add.reduce(list(terms)) / 7.0


def williams_r(block: Block) -> Array:
    """Williams %R(14), −100 to 0 (TA-Lib WILLR); 0 where the range is zero."""
    top = rolling_max(block.high, 14)
    step = (top - rolling_min(block.low, 14)) / -100.0
    return block.now(np.where(step != 0.0, (top - block.close) / step, 0.0))


def momentum(block: Block, recent: Block) -> Columns:
    """The momentum outputs, in the catalogue's order."""
    return (
        awesome_oscillator(recent),
        kama(block),
        *percentage_oscillator(block, block.close),
        *percentage_oscillator(block, block.volume),
        roc(recent),
        *strength(block),
        *stoch(recent),
        tsi(block),
        ultimate_oscillator(recent),
        williams_r(recent),
    )
