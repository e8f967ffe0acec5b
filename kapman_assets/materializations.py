"""How a run tells Dagster what it has published."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from kapman_assets.column_lineage import column_lineage
from kapman_assets.previews import preview
from kapman_assets.progress import ProgressLog
from kapman_assets.resources import DatabaseResource
from kapman_resources.manifest import Load
from kapman_resources.tables import Column, Table

# Dagster records a materialization for every partition of a run's range, whatever the asset says,
# unless the output carries this key (`SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION` in its sources).
# With it, only the sessions that were really published are recorded, each with its own numbers and
# its content hash as data version. tests/integration/test_repave.py holds Dagster to it.
_LOG_NO_EVENTS = "__source_asset_observation__"


# `dagster/...` tags are what Dagster compares to tell that something upstream has changed ("Unsynced"):
# of an unpartitioned input its data version, of a partition whether an event later than the pointer brought
# another data version. It writes them by itself only for the events that we don't let it make.
_DATA_VERSION = "dagster/data_version"
_CODE_VERSION = "dagster/code_version"
_INPUT_VERSION = "dagster/input_data_version/{}"
_INPUT_POINTER = "dagster/input_event_pointer/{}"
_NO_VERSION = "NULL"  # Dagster's word for none
_NEVER = 2**63 - 1  # no event is later

_ROW_DIFF = ("rows_added", "rows_changed", "rows_removed")

# Dependencies that say when a step may run, not what it reads: news there make nothing stale.
_ORDER_ONLY = {
    ("options_chains", "ohlcv"),
    ("daily_snapshots", "options_chains"),
    ("dealer_metrics", "daily_snapshots"),
    ("volatility_metrics", "dealer_metrics"),
}


def inputs_as_read(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Event tags with the versions of the step's inputs as they are now; ask before reading them."""
    asset, instance = context.asset_key, context.instance
    latest = instance.event_log_storage.get_maximum_record_id() or 0
    tags: dict[str, str] = {}
    for dependency in sorted(context.assets_def.asset_deps[asset]):
        name = dependency.to_user_string()
        event = instance.get_latest_materialization_event(dependency)
        found = event.asset_materialization if event else None
        # That of a partition is in the load's sources.
        version = (found.tags or {}).get(_DATA_VERSION) if found and found.partition is None else None
        order_only = (asset.to_user_string(), name) in _ORDER_ONLY
        tags[_INPUT_VERSION.format(name)] = version or _NO_VERSION
        tags[_INPUT_POINTER.format(name)] = str(_NEVER if order_only else latest)
    return tags


def materialized_sessions(
    context: dg.AssetExecutionContext,
    loads: Iterable[Load],
    inputs: Mapping[str, str],
    *,
    unchanged: Iterable[Load] = (),
    progress: ProgressLog | None = None,
    database: DatabaseResource | None = None,
) -> dg.MaterializeResult:
    """Record one materialization for each session that is published; the others stay unmaterialized.

    inputs: `inputs_as_read` of before the step read them.
    unchanged: published before and left alone. They are recorded again, with the numbers of then: a run may
        have died between publishing and recording, and Dagster learns that they have been looked at since.
    progress, database: the last event then also gets what describes the whole run: its pace; ten rows, a picture.
    """
    seconds = progress.seconds if progress else None
    published = [(load, load_metadata(load)) for load in loads]
    left_alone = [
        (load, load_metadata(load) | {"unchanged": True} | dict.fromkeys(_diff(load), 0))
        for load in unchanged
    ]
    events = [*left_alone, *published]
    for number, (load, metadata) in enumerate(events, start=1):
        last = number == len(events)
        of_the_run = pace([one for one, _ in published], len(left_alone), seconds) if last else {}
        if last and database:
            of_the_run |= preview(context, database, dt.date.fromisoformat(load.partition_key))
        versions = {
            _INPUT_VERSION.format(source["asset"]): source["content_hash"]
            for source in load.sources
            if "asset" in source and source.get("content_hash")
        }
        context.log_event(
            dg.AssetMaterialization(
                context.asset_key,
                partition=load.partition_key,
                metadata=metadata | of_the_run,
                tags={
                    **inputs,
                    **versions,
                    _CODE_VERSION: load.code_version,
                    _DATA_VERSION: load.content_hash or load.run_id,
                },
            )
        )
    return dg.MaterializeResult(metadata={_LOG_NO_EVENTS: True})


def pace(published: Sequence[Load], unchanged: int, seconds: float | None) -> dict[str, Any]:
    """What a run did and how fast, in numbers that plot."""
    numbers: dict[str, Any] = {"sessions_published": len(published), "sessions_unchanged": unchanged}
    if published and seconds:
        rows = sum(load.rows_written for load in published)
        numbers |= {"seconds": round(seconds, 3), "rows_per_second": round(rows / seconds)}
    return numbers


def load_metadata(load: Load) -> dict[str, Any]:
    """The numbers of a load that people look for first."""
    shown: dict[str, Any] = {
        "dagster/row_count": load.rows_written,
        "rows_read": load.rows_read,
        "rows_quarantined": load.rows_quarantined,
    }
    if load.ignored:
        shown["rows_ignored"] = dg.MetadataValue.json(load.ignored)
    shown |= _diff(load)
    if details := {name: value for name, value in load.details.items() if name not in _ROW_DIFF}:
        shown["details"] = dg.MetadataValue.json(details)
    if load.content_hash:
        shown["content_hash"] = load.content_hash[:16]
    return shown


def _diff(load: Load) -> dict[str, int]:
    """What the load did to the rows that were there, where it says so."""
    return {name: load.details[name] for name in _ROW_DIFF if name in load.details}


def table_metadata(table: Table, asset: str = "") -> dict[str, Any]:
    """Definition metadata of an asset that is a table: its name, its columns with units and constraints, their lineage.

    asset: its name where it isn't the table's, because it fills some columns of a table that others fill too.
    """
    lineage = column_lineage(asset or table.name, table)
    return {
        "dagster/table_name": f"{table.schema}.{table.name}",
        "dagster/column_schema": dg.TableSchema(
            [_column(table, column, lineage.deps_by_column.get(column.name, ())) for column in table.columns]
        ),
        **({"dagster/column_lineage": lineage} if lineage.deps_by_column else {}),
    }


def _column(table: Table, column: Column, sources: Sequence[dg.TableColumnDep]) -> dg.TableColumn:
    description = f"{column.description} [{column.unit}]" if column.unit else column.description
    if sources:
        # In words too: Dagster's free edition draws no column lineage.
        named = ", ".join(f"`{one.asset_key.to_user_string()}.{one.column_name}`" for one in sources)
        description += f" From {named}."
    constraints = list(column.checks)
    if column.references:
        constraints.append(f"foreign key to {column.references}")
    if column.name in table.key and len(table.key) > 1:
        constraints.append("part of the key")
    return dg.TableColumn(
        column.name,
        column.type,
        description=description,
        constraints=dg.TableColumnConstraints(
            nullable=column.nullable, unique=table.key == (column.name,), other=constraints
        ),
    )


def named_sessions(sessions: Iterable[dt.date], limit: int = 5) -> str:
    """Sessions as people write them: the first few by name, the rest counted."""
    names = [f"{session}" for session in sorted(sessions)]
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
