"""Flat files that the vendor has republished, or brought late, since the bars were made from them."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from kapman_assets.audits import EXAMPLES
from kapman_assets.ohlcv import ohlcv
from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_resources import manifest
from kapman_resources.clock import as_of
from kapman_resources.database import Database
from kapman_resources.errors import KapmanError, OrderViolation
from kapman_resources.flat_files import FlatFiles
from kapman_resources.sessions import retained_sessions

CHECK = "ohlcv_files_are_current"


@dataclass(frozen=True)
class FileChange:
    """A session whose bars were not made from the file that the vendor offers now.

    etag: of the file that is offered.
    loaded_etag: of the file that the bars were made from; None if there are no bars (the file is late).
    replaces: run that published the bars; empty if there are none.
    """

    session: dt.date
    etag: str
    loaded_etag: str | None = None
    replaces: str = ""

    @property
    def kind(self) -> str:
        """`republished`, or `late` where there was no file when the others were loaded."""
        return "late" if self.loaded_etag is None else "republished"


def changed_files(database: Database, flat_files: FlatFiles) -> list[FileChange]:
    """The retained sessions with a file that is not the one that was loaded, ascending; one listing.

    Sessions before the first loaded one are left out: a database may hold a part of the window on purpose.

    Raises:
        OrderViolation: no session has been loaded at all.
        SourceError: the vendor's bucket can't be listed.
    """
    with database.connect() as connection:
        loaded = manifest.published(connection, "ohlcv")
    if not loaded:
        raise OrderViolation(
            f"Database {database.name!r} has no bars yet that a file could replace.",
            fix="Load them first: dagster job execute -m kapman_assets -j repave.",
        )
    window = retained_sessions(as_of())
    holes = {session for session in window if session > min(manifest.sessions(loaded))}
    changes = []
    for session, info in flat_files.list_sessions(window[0], window[-1]).items():
        load = loaded.get(session.isoformat())
        if load is None:
            if session in holes:
                changes.append(FileChange(session, info.etag))
        elif load.sources[0]["etag"] != info.etag:
            changes.append(FileChange(session, info.etag, load.sources[0]["etag"], load.run_id))
    return changes


def verdict(changes: Sequence[FileChange]) -> dict[str, Any]:
    """The check's result, as arguments of both of Dagster's classes for one."""
    counts = {kind: sum(change.kind == kind for change in changes) for kind in ("republished", "late")}
    metadata: dict[str, Any] = dict(counts)
    if changes:
        rows = [
            f"| {change.session} | {change.kind} | `{change.loaded_etag or ''}` | `{change.etag}` |"
            for change in changes[:EXAMPLES]
        ]
        table = ["| session | file | loaded | offered |", "| --- | --- | --- | --- |", *rows]
        metadata["examples"] = dg.MetadataValue.md("\n".join(table))
    return {
        "asset_key": ohlcv.key,
        "check_name": CHECK,
        "passed": not changes,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": f"{counts['republished']} files republished, {counts['late']} late.",
        "metadata": metadata,
    }


@dg.asset_check(
    asset=ohlcv,
    name=CHECK,
    blocking=False,
    description=(
        "The bars were made from the files that the vendor offers now: none was republished (another ETag),"
        " none has appeared for a session without bars. Sensor `republished_files` looks every 15 minutes; by hand:"
        " `dagster job execute -m kapman_assets -j refresh`."
    ),
)
def ohlcv_files_are_current(database: DatabaseResource, vendor: VendorResource) -> dg.AssetCheckResult:
    """Compare a listing of the files with the load manifest; a vendor that doesn't answer is a warning."""
    try:
        return dg.AssetCheckResult(**verdict(changed_files(database.database, vendor.flat_files())))
    except KapmanError as error:
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.WARN, description=f"Not known: {error}"
        )
