"""Contracts in the vendor's shape: what a page of the snapshot endpoint holds.

Fields stand in the vendor's order. A field that is UNSET is absent, as the vendor leaves fields out.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class Day(Struct, gc=False):
    """The bar of the last session with a trade."""

    change: float
    change_percent: float
    close: float
    high: float
    last_updated: int
    low: float
    open: float
    previous_close: float
    volume: int
    vwap: float


class Details(Struct, gc=False):
    """What a contract is."""

    contract_type: str
    exercise_style: str
    expiration_date: str
    shares_per_contract: int
    strike_price: float
    ticker: str
    additional_underlyings: list[dict[str, Any]] | UnsetType = UNSET


class Greeks(Struct, gc=False):
    """Per share: theta per calendar day, vega per point of volatility."""

    delta: float
    gamma: float
    theta: float
    vega: float


class Quote(Struct, gc=False):
    """The last quote."""

    ask: float
    ask_size: int
    bid: float
    bid_size: int
    last_updated: int
    midpoint: float
    timeframe: str = "REAL-TIME"


class Trade(Struct, gc=False):
    """The last trade."""

    conditions: tuple[int, ...]
    exchange: int
    price: float
    sip_timestamp: int
    size: int
    timeframe: str = "REAL-TIME"


class Asset(Struct, gc=False):
    """The underlying."""

    change_to_break_even: float
    last_updated: int
    price: float
    ticker: str
    timeframe: str = "REAL-TIME"


class Contract(Struct, gc=False):
    """One contract of a chain. day: empty if there never was a trade; greeks: empty or absent where there are none."""

    break_even_price: float
    day: Day | dict[str, float]
    details: Details
    greeks: Greeks | dict[str, float] | UnsetType
    implied_volatility: float | UnsetType
    last_quote: Quote
    last_trade: Trade | UnsetType
    open_interest: int
    underlying_asset: Asset
