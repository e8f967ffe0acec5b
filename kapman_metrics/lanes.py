"""Recursions over many windows at once: one window per lane, every lane one step at a time.

An exponential average that has to start at its own window's first bar costs the whole window for each
date. The windows of consecutive dates take the same steps on neighbouring bars, so the processor takes
several of them with one instruction: step j of a lane reads the bar `start + j`. Lanes never mix, so that
a value's bits are those of its window computed alone.

Lanes that go side by side are a *group*: the windows of a ticker's consecutive dates, or windows of several
tickers. A kernel takes the series as one flat array with a table of the groups, because entering and leaving
compiled code for each group would cost as much as the recursion: a group's values at step j begin at
`flat[begin + j * pitch]`. For consecutive windows that is the series as it stands, with a pitch of one bar.
What a kernel returns is a *panel*: the recursion at the groups' last steps, as many as the indicator looks
back at, steps × lanes of one group after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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


def exponential(n: int, first: int = 0) -> Average:
    """TA-Lib's exponential average: weight 2/(n+1)."""
    return Average(n, 2.0 / (n + 1), first)


def wilder(n: int, first: int = 1) -> Average:
    """Wilder's average: weight 1/n."""
    return Average(n, 1.0 / n, first)


@dataclass(frozen=True)
class Layout:
    """Where things are in a flat series and in a panel that keeps some of the last steps. All int64.

    groups: [groups × 6] begin and pitch in the flat series, steps, lanes, steps kept, begin in the panel.
    size: values in the panel.
    last: [rows] where in the panel the last step of the row's window is.
    pitch: [rows] how far before it the step before is.
    kept: [rows] steps of the window that the panel has.
    """

    groups: np.ndarray
    size: int
    last: np.ndarray
    pitch: np.ndarray
    kept: np.ndarray

    def panel(self, *levels: int) -> Array:
        """A panel to fill, or one for each level."""
        return np.empty((*levels, self.size))

    def at_end(self, panel: Array, back: int = 0) -> Array:
        """[rows]: the panel at the last step of each row's window, or `back` steps earlier; at the first kept before it."""
        if not back:
            return panel[self.last]
        return panel[self.last - self.pitch * np.minimum(back, self.kept - 1)]


@dataclass(frozen=True)
class Lanes:
    """Windows side by side: `heights[r]` bars from `starts[lane[r]]` on are the window of row r.

    Dates of a young ticker share a lane, because their windows share the first bar.
    starts: int64 [lanes]. lane, heights: int64 [rows]. edges: the first lane of each group, and their number.
    """

    starts: np.ndarray
    lane: np.ndarray
    heights: np.ndarray
    edges: np.ndarray
    _layouts: dict[int, Layout] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, starts: np.ndarray, ends: np.ndarray) -> "Lanes":
        """The windows [rows], `starts` to `ends`, in (ticker, date) order."""
        new = np.diff(starts, prepend=-1) != 0
        distinct = starts[new]
        return cls(distinct, np.cumsum(new) - 1, ends - starts, np.array(_edges(distinct)))

    @cached_property
    def _rows(self) -> np.ndarray:
        """The first row of each group."""
        return np.searchsorted(self.lane, self.edges[:-1])

    @cached_property
    def _steps(self) -> np.ndarray:
        """Steps of each group's longest window."""
        return np.maximum.reduceat(self.heights, self._rows)

    @cached_property
    def _consecutive(self) -> np.ndarray:
        """Whether a group's lanes start bar by bar and the last of them is of full length: no step leaves the series."""
        first, last = self.starts[self.edges[:-1]], self.starts[self.edges[1:] - 1]
        height = self.heights[np.append(self._rows[1:], len(self.heights)) - 1]
        return (last - first == np.diff(self.edges) - 1) & (height == self._steps)

    @cached_property
    def _begins(self) -> np.ndarray:
        """Where each group begins in a flat series: consecutive ones in the series, the others before it."""
        sizes = np.where(self._consecutive, 0, self._steps * np.diff(self.edges))
        ends = np.cumsum(sizes)
        return np.where(self._consecutive, ends[-1] + self.starts[self.edges[:-1]], ends - sizes)

    @property
    def steps(self) -> int:
        """Steps of the longest window."""
        return int(self._steps.max())

    def flat(self, series: Array) -> Array:
        """The series with its windows that aren't consecutive laid side by side before it."""
        if self._consecutive.all():
            return series
        return gathered(series, self.starts, self.edges, self._steps, self._consecutive)

    def layout(self, back: int = 0) -> Layout:
        """With a panel that keeps each window's last step and `back` steps before it."""
        if back not in self._layouts:
            self._layouts[back] = self._layout(back)
        return self._layouts[back]

    def _layout(self, back: int) -> Layout:
        lanes = np.diff(self.edges)
        shortest = np.minimum.reduceat(self.heights, self._rows)
        kept = self._steps - np.maximum(shortest - 1 - back, 0)
        ends = np.cumsum(kept * lanes)
        groups = (
            self._begins, np.where(self._consecutive, 1, lanes), self._steps, lanes, kept, ends - kept * lanes
        )  # fmt: skip
        group = np.repeat(np.arange(len(lanes)), np.diff(self._rows, append=len(self.lane)))
        step = self.heights - 1 - (self._steps - kept)[group]
        return Layout(
            groups=np.column_stack(groups),
            size=int(ends[-1]),
            last=groups[-1][group] + step * lanes[group] + self.lane - self.edges[group],
            pitch=lanes[group],
            kept=step + 1,
        )

    def cascade(self, series: Array, *levels: Average, back: int = 0) -> Array:
        """Panels of an average of the series, an average of that and so on."""
        layout = self.layout(back)
        panels = layout.panel(len(levels))
        cascade(self.flat(series), layout.groups, *weights(self.steps, *levels), panels)
        return panels

    def average(self, series: Array, *levels: Average) -> Array:
        """[rows]: an average of the series, or of its average and so on."""
        return self.layout().at_end(self.cascade(series, *levels)[-1])

    def affine(self, seed: Array, keep: Array, add: Array, first: int = 0) -> Array:
        """[rows]: y = keep · y[−1] + add, all three series, from y = seed at step `first` on."""
        layout = self.layout()
        panel = layout.panel()
        start, kept, added = (self.flat(series) for series in (seed, keep, add))
        affine(start, kept, added, layout.groups, first, panel)
        return layout.at_end(panel)


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
def gathered(series, starts, edges, steps, consecutive):  # type: ignore[no-untyped-def]
    """The groups that aren't consecutive, step by step, beyond the last bar that bar again; then the series."""
    size = 0
    for group in range(len(steps)):
        size += 0 if consecutive[group] else steps[group] * (edges[group + 1] - edges[group])
    flat = np.empty(size + len(series))
    last, begin = len(series) - 1, 0
    for group in range(len(steps)):
        if not consecutive[group]:
            lanes = edges[group + 1] - edges[group]
            for lane in range(lanes):
                start = starts[edges[group] + lane]
                for step in range(steps[group]):
                    flat[begin + step * lanes + lane] = series[min(start + step, last)]
            begin += steps[group] * lanes
    for bar in range(len(series)):
        flat[size + bar] = series[bar]
    return flat


# Indices are unsigned below: a signed one might count from the array's end, and finding that out for each
# element keeps LLVM from making vector instructions of the loop. What is kept is copied element by element:
# an array assigned to a slice takes Numba seconds to compile, for the sentence of an error.


@kernel
def cascade(flat, groups, firsts, keep, gain, panels):  # type: ignore[no-untyped-def]
    """y = keep · y[−1] + gain · x with coefficients per level and step; x is the level before, or the series."""
    levels = len(panels)
    for group in range(len(groups)):
        begin, pitch, steps, lanes, kept, out = groups[group]
        state = np.zeros(levels * lanes)
        for step in range(firsts[0], steps):
            at = uintp(begin + step * pitch)
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
                place = uintp(out + (step - (steps - kept)) * lanes)
                for level in range(levels):
                    here = uintp(level * lanes)
                    for lane in range(uintp(lanes)):
                        panels[level, place + lane] = state[here + lane]


@kernel
def affine(seed, keep, add, groups, first, panel):  # type: ignore[no-untyped-def]
    """y = keep · y[−1] + add with coefficients per bar, and y = seed at step `first`."""
    for group in range(len(groups)):
        begin, pitch, steps, lanes, kept, out = groups[group]
        state = np.zeros(lanes)
        for step in range(first, steps):
            at = uintp(begin + step * pitch)
            if step == first:
                for lane in range(uintp(lanes)):
                    state[lane] = seed[at + lane]
            else:
                for lane in range(uintp(lanes)):
                    state[lane] = keep[at + lane] * state[lane] + add[at + lane]
            if step >= steps - kept:
                place = uintp(out + (step - (steps - kept)) * lanes)
                for lane in range(uintp(lanes)):
                    panel[place + lane] = state[lane]
