"""What a fault may change, the table of faults, and how one is asked for."""

import inspect
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from kapman_simulator.answers import AnswerFault, ObjectFault, PageFault
from kapman_simulator.market import Market, Unservable
from kapman_simulator.objects import PREFIX, key_of


@dataclass
class Stage:
    """A market about to be served, and what will happen to requests; `put` replaces an object while serving."""

    market: Market
    put: Callable[[str, bytes], None]
    object_faults: list[ObjectFault] = field(default_factory=list)
    page_faults: list[PageFault] = field(default_factory=list)
    answer_faults: list[AnswerFault] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """One entry of the table: its name, what its target may be, its target if none is given, and what it does."""

    name: str
    target: str
    default: str
    what: str
    function: Callable[[Stage, Any], None]


FAULTS: dict[str, Fault] = {}


def fault(
    target: str, default: str = ""
) -> Callable[[Callable[[Stage, Any], None]], Callable[[Stage, Any], None]]:
    """Enter a function into the table under its own name; `target` is a key of TARGETS."""

    def enter(function: Callable[[Stage, Any], None]) -> Callable[[Stage, Any], None]:
        name = function.__name__
        FAULTS[name] = Fault(name, target, default, inspect.getdoc(function) or "", function)
        return function

    return enter


def _file(market: Market, value: str) -> str:
    """The key of a session's file; without a date, the newest's."""
    files = [key for key in market.files if key.startswith(PREFIX)]
    key = key_of(date.fromisoformat(value)) if value else max(files, default="")
    if key not in market.files:
        raise Unservable(
            f"There is no file of {value or 'any session'}; the newest is {max(files, default='none')}."
        )
    return key


def _chains(market: Market, value: str) -> list[str]:
    """Underlyings: one, or `all`; without a name, the first."""
    if value == "all":
        return list(market.chains)
    name = value or next(iter(market.chains), "")
    if name not in market.chains:
        raise Unservable(
            f"There is no chain of {value or 'any symbol'}; there are {', '.join(market.chains) or 'none'}."
        )
    return [name]


def _pages(market: Market, value: str) -> str:
    """Pages: `reference`, `splits`, `options` (every chain) or one underlying; by default the first underlying."""
    return value if value in {"reference", "splits", "options"} else _chains(market, value)[0]


def _symbol(market: Market, value: str) -> str:
    """A symbol of the reference list; without a value, the first underlying, else the first symbol."""
    known = {row.symbol for row in market.tickers}
    symbol = value or next((name for name in market.chains if name in known), min(known, default=""))
    if symbol not in known:
        raise Unservable(f"{value or 'No symbol'} is in the reference list, so nothing can happen to it.")
    return symbol


def _number(_: Market, value: str) -> float:
    return float(value)


# What VALUE means in NAME=VALUE: words for people, and how it is read.
TARGETS: dict[str, tuple[str, Callable[[Market, str], Any]]] = {
    "file": ("a session's date; the newest file by default", _file),
    "chain": ("an underlying, or all; the first underlying by default", _chains),
    "pages": (
        "reference, splits, options (every chain) or an underlying; the first underlying by default",
        _pages,
    ),
    "symbol": ("a symbol of the reference list; the first underlying by default", _symbol),
    "count": ("how many times", lambda market, value: int(_number(market, value))),
    "seconds": ("seconds", _number),
    "none": ("no value", lambda _, value: value),
}


def _asked(wanted: Iterable[str]) -> list[tuple[Fault, str]]:
    """The faults with their values, each `NAME` or `NAME=VALUE`, several in a string or not."""
    asked = []
    for text in (part for item in wanted for part in re.split(r"[,\s]+", item) if part):
        name, _, value = text.partition("=")
        if name not in FAULTS:
            raise Unservable(f"There is no fault {name!r}. `kapman simulator --list-faults` names them all.")
        asked.append((FAULTS[name], value))
    return asked


def require_known(wanted: Iterable[str]) -> None:
    """Unservable if a fault doesn't exist."""
    _asked(wanted)


def plant(wanted: Iterable[str], market: Market, put: Callable[[str, bytes], None]) -> Stage:
    """A stage with a copy of `market` and the faults `wanted`, each `NAME` or `NAME=VALUE`.

    One string may hold several, separated by commas or blanks. Unservable names what doesn't exist.
    """
    copy = replace(
        market,
        files=dict(market.files),
        tickers=list(market.tickers),
        splits=list(market.splits),
        chains={name: list(rows) for name, rows in market.chains.items()},
    )
    stage = Stage(copy, put)
    for entry, value in _asked(wanted):
        words, target_of = TARGETS[entry.target]
        try:
            target = target_of(copy, value or entry.default)
        except Unservable:
            raise
        except ValueError as error:
            raise Unservable(f"{entry.name}={value}: the value must be {words} ({error}).") from error
        entry.function(stage, target)
    return stage


class Times:
    """Counts events by name, from many threads."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> int:
        """How many times `name` came before this time."""
        with self._lock:
            before = self._seen.get(name, 0)
            self._seen[name] = before + 1
            return before
