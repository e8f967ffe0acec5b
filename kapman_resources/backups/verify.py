"""Whether a backup is sound, and which of them are kept."""

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator

from kapman_resources.backups.programs import find_programs
from kapman_resources.backups.records import Backup, BackupError, Claim
from kapman_resources.backups.store import BackupStore


def verify(store: BackupStore, name: str) -> Backup:
    """Read a backup as it is stored: its size, its SHA-256, and whether pg_restore can read it.

    Whether it can be restored, only a restore shows: that is what the drill is for.

    Raises:
        BackupError: it isn't there, or it is damaged; says in which way.
    """
    backup = store.backup(name)
    fix = "Use another backup: `kapman backup --list`; and take a new one: `kapman backup`."
    size = store.dump_bytes(name)
    if size != backup.dump_bytes:
        found_bytes = "it isn't there" if size is None else f"{size:,} bytes"
        raise BackupError(
            f"The dump of backup {name} is truncated or has been changed: {found_bytes} instead of "
            f"{backup.dump_bytes:,} bytes.",
            fix=fix,
        )
    found = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in store.read_dump(name):
            found.update(chunk)
            yield chunk

    major = int(backup.pg_dump.partition(".")[0])
    try:
        contents = find_programs(0, at_least=major).list_contents(hashed())
    except BackupError as error:
        if found.hexdigest() == backup.sha256:
            raise
        raise BackupError(f"The dump of backup {name} is damaged: {error.what}", fix=fix) from None
    if found.hexdigest() != backup.sha256:
        raise BackupError(f"The dump of backup {name} is damaged: its checksum is another one.", fix=fix)
    if not contents:
        raise BackupError(f"The dump of backup {name} is empty.", fix=fix)
    return backup


def keep_newest(
    store: BackupStore, verified: Backup, keep: int, *, by: str, at: dt.datetime, tell: Callable[[str], None]
) -> list[Backup]:
    """Delete the oldest backups of `verified`'s database beyond `keep` (≥ 1); returns those that went.

    verified: the newest backup, proved sound a moment ago: it is what makes deleting others safe, and stays. So
        does the newest one that a drill has restored.
    tell: is given a sentence for each that goes.

    Raises:
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"at least one backup is kept, not {keep}")
    ours = [
        one for one in store.backups() if (one.database, one.server) == (verified.database, verified.server)
    ]
    names = {one.name for one in ours}
    proved = next((drill.backup for drill in store.drills() if drill.passed and drill.backup in names), None)
    stays = {one.name for one in ours[-keep:]} | {verified.name, proved}
    gone = [one for one in ours if one.name not in stays]
    for one in gone:
        store.remove(Claim(one.name, one.database, one.server, by, at))
        tell(f"Deleted {one.name}: the newest {keep} are kept (KAPMAN_BACKUP_KEEP).")
    return gone
