"""What the pages show, as the database has it: each question a query, each answer a frame or a row.

Sessions are given with their close (`session_close`): snapshots and chains have an index on time, and the
views compute `session` from it.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, LiteralString

import polars as pl
from psycopg.rows import dict_row

from kapman_metrics.chain import OptionSnapshot, read_snapshot
from kapman_metrics.volatility import VolatilitySettings
from kapman_metrics.volatility.curves import smile, term_structure
from kapman_resources.bars import read_contracts
from kapman_resources.database import Connection
from kapman_resources.sessions import expiry_closes, session_close

Row = dict[str, Any]

# Earliest moment that history charts look back to, in calendar days: the 252 sessions that IV rank knows.
HISTORY_DAYS = 370

SESSIONS = {"session": pl.Date, "assets": pl.List(pl.String)}
WATCHLIST = {
    "symbol": pl.String,
    "name": pl.String,
    "watchlists": pl.String,
    "close": pl.Float64,
    "change_pct": pl.Float64,
    "rvol": pl.Float64,
    "dealer_status": pl.String,
    "dealer_status_reason": pl.String,
    "position": pl.String,
    "dgpi": pl.Float64,
    "gex_net": pl.Float64,
    "spot": pl.Float64,
    "gamma_flip": pl.Float64,
    "distance_to_flip_pct": pl.Float64,
    "call_wall": pl.Float64,
    "put_wall": pl.Float64,
    "max_pain": pl.Float64,
    "volatility_status": pl.String,
    "atm_iv_30d": pl.Float64,
    "iv_rank": pl.Float64,
    "iv_rank_status": pl.String,
    "iv_skew_25d": pl.Float64,
    "expected_move_30d": pl.Float64,
}
PRICE = {
    "session": pl.Date,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Float64,
    "bollinger_lband": pl.Float64,
    "bollinger_mavg": pl.Float64,
    "bollinger_hband": pl.Float64,
}
GEX = {"strike": pl.Float64, "call_gex": pl.Float64, "put_gex": pl.Float64, "net_gex": pl.Float64}
WALLS = {
    "side": pl.String,
    "rank": pl.Int64,
    "strike": pl.Float64,
    "gex": pl.Float64,
    "open_interest": pl.Float64,
}
DEALER_HISTORY = {
    "session": pl.Date,
    "status": pl.String,
    "gex_net": pl.Float64,
    "gex_total": pl.Float64,
    "dgpi": pl.Float64,
    "spot": pl.Float64,
    "gamma_flip": pl.Float64,
    "call_wall": pl.Float64,
    "put_wall": pl.Float64,
}
VOLATILITY_HISTORY = {
    "session": pl.Date,
    "status": pl.String,
    "atm_iv_30d": pl.Float64,
    "atm_iv_90d": pl.Float64,
    "hv_20": pl.Float64,
    "iv_rank": pl.Float64,
    "iv_skew_25d": pl.Float64,
}
ASSETS = {
    "asset": pl.String,
    "sessions": pl.Int64,
    "first_session": pl.Date,
    "last_session": pl.Date,
    "rows_read": pl.Int64,
    "rows_written": pl.Int64,
    "rows_ignored": pl.Int64,
    "rows_quarantined": pl.Int64,
    "last_loaded_at": pl.Datetime("us", "UTC"),
}
LOADS = {
    "asset": pl.String,
    "session": pl.Date,
    "loaded_at": pl.Datetime("us", "UTC"),
    "rows_read": pl.Int64,
    "rows_written": pl.Int64,
    "rows_ignored": pl.Int64,
    "rows_quarantined": pl.Int64,
    "run_id": pl.String,
}


def sessions(connection: Connection) -> pl.DataFrame:
    """The published sessions, newest first, with the assets that each one has (columns of SESSIONS)."""
    return _frame(
        connection,
        """
        SELECT session, array_agg(asset ORDER BY asset) AS assets
        FROM analytics.loads WHERE session IS NOT NULL AND rows_written > 0
        GROUP BY session ORDER BY session DESC
        """,
        {},
        SESSIONS,
    )


def state(connection: Connection) -> Row | None:
    """Which repave made this database, when something was last published, and a digest of all that is."""
    return _row(
        connection,
        """
        SELECT max(run_id) FILTER (WHERE asset = 'schema') AS run_id,
               max(loaded_at) FILTER (WHERE asset = 'schema') AS paved_at,
               max(loaded_at) AS published_at,
               md5(string_agg(concat_ws(' ', asset, session, content_hash), ',' ORDER BY asset, session)) AS content
        FROM analytics.loads HAVING count(*) > 0
        """,
        {},
    )


def watchlist_names(connection: Connection) -> list[str]:
    """The lists that have an active symbol."""
    found = connection.execute("SELECT DISTINCT watchlist_id FROM public.watchlists WHERE active ORDER BY 1")
    return [name for (name,) in found]


def active_symbols(connection: Connection) -> list[tuple[str, str | None]]:
    """Active symbols with the names of their companies, by symbol."""
    return connection.execute(
        """
        SELECT DISTINCT w.symbol, t.name FROM public.watchlists w LEFT JOIN public.tickers t USING (symbol)
        WHERE w.active ORDER BY 1
        """
    ).fetchall()


def ticker(connection: Connection, symbol: str) -> Row | None:
    """id, symbol and name of a ticker, whatever the case that the symbol is written in; None: there is none."""
    return _row(
        connection,
        """
        SELECT id::text AS id, symbol, name FROM public.tickers
        WHERE symbol IN (%(symbol)s, upper(%(symbol)s)) ORDER BY symbol <> %(symbol)s LIMIT 1
        """,
        {"symbol": symbol},
    )


def watchlist(connection: Connection, session: dt.date) -> pl.DataFrame:
    """Every active symbol with its metrics of that session, nothing older (columns of WATCHLIST)."""
    return _frame(
        connection,
        """
        SELECT w.symbol, t.name, w.watchlists, p.close, p.change_pct, p.rvol,
               d.status AS dealer_status, d.status_reason AS dealer_status_reason, d.position, d.dgpi, d.gex_net,
               d.spot, d.gamma_flip, 100 * (d.gamma_flip / d.spot - 1) AS distance_to_flip_pct,
               d.call_wall_strike AS call_wall, d.put_wall_strike AS put_wall, d.max_pain,
               v.status AS volatility_status, v.atm_iv_30d, v.iv_rank, v.iv_rank_status, v.iv_skew_25d,
               v.expected_move_30d
        FROM (SELECT symbol, string_agg(watchlist_id, ', ' ORDER BY watchlist_id) AS watchlists
              FROM public.watchlists WHERE active GROUP BY symbol) AS w
        LEFT JOIN public.tickers t ON t.symbol = w.symbol
        LEFT JOIN analytics.price_metrics p ON p.ticker_id = t.id AND p.time = %(close)s
        LEFT JOIN analytics.dealer_metrics d ON d.ticker_id = t.id AND d.time = %(close)s
        LEFT JOIN analytics.volatility_metrics v ON v.ticker_id = t.id AND v.time = %(close)s
        ORDER BY w.symbol
        """,
        {"close": session_close(session)},
        WATCHLIST,
    )


def price(connection: Connection, ticker_id: str, session: dt.date) -> pl.DataFrame:
    """A year of bars up to the session, with the Bollinger bands where they are computed (columns of PRICE)."""
    return _frame(
        connection,
        """
        SELECT o.date AS session, o.open, o.high, o.low, o.close, o.volume,
               i.bollinger_lband, i.bollinger_mavg, i.bollinger_hband
        FROM public.ohlcv o
        LEFT JOIN (SELECT session, bollinger_lband, bollinger_mavg, bollinger_hband
                   FROM analytics.technical_indicators
                   WHERE ticker_id = %(ticker)s AND time BETWEEN %(since)s AND %(close)s) i ON i.session = o.date
        WHERE o.ticker_id = %(ticker)s AND o.date BETWEEN %(first)s AND %(session)s
        ORDER BY o.date
        """,
        {**_span(ticker_id, session), "first": session - dt.timedelta(days=HISTORY_DAYS), "session": session},
        PRICE,
    )


def price_metrics(connection: Connection, ticker_id: str, session: dt.date) -> Row | None:
    """The session's row of analytics.price_metrics."""
    return _row_of(connection, "SELECT * FROM analytics.price_metrics", ticker_id, session)


def dealer(connection: Connection, ticker_id: str, session: dt.date) -> Row | None:
    """The session's row of analytics.dealer_metrics."""
    return _row_of(connection, "SELECT * FROM analytics.dealer_metrics", ticker_id, session)


def volatility(connection: Connection, ticker_id: str, session: dt.date) -> Row | None:
    """The session's row of analytics.volatility_metrics."""
    return _row_of(connection, "SELECT * FROM analytics.volatility_metrics", ticker_id, session)


def gex(connection: Connection, ticker_id: str, session: dt.date) -> pl.DataFrame:
    """Gamma exposure by strike, dollars per 1 % of spot; net_gex adds up to the stored gex_net (columns of GEX)."""
    return _frame(
        connection,
        """
        SELECT strike, call_gex, put_gex, net_gex FROM analytics.gex_profile
        WHERE ticker_id = %(ticker)s AND time = %(close)s ORDER BY strike
        """,
        {"ticker": ticker_id, "close": session_close(session)},
        GEX,
    )


def walls(connection: Connection, ticker_id: str, session: dt.date) -> pl.DataFrame:
    """The call and put walls, the first first (columns of WALLS)."""
    return _frame(
        connection,
        """
        SELECT side, rank, strike, gex, open_interest FROM analytics.dealer_walls
        WHERE ticker_id = %(ticker)s AND time = %(close)s ORDER BY side, rank
        """,
        {"ticker": ticker_id, "close": session_close(session)},
        WALLS,
    )


def dealer_history(connection: Connection, ticker_id: str, session: dt.date) -> pl.DataFrame:
    """Dealer metrics of the sessions up to this one, a year back (columns of DEALER_HISTORY)."""
    return _frame(
        connection,
        """
        SELECT session, status, gex_net, gex_total, dgpi, spot, gamma_flip,
               call_wall_strike AS call_wall, put_wall_strike AS put_wall
        FROM analytics.dealer_metrics
        WHERE ticker_id = %(ticker)s AND time BETWEEN %(since)s AND %(close)s ORDER BY time
        """,
        _span(ticker_id, session),
        DEALER_HISTORY,
    )


def volatility_history(connection: Connection, ticker_id: str, session: dt.date) -> pl.DataFrame:
    """Implied and realized volatility of the sessions up to this one (columns of VOLATILITY_HISTORY)."""
    return _frame(
        connection,
        """
        SELECT session, status, atm_iv_30d, atm_iv_90d, inputs_hv_20 AS hv_20, iv_rank, iv_skew_25d
        FROM analytics.volatility_metrics
        WHERE ticker_id = %(ticker)s AND time BETWEEN %(since)s AND %(close)s ORDER BY time
        """,
        _span(ticker_id, session),
        VOLATILITY_HISTORY,
    )


def chain(connection: Connection, symbol: Row, session: dt.date, metrics: Row) -> OptionSnapshot:
    """The symbol's contracts, valued as `metrics` (the row of analytics.volatility_metrics) was computed."""
    close = session_close(session)
    contracts = read_contracts(connection, [symbol["id"]], close)
    underlying = pl.DataFrame(
        {"ticker_id": [symbol["id"]], "symbol": [symbol["symbol"]], "spot": [metrics["spot"]]},
        schema_overrides={"spot": pl.Float64},
    )
    return read_snapshot(
        contracts.join(
            expiry_closes(contracts["expiration_date"].unique()), on="expiration_date", how="left"
        ),
        underlying,
        snapshot_time=close,
        session=session,
        carry=VolatilitySettings(metrics["inputs_rate"], metrics["inputs_dividend_yield"]),
    )


def term(snapshot: OptionSnapshot, metrics: Row) -> pl.DataFrame:
    """IV at the money by expiry: expiration (Date), days (Int64), atm_iv (Float64, fraction per year)."""
    return _dated(term_structure(snapshot, metrics["inputs_max_strike_distance"]), snapshot.session)


def skew(snapshot: OptionSnapshot) -> pl.DataFrame:
    """IV of every contract that has one: expiration, days, strike, option_type, implied_volatility, delta."""
    return _dated(smile(snapshot), snapshot.session)


def assets(connection: Connection) -> pl.DataFrame:
    """What is loaded, a row for each asset (columns of ASSETS)."""
    return _frame(
        connection, "SELECT * FROM analytics.asset_health ORDER BY last_loaded_at, asset", {}, ASSETS
    )


def loads(connection: Connection) -> pl.DataFrame:
    """The load manifest, newest first (columns of LOADS)."""
    return _frame(
        connection,
        """
        SELECT asset, session, loaded_at, rows_read, rows_written, rows_ignored, rows_quarantined, run_id
        FROM analytics.loads ORDER BY session DESC NULLS LAST, asset
        """,
        {},
        LOADS,
    )


def _span(ticker_id: str, session: dt.date) -> dict[str, Any]:
    close = session_close(session)
    return {"ticker": ticker_id, "since": close - dt.timedelta(days=HISTORY_DAYS), "close": close}


def _dated(curve: pl.DataFrame, session: dt.date) -> pl.DataFrame:
    expiration = pl.lit(session) + pl.duration(days=pl.col("days"))
    return curve.drop("ticker_id").select(expiration.alias("expiration"), pl.all())


def _frame(
    connection: Connection, query: LiteralString, parameters: Mapping[str, Any], columns: Mapping[str, Any]
) -> pl.DataFrame:
    """The rows of a query, with the columns that are declared and no others."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, parameters).fetchall()
    return pl.DataFrame([[row[name] for name in columns] for row in rows], schema=dict(columns), orient="row")


def _row(connection: Connection, query: LiteralString, parameters: Mapping[str, Any]) -> Row | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchone()


def _row_of(connection: Connection, view: LiteralString, ticker_id: str, session: dt.date) -> Row | None:
    return _row(
        connection,
        view + " WHERE ticker_id = %(ticker)s AND time = %(close)s",
        {"ticker": ticker_id, "close": session_close(session)},
    )
