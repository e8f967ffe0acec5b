"""The structure of the database: paved, migrated, described and audited; never a row of data."""

from kapman_resources.structure.fingerprint import structure_dump, structure_fingerprint
from kapman_resources.structure.lifecycle import Lifecycle, apply_lifecycle, drop_expired_chunks
from kapman_resources.structure.migrations import migrate, roll_back
from kapman_resources.structure.pave import pave

__all__ = [
    "Lifecycle",
    "apply_lifecycle",
    "drop_expired_chunks",
    "migrate",
    "pave",
    "roll_back",
    "structure_dump",
    "structure_fingerprint",
]
