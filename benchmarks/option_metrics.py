"""Dealer and volatility metrics of a whole snapshot against a NumPy broadcast: part of `benchmarks/metrics.py`.

The baseline is the repricing alone, as one writes it in NumPy: Black–Scholes gamma of every eligible contract
at every point of the grid, contracts × points at once for each underlying, summed to net GEX, and the sign
change nearest to spot. Ours is everything: contracts in a data frame to both JSON columns.
"""

import datetime as dt
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from kapman_metrics.chain import read_snapshot
from kapman_metrics.dealer import DealerSettings, dealer_metrics_of
from kapman_metrics.volatility import VolatilitySettings, volatility_metrics_of

SESSION = dt.date(2026, 8, 21)
CLOSE = dt.datetime(2026, 8, 21, 20, tzinfo=dt.UTC)
EXPIRIES, STRIKES = 20, 50
GOAL_CPU = 0.25


def generate(underlyings: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Contracts in key order, and underlyings with their spots: weekly expiries, strikes of ±25 %."""
    random = np.random.default_rng(11)
    size = underlyings * EXPIRIES * STRIKES * 2
    number = np.arange(size)
    underlying = number // (EXPIRIES * STRIKES * 2)
    week, strike = number // (STRIKES * 2) % EXPIRIES, number // 2 % STRIKES
    spot = np.round(np.exp(random.normal(4.5, 0.8, underlyings)), 2)
    price = np.round(spot[underlying] * (0.75 + 0.01 * strike), 4)
    expires = np.datetime64(SESSION) + np.timedelta64(7, "D") * (week + 1)
    years = (week + 1) * 7 / 365
    volatility = 0.25 + 0.1 * random.random(size)
    d1 = np.log(spot[underlying] / price) / (volatility * np.sqrt(years)) + volatility * np.sqrt(years) / 2
    gamma = np.exp(-(d1**2) / 2) / np.sqrt(2 * np.pi) / (spot[underlying] * volatility * np.sqrt(years))
    contracts = pl.DataFrame(
        {
            "ticker_id": pl.Series([f"{n:05}" for n in range(underlyings)]).gather(underlying),
            "expiration_date": expires,
            "expires_at": (expires.astype("datetime64[us]") + np.timedelta64(20, "h")),
            "strike_price": price,
            "option_type": np.where(number % 2 == 0, "C", "P"),
            "volume": random.integers(0, 500, size),
            "open_interest": np.floor(np.exp(random.normal(6, 1.5, size))),
            "implied_volatility": volatility,
            "gamma": gamma,
            "shares_per_contract": np.full(size, 100.0),
        }
    ).with_columns(pl.col("expires_at").dt.replace_time_zone("UTC"))
    names = [f"{n:05}" for n in range(underlyings)]
    known = pl.DataFrame(
        {"ticker_id": names, "symbol": names, "spot": spot, "spot_source": "ohlcv", "hv_20": 0.25}
    )
    return contracts, known


def ours(contracts: pl.DataFrame, underlyings: pl.DataFrame, history: pl.DataFrame) -> None:
    """Both documents of every underlying."""
    dealer, volatility = DealerSettings(), VolatilitySettings()
    snapshot = read_snapshot(contracts, underlyings, snapshot_time=CLOSE, session=SESSION, carry=dealer)
    dealer_metrics_of(snapshot, settings=dealer, model_version="benchmark")
    volatility_metrics_of(snapshot, history, settings=volatility, model_version="benchmark")


def in_numpy(contracts: pl.DataFrame, underlyings: pl.DataFrame) -> None:
    """Net GEX on the grid and the flip nearest to spot, by broadcasting."""
    settings = DealerSettings()
    eligible = contracts.filter(
        (pl.col("expiration_date") - SESSION).dt.total_days() <= settings.max_dte,
        pl.col("open_interest") >= settings.min_open_interest,
        pl.col("volume") >= settings.min_volume,
    )
    steps = round(settings.grid_width / settings.grid_step)
    moneyness = 1 + settings.grid_step * np.arange(-steps, steps + 1)
    for (name,), chain in eligible.partition_by("ticker_id", as_dict=True).items():
        spot = underlyings.filter(ticker_id=name)["spot"].item()
        years = (chain["expires_at"] - CLOSE).dt.total_seconds().to_numpy()[:, None] / (365 * 86_400)
        strike, volatility, interest, shares = (
            chain[column].to_numpy()[:, None]
            for column in ("strike_price", "implied_volatility", "open_interest", "shares_per_contract")
        )
        sign = np.where(chain["option_type"] == "C", 1.0, -1.0)[:, None]
        s, deviation = spot * moneyness, volatility * np.sqrt(years)
        carry = settings.rate - settings.dividend_yield
        d1 = (np.log(s / strike) + carry * years) / deviation + deviation / 2
        gamma = np.exp(-settings.dividend_yield * years - d1**2 / 2) / (np.sqrt(2 * np.pi) * s * deviation)
        net = (sign * gamma * interest * shares * s**2 * 0.01).sum(axis=0)
        at = np.flatnonzero(np.diff(np.sign(net)))
        crossings = s[at] - net[at] * (s[at + 1] - s[at]) / (net[at + 1] - net[at])
        min(crossings, key=lambda crossing: abs(crossing - spot), default=None)


def measure(underlyings: int, repeats: int) -> None:
    """Print seconds, CPU seconds and the two ratios."""
    contracts, known = generate(underlyings)
    history = pl.DataFrame(schema={"ticker_id": pl.String, "session": pl.Date, "avg_iv": pl.Float64})
    ours(contracts, known, history)  # compiled, or read from the cache
    wall, cpu = _best(repeats, lambda: ours(contracts, known, history))
    bare_wall, bare_cpu = _best(repeats, lambda: in_numpy(contracts, known))
    print(
        f"dealer_volatility: {len(contracts):,} contracts in {wall:.3f} s, {cpu:.3f} s of CPU;"
        f" a NumPy broadcast of the repricing alone {bare_wall:.3f} s, {bare_cpu:.3f} s of CPU"
    )
    print(f"dealer_volatility_cpu_over_goal ratio {cpu / GOAL_CPU:.2f}")
    print(f"dealer_volatility ratio {bare_wall / wall:.1f}", flush=True)


def _best(repeats: int, run: Callable[[], None]) -> tuple[float, float]:
    costs = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        costs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(costs)
