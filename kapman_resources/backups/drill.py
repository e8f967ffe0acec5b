"""The restore drill: the newest backup, restored into a scratch database, compared, timed, dropped."""

import datetime as dt
import logging
import time
from collections.abc import Callable

from kapman_resources.backups.records import FORMAT, Drill
from kapman_resources.backups.restore import prepared
from kapman_resources.backups.store import BackupStore
from kapman_resources.database import Database
from kapman_resources.errors import KapmanError

log = logging.getLogger(__name__)


def scratch_name(name: str) -> str:
    """Name under which the drill of the database `name` restores."""
    return name.encode()[:47].decode(errors="ignore") + "_drill"


def drill(
    scratch: Database,
    store: BackupStore,
    *,
    by: str,
    at: dt.datetime,
    tell: Callable[[str], None] = log.info,
) -> Drill:
    """Restore the newest backup beside `scratch`, compare it with its manifest, drop it, and write down the result.

    scratch: a database that needn't exist (`scratch_name`), as a role that can restore. The platform's own
        database isn't looked at, and runs may go on in it.
    by, at: as in `take`.

    The result is beside the backups, so that it outlives a pave. A drill that fails is a result, not an error.

    Raises:
        BackupError: there is no backup to be drilled, or the result can't be written.
        Refused: another drill is at work.
    """
    backup = store.newest()
    began = time.monotonic()
    restored: float | None = None
    error: str | None = None
    with scratch.lock(exclusive=True):
        try:
            with prepared(scratch, store, backup.name, tell) as (_, _, _, since):
                restored = round(time.monotonic() - since, 1)
        except KapmanError as failure:
            error = str(failure)
    result = Drill(
        format=FORMAT,
        name=f"drill_{at.astimezone(dt.UTC):%Y%m%d_%H%M}",
        backup=backup.name,
        database=backup.database,
        started_at=at.astimezone(dt.UTC),
        by=by,
        rows=backup.rows,
        dump_bytes=backup.dump_bytes,
        seconds=round(time.monotonic() - began, 1),
        restore_seconds=restored,
        error=error,
    )
    store.record_drill(result)
    return result
