"""Option chains of the generated market at the close of a session, consistent with Black and Scholes.

A chain depends on the seed, the underlying, the session and the number of contracts alone. Spot is the close of the
session's flat file; implied volatility is the underlying's own, with a term structure, a skew and the session's mood.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from kapman_simulator.black_scholes import Valuation, valuation
from kapman_simulator.contracts import Asset, Contract, Day, Details, Greeks, Quote, Trade
from kapman_simulator.expiries import expiries, is_monthly
from kapman_simulator.implied import Mood
from kapman_simulator.listings import Listing
from kapman_simulator.randomness import grow, scatter, uniforms, words
from kapman_simulator.sessions import all_sessions, close_ns, midnight_ns
from kapman_simulator.underlyings import DAILY_EXPIRIES, UNDERLYINGS

# Raised when a session's chains come out different from what earlier code made of them.
MODEL = 2

# What is left of a contract's life at the close of its last session: one hour, so that its greeks are finite.
LAST_HOUR_YEARS = 1 / 24 / 365
ADJUSTED_PER_CHAIN = 4
_STRIKE_STEPS = (0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0)


@dataclass
class _Contracts:
    """The standard contracts of one chain in columns, all of one length."""

    expiry: np.ndarray  # ordinals, int64
    years: np.ndarray
    strike: np.ndarray
    round_strike: np.ndarray  # how many of its steps the strike is a multiple of: 1, 5 or 10
    is_call: np.ndarray
    moneyness: np.ndarray  # ln(strike/spot) in usual standard deviations to expiry
    volatility: np.ndarray


def chain(
    seed: int, listing: Listing, session: date, *, spot: float, mood: Mood, contracts: int
) -> list[bytes]:
    """The chain of one underlying as JSON objects sorted by contract ticker, adjusted contracts among them."""
    grid = _grid(listing, session, spot, contracts, mood)
    value = valuation(spot, grid.strike, grid.years, grid.volatility, grid.is_call)
    identity = (grid.expiry * 10_000_000 + np.rint(grid.strike * 1000).astype(np.int64)) * 2 + grid.is_call
    # One word of a contract's life (its popularity), and two of this session.
    lasting = uniforms(scatter(identity, words(seed, f"interest {listing.symbol}", 0, 1)[:, 0]))
    today = words(seed, f"trades {listing.symbol}", session.toordinal(), 1)
    daily, more = uniforms(scatter(identity, today[:, 0])), uniforms(scatter(identity, today[:, 1]))
    interest = _open_interest(listing, grid, lasting, daily)
    rows = _rows(listing, session, spot, grid, value, interest, daily, more)
    if _has_adjusted(listing.symbol):
        rows += [_adjusted(row, listing.symbol) for row in _adjustable(rows)]
    rows.sort(key=lambda row: row.details.ticker)
    return list(map(msgspec.json.Encoder().encode, rows))


def _grid(listing: Listing, session: date, spot: float, contracts: int, mood: Mood) -> _Contracts:
    # Strikes are listed by what is usual, not by the day's mood.
    usual = 1.05 * listing.volatility
    days = expiries(session, contracts, daily=listing.symbol in DAILY_EXPIRIES)
    pairs = max(contracts // 2, len(days))
    parts = []
    for index, day in enumerate(days):
        count = pairs // len(days) + (index < pairs % len(days))
        years = max((day - session).days / 365.0, LAST_HOUR_YEARS)
        deviation = usual * np.sqrt(years + 2 / 365)
        step = _step(spot, 4.4 * deviation * spot / count)
        strikes = max(round(spot / step) - count // 2, 1) * step + step * np.arange(count)
        parts.append((np.full(count, day.toordinal()), np.full(count, years), strikes, np.full(count, step)))
    expiry, term, strike, steps = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    moneyness = np.log(strike / spot) / (usual * np.sqrt(term + 2 / 365))
    near = 0.25 / (term + 0.25)
    # The near expirations feel the mood most: in a fright the term structure slopes downwards.
    atm = usual * grow(mood.level * (0.35 + 0.65 * near)) * (0.97 + 0.06 * near)
    m = np.clip(moneyness, -3, 3)
    smile = 1 - 0.07 * (1 + 0.3 * mood.skew) * m + 0.025 * m * m
    volatility = np.round(np.maximum(atm * smile, 0.03), 8)
    multiple = np.rint(strike / steps).astype(np.int64)
    round_strike = np.where(multiple % 10 == 0, 10, np.where(multiple % 5 == 0, 5, 1))

    def twice(column: np.ndarray) -> np.ndarray:
        return np.concatenate([column, column])

    is_call = np.arange(2 * len(strike)) < len(strike)
    return _Contracts(
        expiry=twice(expiry),
        years=twice(term),
        strike=twice(strike),
        round_strike=twice(round_strike),
        is_call=is_call,
        moneyness=twice(moneyness),
        volatility=twice(volatility),
    )


def _step(spot: float, wanted: float) -> float:
    """The listed strike step for `wanted`: the first that isn't finer, and never more than a fifth of the spot."""
    for step in _STRIKE_STEPS:
        if step >= wanted or step * 5 > spot:
            return step
    return _STRIKE_STEPS[-1]


def _open_interest(listing: Listing, grid: _Contracts, lasting: np.ndarray, daily: np.ndarray) -> np.ndarray:
    """Contracts open (int64): most at round strikes, near the money, in monthlies and in the liquid names."""
    typical = 400.0 + 2500.0 * min(np.sqrt(listing.dollars / 1e9), 6.0)
    days, which = np.unique(grid.expiry, return_inverse=True)
    monthly = np.array([is_monthly(date.fromordinal(int(day))) for day in days])[which]
    weight = (
        np.exp(-0.9 * np.abs(grid.moneyness))
        * np.array([0.6, 1.5, 3.0])[np.searchsorted([5, 10], grid.round_strike, side="right")]
        # It grows as the expiration comes nearer; the monthlies have theirs early.
        * np.where(monthly, 2.2 / (1 + grid.years), 0.9 / (1 + 12 * grid.years))
    )
    popularity = 3.0 * lasting[:, 0] * lasting[:, 1] + 0.05
    return np.rint(typical * weight * popularity * (0.96 + 0.08 * daily[:, 0])).astype(np.int64)


def _traded_volume(grid: _Contracts, interest: np.ndarray, daily: np.ndarray) -> np.ndarray:
    near = np.exp(-0.7 * np.abs(grid.moneyness)) * (0.15 + 0.5 * np.exp(-6 * grid.years))
    return np.rint((interest + 20) * near * 3.0 * daily[:, 1] * daily[:, 2]).astype(np.int64)


def _rows(  # noqa: PLR0913  (the columns of a chain)
    listing: Listing,
    session: date,
    spot: float,
    grid: _Contracts,
    value: Valuation,
    interest: np.ndarray,
    daily: np.ndarray,
    more: np.ndarray,
) -> list[Contract]:
    """The standard contracts in the vendor's shape, calls before puts."""
    price = np.maximum(value.price, 0.0)
    tick = np.where(price < 3, 0.01, 0.05)
    half = np.maximum(tick, price * (0.004 + 0.012 * daily[:, 3]))
    bid = np.round(np.maximum(np.floor((price - half) / tick) * tick, 0), 2)
    ask = np.round(np.ceil((price + half) / tick) * tick, 2)
    last = np.round(np.maximum(bid + (ask - bid) * more[:, 0], 0.01), 2)
    middle = np.round((bid + ask) / 2, 4)
    even = np.round(grid.strike + np.where(grid.is_call, middle, -middle), 4)
    volume = _traded_volume(grid, interest, daily)
    sizes = np.rint(1 + 250 * more[:, 1]).astype(np.int64)
    chance = more[:, 2]
    untouched = (volume == 0) & (chance > 0.5)
    close = close_ns(session)
    ago = np.rint(more[:, 3] * 6 * 3600).astype(np.int64) * 1_000_000_000
    quotes = map(
        Quote, ask.tolist(), sizes.tolist(), bid.tolist(), (251 - sizes).tolist(), repeat(close),
        middle.tolist(),
    )  # fmt: skip
    trades = map(
        Trade, repeat((209,)), repeat(316), last.tolist(), (close - ago).tolist(), (1 + sizes % 9).tolist()
    )
    assets = map(
        Asset, np.round(even - spot, 4).tolist(), repeat(close), repeat(spot), repeat(listing.symbol)
    )
    greeks, volatilities = _solved(grid, value, chance)
    return list(
        map(
            Contract,
            even.tolist(),
            _either({}, _day_bars(session, last, volume, sizes, chance), untouched),
            _details(listing.symbol, grid, chance),
            greeks,
            volatilities,
            quotes,
            _either(UNSET, trades, untouched),
            interest.tolist(),
            assets,
        )
    )


def _either(instead: Any, rows: Iterable[Any], where: np.ndarray) -> list[Any]:
    """The rows, with something else instead where the mask says so."""
    return [instead if masked else row for masked, row in zip(where.tolist(), rows, strict=False)]


def _details(symbol: str, grid: _Contracts, chance: np.ndarray) -> Iterable[Details]:
    root = symbol.replace(".", "")
    days = {int(day): date.fromordinal(int(day)).isoformat() for day in np.unique(grid.expiry)}
    expiry = [days[day] for day in grid.expiry.tolist()]
    tickers = [
        f"O:{root}{day[2:4]}{day[5:7]}{day[8:]}{'C' if call else 'P'}{thousandths:08d}"
        for day, call, thousandths in zip(
            expiry, grid.is_call.tolist(), np.rint(grid.strike * 1000).astype(np.int64).tolist(), strict=True
        )
    ]
    return map(
        Details,
        ["call" if call else "put" for call in grid.is_call.tolist()],
        repeat("american"),
        expiry,
        # A few hundredths of the contracts of the real market deliver something else than a hundred shares.
        np.where(chance < 0.003, 10, 100).tolist(),
        [int(strike) if strike.is_integer() else strike for strike in grid.strike.tolist()],
        tickers,
    )


def _solved(grid: _Contracts, value: Valuation, chance: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Greeks and implied volatilities.

    The vendor has none where its own solver finds no volatility: deep in the money, most of all.
    """
    rounded = [np.round(column, 8) for column in (value.delta, value.gamma, value.theta, value.vega)]
    deep = np.abs(rounded[0]) > 0.985
    greeks = map(Greeks, *(column.tolist() for column in rounded))
    return (
        _either(UNSET, _either({}, greeks, deep & (chance >= 0.5)), deep & (chance < 0.5)),
        _either(UNSET, grid.volatility.tolist(), deep | (chance > 0.99)),
    )


def _day_bars(
    session: date, close: np.ndarray, volume: np.ndarray, sizes: np.ndarray, chance: np.ndarray
) -> Iterable[Day]:
    """The bar of this session; an older session's where there was no trade in it."""
    known = all_sessions()
    index = known.index(session)
    midnight = midnight_ns(session)
    earlier = np.array([midnight_ns(day) for day in known[max(index - 4, 0) : index]] or [midnight])
    stale = volume == 0
    swing = 0.03 + 0.1 * chance
    previous = np.maximum(np.round(close * (1 + swing * (chance - 0.5)), 2), 0.01)
    opening = np.maximum(np.round(close * (1 + swing * (0.5 - chance)), 2), 0.01)
    high = np.round(np.maximum(close, opening) * (1 + swing / 4), 2)
    low = np.maximum(np.round(np.minimum(close, opening) * (1 - swing / 4), 2), 0.01)
    return map(
        Day,
        np.round(close - previous, 2).tolist(),
        np.round(100 * (close - previous) / previous, 4).tolist(),
        close.tolist(),
        high.tolist(),
        np.where(stale, earlier[sizes % len(earlier)], midnight).tolist(),
        low.tolist(),
        opening.tolist(),
        previous.tolist(),
        np.where(stale, 1 + sizes % 40, volume).tolist(),
        np.round((high + low + close) / 3, 4).tolist(),
    )


def _has_adjusted(symbol: str) -> bool:
    """Every fifth underlying, the first among them, has contracts that a corporate action has changed."""
    return UNDERLYINGS.index(symbol) % 5 == 0


def _adjustable(rows: list[Contract]) -> list[Contract]:
    """Contracts across the chain that get an adjusted twin."""
    return rows[len(rows) // (2 * ADJUSTED_PER_CHAIN) :: max(len(rows) // ADJUSTED_PER_CHAIN, 1)]


def _adjusted(row: Contract, symbol: str) -> Contract:
    """The adjusted twin of a contract: same expiration, strike and type; other root, deliverable and interest."""
    root = symbol.replace(".", "")
    suffix = row.details.ticker.removeprefix(f"O:{root}")
    details = msgspec.structs.replace(
        row.details,
        additional_underlyings=[{"amount": 21.5, "type": "currency", "underlying": "USD"}],
        shares_per_contract=150,
        ticker=f"O:{root}1{suffix}",
    )
    return msgspec.structs.replace(row, details=details, open_interest=row.open_interest // 20)
