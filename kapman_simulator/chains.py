"""Option chains of the generated market at the close of a session, consistent with Black and Scholes.

A chain depends on the seed, the underlying, the session and the number of contracts alone. Spot is the close of the
session's flat file; implied volatility is the underlying's own, with a term structure and a skew.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
import numpy as np

from kapman_simulator.black_scholes import Valuation, valuation
from kapman_simulator.expiries import expiries, is_monthly
from kapman_simulator.listings import Listing
from kapman_simulator.randomness import bell, scatter, uniforms, words
from kapman_simulator.sessions import all_sessions, close_ns, midnight_ns
from kapman_simulator.underlyings import DAILY_EXPIRIES, UNDERLYINGS

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
    moneyness: np.ndarray  # ln(strike/spot) in standard deviations to expiry
    volatility: np.ndarray


def chain(seed: int, listing: Listing, session: date, *, spot: float, contracts: int) -> list[bytes]:
    """The chain of one underlying as JSON objects sorted by contract ticker, adjusted contracts among them."""
    day = session.toordinal()
    mood = bell(words(seed, f"volatility {listing.symbol}", day, 1))[0]
    grid = _grid(
        listing, session, spot, contracts, level=listing.volatility * (1.05 + 0.05 * mood[0]), tilt=mood[1]
    )
    value = valuation(spot, grid.strike, grid.years, grid.volatility, grid.is_call)
    identity = (grid.expiry * 10_000_000 + np.rint(grid.strike * 1000).astype(np.int64)) * 2 + grid.is_call
    # One word of a contract's life (its popularity), and two of this session.
    lasting = uniforms(scatter(identity, words(seed, f"interest {listing.symbol}", 0, 1)[:, 0]))
    today = words(seed, f"trades {listing.symbol}", day, 1)
    daily, more = uniforms(scatter(identity, today[:, 0])), uniforms(scatter(identity, today[:, 1]))
    interest = _open_interest(listing, grid, lasting, daily)
    rows = _rows(listing, session, spot, grid, value, interest, daily, more)
    if _has_adjusted(listing.symbol):
        rows += [_adjusted(row, listing.symbol) for row in _adjustable(rows)]
    rows.sort(key=lambda row: str(row["details"]["ticker"]))
    encoder = msgspec.json.Encoder()
    return [encoder.encode(row) for row in rows]


def _grid(
    listing: Listing, session: date, spot: float, contracts: int, *, level: float, tilt: float
) -> _Contracts:
    days = expiries(session, contracts, daily=listing.symbol in DAILY_EXPIRIES)
    pairs = max(contracts // 2, len(days))
    parts = []
    for index, day in enumerate(days):
        count = pairs // len(days) + (index < pairs % len(days))
        years = max((day - session).days / 365.0, LAST_HOUR_YEARS)
        deviation = level * np.sqrt(years + 2 / 365)
        step = _step(spot, 4.4 * deviation * spot / count)
        strikes = max(round(spot / step) - count // 2, 1) * step + step * np.arange(count)
        parts.append((np.full(count, day.toordinal()), np.full(count, years), strikes, np.full(count, step)))
    expiry, term, strike, steps = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    moneyness = np.log(strike / spot) / (level * np.sqrt(term + 2 / 365))
    atm = level * (0.97 + 0.06 * 0.25 / (term + 0.25) + 0.01 * tilt)
    m = np.clip(moneyness, -3, 3)
    volatility = np.round(np.maximum(atm * (1 - 0.07 * m + 0.025 * m * m), 0.03), 8)
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
        * np.where(monthly, 2.0, np.where(grid.years < 0.06, 0.8, 0.35))
    )
    popularity = 3.0 * lasting[:, 0] * lasting[:, 1] + 0.05
    return np.rint(typical * weight * popularity * (0.92 + 0.16 * daily[:, 0])).astype(np.int64)


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
) -> list[dict[str, Any]]:
    price = np.maximum(value.price, 0.0)
    tick = np.where(price < 3, 0.01, 0.05)
    half = np.maximum(tick, price * (0.004 + 0.012 * daily[:, 3]))
    bid = np.round(np.maximum(np.floor((price - half) / tick) * tick, 0), 2)
    ask = np.round(np.ceil((price + half) / tick) * tick, 2)
    last = np.round(np.maximum(bid + (ask - bid) * more[:, 0], 0.01), 2)
    volume = _traded_volume(grid, interest, daily)
    middle = np.round((bid + ask) / 2, 4)
    even = np.round(grid.strike + np.where(grid.is_call, middle, -middle), 4)
    columns = {
        "expiry": [date.fromordinal(int(day)).isoformat() for day in grid.expiry],
        "strike": grid.strike.tolist(),
        "is_call": grid.is_call.tolist(),
        "volatility": grid.volatility.tolist(),
        **{name: np.round(getattr(value, name), 8).tolist() for name in ("delta", "gamma", "theta", "vega")},
        "interest": interest.tolist(),
        "volume": volume.tolist(),
        "bid": bid.tolist(),
        "ask": ask.tolist(),
        "last": last.tolist(),
        "middle": middle.tolist(),
        "even": even.tolist(),
        "to_even": np.round(even - spot, 4).tolist(),
        "sizes": np.rint(1 + 250 * more[:, 1]).astype(np.int64).tolist(),
        "chance": more[:, 2].tolist(),
        "ago": np.rint(more[:, 3] * 6 * 3600).astype(np.int64).tolist(),
    }
    known = all_sessions()
    earlier = [midnight_ns(day) for day in known[max(known.index(session) - 4, 0) : known.index(session)]]
    moments = _Moments(midnight_ns(session), close_ns(session), earlier or [midnight_ns(session)])
    names = list(columns)
    root = listing.symbol.replace(".", "")
    return [
        _contract(listing.symbol, root, spot, moments, dict(zip(names, cells, strict=True)))
        for cells in zip(*columns.values(), strict=True)
    ]


@dataclass
class _Moments:
    """Nanoseconds since the epoch: the session's midnight and close, and the midnights of the sessions before it."""

    midnight: int
    close: int
    earlier: list[int]


def _contract(symbol: str, root: str, spot: float, at: _Moments, c: dict[str, Any]) -> dict[str, Any]:
    """One contract in the vendor's shape."""
    letter = "C" if c["is_call"] else "P"
    yymmdd = c["expiry"][2:].replace("-", "")
    row: dict[str, Any] = {
        "break_even_price": c["even"],
        "day": _day_bar(at, c),
        "details": {
            "contract_type": "call" if c["is_call"] else "put",
            "exercise_style": "american",
            "expiration_date": c["expiry"],
            # A few hundredths of the contracts of the real market deliver something else than a hundred shares.
            "shares_per_contract": 10 if c["chance"] < 0.003 else 100,
            "strike_price": int(c["strike"]) if c["strike"].is_integer() else c["strike"],
            "ticker": f"O:{root}{yymmdd}{letter}{round(c['strike'] * 1000):08d}",
        },
        "greeks": {name: c[name] for name in ("delta", "gamma", "theta", "vega")},
        "implied_volatility": c["volatility"],
        "last_quote": {
            "ask": c["ask"],
            "ask_size": c["sizes"],
            "bid": c["bid"],
            "bid_size": 251 - c["sizes"],
            "last_updated": at.close,
            "midpoint": c["middle"],
            "timeframe": "REAL-TIME",
        },
        "last_trade": {
            "conditions": [209],
            "exchange": 316,
            "price": c["last"],
            "sip_timestamp": at.close - c["ago"] * 1_000_000_000,
            "size": 1 + c["sizes"] % 9,
            "timeframe": "REAL-TIME",
        },
        "open_interest": c["interest"],
        "underlying_asset": {
            "change_to_break_even": c["to_even"],
            "last_updated": at.close,
            "price": spot,
            "ticker": symbol,
            "timeframe": "REAL-TIME",
        },
    }
    if c["volume"] == 0 and c["chance"] > 0.5:
        del row["last_trade"]
    # The vendor has no greeks where its own solver finds no volatility: deep in the money, most of all.
    if abs(c["delta"]) > 0.985:
        del row["implied_volatility"]
        if c["chance"] < 0.5:
            del row["greeks"]
        else:
            row["greeks"] = {}
    elif c["chance"] > 0.99:
        del row["implied_volatility"]
    return row


def _day_bar(at: _Moments, c: dict[str, Any]) -> dict[str, Any]:
    """The bar of this session; an older session's if there was no trade in it; empty if there never was one."""
    if c["volume"] == 0 and c["chance"] > 0.5:
        return {}
    stale = c["volume"] == 0
    volume = 1 + c["sizes"] % 40 if stale else c["volume"]
    close = c["last"]
    swing = 0.03 + 0.1 * c["chance"]
    previous = max(round(close * (1 + swing * (c["chance"] - 0.5)), 2), 0.01)
    opening = max(round(close * (1 + swing * (0.5 - c["chance"])), 2), 0.01)
    high, low = (
        round(max(close, opening) * (1 + swing / 4), 2),
        max(round(min(close, opening) * (1 - swing / 4), 2), 0.01),
    )
    return {
        "change": round(close - previous, 2),
        "change_percent": round(100 * (close - previous) / previous, 4),
        "close": close,
        "high": high,
        "last_updated": at.earlier[c["sizes"] % len(at.earlier)] if stale else at.midnight,
        "low": low,
        "open": opening,
        "previous_close": previous,
        "volume": volume,
        "vwap": round((high + low + close) / 3, 4),
    }


def _has_adjusted(symbol: str) -> bool:
    """Every fifth underlying, the first among them, has contracts that a corporate action has changed."""
    return UNDERLYINGS.index(symbol) % 5 == 0


def _adjustable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Contracts across the chain that get an adjusted twin."""
    return rows[len(rows) // (2 * ADJUSTED_PER_CHAIN) :: max(len(rows) // ADJUSTED_PER_CHAIN, 1)]


def _adjusted(row: dict[str, Any], symbol: str) -> dict[str, Any]:
    """The adjusted twin of a contract: same expiration, strike and type; other root, deliverable and interest."""
    root = symbol.replace(".", "")
    details = row["details"]
    suffix = details["ticker"].removeprefix(f"O:{root}")
    return {
        **row,
        "details": {
            **details,
            "additional_underlyings": [{"amount": 21.5, "type": "currency", "underlying": "USD"}],
            "shares_per_contract": 150,
            "ticker": f"O:{root}1{suffix}",
        },
        "open_interest": row["open_interest"] // 20,
    }
