"""A fast and a slow average of one series, how far they are apart, and an average of that: MACD, PPO, PVO."""

import numpy as np
from numba import uintp

from kapman_metrics.lanes import exponential, weights
from kapman_metrics.rolling import Array, kernel
from kapman_metrics.technical.ratios import ZERO
from kapman_metrics.windows import Block, Columns

_SLOW, _SIGNAL = exponential(26), exponential(9, first=25)


def macd(block: Block) -> Columns:
    """MACD (12, 26, 9), price units: line, signal, difference (TA-Lib MACD), all three from 34 bars.

    line = EMA12 − EMA26, both seeded so that they start on bar 26; signal = EMA9 of the line.
    """
    return _crossover(block, block.close, first=14, relative=False)


def percentage_oscillator(block: Block, values: Array) -> Columns:
    """PPO / PVO (12, 26, 9) in percent: line, signal, histogram (TA-Lib PPO and PVO with EMA).

    line = 100·(EMA12 − EMA26)/EMA26, both seeded by the window's first values; signal = TA-Lib's EMA9 of
    the line, which TA-Lib itself does not return.
    """
    return _crossover(block, values, first=0, relative=True)


def _crossover(block: Block, values: Array, *, first: int, relative: bool) -> Columns:
    _, keep, gain = weights(block.lanes.steps, exponential(12, first), _SLOW, _SIGNAL)
    layout = block.lanes.layout()
    panels = layout.panel(2)
    crossover(block.lanes.flat(values), layout.groups, keep, gain, relative, panels)
    line, signal = (layout.at_end(panel) for panel in panels)
    return line, signal, line - signal


@kernel
def crossover(flat, groups, keep, gain, relative, panels):  # type: ignore[no-untyped-def]
    """Panels of the line (in percent of the slow average if `relative`) and of its average.

    keep and gain: the coefficients of the fast average, the slow one and the signal at each step.
    """
    for group in range(len(groups)):
        _cross(flat, groups[group], keep, gain, relative, panels)


@kernel
def _cross(flat, group, keep, gain, relative, panels):  # type: ignore[no-untyped-def]
    begin, pitch, steps, lanes, kept, out = group
    fast, slow, line, signal = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
    for step in range(steps):
        at = uintp(begin + step * pitch)
        k, g = keep[0, step], gain[0, step]
        slow_k, slow_g = keep[1, step], gain[1, step]
        for lane in range(uintp(lanes)):
            fast[lane] = k * fast[lane] + g * flat[at + lane]
            slow[lane] = slow_k * slow[lane] + slow_g * flat[at + lane]
        if step >= 25:
            k, g = keep[2, step], gain[2, step]
            for lane in range(uintp(lanes)):
                line[lane] = fast[lane] - slow[lane]
            if relative:
                for lane in range(uintp(lanes)):
                    line[lane] = 0.0 if abs(slow[lane]) < ZERO else 100.0 * (line[lane] / slow[lane])
            for lane in range(uintp(lanes)):
                signal[lane] = k * signal[lane] + g * line[lane]
        if step >= steps - kept:
            place = uintp(out + (step - (steps - kept)) * lanes)
            for lane in range(uintp(lanes)):
                panels[0, place + lane] = line[lane]
                panels[1, place + lane] = signal[lane]
