"""`kapman summary`: what the last repave did, and where to look next."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import click
import dagster as dg

from kapman_assets.failures import failure_sentence
from kapman_assets.order import CHAIN
from kapman_assets.plan import REPAVE_JOB, newest_run
from kapman_resources import manifest
from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Connection, Database
from kapman_resources.embedded import database_url
from kapman_resources.settings import settings

_STEP_EVENTS = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}


@dataclass
class StepRecord:
    """One asset's part of a run."""

    seconds: float | None = None
    failed: str | None = None
    checks_passed: int = 0
    checks: int = 0
    warned: int = 0
    warnings: list[str] = field(default_factory=list)


@click.command()
@click.option("--job", default=REPAVE_JOB, show_default=True, help="Look at the last run of this job.")
def summary(job: str) -> None:
    """Show the last run: per asset rows, sessions, seconds, checks and content hash. Safe: reads only."""
    with dg.DagsterInstance.get() as instance:
        run = newest_run(instance, dg.RunsFilter(job_name=job))
        if run is None:
            raise click.ClickException(
                f"No run of job {job!r} is recorded; start one: dagster job execute -m kapman_assets -j {job}"
            )
        steps = step_records(instance, run.dagster_run.run_id)
    took = f" in {run.end_time - run.start_time:.1f} s" if run.start_time and run.end_time else ""
    outcome = run.dagster_run.status.value.lower()
    color = "green" if run.dagster_run.is_success else "red"
    click.secho(f"\n{job} {run.dagster_run.run_id[:8]}: {outcome}{took}\n", fg=color, bold=True)
    with Database(database_url(settings()), "kapman summary").connect() as connection:
        for line in table_lines(connection, steps):
            click.echo(line)
    for step, found in steps.items():
        if found.failed:
            click.secho(f"\n{step} failed: {found.failed}", fg="red")
        for warning in found.warnings:
            click.secho(f"{step}: {warning}", fg="yellow")
    click.echo(
        "\nLook around:  make ui          the graph, its checks and every run, in the browser"
        "\n              kapman db psql   the database;  \\i dashboards/ohlcv_dashboard.sql"
        "\n              docs/runbook.md  each step with its asset, its check and its query"
    )


def step_records(instance: dg.DagsterInstance, run_id: str) -> dict[str, StepRecord]:
    """What the run's events say of each asset of the chain."""
    steps: dict[str, StepRecord] = {}
    for event in _events(instance, run_id):
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            record = steps.setdefault(evaluation.asset_key.to_user_string(), StepRecord())
            record.checks += 1
            record.checks_passed += evaluation.passed
            if not evaluation.passed:
                record.warned += evaluation.severity is dg.AssetCheckSeverity.WARN
                record.warnings.append(f"{evaluation.check_name}: {evaluation.description}")
        elif event.event_type in _STEP_EVENTS and event.step_key in CHAIN:
            record = steps.setdefault(event.step_key, StepRecord())
            if event.event_type is dg.DagsterEventType.STEP_SUCCESS:
                record.seconds = event.step_success_data.duration_ms / 1000
            else:
                record.failed = failure_sentence(event)
    return steps


def table_lines(connection: Connection, steps: dict[str, StepRecord]) -> Iterator[str]:
    """The table, one line an asset of the chain."""
    hashes = {table: (digest, rows) for table, digest, rows in database_hashes(connection)}
    yield f"  {'asset':<18}{'rows':>10}{'sessions':>10}{'seconds':>9}  {'checks':<14}content hash"
    for asset in CHAIN:
        loads = manifest.published(connection, asset)
        digest, rows = hashes.get(asset, ("", None))
        if asset == "schema" and loads:
            digest = loads[manifest.WHOLE].content_hash or ""
        if asset in ("dealer_metrics", "volatility_metrics"):
            rows = sum(load.rows_written for load in loads.values()) if loads else None
            digest = "(columns of daily_snapshots)"
        sessions = len(manifest.sessions(loads))
        step = steps.get(asset, StepRecord())
        yield (
            f"  {asset:<18}{_number(rows):>10}{_number(sessions or None):>10}"
            f"{'' if step.seconds is None else f'{step.seconds:.1f}':>9}"
            f"  {_checks(step):<14}{digest[:32]}"
        )


def _checks(step: StepRecord) -> str:
    """How many checks passed, how many only warn, how many failed."""
    failed = step.checks - step.checks_passed - step.warned
    parts = [f"{step.checks_passed}" if step.checks else "-"]
    parts += [f"{step.warned} warns"] if step.warned else []
    parts += [f"{failed} FAILED"] if failed else []
    return ", ".join(parts)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _events(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.DagsterEvent]:
    types = {*_STEP_EVENTS, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    for entry in instance.all_logs(run_id, of_type=types):
        if entry.dagster_event is not None:
            yield entry.dagster_event
