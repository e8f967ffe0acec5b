"""An option snapshot against its limits: `python benchmarks/options_snapshot.py [--underlyings 20 70 140]`.

A server in another process answers with rendered pages of 250 contracts, gzipped, each after a latency of
50 ms (`--latency`) and at most 8 at once (`--concurrency`, the asset's default). Three things are measured
for each size:

- the network limit: httpx fetches the same pages, as many at once, and looks for `next_url` alone;
- the database limit: a bare COPY of the same rows, from data frames and through the same client, into an
  unlogged table of the same columns without keys, checks or defaults; and beside it what a bare COPY into
  `options_chains` itself takes, with its key, its checks and its foreign key, which nothing audits or accounts for;
- ours, the whole way: strict paging, the vault on disk, decoding, the keyed hypertable with the audits of
  `options_chains`, content hash and commit, into a table that holds other sessions, as it usually does; and
  our database part alone, the same chains published into another session.

Every comparison is a line `<name> ratio <number>`: our database part over both bare COPYs, by the clock and
by the server's CPU time (on a busy machine the better judge), the client's CPU time over 20 us a contract,
and last the headline: the whole over the slower of the two limits at full size. Runs alternate, and each
figure is the best of five, because the speed of a shared machine changes within minutes. The database is the one
that `kapman db url` prints, or KAPMAN_TEST_DATABASE_URL; a
database of its own is made there and dropped at the end. The server's CPU time is known on the same machine only.
"""

import argparse
import asyncio
import datetime as dt
import multiprocessing
import os
import resource
import secrets
import socket
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import httpx
import msgspec
import numpy as np
import polars as pl
import psycopg
from isal import igzip
from ohlcv_load import server_url
from psycopg import conninfo, sql

from kapman_assets.audits import audit_stage
from kapman_assets.options_chains import AUDITS
from kapman_resources.binary_copy import copy_frame
from kapman_resources.database import Connection, Database
from kapman_resources.options_load import FreshChains, fresh_and_archived, publish_session
from kapman_resources.sessions import session_close, sessions_between
from kapman_resources.structure import pave
from kapman_resources.tables import OPTIONS_CHAINS, TICKERS, ticker_id
from kapman_resources.vault import Archived, Vault
from kapman_resources.vendor_api import RawPage, VendorApi

SESSIONS = sessions_between(dt.date(2026, 6, 1), dt.date(2026, 8, 21))
CONTRACTS, PAGE = 2_000, 250
REPEATS = 5
GOAL_CPU = 20e-6
OTHER_TICKERS = 11_000

Chain = tuple[str, pl.DataFrame]
"""Ticker id and contracts."""
Chains = list[Chain]


def symbols(count: int) -> list[str]:
    """Names of underlyings: UAA, UAB, …"""
    return [f"U{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]


def chain(symbol: str, seed: int) -> list[dict[str, object]]:
    """Contracts in the vendor's shape, about 730 bytes each: 20 weekly expiries, calls and puts."""
    random = np.random.default_rng(seed)
    price, wave = np.abs(random.normal(0, 8, CONTRACTS)) + 0.05, random.uniform(0, 1, (5, CONTRACTS))
    interest = np.floor(np.exp(random.normal(4, 2.5, CONTRACTS)))
    strikes = CONTRACTS // 40
    return [
        _contract(symbol, n // (2 * strikes), n // strikes % 2, 5 + 2.5 * (n % strikes), *values)
        for n, values in enumerate(zip(price.tolist(), wave.T.tolist(), interest.tolist(), strict=True))
    ]


def _contract(
    symbol: str, week: int, put: int, strike: float, price: float, wave: list[float], interest: float
) -> dict[str, object]:
    expiry = SESSIONS[-1] + dt.timedelta(days=7 * week + 7)
    kind, price, at = ("put" if put else "call"), round(price, 2), 1_787_347_200_000_000_000
    return {
        "break_even_price": round(strike + price, 4),
        "day": {"close": price, "high": price, "last_updated": at, "low": price, "open": price,
                "volume": int(interest) // 3, "vwap": round(price * 1.01, 4)},
        "details": {"contract_type": kind, "expiration_date": expiry.isoformat(), "shares_per_contract": 100,
                    "strike_price": strike,
                    "ticker": f"O:{symbol}{expiry:%y%m%d}{kind[0].upper()}{round(strike * 1000):08}"},
        "greeks": dict(zip(("delta", "gamma", "theta", "vega"), wave, strict=False)),
        "implied_volatility": wave[4],
        "last_quote": {"ask": price + 0.05, "ask_size": 7, "bid": price, "bid_size": 11, "last_updated": at,
                       "timeframe": "REAL-TIME"},
        "open_interest": int(interest),
        "underlying_asset": {"change_to_break_even": price, "last_updated": at, "price": 100.5,
                             "ticker": symbol, "timeframe": "REAL-TIME"},
    }  # fmt: skip


def serve(ready: Pipe, underlyings: int, latency: float) -> None:
    """Answer with rendered pages until killed; sends the port when they are rendered."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v3/snapshot/options"
    answers: dict[tuple[str, int], bytes] = {}
    for seed, symbol in enumerate(symbols(underlyings)):
        contracts = chain(symbol, seed)
        for first in range(0, CONTRACTS, PAGE):
            page: dict[str, object] = {"status": "OK", "results": contracts[first : first + PAGE]}
            if first + PAGE < CONTRACTS:
                page["next_url"] = f"{url}/{symbol}?cursor={first + PAGE}"
            body = igzip.compress(msgspec.json.encode(page), 1)
            head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
            answers[symbol, first] = head.encode() + body

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path, _, query = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode().partition("?")
                await asyncio.sleep(latency)
                cursor = int(query.partition("cursor=")[2] or 0)
                writer.write(answers[path.rpartition("/")[2], cursor])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, sock=listener)
        ready.send(listener.getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def server(underlyings: int, latency: float) -> Iterator[str]:
    """The vendor's address; latency in seconds."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, underlyings, latency), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


class _Next(msgspec.Struct):
    next_url: str | None = None


def fetch_alone(url: str, underlyings: Sequence[str], concurrency: int) -> None:
    """The pages through httpx, followed by `next_url`, and nothing else done with them."""
    next_of = msgspec.json.Decoder(_Next).decode
    waiting, context = iter(underlyings), httpx.create_ssl_context()  # once: it takes 30 ms

    async def work() -> None:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(limits=limits, trust_env=False, verify=context) as client:
            for symbol in waiting:
                page: str | None = f"{url}/v3/snapshot/options/{symbol}?limit={PAGE}"
                while page:
                    page = next_of((await client.get(page)).content).next_url

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())

    asyncio.run(main())


class Meter:
    """Seconds by the clock, and CPU seconds of the server's process behind a connection, while it is open."""

    def __init__(self) -> None:
        self.clock = self.server = 0.0

    @contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """Measure what happens inside; commits at the end."""
        clock, server = time.perf_counter(), _cpu_of(connection.info.backend_pid)
        yield
        connection.commit()
        self.clock = time.perf_counter() - clock
        self.server = _cpu_of(connection.info.backend_pid) - server


def _cpu_of(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class OneConnection(Database):
    """A database whose one connection a meter watches."""

    meter: Meter = field(default_factory=Meter)

    @contextmanager
    def connect(self, *, autocommit: bool = False, database: str | None = None) -> Iterator[Connection]:
        with (
            super().connect(autocommit=autocommit, database=database) as connection,
            self.meter.on(connection),
        ):
            yield connection


def copy_alone(database: Database, table: sql.Identifier, session: dt.date, chains: Chains) -> Meter:
    """The session's rows into a table of the same columns, committed."""
    meter, time_of = Meter(), pl.lit(session_close(session))
    frames = [
        frame.drop("contract").with_columns(time=time_of, ticker_id=pl.lit(uuid.UUID(ticker).bytes))
        for ticker, frame in chains
    ]
    with database.connect() as connection, meter.on(connection):
        copy_frame(connection, table, OPTIONS_CHAINS, pl.concat(frames))
    return meter


def empty(database: Database) -> None:
    """The bare table without rows."""
    with database.connect() as connection:
        connection.execute("TRUNCATE bare")


def publish(database: Database, session: dt.date, tickers: Sequence[str], chains: Iterable[Chain]) -> None:
    """Publish with the asset's own audits."""
    parameters = {"closes": [session_close(one) for one in SESSIONS]}
    publish_session(
        database,
        session,
        tickers,
        chains,
        audit=lambda connection, rows, in_place: audit_stage(
            connection, AUDITS, rows, parameters, in_place=in_place
        ),
        record=lambda _, __: None,
    )


@dataclass(frozen=True)
class TimedVault(Vault):
    """The platform's vault, with the CPU seconds of its callers."""

    spent: list[float] = field(default_factory=list)

    def archive(self, **chain: object) -> Archived:
        start = time.thread_time()
        archived = super().archive(**chain)  # type: ignore[arg-type]
        self.spent.append(time.thread_time() - start)
        return archived


@dataclass(frozen=True)
class Snapshot:
    """What our snapshot took: seconds by the clock, and CPU seconds of this process, by part."""

    whole: float
    cpu: dict[str, float]
    chains: Chains


def ours(database: Database, url: str, underlyings: Sequence[str], session: dt.date, pace: int) -> Snapshot:
    """From the first request to the commit, as the asset does it."""
    ids = {symbol: ticker_id(symbol) for symbol in underlyings}
    arriving: list[float] = []
    taken: Chains = []

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        clock, cpu = time.perf_counter(), time.process_time()
        vault = TimedVault(Path(folder).as_uri(), "benchmark")
        fresh = FreshChains(vault, session, overwrite=False)

        def archive(symbol: str, pages: list[RawPage]) -> None:
            began = time.thread_time()
            fresh.archive(symbol, pages)
            arriving.append(time.thread_time() - began)

        def chains() -> Iterator[Chain]:
            for symbol, archived in fresh_and_archived(fresh, vault, session, underlyings):
                taken.append((ids[symbol], archived.chain.frame))
                yield taken[-1]

        def load() -> float:
            fresh.wait()
            began = time.thread_time()
            publish(database, session, list(ids.values()), chains())
            return time.thread_time() - began

        loading = thread.submit(load)
        with fresh:
            VendorApi(url, "key", concurrency=pace).chains(
                underlyings, on_chain=archive, on_progress=fresh.progress
            )
        publishing = loading.result()
        whole, cpu = time.perf_counter() - clock, time.process_time() - cpu
    if (arrived := sum(frame.height for _, frame in taken)) != len(underlyings) * CONTRACTS:
        raise SystemExit(f"only {arrived:,} contracts arrived")
    vaulting, decoding = sum(vault.spent), sum(arriving) - sum(vault.spent)
    fetching = cpu - vaulting - decoding - publishing
    return Snapshot(
        whole,
        {"fetch": fetching, "vault": vaulting, "decode": decoding, "encode and send": publishing},
        taken,
    )


def prepare(database: Database, underlyings: Sequence[str]) -> None:
    """A paved database with the underlyings among many tickers, and the bare table."""
    pave(database)
    names = [*underlyings, *(f"X{n}" for n in range(OTHER_TICKERS))]
    ids = [bytes.fromhex(ticker_id(name).replace("-", "")) for name in names]
    with database.connect() as connection:
        frame = pl.DataFrame({"id": ids, "symbol": names}).with_columns(active=pl.lit(True))
        copy_frame(connection, sql.Identifier("public", TICKERS.name), TICKERS, frame)
        connection.execute("CREATE UNLOGGED TABLE bare (LIKE public.options_chains)")
        connection.execute("ALTER TABLE bare ALTER created_at DROP NOT NULL")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--underlyings", type=int, nargs="+", default=[20, 70, 140])
    parser.add_argument("--latency", type=float, default=50, help="of an answer, in milliseconds")
    parser.add_argument("--concurrency", type=int, default=8, help="requests at once")
    options = parser.parse_args()
    name = f"kapman_benchmark_{secrets.token_hex(3)}"
    database = Database(conninfo.make_conninfo(server_url(), dbname=name), holder="benchmark")
    everyone = symbols(max(options.underlyings))
    print(f"latency {options.latency:g} ms, {options.concurrency} requests at once", flush=True)
    try:
        with server(len(everyone), options.latency / 1000) as url:
            prepare(database, everyone)
            sessions = iter(SESSIONS)
            ours(database, url, everyone[:2], next(sessions), options.concurrency)  # imports, first plans
            for size in options.underlyings:
                headline = measure(database, url, everyone[:size], sessions, options.concurrency)
    finally:
        with psycopg.connect(server_url(), dbname="postgres", autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    print(f"options_snapshot ratio {headline:.2f}")


def measure(
    database: Database, url: str, underlyings: Sequence[str], sessions: Iterator[dt.date], pace: int
) -> float:
    """Print the figures of a size; returns the whole over the slower of the limits."""
    tickers = [ticker_id(symbol) for symbol in underlyings]
    network: list[float] = []
    bare: list[Meter] = []
    plain: list[Meter] = []
    part: list[Meter] = []
    snapshots: list[Snapshot] = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        fetch_alone(url, underlyings, pace)
        network.append(time.perf_counter() - start)
        snapshots.append(ours(database, url, underlyings, next(sessions), pace))
        chains = snapshots[-1].chains
        empty(database)
        bare.append(copy_alone(database, sql.Identifier("bare"), SESSIONS[0], chains))
        plain.append(copy_alone(database, sql.Identifier("public", "options_chains"), next(sessions), chains))
        alone = OneConnection(database.url, database.holder)
        publish(alone, next(sessions), tickers, chains)
        part.append(alone.meter)
    size, contracts = len(underlyings), len(underlyings) * CONTRACTS
    whole, copying = min(one.whole for one in snapshots), min(one.clock for one in bare)
    publishing = min(one.clock for one in part)
    cpu = min((one.cpu for one in snapshots), key=lambda parts: sum(parts.values()))
    by_part = ", ".join(f"{name} {seconds / contracts * 1e6:.1f}" for name, seconds in cpu.items())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    headline = whole / max(min(network), copying)
    print(
        f"{size} underlyings, {contracts:,} contracts: network limit {min(network):.2f} s, database limit "
        f"{copying:.2f} s, ours {whole:.2f} s, its database part alone {publishing:.2f} s, "
        f"{contracts / whole:,.0f} contracts/s, client {sum(cpu.values()) / contracts * 1e6:.1f} us of CPU a "
        f"contract ({by_part}), peak memory {peak:,.0f} MB"
    )
    for name, copies in (("options_database", bare), ("options_database_over_copy_into_the_table", plain)):
        print(f"{name}_{size} ratio {publishing / min(one.clock for one in copies):.2f}")
        server = min(one.server for one in part) / min(one.server for one in copies)
        print(f"{name}_cpu_{size} ratio {server:.2f}")
    print(f"options_client_cpu_over_20us_{size} ratio {sum(cpu.values()) / contracts / GOAL_CPU:.2f}")
    print(f"options_snapshot_{size} ratio {headline:.2f}", flush=True)
    return headline


if __name__ == "__main__":
    main()
