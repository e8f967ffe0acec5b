"""The structure of the database: paved, migrated, described and audited; never a row of data."""

from kapman_resources.structure.fingerprint import structure_dump, structure_fingerprint
from kapman_resources.structure.guards import Consent
from kapman_resources.structure.lifecycle import Lifecycle, apply_lifecycle, drop_expired_chunks
from kapman_resources.structure.migrations import migrate, pending, roll_back
from kapman_resources.structure.pave import objections, pave, would_lose_rows
from kapman_resources.structure.roles import grant_access, make_roles

__all__ = [
    "Consent",
    "Lifecycle",
    "apply_lifecycle",
    "drop_expired_chunks",
    "grant_access",
    "make_roles",
    "migrate",
    "objections",
    "pave",
    "pending",
    "roll_back",
    "structure_dump",
    "structure_fingerprint",
    "would_lose_rows",
]
