"""Daily aggregate files as the vendor keeps them in its bucket."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numpy as np
import polars as pl

from kapman_simulator.listings import Listing
from kapman_simulator.objects import HEADER, gzipped
from kapman_simulator.prices import Bars
from kapman_simulator.sessions import midnight_ns

_ROWS_AT_ONCE = 500_000  # bounds memory


def files(listings: list[Listing], sessions: tuple[date, ...], bars: Bars) -> Iterator[tuple[date, bytes]]:
    """Each session with its compressed file, rows sorted by symbol as `listings` are."""
    symbols = pl.Series("ticker", [row.symbol for row in listings])
    at_once = max(1, _ROWS_AT_ONCE // len(listings))
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(sessions), at_once):
            part = slice(start, start + at_once)
            frame = _rows(symbols, sessions[part], bars, part)
            ends = np.cumsum(bars.traded[part].sum(axis=1)).tolist()
            slices = [frame.slice(a, b - a) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
            yield from zip(sessions[part], pool.map(_file, slices), strict=True)


def _file(rows: pl.DataFrame) -> bytes:
    return gzipped(rows.write_csv().encode())


def _rows(symbols: pl.Series, sessions: tuple[date, ...], bars: Bars, part: slice) -> pl.DataFrame:
    """The rows of some consecutive sessions in the files' columns, session by session."""
    row, column = np.nonzero(bars.traded[part])
    cells = (row + part.start, column)
    windows = np.array([midnight_ns(session) for session in sessions])
    return pl.DataFrame(
        {
            "ticker": symbols.gather(column),
            "volume": _as_written(bars.volume[cells]),
            "open": bars.open[cells],
            "close": bars.close[cells],
            "high": bars.high[cells],
            "low": bars.low[cells],
            "window_start": windows[row],
            "transactions": bars.transactions[cells],
        },
        schema_overrides={"ticker": pl.String},
    ).select(HEADER)


def _as_written(volume: np.ndarray) -> pl.Series:
    """Volumes as text: a whole number without a decimal point, any other with its thousandths."""
    shares = pl.Series(volume)
    whole = shares.cast(pl.Int64)
    text = pl.when(shares == whole).then(whole.cast(pl.String)).otherwise(shares.cast(pl.String))
    return pl.select(text).to_series()
