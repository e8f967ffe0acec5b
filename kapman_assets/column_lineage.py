"""Which columns each column is made from, for the web interface's column lineage.

Foreign keys speak for themselves (`Column.references`); the rest is declared here, once. A column that isn't named
comes from outside: the vendor's files and pages, or the watchlists' files.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from kapman_resources.tables import Table

_SCOPE = ("watchlists.symbol", "watchlists.active")
_BARS = tuple(f"ohlcv.{name}" for name in ("date", "open", "high", "low", "close", "volume"))
_CONTRACTS = tuple(
    f"options_chains.{name}"
    for name in (
        "expiration_date", "strike_price", "option_type", "volume", "open_interest", "implied_volatility", "gamma",
        "shares_per_contract",
    )
)  # fmt: skip

SOURCES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "options_chains": {"ticker_id": _SCOPE},
    "daily_snapshots": {
        "time": ("ohlcv.date",),
        "ticker_id": ("ohlcv.ticker_id", *_SCOPE),
        "technical_indicators_json": _BARS,
        "price_metrics_json": _BARS,
    },
    "dealer_metrics": {
        "time": ("options_chains.time",),
        "ticker_id": ("options_chains.ticker_id", *_SCOPE),
        "dealer_metrics_json": (*_CONTRACTS, "ohlcv.close"),
    },
    "volatility_metrics": {
        "time": ("options_chains.time",),
        "ticker_id": ("options_chains.ticker_id", *_SCOPE),
        # Its own values of the sessions before, behind the IV rank, have no arrow: Dagster's graph has no loops.
        "volatility_metrics_json": (*_CONTRACTS, "ohlcv.close", "daily_snapshots.price_metrics_json"),
    },
}
"""By asset and column: `asset.column` of each source."""


def column_lineage(asset: str, table: Table) -> dg.TableColumnLineage:
    """The lineage of an asset's columns, but for those that come from outside."""
    found: dict[str, list[dg.TableColumnDep]] = {}
    for column in table.columns:
        named = [column.references] if column.references else []
        for source in (*named, *SOURCES.get(asset, {}).get(column.name, ())):
            of_asset, _, of_column = source.partition(".")
            dependency = dg.TableColumnDep(asset_key=of_asset, column_name=of_column)
            found.setdefault(column.name, []).append(dependency)
    return dg.TableColumnLineage(found)
