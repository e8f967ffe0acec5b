"""What the two servers serve, wherever it comes from: generated, or read from a dataset."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple


class Unservable(ValueError):
    """What was asked for can't be served; the text is a sentence that says what and why."""


class Ticker(NamedTuple):
    """One reference row: the fields that the API filters by, and its JSON object as it goes over the wire."""

    symbol: str
    market: str
    type: str
    active: bool
    json: bytes


class Split(NamedTuple):
    """One split: the fields that the API filters by, and its JSON object as it goes over the wire."""

    symbol: str
    execution_date: str
    json: bytes


@dataclass
class Market:
    """A vendor's market on one day.

    name: of the vendor; the platform keeps archives of differently named vendors apart.
    today: the session that the option chains belong to. files: bucket key → object, in order of the keys.
    tickers: sorted by symbol. chains: underlying → JSON objects of its contracts in the order of the pages.
    splits: newest first. notes: sentences for the person who started the simulator. past_chain: the chain of an
    underlying at the close of an earlier session, empty if it has none; None for a session that isn't known.
    """

    name: str
    today: date
    files: dict[str, bytes]
    tickers: list[Ticker]
    chains: dict[str, list[bytes]]
    splits: list[Split] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    past_chain: Callable[[str, date], list[bytes] | None] = lambda underlying, session: None
