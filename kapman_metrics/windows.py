"""From daily bars to windows: the one place where the history rule is written down.

The value of a metric at date D is a function of the ticker's last `HISTORY_SESSIONS` bars up to and
including D, and of nothing else. Every kernel therefore gets exactly that slice and starts every
recursion and every running total at its first bar, so a date computed alone, inside a range or with
more history at hand is the same bit for bit.
"""

import datetime
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

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
_PRICES = ("open", "high", "low", "close")

# Rows per piece of work: enough to forget the hand-over, few enough to balance two threads.
_ROWS_PER_TASK = 512

Kernel = Callable[..., None]

KERNEL_SIGNATURE = "void(i8[::1], i8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[::1], f8[:, ::1])"
"""Numba types of a kernel's (starts, ends, open, high, low, close, volume, out): one, so one compilation."""


@dataclass(frozen=True)
class BarWindows:
    """Bars in (ticker_id, date) order and, for every asked bar, the slice of them it may look at.

    Row r of a result belongs to the bar `ends[r] - 1` and looks at `bars[starts[r]:ends[r]]`.
    """

    bars: pl.DataFrame
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, bars: pl.DataFrame, sessions: Sequence[datetime.date]) -> "BarWindows":
        """Check the bars, sort them and find the window of every bar whose date is in `sessions`.

        Raises ValueError for missing columns, wrong types, duplicate (ticker_id, date), and prices or
        volumes that are missing or not finite; a null volume counts as no trade, i.e. 0.
        """
        ordered = _checked(bars).sort("ticker_id", "date")
        _check_values(ordered)
        asked = pl.col("date").is_in(pl.Series(list(sessions), dtype=pl.Date).implode())
        rows = (
            ordered.select(pl.int_range(pl.len()).alias("bar"), "ticker_id", "date")
            .with_columns(pl.col("bar").min().over("ticker_id").alias("first"))
            .filter(asked)
            .select("bar", start=pl.max_horizontal("first", pl.col("bar") - (HISTORY_SESSIONS - 1)))
        )
        return cls(ordered, rows["start"].to_numpy(writable=True), rows["bar"].to_numpy() + 1)

    @property
    def keys(self) -> pl.DataFrame:
        """ticker_id and date of every row."""
        return self.bars.select("ticker_id", "date")[self.ends - 1]

    def prices(self) -> tuple[np.ndarray, ...]:
        """open, high, low, close of all bars, contiguous float64."""
        return tuple(self.bars[name].to_numpy(writable=True) for name in _PRICES)

    def evaluate(self, kernel: Kernel, width: int) -> np.ndarray:
        """Run a compiled kernel over all windows: float64 [rows × width], not finite = NaN = null.

        The kernel writes the rows it is given and reads nothing else that is written, so the number of
        threads changes the time and never a value.
        """
        values = np.full((len(self.ends), width), np.nan)
        arrays = (*self.prices(), self.bars["volume"].to_numpy(writable=True))

        def fill(first: int) -> None:
            part = slice(first, first + _ROWS_PER_TASK)
            kernel(self.starts[part], self.ends[part], *arrays, values[part])

        tasks = range(0, len(self.ends), _ROWS_PER_TASK)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
            list(threads.map(fill, tasks))
        values[~np.isfinite(values)] = np.nan
        return values


def _checked(bars: pl.DataFrame) -> pl.DataFrame:
    """The columns of `BAR_SCHEMA` with their types, or a ValueError that names the first that differs."""
    for name, dtype in BAR_SCHEMA.items():
        if name not in bars.columns:
            raise ValueError(f"bars lack the column {name!r}; metrics need {', '.join(BAR_SCHEMA)}")
        if bars.schema[name] != dtype:
            raise ValueError(f"bars.{name} is {bars.schema[name]}, not {dtype}; cast it before")
    return bars.select(list(BAR_SCHEMA)).with_columns(pl.col("volume").fill_null(0.0))


def _check_values(ordered: pl.DataFrame) -> None:
    """Refuse missing keys, values that are no numbers, and two bars for one (ticker_id, date)."""
    missing = pl.any_horizontal(pl.col("ticker_id", "date").is_null())
    odd = pl.any_horizontal((~pl.col(*_PRICES, "volume").is_finite()).fill_null(value=True))
    wrong = ordered.filter(missing | odd)
    if wrong.height:
        raise ValueError(
            f"{wrong.height} bars have a missing key, price or volume, or one that is not finite, "
            f"first {wrong.row(0, named=True)}"
        )
    again = ordered.filter(
        (pl.col("ticker_id") == pl.col("ticker_id").shift()) & (pl.col("date") == pl.col("date").shift())
    )
    if again.height:
        ticker, date = again.select("ticker_id", "date").row(0)
        raise ValueError(f"{again.height} bars repeat a (ticker_id, date), first {ticker} on {date}")
