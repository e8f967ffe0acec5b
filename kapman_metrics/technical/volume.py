"""Volume indicators and returns; TA-Lib 0.8 is the oracle unless a docstring names `ta` 0.11.

Each function takes a `Block` and returns its column(s) [rows]; the catalogue's minimum of bars makes the
first rows null, and so does a denominator of zero. Cumulative ones start at the window's first bar.
"""

import numpy as np

from kapman_metrics.lanes import exponential
from kapman_metrics.rolling import Array, rolling_mean, rolling_sum, shifted
from kapman_metrics.windows import Block, Columns

ROUNDING = 1e-14
"""Relative difference below which two typical prices are the same."""


def running_totals(block: Block) -> Columns:
    """adi, obv, vpt in shares, and nvi, cumulated over the window.

    adi: accumulation/distribution line, cumulated money flow volume (TA-Lib AD). nvi: negative volume
    index, 1000 at the window's start, moved by C/C[−1] when volume falls (TA-Lib NVI). obv: on-balance
    volume, starts with the first volume, ± V as the close moves (TA-Lib OBV). vpt: volume price trend,
    cumulated V·(C/C[−1] − 1) from 0 (TA-Lib PVT). A bar after a close of 0 moves neither nvi nor vpt.
    """
    ones, zeros = np.ones_like(block.close), np.zeros_like(block.close)
    before = shifted(block.close, 1)
    signed = np.sign(block.change) * block.volume
    priced = np.where(before != 0.0, block.volume * (block.change / before), 0.0)
    falls = (block.volume < shifted(block.volume, 1)) & (before != 0.0)
    ratio = np.where(falls, block.close / before, 1.0)
    return (
        block.lanes.affine(block.money_flow, ones, block.money_flow),
        block.lanes.affine(block.volume, ones, signed),
        block.lanes.affine(zeros, ones, priced),
        block.lanes.affine(1000.0 * ones, ratio, zeros),
    )


def cmf(block: Block) -> Array:
    """Chaikin money flow (20), −1 to 1: Σ money flow volume / ΣV, 0 without volume (TA-Lib CMF)."""
    flow, total = block.now(rolling_sum(block.money_flow, 20)), block.now(rolling_sum(block.volume, 20))
    return np.where(total > 0.0, flow / total, 0.0)


def eom(block: Block) -> Columns:
    """Ease of movement (14): 10⁸·((H − H[−1]) + (L − L[−1]))·(H − L)/(2V) and its SMA14 (`ta`).

    Null where a bar has no volume; `ta` lets such a bar be infinite and its mean undefined.
    """
    move = (block.high - shifted(block.high, 1)) + (block.low - shifted(block.low, 1))
    ease = 1e8 * (move * (block.high - block.low) / (2.0 * block.volume))
    ease = np.where(block.volume > 0.0, ease, np.nan)
    return block.now(ease), block.now(rolling_mean(ease, 14))


def fi(block: Block) -> Array:
    """Elder's force index (13), price × shares: EMA13 of (C − C[−1])·V (TA-Lib EFI)."""
    force = block.change * block.volume
    return block.lanes.average(force, exponential(13, first=1))


def mfi(block: Block) -> Array:
    """Money flow index (14), 0 to 100 (TA-Lib MFI): 100·Σ TP·V on rising TP over Σ on moving TP.

    0 under one dollar of flow. A change that only rounding makes of equal sums H+L+C is none, as in TA-Lib.
    """
    price = block.typical
    change = price - shifted(price, 1)
    flow = price * block.volume
    up = block.now(rolling_sum(np.where(change > ROUNDING * price, flow, 0.0), 14))
    down = block.now(rolling_sum(np.where(change < -ROUNDING * price, flow, 0.0), 14))
    return np.where(up + down >= 1.0, 100.0 * (up / (up + down)), 0.0)


def vwap(block: Block) -> Array:
    """Rolling volume-weighted average price (14), price units: Σ TP·V / ΣV (`ta`); null without volume."""
    dollars = block.now(rolling_sum(block.typical * block.volume, 14))
    shares = block.now(rolling_sum(block.volume, 14))
    return np.where(shares > 0.0, dollars / shares, np.nan)


def flows(block: Block, recent: Block) -> Columns:
    """The volume outputs, in the catalogue's order."""
    adi, obv, vpt, nvi = running_totals(block)
    return adi, cmf(recent), *eom(recent), fi(block), mfi(recent), nvi, obv, vpt, vwap(recent)


def returns(block: Block) -> Columns:
    """cr, dlr, dr, all in percent (`ta`).

    cr = 100·(C/first C of the window − 1); dlr = 100·ln(C/C[−1]); dr = 100·(C/C[−1] − 1). `ta` 0.11 itself
    leaves dr undefined on the first bar, and so do we.
    """
    last, first = block.now(block.close), block.close[block.starts]
    growth = last / block.now(block.close, 1)
    return 100.0 * (last / first - 1.0), 100.0 * np.log(growth), 100.0 * (growth - 1.0)
