"""Wilder's parabolic stop and reverse, as TA-Lib 0.8 computes it in each window."""

import numpy as np

from kapman_metrics.rolling import kernel
from kapman_metrics.technical.ratios import flag
from kapman_metrics.windows import Block, Columns

STEP = 0.02
LIMIT = 0.2


def psar(block: Block) -> Columns:
    """Parabolic SAR (0.02, 0.2): psar, psar_up, psar_down, psar_up_indicator, psar_down_indicator.

    Price units; psar is TA-Lib's SAR. psar_up is the stop while the trend is up (below the price), else
    NaN, psar_down the mirror; the indicators are 1.0 on the first bar of a side, else 0.0. From 2 bars.
    """
    stop, up, turned = stops(block.high, block.low, block.starts, block.ends)
    return (
        stop,
        np.where(up, stop, np.nan),
        np.where(up, np.nan, stop),
        flag(up & turned),
        flag(~up & turned),
    )


@kernel
def stops(high, low, starts, ends):  # type: ignore[no-untyped-def]
    """The stop at the last bar of each window, whether the trend is rising, and whether it has just turned.

    What follows a bar is decided by four numbers: side, stop, extreme, speed. A window's path soon runs
    into the path of the window before, mostly at a common reversal; from the bar on at which all four are
    equal, the two are one. The last path is kept bar by bar, so that a window is computed up to that bar only.
    """
    rising, turned = np.zeros(len(high), np.bool_), np.zeros(len(high), np.bool_)
    value, stop, extreme, speed = (
        np.empty(len(high)),
        np.empty(len(high)),
        np.empty(len(high)),
        np.empty(len(high)),
    )
    out, up, fresh = np.full(len(ends), np.nan), np.zeros(len(ends), np.bool_), np.zeros(len(ends), np.bool_)
    begun = known = -1  # the kept path's window and the last bar of it that is known
    for row in range(len(ends)):
        start, last = starts[row], ends[row] - 1
        if last == start:
            continue
        apart = start != begun
        i = known + 1
        if apart:
            # TA-Lib's first direction: falling only when the second bar's low fell by more than its high rose.
            fall = low[start] - low[start + 1]
            side = not (fall > 0.0 and high[start + 1] - high[start] < fall)
            rising[start], stop[start] = side, low[start] if side else high[start]
            extreme[start], speed[start] = high[start + 1] if side else low[start + 1], STEP
            begun, i = start, start + 1
        while i <= last:
            before = (rising[i], stop[i], extreme[i], speed[i])
            side, bound, edge, pace = rising[i - 1], stop[i - 1], extreme[i - 1], speed[i - 1]
            near = max(i - 1, start + 1)  # TA-Lib's first step looks at the second bar twice
            turns = low[i] <= bound if side else high[i] >= bound
            if turns:
                side = not side
                bound, pace = bounded(edge, side, high, low, near, i), STEP
                edge = high[i] if side else low[i]
            value[i] = bound
            if not turns and (high[i] > edge if side else low[i] < edge):
                edge = high[i] if side else low[i]
                pace = min(pace + STEP, LIMIT)
            turned[i] = turns or i == start + 1
            rising[i], extreme[i], speed[i] = side, edge, pace
            stop[i] = bounded(bound + pace * (edge - bound), side, high, low, near, i)
            if apart and i <= known and before == (side, stop[i], edge, pace):
                i, apart = known, False
            i += 1
        known = i - 1
        out[row], up[row], fresh[row] = value[last], rising[last], turned[last]
    return out, up, fresh


@kernel
def bounded(stop, side, high, low, before, i):  # type: ignore[no-untyped-def]
    """The stop kept outside the last two bars: not above their lows when rising, nor below their highs."""
    if side:
        return min(stop, low[before], low[i])
    return max(stop, high[before], high[i])
