"""Schaff trend cycle as `ta` 0.11 computes it: stochastics of stochastics with pandas' averages between."""

import numpy as np
from numba import uintp

from kapman_metrics.rolling import Array, kernel
from kapman_metrics.windows import Block

# Values whose range a stochastic looks at. Compiled in, so that the loop over them is unrolled and the one
# over the lanes becomes vector instructions.
_RANGE = 10


def stc(block: Block) -> Array:
    """Schaff trend cycle (23, 50, 10, smoothing 3 and 3), 0 to 100 (`ta`).

    Two stochastics over 10 bars, each followed by EMA3, of EMA23 − EMA50; averages seeded with the first
    value. Where a stochastic has no range the average keeps its last value, as pandas does.
    """
    layout = block.lanes.layout()
    panel = layout.panel()
    schaff(block.lanes.flat(block.close), layout.groups, 23, 50, panel)
    return layout.at_end(panel)


@kernel
def schaff(flat, groups, quick, late, panel):  # type: ignore[no-untyped-def]
    """The panel of the cycle."""
    for group in range(len(groups)):
        _cycle(flat, groups[group], quick, late, panel)


@kernel
def _cycle(flat, group, quick, late, panel):  # type: ignore[no-untyped-def]
    """A group's panel; `lines` and `cycles` hold the last ten values of what the stochastics look at."""
    begin, pitch, steps, lanes, kept, out = group
    fast, slow = flat[begin : begin + lanes].copy(), flat[begin : begin + lanes].copy()
    lines, cycles = np.empty(_RANGE * lanes), np.full(_RANGE * lanes, np.nan)
    places, result = np.full(lanes, np.nan), np.full(lanes, np.nan)
    first, first_weight, first_seen = np.full(lanes, np.nan), np.ones(lanes), np.zeros(lanes)
    second, second_weight, second_seen = np.full(lanes, np.nan), np.ones(lanes), np.zeros(lanes)
    first_young = second_young = True
    for step in range(steps):
        now = uintp(step % _RANGE * lanes)
        _apart(flat, uintp(begin + step * pitch), quick, late, fast, slow, lines, now)
        if step >= late + _RANGE - 2:  # ten lines, the first of them from a full slow average
            oldest = uintp((step + 1) % _RANGE * lanes)
            _place(lines, now, oldest, places)
            _smooth(places, first, first_weight, cycles, now)
            if first_young:
                first_young = _hide(places, first_seen, cycles, now)
            _place(cycles, now, oldest, places)
            _smooth(places, second, second_weight, result, uintp(0))
            if second_young:
                second_young = _hide(places, second_seen, result, uintp(0))
        if step >= steps - kept:
            place = uintp(out + (step - (steps - kept)) * lanes)
            for lane in range(uintp(lanes)):
                panel[place + lane] = result[lane]


@kernel
def _apart(flat, at, quick, late, fast, slow, lines, now):  # type: ignore[no-untyped-def]  # noqa: PLR0913
    """One step of EMA_quick − EMA_late, both seeded with the first value, as pandas' `ewm(span, adjust=False)`.

    In this form an average stays as it is when it is met. Where prices stand still the difference must be
    constant, and not merely nearly: the stochastic would blow its rounding up to a range of 100.
    """
    share_fast, share_slow = 2.0 / (quick + 1), 2.0 / (late + 1)
    for lane in range(uintp(len(fast))):
        fast[lane] += share_fast * (flat[at + lane] - fast[lane])
        slow[lane] += share_slow * (flat[at + lane] - slow[lane])
        lines[now + lane] = fast[lane] - slow[lane]


@kernel
def _place(rows, now, oldest, out):  # type: ignore[no-untyped-def]
    """100·(x − MIN10)/(MAX10 − MIN10) of the newest of ten rows; NaN where one of the ten is missing and where all are equal.

    Only the first values of a lane may be missing, so that the oldest of the ten tells whether any is.
    """
    lanes = len(out)
    for lane in range(uintp(lanes)):
        bottom = top = rows[oldest + lane]
        for row in range(_RANGE):
            value = rows[uintp(row * lanes) + lane]
            bottom = value if value < bottom else bottom
            top = value if value > top else top
        out[lane] = 100.0 * (rows[now + lane] - bottom) / (top - bottom)


@kernel
def _smooth(values, average, weight, out, now):  # type: ignore[no-untyped-def]
    """One step of pandas' `ewm(span=3, adjust=False).mean()`, gaps included; NaN before the first value.

    A NaN repeats the last average while the weight of what came before halves.
    """
    for lane in range(uintp(len(values))):
        value, before, kept = values[lane], average[lane], 0.5 * weight[lane]
        missing = value != value  # noqa: PLR0124 - true for NaN alone
        before = value if before != before else before  # noqa: PLR0124
        value = before if missing else value
        moved = kept * before + (1.0 - kept) * value
        average[lane] = before if value == before else moved
        out[now + lane] = average[lane]
        weight[lane] = kept if missing else 1.0


@kernel
def _hide(values, seen, out, now):  # type: ignore[no-untyped-def]
    """pandas' `min_periods=3`: NaN in the lanes in which fewer than three values came; whether there are any."""
    least = 3.0
    for lane in range(uintp(len(values))):
        seen[lane] += 1.0 if values[lane] == values[lane] else 0.0
        out[now + lane] = out[now + lane] if seen[lane] >= 3.0 else np.nan
        least = min(least, seen[lane])
    return least < 3.0
