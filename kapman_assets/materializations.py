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
    inputs: Mapping[str, str] | None = None,
    *,
    unchanged: Iterable[Load] = (),
) -> dg.MaterializeResult:
    """Record one materialization for each session that is published; the others stay unmaterialized.

    inputs: `inputs_as_read` of before the step read them; None asks now.
    unchanged: published before and left alone. They are recorded again, with the numbers of then: a run may
        have died between publishing and recording, and Dagster learns that they have been looked at since.
    """
    inputs = inputs_as_read(context) if inputs is None else inputs
    left_alone = [(load, {"unchanged": True, **dict.fromkeys(_diff(load), 0)}) for load in unchanged]
    for load, metadata in (*left_alone, *((load, {}) for load in loads)):
        versions = {
            _INPUT_VERSION.format(source["asset"]): source["content_hash"]
            for source in load.sources
            if "asset" in source and source.get("content_hash")
        }
        context.log_event(
            dg.AssetMaterialization(
                context.asset_key,
                partition=load.partition_key,
                metadata={**load_metadata(load), **metadata},
                tags={
                    **inputs,
                    **versions,
                    _CODE_VERSION: load.code_version,
                    _DATA_VERSION: load.content_hash or load.run_id,
                },
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
    shown |= _diff(load)
    if load.details:
        shown["details"] = dg.MetadataValue.json(load.details)
    if load.content_hash:
        shown["content_hash"] = load.content_hash[:16]
    return shown


def _diff(load: Load) -> dict[str, int]:
    """What the load did to the rows that were there, where it says so."""
    return {name: load.details[name] for name in _ROW_DIFF if name in load.details}


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
