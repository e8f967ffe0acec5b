"""Faults on demand: every way in which the vendor has been seen to go wrong, by name.

A fault is one function `(stage, target) -> None`, whose docstring is its description, in one of the modules here.
"""

from kapman_simulator.faults import api, chains, files, reference, storage
from kapman_simulator.faults.stage import FAULTS, Fault, Stage, plant, require_known

__all__ = [
    "FAULTS",
    "Fault",
    "Stage",
    "api",
    "chains",
    "files",
    "plant",
    "reference",
    "require_known",
    "storage",
]
