"""The page's address: everything that a page shows follows from it, so that a link shows the same to others."""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

TABS = {
    "watchlist": "Watchlist",
    "symbol": "Price and gamma",
    "volatility": "Volatility",
    "history": "Dealer history",
    "health": "Data health",
}
"""Tab to its name, in the order of the page."""

_PARAMETERS = {
    "symbol": "symbol",
    "session": "date",
    "tab": "tab",
    "watchlist": "list",
    "sort": "sort",
    "text": "q",
}


@dataclass(frozen=True)
class Address:
    """What a link says: `/?symbol=AAPL&date=2026-11-20&tab=symbol`; what it leaves out is the newest, or the first.

    session: None where it isn't said, or isn't a date; `said_date` keeps what was said.
    tab: one of TABS. sort: a column of the watchlist, with a leading minus from the greatest down.
    watchlist: only this list's symbols. text: only symbols or names that contain it.
    """

    symbol: str = ""
    session: dt.date | None = None
    tab: str = ""
    watchlist: str = ""
    sort: str = ""
    text: str = ""
    said_date: str = ""

    @classmethod
    def parse(cls, search: str | None) -> "Address":
        """Read the part after the `?`; unknown parameters are ignored, of repeated ones the last counts."""
        said = {name: values[-1] for name, values in parse_qs((search or "").removeprefix("?")).items()}
        symbol, date = said.get("symbol", "").strip(), said.get("date", "").strip()
        tab = said.get("tab", "")
        return cls(
            symbol=symbol,
            session=_date(date),
            tab=tab if tab in TABS else ("symbol" if symbol else "watchlist"),
            watchlist=said.get("list", ""),
            sort=said.get("sort", ""),
            text=said.get("q", "").strip(),
            said_date=date,
        )

    def to(self, **changes: Any) -> "Address":
        """The same page but for these fields."""
        return replace(self, **changes)

    @property
    def search(self) -> str:
        """The query string, with its `?`; the same fields in the same order give the same string."""
        said = {
            name: value.isoformat() if isinstance(value, dt.date) else value
            for field, name in _PARAMETERS.items()
            if (value := getattr(self, field))
        }
        return f"?{urlencode(said)}"

    @property
    def href(self) -> str:
        """The link to the page."""
        return f"/{self.search}"

    def csv(self, dataset: str) -> str:
        """The link to the rows behind a chart or table of this page."""
        return f"/csv/{dataset}{self.search}"


def _date(said: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(said)
    except ValueError:
        return None
