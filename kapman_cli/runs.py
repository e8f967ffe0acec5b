"""Loading an asset again from the command line: a Dagster run in this process, and what it has changed."""

import datetime as dt
import os
from collections.abc import Sequence
from typing import Any

import click
import dagster as dg

from kapman_assets import defs
from kapman_assets.partitions import SESSIONS
from kapman_cli.summary import StepRecord, step_records
from kapman_resources import manifest
from kapman_resources.database import Database
from kapman_resources.embedded import database_url
from kapman_resources.errors import KapmanError, ScopeError
from kapman_resources.manifest import Load
from kapman_resources.settings import PROJECT, settings


def is_partition(session: dt.date) -> bool:
    """Whether the session can be loaded: others have left the retained window."""
    return SESSIONS.has_partition_key(session.isoformat())


class RunFailed(KapmanError):
    """A run of Dagster ended without success."""


def load_again(asset: str, sessions: Sequence[dt.date] = ()) -> None:
    """Materialize these sessions of an asset (none if it has no partitions) in one run, also what is unchanged.

    Option chains come from the vault alone. What the run publishes is printed, with the row diff.

    Raises:
        ScopeError: one of the sessions is no partition.
        RunFailed: the run failed; what it published before is printed all the same.
    """
    for session in sessions:
        if not is_partition(session):
            keys = SESSIONS.get_partition_keys()
            raise ScopeError(
                f"{session} can't be loaded: the sessions that can are those from {keys[0]} to {keys[-1]}.",
                fix="Name sessions of that window; for an older archive set KAPMAN_AS_OF to a day of its time.",
            )
    before = _loads(asset)
    failure = _run(asset, sessions)
    after = _loads(asset)
    keys = [session.isoformat() for session in sessions] or [manifest.WHOLE]
    changed = [key for key in keys if _tell(asset, key, before.get(key), after.get(key))]
    if changed:
        click.echo(
            "What is computed from them is stale; to compute it again:"
            " dagster job execute -m kapman_assets -j refresh"
        )
    if failure:
        raise failure


def _run(asset: str, sessions: Sequence[dt.date]) -> RunFailed | None:
    """Run it, print its checks' warnings, and return why it failed."""
    # As `make` and the activated environment have it: the records that `kapman ui` shows.
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT / "dagster_home"))
    tags: dict[str, str] = {}
    run_config: dict[str, Any] = {}
    if sessions:
        tags = {
            "dagster/asset_partition_range_start": min(sessions).isoformat(),
            "dagster/asset_partition_range_end": max(sessions).isoformat(),
        }
        only = [session.isoformat() for session in sessions]
        own = {"vault_only": True} if asset == "options_chains" else {}
        run_config = {"ops": {asset: {"config": {"reload": True, "sessions": only, **own}}}}
    with dg.DagsterInstance.get() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(asset)],
            tags=tags,
            run_config=run_config,
            raise_on_error=False,
        )
        steps = step_records(instance, result.run_id)
    step = steps.get(asset, StepRecord())
    for warning in step.warnings:
        click.secho(f"{asset}: {warning}", fg="yellow", err=True)
    if result.success:
        return None
    return RunFailed(
        f"Run {result.run_id[:8]} of {asset} failed: {step.failed or 'a check failed'}",
        fix="The Runs page of `make ui` has its log.",
    )


def _loads(asset: str) -> dict[str, Load]:
    with Database(database_url(settings()), "kapman replay").connect() as connection:
        return manifest.published(connection, asset)


def _tell(asset: str, key: str, old: Load | None, new: Load | None) -> bool:
    """Print what became of a partition; whether its content is another one."""
    name = f"{asset} {key}".strip()
    if new is None or (old is not None and old.run_id == new.run_id):
        click.secho(f"{name}: not published.", fg="yellow")
        return False
    differs = old is None or old.content_hash != new.content_hash
    parts = [f"{new.rows_written:,} rows published", f"{new.rows_quarantined:,} quarantined"]
    parts += [
        f"{new.details[f'rows_{what}']:,} {what}"
        for what in ("added", "changed", "removed")
        if f"rows_{what}" in new.details
    ]
    click.echo(f"{name}: {', '.join(parts)}; content {'CHANGED' if differs else 'unchanged'}.")
    return differs
