"""Wilder's parabolic stop and reverse over one window of bars, as TA-Lib 0.8 computes it."""

import numpy as np

from kapman_metrics.technical.averages import Array, kernel

STEP = 0.02
LIMIT = 0.2


@kernel
def bounded(stop: float, rising: bool, first: float, second: float) -> float:
    """The stop kept outside the last two bars: not above their lows when rising, nor below their highs."""
    if rising:
        return min(stop, first, second)
    return max(stop, first, second)


@kernel
def starts_rising(high: Array, low: Array) -> bool:
    """TA-Lib's first direction: falling only when the second bar's low fell by more than its high rose."""
    fall = low[0] - low[1]
    return not (fall > 0.0 and high[1] - high[0] < fall)


@kernel
def psar(high: Array, low: Array) -> tuple[float, float, float, float, float]:
    """Parabolic SAR (0.02, 0.2): psar, psar_up, psar_down, psar_up_indicator, psar_down_indicator.

    Price units; psar is TA-Lib's SAR. psar_up is the stop while the trend is up (below the price), else
    NaN, psar_down the mirror; the indicators are 1.0 on the first bar of a side, else 0.0. From 2 bars.
    """
    size = len(high)
    if size < 2:
        return np.nan, np.nan, np.nan, np.nan, np.nan
    rising = starts_rising(high, low)
    stop = low[0] if rising else high[0]
    extreme = high[1] if rising else low[1]
    acceleration = STEP
    value = stop
    turned = True
    for i in range(1, size):
        before = max(i - 1, 1)  # TA-Lib's first step looks at the second bar twice
        turned = i == 1
        if low[i] <= stop if rising else high[i] >= stop:
            turned = True
            rising = not rising
            edge = low if rising else high
            value = bounded(extreme, rising, edge[before], edge[i])
            acceleration = STEP
            extreme = high[i] if rising else low[i]
            stop = value
        else:
            edge = low if rising else high
            value = stop
            if high[i] > extreme if rising else low[i] < extreme:
                extreme = high[i] if rising else low[i]
                acceleration = min(acceleration + STEP, LIMIT)
        stop = bounded(stop + acceleration * (extreme - stop), rising, edge[before], edge[i])
    flag = 1.0 if turned else 0.0
    if rising:
        return value, value, np.nan, flag, 0.0
    return value, np.nan, value, 0.0, flag
