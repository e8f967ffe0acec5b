"""Metrics against the way people compute them: `python benchmarks/metrics.py [--symbols 11000] [--dates 252 ...]`.

The baseline is the same indicators as the predecessor of this platform computed them: for each ticker and
date pandas and `ta` over the ticker's bars (its 84 outputs and more), the 61 candlestick patterns of TA-Lib
and the price metrics in pandas. It is measured on a sample of tickers and stands as seconds per ticker-date.

- `metrics_one_date_*`: technical indicators, candlestick patterns and price metrics of the whole market for
  one date, from 400 bars of each symbol.
- `metrics_backfill_*`: the same for every date of a range and a watchlist, in one pass.
- `*_compute`: from bars in memory to columns of numbers. `*_database`: from the bars in `ohlcv` to rows in
  `daily_snapshots`: read, computed, rendered as JSON, staged, upserted and committed durably.

- `dealer_volatility`: dealer and volatility metrics of 140 underlyings × 2,000 contracts over a NumPy broadcast
  of the repricing alone (option_metrics.py).

Every comparison is a line `<name> ratio <number>`: how many times the baseline's rate per ticker-date, in
wall time on all cores; the best of `--repeats`. CPU seconds, the peak memory of this process and the seconds
of compilation (none is paid while the cache is there) are printed too. `--symbols 50 --watchlist 4 --dates 5
--sample 1` tries everything in seconds. The server is the one that `kapman db url` prints, or
KAPMAN_TEST_DATABASE_URL; a database of its own is made there and dropped at the end.
"""

import argparse
import datetime as dt
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import option_metrics
import pandas as pd
import polars as pl
import psycopg
import ta
import talib
from ohlcv_load import server_url
from psycopg import conninfo, sql

from kapman_assets.daily_snapshots import (
    OWN_COLUMNS,
    batched,
    compute_snapshots,
    sessions_a_transaction,
)
from kapman_metrics.catalogue import CANDLESTICKS
from kapman_metrics.price import price_values
from kapman_metrics.technical import HISTORY_SESSIONS, technical_values
from kapman_metrics.windows import BarWindows
from kapman_resources.bars import read_bars
from kapman_resources.binary_copy import copy_frame
from kapman_resources.database import Database
from kapman_resources.publish import stage, upsert_staged, with_binary_ids
from kapman_resources.sessions import sessions_between
from kapman_resources.structure import pave
from kapman_resources.tables import DAILY_SNAPSHOTS, OHLCV, TICKER_NAMESPACE, TICKERS

LAST = dt.date(2026, 8, 21)


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds of wall time and of CPU."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=11_000, help="of the whole market, for one date")
    parser.add_argument("--watchlist", type=int, default=140, help="symbols of the backfill")
    parser.add_argument("--dates", type=int, default=252, help="of the backfill")
    parser.add_argument("--sample", type=int, default=10, help="tickers of the baseline")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compute-only", action="store_true", help="leave the database out")
    options = parser.parse_args()

    compilation()
    every_day = sessions_between(dt.date(2020, 1, 1), LAST)
    base = baseline(generate(options.sample, every_day[-HISTORY_SESSIONS:]), options.sample)
    for name, symbols, dates in (
        ("metrics_one_date", options.symbols, 1),
        ("metrics_backfill", options.watchlist, options.dates),
    ):
        bars = generate(symbols, every_day[-(HISTORY_SESSIONS + dates - 1) :])
        days = every_day[-dates:]
        report(f"{name}_compute", base, symbols * dates, best(options.repeats, partial(compute, bars, days)))
        if options.compute_only:
            continue
        with own_database() as database:
            fill(database, bars)
            del bars  # what follows reads its own, and the peak memory is to be that of reading and computing
            run = partial(from_database, database, symbols, days)
            cost = best(options.repeats, run, prepare=partial(withdraw, database))
        report(f"{name}_database", base, symbols * dates, cost)
    option_metrics.measure(options.watchlist, options.repeats)


def generate(symbols: int, sessions: Sequence[dt.date]) -> pl.DataFrame:
    """Random walks in cents, one a symbol, as `read_bars` returns bars."""
    random = np.random.default_rng(7)
    shape = (symbols, len(sessions))
    close = np.exp(random.normal(3.3, 1.2, (symbols, 1)) + np.cumsum(random.normal(0, 0.02, shape), axis=1))
    open_ = close * np.exp(random.normal(0, 0.01, shape))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0, 0.01, shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0, 0.01, shape)))
    volume = np.round(np.exp(random.normal(12, 2, (symbols, 1)) + random.normal(0, 0.4, shape)))
    ids = sorted(id_of(number) for number in range(symbols))
    return pl.DataFrame(
        {
            "ticker_id": np.repeat(ids, len(sessions)),
            "date": pl.Series(list(sessions) * symbols, dtype=pl.Date),
            **{
                name: np.maximum(np.round(values, 2), 0.01).ravel()
                for name, values in (("open", open_), ("high", high), ("low", low), ("close", close))
            },
            "volume": volume.ravel(),
        }
    )


def id_of(number: int) -> str:
    """The ticker_id of the symbol S<number>."""
    return str(uuid.uuid5(TICKER_NAMESPACE, f"S{number}"))


def baseline(bars: pl.DataFrame, sample: int) -> Cost:
    """Seconds per ticker-date of pandas, `ta` and TA-Lib's wrappers, ticker by ticker."""
    tickers = [
        pd.DataFrame(ticker.drop("ticker_id").to_dict(as_series=False))
        for ticker in bars.partition_by("ticker_id")
    ]

    def whole_sample() -> None:
        for ticker in tickers:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                ta.add_all_ta_features(ticker.copy(), "open", "high", "low", "close", "volume")
            for name in CANDLESTICKS:
                getattr(talib, name.upper())(ticker.open, ticker.high, ticker.low, ticker.close)
            price_metrics_in_pandas(ticker)

    cost = best(2, whole_sample)
    print(f"baseline: {1e3 * cost.wall / sample:.1f} ms a ticker-date, {sample} tickers", flush=True)
    return Cost(cost.wall / sample, cost.cpu / sample)


def price_metrics_in_pandas(bars: pd.DataFrame) -> dict[str, float]:
    """The price metrics at the last bar, as one writes them in pandas."""
    close, volume = bars.close, bars.volume
    returns = np.log(close).diff()
    usual = volume.rolling(20).mean().shift()
    top, bottom = bars.high.rolling(252).max(), bars.low.rolling(252).min()
    columns = {
        "close": close,
        "change_pct": 100 * close.pct_change(),
        "gap_pct": 100 * (bars.open / close.shift() - 1),
        "rvol": volume / usual,
        "vsi": (volume - usual) / volume.rolling(20).std(ddof=0).shift(),
        "hv_20": returns.rolling(20).std(ddof=0) * np.sqrt(252),
        "hv_60": returns.rolling(60).std(ddof=0) * np.sqrt(252),
        **{f"price_vs_sma{n}": 100 * (close / close.rolling(n).mean() - 1) for n in (20, 50, 200)},
        "high_52w": top,
        "low_52w": bottom,
        "distance_from_high_52w": 100 * (close / top - 1),
        "distance_from_low_52w": 100 * (close / bottom - 1),
        "dollar_volume_20": (close * volume).rolling(20).mean(),
        "atr_pct": 100 * ta.volatility.average_true_range(bars.high, bars.low, close) / close,
    }
    return {name: float(column.iloc[-1]) for name, column in columns.items()}


def compute(bars: pl.DataFrame, days: Sequence[dt.date]) -> None:
    """Bars to numbers."""
    windows = BarWindows.of(bars, days)
    technical_values(windows)
    price_values(windows)


@contextmanager
def own_database() -> Iterator[Database]:
    """A paved database that is dropped at the end."""
    name = f"kapman_benchmark_{secrets.token_hex(3)}"
    database = Database(conninfo.make_conninfo(server_url(), dbname=name), holder="benchmark")
    try:
        pave(database)
        yield database
    finally:
        with psycopg.connect(server_url(), dbname="postgres", autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def fill(database: Database, bars: pl.DataFrame) -> None:
    """The tickers and their bars."""
    symbols = range(bars["ticker_id"].n_unique())
    tickers = pl.DataFrame(
        {"id": [id_of(number) for number in symbols], "symbol": [f"S{number}" for number in symbols]}
    ).with_columns(active=pl.lit(value=True))
    with database.connect() as connection:
        for table, frame in ((TICKERS, tickers), (OHLCV, bars.with_columns(transactions=pl.lit(1)))):
            copy_frame(connection, sql.Identifier("public", table.name), table, with_binary_ids(table, frame))
    with database.connect(autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE public.ohlcv")


def from_database(database: Database, symbols: int, days: Sequence[dt.date]) -> None:
    """Bars read, snapshots computed and published as the asset does it."""
    with database.connect() as connection:
        known = read_bars(connection, [id_of(number) for number in range(symbols)], days[-1])
    for batch in batched(days, sessions_a_transaction(symbols)):
        frame = compute_snapshots(known, batch)
        with database.connect() as connection:
            staged = stage(connection, DAILY_SNAPSHOTS, frame)
            upsert_staged(connection, DAILY_SNAPSHOTS, staged, [*OWN_COLUMNS, "model_version"])


def withdraw(database: Database) -> None:
    """No snapshots, so that every run inserts all of its rows."""
    with database.connect() as connection:
        connection.execute("TRUNCATE public.daily_snapshots CASCADE")


def best(repeats: int, run: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> Cost:
    """The quickest of some runs; what prepares them isn't counted."""
    costs = []
    for _ in range(repeats):
        prepare()
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        costs.append(Cost(time.perf_counter() - wall, time.process_time() - cpu))
    return min(costs, key=lambda cost: cost.wall)


def report(name: str, base: Cost, rows: int, cost: Cost) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name}: {rows:,} ticker-dates in {cost.wall:.2f} s, {1e6 * cost.wall / rows:.1f} µs each, "
        f"{cost.cpu:.2f} s of CPU here ({base.cpu * rows / cost.cpu:,.0f} times), peak memory {peak:,.0f} MB"
    )
    print(f"{name} ratio {base.wall * rows / cost.wall:.1f}", flush=True)


def compilation() -> None:
    """Seconds until the first metrics of a new process, with an empty cache of compiled code and with a full one."""
    code = (
        "import datetime, time, polars as pl\n"
        "from kapman_metrics.price import price_metrics\n"
        "from kapman_metrics.technical import technical_indicators\n"
        "names = ('open', 'high', 'low', 'close', 'volume')\n"
        "bars = pl.DataFrame({'ticker_id': 'A', 'date': datetime.date(2026, 8, 21), **{n: 1.0 for n in names}})\n"
        "start = time.perf_counter()\n"
        "technical_indicators(bars, [datetime.date(2026, 8, 21)])\n"
        "price_metrics(bars, [datetime.date(2026, 8, 21)])\n"
        "print(time.perf_counter() - start)\n"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        cold, warm = (
            float(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(2)
        )  # fmt: skip
    print(
        f"first metrics of a process: {cold:.1f} s while compiling, {warm:.1f} s from the cache", flush=True
    )


if __name__ == "__main__":
    main()
