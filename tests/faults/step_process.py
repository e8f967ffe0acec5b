"""A run in a process of its own, so that it can be killed: everything imported, it waits for its one order.

The order is a line of JSON on standard input: `environment`, `job` (or null with `assets`) and `tags`.
Exit code 0 says that the run succeeded; what failed is printed on standard error.
"""

import json
import os
import sys

import dagster as dg

from kapman_assets import defs
from kapman_resources.settings import settings


def main() -> None:
    """Run what is ordered; an end of input means that nothing is."""
    line = sys.stdin.readline()
    if not line:
        return
    order = json.loads(line)
    os.environ.update(order["environment"])
    settings.cache_clear()
    job = defs.resolve_job_def(order["job"]) if order["job"] else defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in order["assets"]] or None,
            tags=order["tags"],
            raise_on_error=False,
        )
    sys.exit(not result.success)


if __name__ == "__main__":
    main()
