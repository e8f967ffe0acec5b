"""What exists in the market database, and what must hold of it: assets, checks, jobs, schedules.

`dagster ... -m kapman_assets` finds the definitions here.
"""

import warnings

import dagster as dg

# Single-run backfill policies and owners are marked beta; the warning would repeat for every asset.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

from kapman_assets.definitions import defs  # noqa: E402  (after the filters)

__all__ = ["defs"]
