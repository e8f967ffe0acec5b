"""Reading bars and contracts back: the analytical layer's only sources."""

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import polars as pl

from kapman_resources.database import Connection

BARS = {
    "ticker_id": pl.String,
    "date": pl.Date,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Float64,
}

CONTRACTS = {
    "ticker_id": pl.String,
    "expiration_date": pl.Date,
    "strike_price": pl.Float64,
    "option_type": pl.String,
    "volume": pl.Int64,
    "open_interest": pl.Int64,
    "implied_volatility": pl.Float64,
    "gamma": pl.Float64,
    "shares_per_contract": pl.Float64,
}


def read_bars(connection: Connection, ticker_ids: Sequence[str], last: dt.date) -> pl.DataFrame:
    """All retained bars of the tickers up to `last`, sorted by ticker and date (columns of BARS)."""
    return _copy_out(
        connection,
        """
        COPY (SELECT ticker_id, date, open, high, low, close, volume FROM public.ohlcv
              WHERE ticker_id = ANY (%(ids)s::uuid[]) AND date <= %(last)s ORDER BY ticker_id, date)
        TO STDOUT (FORMAT csv)
        """,
        {"ids": list(ticker_ids), "last": last},
        BARS,
    )


def read_contracts(connection: Connection, ticker_ids: Sequence[str], close: dt.datetime) -> pl.DataFrame:
    """The tickers' contracts of the snapshot at `close`, in key order (columns of CONTRACTS)."""
    return _copy_out(
        connection,
        """
        COPY (SELECT ticker_id, expiration_date, strike_price, option_type, volume, open_interest,
                     implied_volatility, gamma, shares_per_contract
              FROM public.options_chains
              WHERE time = %(close)s AND ticker_id = ANY (%(ids)s::uuid[])
              ORDER BY ticker_id, expiration_date, strike_price, option_type)
        TO STDOUT (FORMAT csv)
        """,
        {"ids": list(ticker_ids), "close": close},
        CONTRACTS,
    )


def read_closes(connection: Connection, ticker_ids: Sequence[str], session: dt.date) -> dict[str, float]:
    """The close of each ticker that has a bar of the session."""
    rows = connection.execute(
        "SELECT ticker_id::text, close FROM public.ohlcv WHERE date = %s AND ticker_id = ANY (%s::uuid[])",
        (session, list(ticker_ids)),
    )
    return dict(rows.fetchall())


def _copy_out(
    connection: Connection, query: LiteralString, parameters: Mapping[str, Any], columns: Mapping[str, Any]
) -> pl.DataFrame:
    """CSV is as fast as a binary protocol here, and floats come back bit by bit (shortest round trip)."""
    received = io.BytesIO()
    with connection.cursor() as cursor, cursor.copy(query, parameters) as copy:
        for block in copy:
            received.write(block)
    if not received.tell():
        return pl.DataFrame(schema=dict(columns))
    received.seek(0)
    return pl.read_csv(received, has_header=False, new_columns=list(columns), schema=dict(columns))
