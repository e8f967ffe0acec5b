"""Backups of the database: taken, verified, restored, drilled; a dump counts once its manifest is published."""

from kapman_resources.backups.drill import drill, scratch_name
from kapman_resources.backups.programs import Programs, find_programs
from kapman_resources.backups.records import Backup, BackupError, Drill, Remains
from kapman_resources.backups.restore import Restored, restore, restoring_database
from kapman_resources.backups.store import BackupStore
from kapman_resources.backups.take import clear_remains, remains, take
from kapman_resources.backups.verify import keep_newest, verify

__all__ = [
    "Backup",
    "BackupError",
    "BackupStore",
    "Drill",
    "Programs",
    "Remains",
    "Restored",
    "clear_remains",
    "drill",
    "find_programs",
    "keep_newest",
    "remains",
    "restore",
    "restoring_database",
    "scratch_name",
    "take",
    "verify",
]
