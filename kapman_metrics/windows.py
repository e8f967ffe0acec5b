"""From daily bars to windows: the one place where the history rule is written down.

The value of a metric at date D is a function of the ticker's last `HISTORY_SESSIONS` bars up to and
including D, and of nothing else. Rolling formulas look at fewer bars; recursions and running totals start
at their own window's first bar and take the same steps whatever else is computed (`lanes`), so a date
computed alone, inside a range or with more history at hand is the same bit for bit.
"""

import datetime
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl

from kapman_metrics.lanes import Array, Lanes
from kapman_metrics.rolling import shifted

HISTORY_SESSIONS = 400
"""Bars of its own ticker that a value may depend on, the bar of the date itself included."""

BAR_SCHEMA = pl.Schema(
    {
        "ticker_id": pl.String,
        "date": pl.Date,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Float64,
    }
)
_VALUES = ("open", "high", "low", "close", "volume")

# Bars in one piece of work, a whole ticker at least: its series fit into a core's cache, and there are
# enough pieces to balance two threads.
_BARS_PER_BLOCK = 16_384

Columns = Sequence[Array]


@dataclass(frozen=True)
class Block:
    """Bars of a few tickers one after the other, and the rows that are asked of them.

    Series are float64 [bars]. What looks k bars back runs over the border between two tickers; those
    are the rows with fewer than k + 1 bars, which the catalogue's minimum of bars makes null.
    """

    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    age: np.ndarray
    """int64 [bars]: how many bars of the same ticker stand before this one in the block."""
    starts: np.ndarray
    """int64 [rows]: the first bar of the row's window."""
    ends: np.ndarray
    """int64 [rows]: the bar after the row's window."""

    def now(self, series: Array, back: int = 0) -> Array:
        """[rows]: the series at the row's bar, or `back` bars earlier."""
        return series[np.maximum(self.ends - 1 - back, 0)]

    def recent(self, bars: int) -> "Block":
        """The same rows over only the last `bars` bars before and at each of them, for rolling formulas."""
        edges = np.zeros(len(self.close) + 1, dtype=np.int64)
        np.add.at(edges, np.maximum(self.ends - bars, 0), 1)
        np.add.at(edges, self.ends, -1)
        needed = np.cumsum(edges[:-1]) > 0
        places = np.cumsum(needed)
        return Block(
            open=self.open[needed],
            high=self.high[needed],
            low=self.low[needed],
            close=self.close[needed],
            volume=self.volume[needed],
            age=self.age[needed],
            starts=places[np.maximum(self.starts, self.ends - bars)] - 1,
            ends=places[self.ends - 1],
        )

    @cached_property
    def lanes(self) -> Lanes:
        """The windows side by side, for recursions from each window's first bar on."""
        return Lanes.of(self.starts, self.ends)

    @cached_property
    def change(self) -> Array:
        """C − C[−1]."""
        return self.close - shifted(self.close, 1)

    @cached_property
    def typical(self) -> Array:
        """(H + L + C)/3."""
        return (self.high + self.low + self.close) / 3.0

    @cached_property
    def true_range(self) -> Array:
        """Largest of the bar's range and the distances of its ends from the close before."""
        before = shifted(self.close, 1)
        distance = np.maximum(np.abs(self.high - before), np.abs(self.low - before))
        return np.maximum(self.high - self.low, distance)

    @cached_property
    def money_flow(self) -> Array:
        """Volume signed by where the close lies in the bar, −V at the low to +V at the high; 0 if H = L."""
        width = self.high - self.low
        place = ((self.close - self.low) - (self.high - self.close)) / width
        return np.where(width > 0.0, place * self.volume, 0.0)


@dataclass(frozen=True)
class BarWindows:
    """Bars in (ticker_id, date) order and, for every asked bar, the slice of them it may look at.

    Row r of a result belongs to the bar `ends[r] - 1` and looks at `bars[starts[r]:ends[r]]`; `firsts[r]`
    is the first known bar of its ticker. All int64 [rows].
    """

    bars: pl.DataFrame
    """ticker_id and date."""
    values: tuple[Array, ...]
    """open, high, low, close, volume of all bars."""
    firsts: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, bars: pl.DataFrame, sessions: Sequence[datetime.date]) -> "BarWindows":
        """Check the bars, sort them and find the window of every bar whose date is in `sessions`.

        Raises ValueError for missing columns, wrong types, duplicate (ticker_id, date), and prices or
        volumes that are missing or not finite; a null volume counts as no trade, i.e. 0.
        """
        ordered = _ordered(_checked(bars))
        new = ordered["ticker_id"].ne_missing(ordered["ticker_id"].shift()).to_numpy()
        asked = np.flatnonzero(ordered["date"].is_in(pl.Series(list(sessions), dtype=pl.Date).implode()))
        firsts = np.flatnonzero(new)[np.cumsum(new)[asked] - 1]
        return cls(
            bars=ordered.select("ticker_id", "date"),
            values=tuple(ordered[name].to_numpy(writable=True) for name in _VALUES),
            firsts=firsts,
            starts=np.maximum(firsts, asked + 1 - HISTORY_SESSIONS),
            ends=asked + 1,
        )

    @property
    def keys(self) -> pl.DataFrame:
        """ticker_id and date of every row."""
        return self.bars[self.ends - 1]

    @property
    def sizes(self) -> np.ndarray:
        """Bars in each row's window, int64 [rows]."""
        return self.ends - self.starts

    def evaluate(self, formula: Callable[[Block], Columns], minimum_bars: Sequence[int]) -> Array:
        """A formula's columns for all rows: float64 [columns × rows], NaN = null.

        Null is what isn't finite, and what has fewer bars in its window than the column's `minimum_bars`.
        Rows are independent of each other: the number of threads changes the time and never a value.
        """
        columns = np.empty((len(minimum_bars), len(self.ends)))

        def fill(rows: slice) -> None:
            sizes = self.sizes[rows]
            with np.errstate(all="ignore"):
                results = formula(self._block(rows))
                for column, values, minimum in zip(columns, results, minimum_bars, strict=True):
                    column[rows] = np.where((sizes >= minimum) & np.isfinite(values), values, np.nan)

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
            list(threads.map(fill, self._pieces()))
        return columns

    def _pieces(self) -> list[slice]:
        """The rows in slices, each the rows of as many whole tickers as make a block."""
        if not len(self.ends):
            return []
        new = np.flatnonzero(np.diff(self.firsts, prepend=-1))
        bars = np.cumsum(self.ends[np.append(new[1:], len(self.ends)) - 1] - self.starts[new])
        begins = new[np.diff(bars // _BARS_PER_BLOCK, prepend=-1) != 0]
        return [slice(*edges) for edges in pairwise([*begins.tolist(), len(self.ends)])]

    def _block(self, rows: slice) -> Block:
        """The bars that these rows look at, with the rows' windows counted from the first of them."""
        first, last = self.starts[rows][0], self.ends[rows][-1]
        age = np.ones(last - first, dtype=np.int64)
        tickers = np.maximum(np.unique(self.firsts[rows]), first) - first
        age[tickers] = -np.diff(tickers, prepend=0) + 1
        age = np.cumsum(age) - 1
        open_, high, low, close, volume = (series[first:last] for series in self.values)
        return Block(open_, high, low, close, volume, age, self.starts[rows] - first, self.ends[rows] - first)


def _checked(bars: pl.DataFrame) -> pl.DataFrame:
    """The columns of `BAR_SCHEMA` with their types, or a ValueError that names the first that differs."""
    for name, dtype in BAR_SCHEMA.items():
        if name not in bars.columns:
            raise ValueError(f"bars lack the column {name!r}; metrics need {', '.join(BAR_SCHEMA)}")
        if bars.schema[name] != dtype:
            raise ValueError(f"bars.{name} is {bars.schema[name]}, not {dtype}; cast it before")
    return bars.select(list(BAR_SCHEMA)).with_columns(pl.col("volume").fill_null(0.0))


def _ordered(bars: pl.DataFrame) -> pl.DataFrame:
    """The bars by ticker and date; refuses what is no number and two bars for one (ticker_id, date)."""
    missing = pl.any_horizontal(pl.col("ticker_id", "date").is_null())
    odd = pl.any_horizontal((~pl.col(*_VALUES).is_finite()).fill_null(value=True))
    wrong = bars.filter(missing | odd)
    if wrong.height:
        raise ValueError(
            f"{wrong.height} bars have a missing key, price or volume, or one that is not finite, "
            f"first {wrong.row(0, named=True)}"
        )
    ticker, date = pl.col("ticker_id"), pl.col("date")
    same = ticker == ticker.shift()
    # Reading from the database yields sorted bars, and sorting millions by text costs more than finding that out.
    if bars.select(((ticker < ticker.shift()) | (same & (date < date.shift()))).any()).item():
        bars = bars.sort("ticker_id", "date")
    again = bars.filter(same & (date == date.shift()))
    if again.height:
        first, day = again.select("ticker_id", "date").row(0)
        raise ValueError(f"{again.height} bars repeat a (ticker_id, date), first {first} on {day}")
    return bars
