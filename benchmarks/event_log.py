"""What Dagster's own event storage costs in a run over many partitions: its SQLite storage against ours.

Usage: python benchmarks/event_log.py [PARTITIONS]   (default 501 sessions × 3 assets, as in a repave)

Both storages record the same run of assets that do nothing, in one process each, one after the other; the
difference from an empty run is the framework's share. Prints seconds, and `<name> ratio <number>`, the
headline last.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
CODE = """
import dagster as dg

keys = [f"p{{number:04d}}" for number in range({partitions})]
partitions = dg.StaticPartitionsDefinition(keys)


def empty_asset(name, deps):
    @dg.asset(name=name, deps=deps, partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        for key in context.partition_keys:
            context.log_event(dg.AssetMaterialization(name, partition=key, metadata={{"rows": 1}}))
        return dg.MaterializeResult(metadata={{"__source_asset_observation__": True}})

    return asset


defs = dg.Definitions(
    assets=[empty_asset("a", []), empty_asset("b", ["a"]), empty_asset("c", ["b"])],
    jobs=[
        dg.define_asset_job(
            "load",
            executor_def=dg.in_process_executor,
            run_tags={{"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}},
        )
    ],
)
"""


def seconds(configuration: str, partitions: int) -> float:
    """Wall time of one run on a fresh instance."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "dagster.yaml").write_text(configuration)
        (home / "load.py").write_text(CODE.format(partitions=partitions))
        command = [Path(sys.executable).with_name("dagster"), "job", "execute", "-f", "load.py", "-j", "load"]
        start = time.monotonic()
        subprocess.run(
            command, cwd=home, env={**os.environ, "DAGSTER_HOME": folder}, check=True, capture_output=True
        )
        return time.monotonic() - start


def main() -> None:
    """Measure, print."""
    partitions = int(sys.argv[1]) if len(sys.argv) > 1 else 501
    ours = (PROJECT / "dagster_home" / "dagster.yaml").read_text()
    plain = "telemetry:\n  enabled: false\npython_logs:\n  python_log_level: INFO\n"
    empty = seconds(ours, 1)
    measured = {name: seconds(text, partitions) - empty for name, text in (("plain", plain), ("ours", ours))}
    for name, share in measured.items():
        print(
            f"{name}: {share:.1f} s for {partitions} partitions × 3 assets (start-up of {empty:.1f} s taken off)"
        )
    print(f"event_log_ours_over_plain ratio {measured['ours'] / measured['plain']:.3f}")


if __name__ == "__main__":
    main()
