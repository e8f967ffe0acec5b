"""`watchlists`: the symbols that the analytics cover, reconciled from files."""

import dagster as dg
import polars as pl
from psycopg import sql

from kapman_assets.audits import Audit, audit_checks, audit_stage
from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.freshness import DEADLINES
from kapman_assets.materializations import load_metadata, table_metadata
from kapman_assets.order import require_passed
from kapman_assets.partitions import ONE_RUN
from kapman_assets.previews import preview
from kapman_assets.resources import DatabaseResource
from kapman_assets.tickers import AUDITS as TICKERS_AUDITS
from kapman_assets.tickers import RELATION as TICKERS_RELATION
from kapman_assets.tickers import tickers
from kapman_resources import manifest
from kapman_resources.clock import as_of
from kapman_resources.content_hash import content_hash
from kapman_resources.database import Connection
from kapman_resources.publish import relation, stage, upsert_staged
from kapman_resources.settings import settings
from kapman_resources.tables import WATCHLISTS
from kapman_resources.watchlist_files import read_watchlists

RELATION = relation(WATCHLISTS)
ACTIVE_SYMBOLS = """
    SELECT DISTINCT w.symbol, t.id AS ticker_id
    FROM public.watchlists w JOIN public.tickers t USING (symbol)
    WHERE w.active
"""

AUDITS = (
    Audit(
        "watchlists_are_not_empty",
        "There is at least one active symbol; watchlists are the only scope of everything but OHLCV.",
        violations="SELECT 'no active symbol' AS problem WHERE NOT EXISTS (SELECT 1 FROM {relation} WHERE active)",
        facts="""
            SELECT count(*) AS listed, count(*) FILTER (WHERE active) AS active,
                   count(DISTINCT watchlist_id) FILTER (WHERE active) AS lists,
                   count(DISTINCT symbol) FILTER (WHERE active) AS symbols
            FROM {relation}
        """,
        staged=True,
    ),
    Audit(
        "some_active_symbol_has_a_ticker",
        "At least one active symbol is a known ticker; with none the analytics would silently cover nothing.",
        violations="""
            SELECT 'no active symbol has a ticker' AS problem WHERE NOT EXISTS (
                SELECT 1 FROM {relation} w JOIN public.tickers t USING (symbol) WHERE w.active)
        """,
        facts="""
            SELECT count(DISTINCT w.symbol) AS active_symbols, count(DISTINCT t.symbol) AS with_ticker
            FROM {relation} w LEFT JOIN public.tickers t USING (symbol) WHERE w.active
        """,
        staged=True,
    ),
    Audit(
        "active_symbols_resolve_to_tickers",
        "Every active symbol is a ticker of the reference universe (case matters).",
        violations="""
            SELECT w.symbol, array_agg(w.watchlist_id ORDER BY w.watchlist_id) AS watchlists
            FROM {relation} w LEFT JOIN public.tickers t USING (symbol)
            WHERE w.active AND t.id IS NULL GROUP BY w.symbol ORDER BY w.symbol
        """,
        facts="""
            SELECT count(DISTINCT w.symbol) AS active_symbols, count(DISTINCT t.symbol) AS with_ticker
            FROM {relation} w LEFT JOIN public.tickers t USING (symbol) WHERE w.active
        """,
        severity=dg.AssetCheckSeverity.WARN,
        blocking=False,
    ),
)


@dg.asset(
    deps=[tickers],
    group_name="2_reference",
    kinds={"timescaledb", "file"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(WATCHLISTS),
    backfill_policy=ONE_RUN,
    freshness_policy=DEADLINES["watchlists"].policy,
    pool="database",
    description=(
        "The symbols that the analytics cover, reconciled from `data/watchlists/*.txt`: a list a file, a symbol a line."
        " Symbols that have left become inactive, nothing is deleted; a symbol that is no ticker is a named warning."
    ),
)
@fails_in_a_sentence
def watchlists(context: dg.AssetExecutionContext, database: DatabaseResource) -> dg.MaterializeResult:
    """Make the table say what the files say, and name every symbol that is no ticker."""
    database.hold()
    files = read_watchlists(settings().watchlists)
    for line in files.invalid_lines:
        context.log.warning(f"Not a symbol, ignored: {line}")
    frame = files.frame.with_columns(active=pl.lit(True), effective_date=pl.lit(as_of()))
    with database.connect() as connection:
        parameters = database.audit_parameters()
        require_passed(connection, "watchlists", {"tickers": (TICKERS_AUDITS, TICKERS_RELATION)}, parameters)
        staged = stage(connection, WATCHLISTS, frame)
        audit_stage(connection, AUDITS, staged, parameters)
        changed = _reconcile(connection, staged)
        strangers = _without_ticker(connection)
        content = content_hash(connection, WATCHLISTS)
        load = manifest.Load(
            "watchlists", manifest.WHOLE, [{"file": name} for name in frame["source"].unique().sort()],
            rows_read=len(frame) + len(files.invalid), rows_written=len(frame), rows_quarantined=len(files.invalid),
            details={"without_ticker": strangers, "invalid": files.invalid_lines, "repeated": files.repeated},
            content_hash=content.hash, run_id=context.run.run_id,
        )  # fmt: skip
        manifest.record(connection, load, files.invalid)
    for symbol in strangers:
        context.log.warning(f"Watchlist symbol {symbol!r} is no ticker of the reference universe.")
    return dg.MaterializeResult(
        metadata={
            **load_metadata(load),
            "changed": changed,
            "without_ticker": strangers,
            **preview(context, database),
        },
        data_version=dg.DataVersion(content.hash),
    )


def _reconcile(connection: Connection, staged: sql.Composable) -> int:
    """Insert and reactivate what is listed, deactivate what is not; rows changed."""
    touched = upsert_staged(
        connection,
        WATCHLISTS,
        staged,
        ["active", "source"],
        also=sql.SQL("effective_date = excluded.effective_date, updated_at = now()"),
        inserted=["effective_date"],
    )
    return (
        touched
        + connection.execute(
            """
            UPDATE public.watchlists w SET active = false, effective_date = %s, updated_at = now()
            WHERE active AND NOT EXISTS (
                SELECT 1 FROM pg_temp.stage_watchlists s
                WHERE s.watchlist_id = w.watchlist_id AND s.symbol = w.symbol)
            """,
            (as_of(),),
        ).rowcount
    )


def _without_ticker(connection: Connection) -> list[str]:
    rows = connection.execute(
        """
        SELECT DISTINCT w.symbol FROM public.watchlists w LEFT JOIN public.tickers t USING (symbol)
        WHERE w.active AND t.id IS NULL ORDER BY 1
        """
    )
    return [row[0] for row in rows]


CHECKS = audit_checks("watchlists", AUDITS, RELATION)
