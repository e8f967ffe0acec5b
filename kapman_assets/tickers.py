"""`tickers`: the vendor's reference universe."""

import dagster as dg
import polars as pl

from kapman_assets.audits import Audit, audit_checks, audit_stage
from kapman_assets.failures import fails_in_a_sentence, vendor_retries
from kapman_assets.freshness import DEADLINES
from kapman_assets.materializations import load_metadata, table_metadata
from kapman_assets.order import require_passed
from kapman_assets.partitions import ONE_RUN
from kapman_assets.previews import preview
from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_assets.schema import AUDITS as SCHEMA_AUDITS
from kapman_assets.schema import NO_RELATION, schema
from kapman_resources import manifest
from kapman_resources.clock import as_of
from kapman_resources.content_hash import content_hash
from kapman_resources.publish import relation, stage, upsert_staged
from kapman_resources.tables import TICKERS, ticker_id
from kapman_resources.vendor_pages import decode_tickers

RELATION = relation(TICKERS)

AUDITS = (
    Audit(
        "tickers_are_loaded",
        "The reference universe is not empty.",
        violations="SELECT 'no active ticker' AS problem WHERE NOT EXISTS (SELECT 1 FROM {relation} WHERE active)",
        facts="""
            SELECT count(*) AS tickers, count(*) FILTER (WHERE active) AS active,
                   count(DISTINCT type) AS types, count(*) FILTER (WHERE name IS NULL) AS without_name
            FROM {relation}
        """,
        staged=True,
    ),
    Audit(
        "ticker_symbols_are_unique_and_clean",
        "Every symbol occurs once, has no blanks or control characters, and its id is the UUIDv5 of the symbol.",
        violations="""
            SELECT symbol, count(*) AS occurrences FROM {relation}
            GROUP BY symbol
            HAVING count(*) > 1 OR symbol ~ '[[:space:][:cntrl:]]' OR symbol = ''
                OR bool_or(id <> uuid_generate_v5('6f1b3b2e-5a0c-5f6e-9d0a-6b61706d616e', symbol))
        """,
        facts="SELECT count(*) AS tickers, count(DISTINCT symbol) AS symbols, max(length(symbol)) AS longest FROM {relation}",
        staged=True,
    ),
)


@dg.asset(
    deps=[schema],
    group_name="2_reference",
    kinds={"timescaledb", "rest"},
    owners=["team:a0-hydration"],
    tags={"contract": "A0"},
    metadata=table_metadata(TICKERS),
    backfill_policy=ONE_RUN,
    freshness_policy=DEADLINES["tickers"].policy,
    retry_policy=vendor_retries(),
    pool="vendor",
    description=(
        "Reference universe: every active stock ticker, by strict paging of the vendor's reference API. A page that is"
        " missing or repeated fails the run and writes nothing; a ticker that is no longer listed becomes inactive."
    ),
)
@fails_in_a_sentence
def tickers(
    context: dg.AssetExecutionContext, database: DatabaseResource, vendor: VendorResource
) -> dg.MaterializeResult:
    """Fetch and archive the reference pages, then publish them; who is no longer listed becomes inactive."""
    database.hold()
    with database.connect() as connection:
        require_passed(
            connection, "tickers", {"schema": (SCHEMA_AUDITS, NO_RELATION)}, database.audit_parameters()
        )
    pages = vendor.api().reference_tickers()
    archived = vendor.vault().archive(
        kind="tickers", session=as_of(), subject="reference", pages=pages, overwrite=True
    )
    decoded = decode_tickers(page.body for page in pages)
    frame = decoded.frame.with_columns(
        id=pl.Series([ticker_id(s) for s in decoded.frame["symbol"]], dtype=pl.String)
    )
    with database.connect() as connection:
        staged = stage(connection, TICKERS, frame)
        audit_stage(connection, AUDITS, staged, database.audit_parameters())
        columns = [c.name for c in TICKERS.recorded if c.name not in ("id", "symbol")]
        changed = upsert_staged(connection, TICKERS, staged, columns, inserted=["id"])
        left = connection.execute(
            "UPDATE public.tickers t SET active = false"
            " WHERE active AND NOT EXISTS (SELECT 1 FROM pg_temp.stage_tickers s WHERE s.id = t.id)"
        ).rowcount
        content = content_hash(connection, TICKERS)
        load = manifest.Load(
            "tickers", manifest.WHOLE, [{"sha256": archived.manifest.current.sha256}],
            rows_read=decoded.read, rows_written=len(frame), ignored=decoded.ignored,
            rows_quarantined=len(decoded.rejected), content_hash=content.hash, run_id=context.run.run_id,
        )  # fmt: skip
        rejected = [
            manifest.Quarantined("reference tickers", None, raw, why) for raw, why in decoded.rejected
        ]
        manifest.record(connection, load, rejected)
    context.log.info(
        f"{len(frame):,} tickers from the vendor (pages: {len(pages)}); {changed:,} changed, {left:,} no longer listed."
    )
    return dg.MaterializeResult(
        metadata={
            **load_metadata(load),
            "changed": changed,
            "no_longer_listed": left,
            **preview(context, database),
        },
        data_version=dg.DataVersion(content.hash),
    )


CHECKS = audit_checks("tickers", AUDITS, RELATION)
