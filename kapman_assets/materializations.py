"""How a run tells Dagster what it has published."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from kapman_resources.manifest import Load
from kapman_resources.tables import Table

# Dagster records a materialization for every partition of a run's range, whatever the asset says,
# unless the output carries this key (`SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION` in its sources).
# With it, only the sessions that were really published are recorded, each with its own numbers and
# its content hash as data version. tests/integration/test_repave.py holds Dagster to it.
_LOG_NO_EVENTS = "__source_asset_observation__"


def materialized_sessions(
    context: dg.AssetExecutionContext, loads: Iterable[Load], metadata: Mapping[str, Any] | None = None
) -> dg.MaterializeResult:
    """Record one materialization for each published session; the others stay unmaterialized."""
    for load in loads:
        context.log_event(
            dg.AssetMaterialization(
                context.asset_key,
                partition=load.partition_key,
                metadata={**load_metadata(load), **(metadata or {})},
                tags={"dagster/data_version": load.content_hash or load.run_id},
            )
        )
    return dg.MaterializeResult(metadata={_LOG_NO_EVENTS: True})


def load_metadata(load: Load) -> dict[str, Any]:
    """The numbers of a load that people look for first."""
    shown: dict[str, Any] = {"dagster/row_count": load.rows_written, "rows_read": load.rows_read}
    if load.rows_quarantined:
        shown["rows_quarantined"] = load.rows_quarantined
    if load.ignored:
        shown["rows_ignored"] = dg.MetadataValue.json(load.ignored)
    if load.details:
        shown["details"] = dg.MetadataValue.json(load.details)
    if load.content_hash:
        shown["content_hash"] = load.content_hash[:16]
    return shown


def table_metadata(table: Table) -> dict[str, Any]:
    """Definition metadata of an asset that is a table: its name and its columns with their units."""
    return {
        "dagster/table_name": f"public.{table.name}",
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    column.name,
                    column.type,
                    description=f"{column.description} [{column.unit}]"
                    if column.unit
                    else column.description,
                    constraints=dg.TableColumnConstraints(nullable=column.nullable),
                )
                for column in table.columns
            ]
        ),
    }


def named_sessions(sessions: Iterable[dt.date], limit: int = 5) -> str:
    """Sessions as people write them: the first few by name, the rest counted."""
    names = [f"{session}" for session in sorted(sessions)]
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
