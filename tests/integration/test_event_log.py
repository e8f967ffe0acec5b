"""Dagster's records of a run over many partitions: complete, durable, and the same as Dagster's own storage keeps."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from tests.conftest import PROJECT

CODE = """
import dagster as dg

keys = [f"p{number:03d}" for number in range(40)]
one_run = dg.BackfillPolicy.single_run()


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(keys), backfill_policy=one_run)
def bars(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"rows": 1})


job = dg.define_asset_job(
    "load",
    executor_def=dg.in_process_executor,
    run_tags={"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]},
)
defs = dg.Definitions(assets=[bars], jobs=[job])
"""


def record(home: Path, configuration: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], set[str]]:
    """Run the job on an instance and return its events by type and its materialized partitions."""
    home.mkdir()
    (home / "dagster.yaml").write_text(configuration)
    (home / "load.py").write_text(CODE)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    dagster = str(Path(sys.executable).with_name("dagster"))
    subprocess.run(
        [dagster, "job", "execute", "-f", "load.py", "-j", "load"], cwd=home, check=True, capture_output=True
    )
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert run.is_success
        events = Counter(str(entry.dagster_event_type) for entry in instance.all_logs(run.run_id))
        return events, instance.get_materialized_partitions(dg.AssetKey("bars"))


def test_the_records_are_those_of_dagsters_own_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same events, same partitions, whichever storage wrote them."""
    ours = record(tmp_path / "ours", (PROJECT / "dagster_home" / "dagster.yaml").read_text(), monkeypatch)
    plain = record(tmp_path / "plain", "telemetry:\n  enabled: false\n", monkeypatch)
    assert ours == plain
    assert len(ours[1]) == 40


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that can't be stored takes its batch with it, so that Dagster's fallback stores each once."""
    from kapman_resources.event_log import PartitionedRunEventLog

    log = PartitionedRunEventLog(str(tmp_path / "history"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([bars_of_two()], instance=instance)
        events = [e for e in instance.all_logs(result.run_id) if e.is_dagster_event]
    stored = log.store_event
    failing = iter([False, True])

    def store_once(event: dg.EventLogEntry) -> None:
        if next(failing, False):
            raise OSError("disk full")
        stored(event)

    monkeypatch.setattr(log, "store_event", store_once)
    with pytest.raises(OSError, match="disk full"):
        log.store_event_batch(events)
    assert list(log.get_logs_for_run(events[0].run_id)) == []
    monkeypatch.setattr(log, "store_event", stored)
    log.store_event_batch(events)
    assert len(log.get_logs_for_run(events[0].run_id)) == len(events)
    log.dispose()


def bars_of_two() -> dg.AssetsDefinition:
    @dg.asset
    def bars() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    return bars
