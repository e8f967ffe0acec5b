"""The base load of `ohlcv` against its limit: `python benchmarks/ohlcv_load.py [--symbols 11000] [--sessions 60 ...]`.

The limit is what no loader can beat on this machine: the same files inflated, parsed, turned into binary
COPY data and copied into an unlogged table without keys, on two connections. Ours is the whole way into the
paved hypertable: validation, accounting, content hashes, the asset's audits, keys and foreign keys valid at
the end, the manifest, committed durably. Both read the same generated files from a local folder through the
platform's own client. Beside it: one more session into the loaded table, and the same again.

Each size prints the seconds of both, rows a second and the peak memory of the loading process; every
comparison is a line `<name> ratio <number>`; the last one is the headline, ours over the limit at full size.
Runs of both kinds alternate, and each figure is the better of two. The database is the one that `kapman db
url` prints, or KAPMAN_TEST_DATABASE_URL; a database of its own is made there and dropped at the end.
"""

import argparse
import datetime as dt
import gzip
import itertools
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import psycopg
from isal import igzip
from obstore.store import LocalStore
from psycopg import conninfo, sql

from kapman_assets.audits import audit_stage
from kapman_assets.ohlcv import AUDITS, RELATION
from kapman_resources import manifest
from kapman_resources.binary_copy import copy_frame
from kapman_resources.database import Connection, Database
from kapman_resources.flat_file_decoding import NEW_YORK, TickerIndex
from kapman_resources.flat_files import FlatFiles, ObjectInfo, key_of
from kapman_resources.ohlcv_load import COLUMNS, OhlcvLoader, SessionLoad
from kapman_resources.sessions import sessions_between
from kapman_resources.structure import pave
from kapman_resources.tables import OHLCV, TICKER_NAMESPACE, TICKERS

LAST = dt.date(2026, 8, 21)
REPEATS = 2


class LocalFiles(FlatFiles):
    """The platform's client over a folder in the place of a bucket."""

    def __init__(self, folder: Path) -> None:
        super().__init__("http://localhost", "folder", "", "")
        self._store = LocalStore(folder)  # type: ignore[assignment]


def generate(folder: Path, symbols: int, sessions: Sequence[dt.date]) -> pl.DataFrame:
    """Random walks in the vendor's format, one file a session; returns `symbol` and `id` of the tickers."""
    random = np.random.default_rng(7)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    pool = ["".join(word) for size in (1, 2, 3) for word in itertools.product(letters, repeat=size)]
    names = sorted(random.choice(pool, symbols, replace=False).tolist())
    price, busy = np.exp(random.normal(3.3, 1.2, symbols)), np.exp(random.normal(12, 2, symbols))
    for session in sessions:
        open_ = price * np.exp(random.normal(0, 0.005, symbols))
        price = open_ * np.exp(random.normal(0, 0.02, symbols))
        spread = np.exp(np.abs(random.normal(0, 0.01, (2, symbols))))
        volume = np.round(busy * np.exp(random.normal(0, 0.4, symbols))).astype(np.int64)
        values = {
            "ticker": names,
            "volume": volume,
            "open": _cents(open_),
            "close": _cents(price),
            "high": _cents(np.maximum(open_, price) * spread[0]),
            "low": _cents(np.minimum(open_, price) / spread[1]),
            "window_start": np.full(
                symbols, round(dt.datetime.combine(session, dt.time(), NEW_YORK).timestamp()) * 10**9
            ),
            "transactions": volume // 90 + 1,
        }
        path = folder / key_of(session)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(pl.DataFrame(values).write_csv().encode(), 6))
    return pl.DataFrame({"symbol": names, "id": [str(uuid.uuid5(TICKER_NAMESPACE, name)) for name in names]})


def _cents(prices: np.ndarray) -> np.ndarray:
    return np.maximum(np.round(prices, 4), 0.0001)


def limit(database: Database, files: FlatFiles, infos: dict[dt.date, ObjectInfo], index: TickerIndex) -> None:
    """Files into an unlogged table without keys, on two connections, nothing checked."""
    with database.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS bare")
        connection.execute("CREATE UNLOGGED TABLE bare (LIKE public.ohlcv)")
        connection.execute("ALTER TABLE bare ALTER created_at DROP NOT NULL")

    def copy(sessions: list[dt.date]) -> None:
        with database.connect() as connection:
            for start in range(0, len(sessions), 21):
                group = sessions[start : start + 21]
                bodies = files.read_many([infos[session] for session in group])
                frames = [
                    _parsed(body, session, index) for session, (_, body) in zip(group, bodies, strict=True)
                ]
                copy_frame(connection, sql.Identifier("bare"), OHLCV, pl.concat(frames))

    ordered = list(infos)
    half = len(ordered) // 2
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(copy, (ordered[:half], ordered[half:])))


def _parsed(body: bytes, session: dt.date, index: TickerIndex) -> pl.DataFrame:
    rows = pl.read_csv(igzip.decompress(body), schema_overrides={"volume": pl.Float64, "ticker": pl.String})
    ticker = rows.join(index.symbols, left_on="ticker", right_on="symbol", how="left", maintain_order="left")
    return ticker.select(
        index.ids.gather(ticker["ticker_right"]).alias("ticker_id"),
        pl.lit(session).alias("date"),
        *COLUMNS[2:],
    )


def ours(
    database: Database, files: FlatFiles, infos: dict[dt.date, ObjectInfo], tickers: pl.DataFrame
) -> None:
    """The platform's load, as the asset asks for it."""
    sessions = list(infos)
    parameters = {"as_of": sessions[-1], "sessions": sessions}

    def audit(connection: Connection, rows: sql.Composable) -> None:
        audit_stage(connection, AUDITS, rows, parameters, in_place=rows == RELATION)

    def record(connection: Connection, load: SessionLoad) -> None:
        manifest.record(
            connection,
            manifest.Load("ohlcv", load.session.isoformat(), [], load.rows_read, load.rows_written),
            load.rejected,
        )

    OhlcvLoader(database, files).load(infos, tickers, audit=audit, record=record)


def prepare(database: Database, tickers: pl.DataFrame) -> None:
    """A paved database with the tickers, and no bar."""
    pave(database)
    ids = pl.col("id").str.replace_all("-", "", literal=True).str.decode("hex")
    with database.connect() as connection:
        frame = tickers.select(ids, "symbol", active=pl.lit(True))
        copy_frame(connection, sql.Identifier("public", TICKERS.name), TICKERS, frame)


def seconds(work: Callable[[], None]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def server_url() -> str:
    """The server to measure on."""
    configured = os.environ.get("KAPMAN_TEST_DATABASE_URL")
    if configured:
        return configured
    command = [str(Path(sys.executable).with_name("kapman")), "db", "url"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=11_000)
    parser.add_argument("--sessions", type=int, nargs="+", default=[60, 120, 252, 505])
    parser.add_argument(
        "--files", type=Path, help="folder to generate into and to find files of an earlier run in"
    )
    options = parser.parse_args()
    name = f"kapman_benchmark_{secrets.token_hex(3)}"
    database = Database(conninfo.make_conninfo(server_url(), dbname=name), holder="benchmark")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.files or Path(scratch)
        days = sessions_between(dt.date(2020, 1, 1), LAST)[-max(options.sessions) :]
        tickers = generate(folder, options.symbols, days)
        try:
            measure(database, LocalFiles(folder), days, tickers, options.sessions)
        finally:
            with psycopg.connect(server_url(), dbname="postgres", autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def measure(
    database: Database, files: FlatFiles, days: list[dt.date], tickers: pl.DataFrame, sizes: list[int]
) -> None:
    """Print a line for each size, and the ratios."""
    index = TickerIndex.of(tickers)
    a_session = {}
    ratio = 0.0
    for size in sizes:
        infos = files.list_sessions(days[-size], days[-1])
        bare, whole = [], []
        for _ in range(REPEATS):
            prepare(database, tickers)
            bare.append(seconds(lambda: limit(database, files, infos, index)))  # noqa: B023
            prepare(database, tickers)
            whole.append(seconds(lambda: ours(database, files, infos, tickers)))  # noqa: B023
        rows = size * tickers.height
        a_session[size] = min(whole) / size
        ratio = min(whole) / min(bare)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{size} sessions: limit {min(bare):.2f} s, ours {min(whole):.2f} s, "
            f"{rows / min(whole):,.0f} rows/s, peak memory {peak:,.0f} MB",
            flush=True,
        )
        print(f"ohlcv_load_{size} ratio {ratio:.2f}", flush=True)
    newest = list(infos)[-1]
    with database.connect() as connection:
        connection.execute("DELETE FROM public.ohlcv WHERE date = %s", (newest,))
    one = {newest: infos[newest]}
    appended = seconds(lambda: ours(database, files, one, tickers))
    again = seconds(lambda: ours(database, files, one, tickers))
    print(f"one session appended {appended:.2f} s, once more {again:.2f} s")
    for smaller, larger in itertools.pairwise(sizes):
        print(f"ohlcv_growth_{smaller}_to_{larger} ratio {a_session[larger] / a_session[smaller]:.2f}")
    print(f"ohlcv_load ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
