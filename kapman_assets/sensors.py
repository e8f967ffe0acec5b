"""Sensors: republished and late flat files."""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import dagster as dg

from kapman_assets.flat_file_changes import CHECK, FileChange, changed_files, verdict
from kapman_assets.jobs import DAILY_LOAD, NEW_YORK, ON_DUTY, refresh
from kapman_assets.materializations import named_sessions
from kapman_assets.partitions import SESSIONS
from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_resources.errors import KapmanError
from kapman_resources.settings import settings

_EVERY = dt.timedelta(minutes=15)
_DAILY_LOAD_TAKES = dt.timedelta(hours=1)


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=int(_EVERY.total_seconds()),
    default_status=dg.DefaultSensorStatus.RUNNING if ON_DUTY else dg.DefaultSensorStatus.STOPPED,
    description=(
        "Compares a listing of the vendor's flat files with what was loaded. A republished file, or one that came"
        f" late, turns check `{CHECK}` red at once and starts job `refresh` from its session on, once."
    ),
)
def republished_files(
    context: dg.SensorEvaluationContext, database: DatabaseResource, vendor: VendorResource
) -> dg.SensorResult:
    """Ask for one run when there are changes that no earlier tick has asked for.

    The cursor holds the changes of the last tick (session: ETag): a file that can't be loaded stays red in
    the check and is not tried again until the vendor replaces it.
    """
    try:
        found = changed_files(database.database, vendor.flat_files())
    except KapmanError as error:
        return dg.SensorResult(skip_reason=str(error))
    now = dt.datetime.now(dt.UTC)
    changes = [change for change in found if settings().as_of or not is_left_to_daily_load(change, now)]
    asked = json.loads(context.cursor or "{}")
    new = [change for change in changes if asked.get(change.session.isoformat()) != change.etag]
    current = {change.session.isoformat(): change.etag for change in changes}
    return dg.SensorResult(
        run_requests=[refresh_from(new)] if new else [],
        skip_reason=None if new else _reason(changes),
        asset_events=[dg.AssetCheckEvaluation(**verdict(changes))] if current != asked else [],
        cursor=json.dumps(current),
    )


def is_left_to_daily_load(change: FileChange, now: dt.datetime) -> bool:
    """Whether a session's first file is there, but its daily load has not had its time yet at `now` (aware)."""
    day_after = change.session + dt.timedelta(days=1)
    daily_load = dt.datetime.combine(day_after, DAILY_LOAD, ZoneInfo(NEW_YORK))
    return change.kind == "late" and now < daily_load + _DAILY_LOAD_TAKES


def refresh_from(changes: Sequence[FileChange]) -> dg.RunRequest:
    """One run from the first changed session to the newest: snapshots look back over the changed bars."""
    # The run that loaded the replaced file is part of the key: a file that goes back and forth between two
    # versions is loaded each time.
    versions = [f"{change.session} {change.etag} {change.replaces}" for change in changes]
    return dg.RunRequest(
        run_key=hashlib.sha256("\n".join(versions).encode()).hexdigest(),
        tags={
            "dagster/asset_partition_range_start": changes[0].session.isoformat(),
            "dagster/asset_partition_range_end": SESSIONS.get_partition_keys()[-1],
            "kapman/changed_files": named_sessions(change.session for change in changes),
        },
    )


def _reason(changes: Sequence[FileChange]) -> str:
    if not changes:
        return "The bars were made from the files that the vendor offers."
    return f"A run was asked for already: {named_sessions(change.session for change in changes)}."


SENSORS = [republished_files]
