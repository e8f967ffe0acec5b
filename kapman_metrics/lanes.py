"""Recursions over many windows at once: one window per lane, every lane one step at a time.

An exponential average that has to start at its own window's first bar costs the whole window for each
date. The windows of consecutive dates take the same steps on neighbouring bars, so the processor takes
several of them with one instruction: step j of a lane reads the bar `start + j`. Lanes never mix, so that
a value's bits are those of its window computed alone.

Kernels take the series as (flat, pitch): the lanes' values at step j begin at `flat[j * pitch]`. A series
of consecutive windows is that as it stands, with a pitch of one bar. What they return is a *panel*,
float64 [kept steps × lanes]: the recursion at its last steps, as many as the indicator looks back at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numba import uintp

from kapman_metrics.rolling import Array, kernel

# Windows side by side: what a kernel keeps of them fits into the first cache several times over.
_LANES = 256
# Fewer consecutive windows than this are better gathered from several tickers.
_CONSECUTIVE = 24


@dataclass(frozen=True)
class Average:
    """A level of averages: the mean of n values from step `first` on, then moved by weight · (x − average)."""

    n: int
    weight: float
    first: int = 0

    @property
    def known(self) -> int:
        """The step from which on it is an average of n values."""
        return self.first + self.n - 1


def exponential(n: int, first: int = 0) -> Average:
    """TA-Lib's exponential average: weight 2/(n+1)."""
    return Average(n, 2.0 / (n + 1), first)


def wilder(n: int, first: int = 1) -> Average:
    """Wilder's average: weight 1/n."""
    return Average(n, 1.0 / n, first)


@dataclass(frozen=True)
class Lanes:
    """Windows side by side: `heights[r]` bars from `starts[lane[r]]` on are the window of row r.

    Dates of a young ticker share a lane, because their windows share the first bar.
    """

    starts: np.ndarray
    lane: np.ndarray
    heights: np.ndarray

    @cached_property
    def steps(self) -> int:
        """Steps of the longest window."""
        return int(self.heights.max())

    @cached_property
    def _shortest(self) -> int:
        return int(self.heights.min())

    @cached_property
    def _consecutive(self) -> bool:
        """Whether the lanes start bar by bar and the last of them is of full length: no step leaves the series."""
        together = self.starts[-1] - self.starts[0] == len(self.starts) - 1
        return bool(together and self.heights[-1] == self.steps)

    @cached_property
    def _one_to_one(self) -> bool:
        """Whether every lane is one row's window, all of one length."""
        return len(self.lane) == len(self.starts) and self._shortest == self.steps

    def flat(self, series: Array) -> tuple[Array, int]:
        """The series as (flat, pitch)."""
        if self._consecutive:
            return series[self.starts[0] :], 1
        return gathered(series, self.starts, self.steps), len(self.starts)

    def panel(self, back: int, *levels: int) -> Array:
        """A panel to fill, with the last steps of every window from `back` steps before its last on."""
        kept = self.steps - max(self._shortest - 1 - back, 0)
        return np.empty((*levels, kept, len(self.starts)))

    def at_end(self, panel: Array, back: int = 0) -> Array:
        """[rows]: the panel at the last step of each row's window, or `back` steps earlier."""
        if self._one_to_one:
            return panel[max(len(panel) - 1 - back, 0)]
        step = self.heights - 1 - back - (self.steps - len(panel))
        return panel[np.maximum(step, 0), self.lane]

    def cascade(self, series: Array, *levels: Average, back: int = 0) -> Array:
        """An average of the series, an average of that and so on: [levels × kept steps × lanes]."""
        panels = self.panel(back, len(levels))
        flat, pitch = self.flat(series)
        firsts, keep, gain = weights(self.steps, *levels)
        cascade(flat, pitch, self.steps, firsts, keep, gain, panels)
        return panels

    def average(self, series: Array, average: Average) -> Array:
        """[rows]: an average of the series."""
        return self.at_end(self.cascade(series, average)[0])

    def affine(self, seed: Array, keep: Array, add: Array, first: int = 0) -> Array:
        """[rows]: y = keep · y[−1] + add, all three series, from y = seed at step `first` on."""
        panel = self.panel(0)
        (start, pitch), (kept, _), (added, _) = (self.flat(series) for series in (seed, keep, add))
        affine(start, kept, added, pitch, self.steps, first, panel)
        return self.at_end(panel)


def lanes_of(starts: np.ndarray, ends: np.ndarray) -> list[Lanes]:
    """The windows [rows] in (ticker, date) order as lanes, in the rows' order."""
    new = np.diff(starts, prepend=-1) != 0
    lane = np.cumsum(new) - 1
    distinct = starts[new]
    edges = _edges(distinct)
    rows = np.searchsorted(lane, edges)
    return [
        Lanes(distinct[first:last], lane[begin:end] - first, (ends - starts)[begin:end])
        for (first, last), (begin, end) in zip(pairwise(edges), pairwise(rows), strict=True)
    ]


def _edges(starts: np.ndarray) -> Sequence[int]:
    """Cut where windows cease to be consecutive, unless that leaves mostly short pieces; then into equal parts."""
    breaks = np.flatnonzero(np.diff(starts) != 1) + 1
    if len(starts) < _CONSECUTIVE * (len(breaks) + 1):
        breaks = breaks[:0]
    edges = [0]
    for first, last in pairwise([0, *breaks.tolist(), len(starts)]):
        parts = -(-(last - first) // _LANES)
        edges += [first + (last - first) * (part + 1) // parts for part in range(parts)]
    return edges


@lru_cache(maxsize=128)
def weights(steps: int, *levels: Average) -> tuple[Array, Array, Array]:
    """firsts [levels], and what each average keeps of itself and takes of the value [levels × steps]."""
    firsts, n, weight = (
        np.array(column) for column in zip(*((a.first, a.n, a.weight) for a in levels), strict=True)
    )
    step = np.arange(steps)
    seeding = step < (firsts + n)[:, None]
    keep = np.where(seeding, 1.0, 1.0 - weight[:, None])
    gain = np.where(seeding, 1.0 / n[:, None], weight[:, None])
    return firsts, keep, np.where(step < firsts[:, None], 0.0, gain)


@kernel
def gathered(series, starts, steps):  # type: ignore[no-untyped-def]
    """A series in windows that aren't consecutive, step by step; beyond the last bar that bar again."""
    flat = np.empty(steps * len(starts))
    last = len(series) - 1
    for lane in range(len(starts)):
        for step in range(steps):
            flat[step * len(starts) + lane] = series[min(starts[lane] + step, last)]
    return flat


# Indices are unsigned below: a signed one might count from the array's end, and finding that out for each
# element keeps LLVM from making vector instructions of the loop.


@kernel
def cascade(flat, pitch, steps, firsts, keep, gain, panels):  # type: ignore[no-untyped-def]
    """y = keep · y[−1] + gain · x with coefficients per level and step; x is the level before, or the series."""
    levels, kept, lanes = panels.shape
    state = np.zeros(levels * lanes)
    for step in range(firsts[0], steps):
        at = uintp(step * pitch)
        k, g = keep[0, step], gain[0, step]
        for lane in range(uintp(lanes)):
            state[lane] = k * state[lane] + g * flat[at + lane]
        for level in range(1, levels):
            if step >= firsts[level]:
                k, g = keep[level, step], gain[level, step]
                here, above = uintp(level * lanes), uintp((level - 1) * lanes)
                for lane in range(uintp(lanes)):
                    state[here + lane] = k * state[here + lane] + g * state[above + lane]
        if step >= steps - kept:
            for level in range(levels):
                panels[level, step - (steps - kept)] = state[level * lanes : (level + 1) * lanes]


@kernel
def affine(seed, keep, add, pitch, steps, first, panel):  # type: ignore[no-untyped-def]
    """y = keep · y[−1] + add with coefficients per bar, and y = seed at step `first`."""
    kept, lanes = panel.shape
    state = np.zeros(lanes)
    for step in range(first, steps):
        at = uintp(step * pitch)
        if step == first:
            for lane in range(uintp(lanes)):
                state[lane] = seed[at + lane]
        else:
            for lane in range(uintp(lanes)):
                state[lane] = keep[at + lane] * state[lane] + add[at + lane]
        if step >= steps - kept:
            panel[step - (steps - kept)] = state
