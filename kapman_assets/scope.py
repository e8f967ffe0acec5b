"""Which tickers a step covers."""

from collections.abc import Sequence

from kapman_resources.database import Connection
from kapman_resources.errors import ScopeError


def active_symbols(connection: Connection, only: Sequence[str] = ()) -> dict[str, str]:
    """Ticker ids (as text) of the active watchlist symbols that are tickers, by symbol, ascending.

    only: restricts them, for smoke tests.

    Raises:
        ScopeError: `only` names a symbol that is on no active watchlist, or is no ticker.
    """
    rows = connection.execute(
        """
        SELECT DISTINCT w.symbol, t.id::text FROM public.watchlists w JOIN public.tickers t USING (symbol)
        WHERE w.active ORDER BY w.symbol
        """
    ).fetchall()
    symbols: dict[str, str] = dict(rows)
    unknown = [symbol for symbol in only if symbol not in symbols]
    if unknown:
        raise ScopeError(
            f"The run config asks for {', '.join(map(repr, unknown))}: on no active watchlist, or no ticker (case matters).",
            fix="Correct `symbols` in the run config, or add the symbol to a file in data/watchlists and materialize 'watchlists'.",
        )
    return {symbol: symbols[symbol] for symbol in (sorted(set(only)) or symbols)}


def every_symbol(connection: Connection) -> dict[str, str]:
    """Ticker ids (as text) of all tickers by symbol, ascending."""
    return dict(connection.execute("SELECT symbol, id::text FROM public.tickers ORDER BY symbol").fetchall())
