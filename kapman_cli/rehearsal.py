"""What quarantine would hold if partitions were loaded again now: sources are read, nothing is changed."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence

import polars as pl

from kapman_assets.resources import VendorResource
from kapman_assets.scope import active_symbols, every_symbol
from kapman_resources.database import Database
from kapman_resources.errors import KapmanError, SourceError
from kapman_resources.manifest import WHOLE, Quarantined
from kapman_resources.ohlcv_load import OhlcvLoader
from kapman_resources.options_load import read_snapshot
from kapman_resources.settings import settings
from kapman_resources.vendor_pages import decode_tickers
from kapman_resources.watchlist_files import read_watchlists

Refused = list[Quarantined] | KapmanError
"""The rows that would be refused, or why the partition couldn't be loaded at all."""


def rehearse(database: Database, asset: str, partitions: Sequence[str]) -> dict[str, Refused]:
    """Judge the sources of partitions by the rules and the tickers of today.

    Raises:
        KapmanError: the database or the vendor can't be reached.
    """
    return dict(_REHEARSALS[asset](database, partitions))


def _tickers(_: Database, __: Sequence[str]) -> Iterator[tuple[str, Refused]]:
    decoded = decode_tickers(page.body for page in VendorResource().api().reference_tickers())
    yield WHOLE, [Quarantined("reference tickers", None, raw, why) for raw, why in decoded.rejected]


def _watchlists(_: Database, __: Sequence[str]) -> Iterator[tuple[str, Refused]]:
    yield WHOLE, read_watchlists(settings().watchlists).invalid


def _ohlcv(database: Database, partitions: Sequence[str]) -> Iterator[tuple[str, Refused]]:
    files = VendorResource().flat_files()
    with database.connect() as connection:
        symbols = every_symbol(connection)
    tickers = pl.DataFrame({"symbol": list(symbols), "id": list(symbols.values())})
    first, last = (dt.date.fromisoformat(key) for key in (min(partitions), max(partitions)))
    found = files.list_sessions(first, last)
    loader = OhlcvLoader(database, files)

    def judged(session: dt.date) -> Refused:
        if session not in found:
            return SourceError(
                f"The vendor has no flat file for {session}.", fix="Its rows stay in quarantine."
            )
        try:
            return loader.rehearse(session, found[session], tickers).rejected
        except SourceError as error:
            return error

    for key in partitions:
        yield key, judged(dt.date.fromisoformat(key))


def _options_chains(database: Database, partitions: Sequence[str]) -> Iterator[tuple[str, Refused]]:
    vault = VendorResource().vault()
    with database.connect() as connection:
        symbols = list(active_symbols(connection))
    for key in partitions:
        session = dt.date.fromisoformat(key)
        try:
            yield key, read_snapshot(vault, session, symbols).rejected(session)
        except KapmanError as error:
            yield key, error


_REHEARSALS: dict[str, Callable[[Database, Sequence[str]], Iterator[tuple[str, Refused]]]] = {
    "tickers": _tickers,
    "watchlists": _watchlists,
    "ohlcv": _ohlcv,
    "options_chains": _options_chains,
}
