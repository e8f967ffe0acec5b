"""A run whose process is killed at 3 a.m. is noticed and tried again by Dagster itself, once, from the step that it
died in: what had passed is not repeated, a repave does not pave again. A run that refused is left alone.

Against Dagster's own code server, queue and daemons, as `make ui` runs them.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
from dagster._cli.job import _create_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from kapman_simulator import MarketOptions, Simulator
from tests.integration.command_line import dagster_home
from tests.integration.conftest import TODAY, Platform, platform_on

FIRST = "2026-11-19"


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    """A vendor that can be told to keep silent."""
    with Simulator(
        MarketOptions(symbols=60, sessions=2, underlyings=1, contracts=40, today=TODAY)
    ) as simulator:
        yield simulator


@contextmanager
def workspace(instance: dg.DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    """The code location in a server of its own."""
    with WorkspaceProcessContext(instance, ModuleTarget("kapman_assets", None, None, None)) as found:
        yield found


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_killed_repave_goes_on_where_it_died(
    server_url: str, vendor: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """kill -9 while the vendor is slow: one retry, without the pave, to a repaved database; a refusal has none."""
    home = tmp_path_factory.mktemp("platform")
    with (
        pytest.MonkeyPatch.context() as patched,
        platform_on(server_url, vendor.environment, home) as platform,
    ):
        patched.setenv("DAGSTER_HOME", dagster_home(home))
        with dg.DagsterInstance.get() as instance, workspace(instance) as context:
            retries, queue = EventLogConsumerDaemon(), QueuedRunCoordinatorDaemon(interval_seconds=1)
            list(retries.run_iteration(context))  # from here on it listens
            vendor.set_faults(["slow_body=30"])
            run = submit(instance, context)
            list(queue.run_iteration(context))
            until(lambda: "tickers" in started(instance, run))
            paved = database_id(platform)
            os.kill(worker(instance, run), signal.SIGKILL)
            until(lambda: status(instance, run) is dg.DagsterRunStatus.FAILURE)
            vendor.set_faults([])
            list(retries.run_iteration(context))
            (retried,) = children(instance, run)
            list(queue.run_iteration(context))
            until(lambda: ended(instance, retried))
            assert status(instance, retried) is dg.DagsterRunStatus.SUCCESS
            assert "schema" not in started(instance, retried)
            assert started(instance, retried)[0] == "tickers"
            assert database_id(platform) == paved
            assert platform.value("SELECT count(DISTINCT date) FROM ohlcv") == 2
            with platform.database.lock(exclusive=True):
                refused = submit(instance, context)
                list(queue.run_iteration(context))
                until(lambda: ended(instance, refused))
            list(retries.run_iteration(context))
            assert status(instance, refused) is dg.DagsterRunStatus.FAILURE
            assert children(instance, refused) == []
            assert database_id(platform) == paved


def submit(instance: dg.DagsterInstance, context: WorkspaceProcessContext) -> str:
    """What the button does: a run of the repave over two sessions, in the queue."""
    request = context.create_request_context()
    (location,) = request.code_locations
    (repository,) = location.get_repositories().values()
    span = {
        "dagster/asset_partition_range_start": FIRST,
        "dagster/asset_partition_range_end": TODAY.isoformat(),
    }
    job = repository.get_full_job("repave")
    run = _create_run(instance, location, repository, job, {}, span, None, None)
    instance.submit_run(run.run_id, request)
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    """Of a run."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run has ended."""
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_finished


def started(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The steps that a run has started, in order."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
    return [str(event.step_key) for event in events]


def worker(instance: dg.DagsterInstance, run_id: str) -> int:
    """The process of a run."""
    for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        metadata = event.get_dagster_event().engine_event_data.metadata
        if "pid" in metadata:
            return int(str(metadata["pid"].value))
    raise AssertionError("no process is on record")


def children(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The runs that were made from a run."""
    records = instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id}))
    return [run.run_id for run in records]


def database_id(platform: Platform) -> int:
    """Another one after a pave."""
    return int(platform.value("SELECT oid FROM pg_database WHERE datname = current_database()"))
