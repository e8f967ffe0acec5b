"""Which picture each asset has, and the data that it shows.

Each of `PICTURES` takes a connection and the parameters of `previews.preview` and returns Markdown, or None where
there is nothing to show.
"""

from collections.abc import Callable, Mapping
from typing import Any, LiteralString

import polars as pl

from kapman_assets import pictures
from kapman_resources.database import Connection

_SESSIONS_OF_STATUSES = 60


def _calendar(connection: Connection, parameters: Mapping[str, Any]) -> str | None:
    """Rows by session, from the first that is there to the as-of session."""
    loaded = _frame(
        connection,
        """
        SELECT partition_key::date, rows_written FROM kapman_meta.load_manifest
        WHERE asset = %(asset)s AND partition_key <> '' AND rows_written > 0 ORDER BY 1
        """,
        parameters,
        {"session": pl.Date, "rows": pl.Int64},
    )
    window = pl.DataFrame({"session": parameters["sessions"]}, schema={"session": pl.Date})
    window = window.filter(pl.col("session") >= loaded["session"].min())
    if window.is_empty():
        return None
    return pictures.calendar(
        parameters["asset"], window.join(loaded, on="session", how="left").sort("session")
    )


def _chains(connection: Connection, parameters: Mapping[str, Any]) -> str | None:
    """Contracts and open interest of each underlying."""
    found = _frame(
        connection,
        """
        SELECT t.symbol, count(*) FILTER (WHERE option_type = 'C'), count(*) FILTER (WHERE option_type = 'P'),
               coalesce(sum(open_interest) FILTER (WHERE option_type = 'C'), 0)::bigint,
               coalesce(sum(open_interest) FILTER (WHERE option_type = 'P'), 0)::bigint
        FROM public.options_chains o JOIN public.tickers t ON t.id = o.ticker_id
        WHERE o.time = %(close)s GROUP BY 1 ORDER BY 1
        """,
        parameters,
        {"symbol": pl.String, **dict.fromkeys(("calls", "puts", "call_interest", "put_interest"), pl.Int64)},
    )
    return None if found.is_empty() else pictures.chains(parameters["session"], found)


def _profiles(connection: Connection, parameters: Mapping[str, Any]) -> str | None:
    """Gamma profiles of the biggest names by total exposure."""
    numbers = ("spot", "gamma_flip", "call_wall", "put_wall", "gex_net")
    lists = ("strike", "call_gex", "put_gex")
    found = _frame(
        connection,
        """
        SELECT t.symbol, m.spot, m.gamma_flip, (m.call_wall->>'strike')::float8, (m.put_wall->>'strike')::float8,
               m.gex_net, p.strike, p.call_gex, p.put_gex
        FROM public.daily_snapshots d JOIN public.tickers t ON t.id = d.ticker_id
        CROSS JOIN jsonb_to_record(d.dealer_metrics_json) AS m (
            spot float8, gamma_flip float8, call_wall jsonb, put_wall jsonb, gex_net float8, gex_total float8,
            profile jsonb)
        CROSS JOIN jsonb_to_record(m.profile) AS p (strike float8[], call_gex float8[], put_gex float8[])
        WHERE d.time = %(close)s AND m.gex_total > 0 ORDER BY m.gex_total DESC, t.symbol LIMIT %(profiles)s
        """,
        {**parameters, "profiles": pictures.PROFILES},
        {
            "symbol": pl.String,
            **dict.fromkeys(numbers, pl.Float64),
            **dict.fromkeys(lists, pl.List(pl.Float64)),
        },
    )
    statuses = _statuses(connection, parameters)
    return None if statuses.is_empty() else pictures.gamma_profiles(parameters["session"], found, statuses)


def _volatilities(connection: Connection, parameters: Mapping[str, Any]) -> str | None:
    """IV ranks and 30-day IVs of the symbols."""
    found = _frame(
        connection,
        """
        SELECT t.symbol, m.atm_iv_30d, m.iv_rank
        FROM public.daily_snapshots d JOIN public.tickers t ON t.id = d.ticker_id
        CROSS JOIN jsonb_to_record(d.volatility_metrics_json) AS m (atm_iv_30d float8, iv_rank float8)
        WHERE d.time = %(close)s AND d.volatility_metrics_json IS NOT NULL ORDER BY 1
        """,
        parameters,
        {"symbol": pl.String, "atm_iv_30d": pl.Float64, "iv_rank": pl.Float64},
    )
    statuses = _statuses(connection, parameters)
    return None if statuses.is_empty() else pictures.volatilities(parameters["session"], found, statuses)


def _statuses(connection: Connection, parameters: Mapping[str, Any]) -> pl.DataFrame:
    """session, status, rows of the sessions up to the event's."""
    return _frame(
        connection,
        """
        SELECT session, key, value::bigint FROM (
            SELECT partition_key::date AS session, details->'statuses' AS statuses FROM kapman_meta.load_manifest
            WHERE asset = %(asset)s AND partition_key BETWEEN '0' AND %(session)s::date::text
            ORDER BY partition_key DESC LIMIT %(newest)s) m
        CROSS JOIN LATERAL jsonb_each_text(statuses) ORDER BY 1, 2
        """,
        {**parameters, "newest": _SESSIONS_OF_STATUSES},
        {"session": pl.Date, "status": pl.String, "rows": pl.Int64},
    )


def _frame(
    connection: Connection, query: LiteralString, parameters: Mapping[str, Any], schema: Mapping[str, Any]
) -> pl.DataFrame:
    rows = connection.execute(query, parameters).fetchall()
    return pl.DataFrame(rows, schema=dict(schema), orient="row")


PICTURES: Mapping[str, Callable[[Connection, Mapping[str, Any]], str | None]] = {
    "ohlcv": _calendar,
    "options_chains": _chains,
    "daily_snapshots": _calendar,
    "dealer_metrics": _profiles,
    "volatility_metrics": _volatilities,
}
