"""What a materialization shows beside its numbers: ten rows as a table, and a picture where one says more.

Once a run, with the last event that it records, whatever the range; both are asked of the published table. Neither
can fail a load: what can't be read or drawn is a warning in the log.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, LiteralString

import dagster as dg
from psycopg.rows import dict_row

from kapman_assets.resources import DatabaseResource
from kapman_resources.database import Connection
from kapman_resources.sessions import session_close

ROWS = 10
_CELL = 60  # characters
_PATIENCE = "20s"

TABLES: Mapping[str, LiteralString] = {
    "tickers": """
        SELECT symbol, name, type, primary_exchange, currency, last_updated_utc FROM public.tickers
        WHERE active ORDER BY symbol
    """,
    "watchlists": """
        SELECT symbol, watchlist_id, active, source, effective_date FROM public.watchlists
        ORDER BY symbol, watchlist_id
    """,
    "ohlcv": """
        SELECT t.symbol, o.date, o.open, o.high, o.low, o.close, o.volume, o.transactions
        FROM public.ohlcv o JOIN public.tickers t ON t.id = o.ticker_id WHERE o.date = %(session)s ORDER BY 1
    """,
    "options_chains": """
        SELECT t.symbol, o.expiration_date, o.strike_price, o.option_type, o.bid, o.ask, o.volume, o.open_interest,
               o.implied_volatility, o.gamma
        FROM public.options_chains o JOIN public.tickers t ON t.id = o.ticker_id
        WHERE o.time = %(close)s ORDER BY 1, 2, 3, 4
    """,
    "daily_snapshots": """
        SELECT t.symbol, m.close, m.change_pct, m.rvol, m.hv_20, m.price_vs_sma50, m.distance_from_high_52w
        FROM public.daily_snapshots d JOIN public.tickers t ON t.id = d.ticker_id
        CROSS JOIN jsonb_to_record(d.price_metrics_json) AS m (
            close float8, change_pct float8, rvol float8, hv_20 float8, price_vs_sma50 float8,
            distance_from_high_52w float8)
        WHERE d.time = %(close)s ORDER BY 1
    """,
    "dealer_metrics": """
        SELECT t.symbol, m.status, m.position, m.spot, m.gamma_flip, m.gex_net, m.gex_total, m.dgpi,
               m.call_wall->'strike' AS call_wall, m.put_wall->'strike' AS put_wall
        FROM public.daily_snapshots d JOIN public.tickers t ON t.id = d.ticker_id
        CROSS JOIN jsonb_to_record(d.dealer_metrics_json) AS m (
            status text, position text, spot float8, gamma_flip float8, gex_net float8, gex_total float8, dgpi float8,
            call_wall jsonb, put_wall jsonb)
        WHERE d.time = %(close)s ORDER BY 1
    """,
    "volatility_metrics": """
        SELECT t.symbol, m.status, m.atm_iv_30d, m.iv_rank, m.iv_rank_status, m.iv_skew_25d, m.iv_term_structure,
               m.expected_move_30d
        FROM public.daily_snapshots d JOIN public.tickers t ON t.id = d.ticker_id
        CROSS JOIN jsonb_to_record(d.volatility_metrics_json) AS m (
            status text, atm_iv_30d float8, iv_rank float8, iv_rank_status text, iv_skew_25d float8,
            iv_term_structure float8, expected_move_30d float8)
        WHERE d.time = %(close)s ORDER BY 1
    """,
}
"""The rows that are shown, first ten of them; `session` and `close` are those of the event's partition."""


def preview(
    context: dg.AssetExecutionContext, database: DatabaseResource, session: dt.date | None = None
) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata `preview`, and `picture` where the step's asset has one.

    session: that of the event; None for an asset without partitions.
    """
    asset = context.asset_key.to_user_string()
    shown: dict[str, dg.MetadataValue[Any]] = {}
    parameters = {
        **database.audit_parameters(),
        "asset": asset,
        "session": session,
        "close": session and session_close(session),
    }
    for name, made in (("preview", _table), ("picture", _picture)):
        try:
            with database.connect() as connection:
                connection.execute("SELECT set_config('statement_timeout', %s, true)", (_PATIENCE,))
                found = made(connection, asset, parameters)
        except Exception as error:  # the rows are published, whatever becomes of their picture
            context.log.warning(f"No {name} of {asset!r}: {type(error).__name__}: {error}")
        else:
            if found is not None:
                shown[name] = found
    return shown


def _table(connection: Connection, asset: str, parameters: Mapping[str, Any]) -> dg.MetadataValue[Any] | None:
    """The first rows, every value as text."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(TABLES[asset], parameters).fetchmany(ROWS)
    if not rows:
        return None
    schema = dg.TableSchema([dg.TableColumn(name, "text") for name in rows[0]])
    records = [dg.TableRecord({name: _text(value) for name, value in row.items()}) for row in rows]
    return dg.MetadataValue.table(records, schema)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M}Z"
    if isinstance(value, float):
        whole = value.is_integer() or abs(value) >= 100_000
        return f"{value:,.0f}" if whole else f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.4g}"
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def _picture(
    connection: Connection, asset: str, parameters: Mapping[str, Any]
) -> dg.MetadataValue[Any] | None:
    if parameters["session"] is None:
        return None
    # Matplotlib takes half a second to import: paid by a step that draws, not by everything that loads definitions.
    from kapman_assets.session_pictures import PICTURES  # noqa: PLC0415

    drawn = PICTURES[asset](connection, parameters)
    return dg.MetadataValue.md(drawn) if drawn else None
