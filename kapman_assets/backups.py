"""Backups by the clock: a dump every day, a restore drill every week, and the check that says whether both came."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg

from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.freshness import NEW_YORK
from kapman_assets.resources import DatabaseResource
from kapman_assets.schema import schema
from kapman_resources import backups
from kapman_resources.backups import Backup, BackupError, BackupStore, Drill
from kapman_resources.errors import KapmanError
from kapman_resources.settings import settings

CHECK = "backup_is_restorable"

ON_DUTY = settings().environment == "prod"
"""Production has its backups taken from the start. Elsewhere `make repave` brings everything back, so the schedules
wait to be switched on."""
_STATUS = dg.DefaultScheduleStatus.RUNNING if ON_DUTY else dg.DefaultScheduleStatus.STOPPED
# A day or a week, and one that may go wrong or come late.
BACKUP_GETS_OLD = dt.timedelta(days=2)
DRILL_GETS_OLD = dt.timedelta(days=9)


@dg.op
@fails_in_a_sentence
def take_backup(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Dump the database, verify the dump as it is stored, and delete the oldest beyond `KAPMAN_BACKUP_KEEP`."""
    store = BackupStore.from_settings(settings())
    now, holder = dt.datetime.now(dt.UTC), database.owner.holder
    database.hold()
    taken = backups.take(
        database.owner, store, taken_by=holder, at=now, locked=True, tell=context.log.warning
    )
    backups.verify(store, taken.name)
    gone = backups.keep_newest(store, taken, settings().backup_keep, by=holder, at=now, tell=context.log.info)
    context.add_output_metadata(
        {
            "backup": store.location(taken.name),
            "rows": taken.rows,
            "bytes": taken.dump_bytes,
            "seconds": taken.seconds,
            "sha256": taken.sha256,
            "deleted": ", ".join(one.name for one in gone) or "none",
        }
    )


@dg.job(
    description=(
        "A full dump of the database with the content hash of every table, verified and published in `KAPMAN_BACKUP_URL`;"
        " nothing is overwritten. Loads may run meanwhile. Restoring it: `kapman restore latest`."
    ),
    tags={"kapman/operation": "safe", "dagster/max_runtime": "7200"},
)
def backup() -> None:
    """See the description."""
    take_backup()


@dg.op
@fails_in_a_sentence
def drill_newest_backup(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Restore the newest backup into a scratch database, compare it with its manifest, time it, drop it."""
    store = BackupStore.from_settings(settings())
    scratch = backups.restoring_database(
        settings(), database.owner.holder, backups.scratch_name(database.owner.name)
    )
    done = backups.drill(scratch, store, by=scratch.holder, at=dt.datetime.now(dt.UTC), tell=context.log.info)
    context.add_output_metadata(
        {
            "backup": done.backup,
            "rows": done.rows,
            "bytes": done.dump_bytes,
            "seconds": done.seconds,
            "restore_seconds": done.restore_seconds or 0.0,
        }
    )
    if done.error:
        raise BackupError(
            f"Backup {done.backup} could not be restored: {done.error}",
            fix="Take another backup (job `backup`) and drill that one.",
        )


@dg.job(
    description=(
        "Proves that the newest backup can be restored: into a scratch database, every content hash compared with the"
        " manifest, then dropped. The result lies beside the backups (`drill_….json`), so it outlives a pave, and check"
        f" `{CHECK}` reads it there. The platform's own database isn't touched."
    ),
    tags={"kapman/operation": "safe", "dagster/max_runtime": "14400"},
)
def restore_drill() -> None:
    """See the description."""
    drill_newest_backup()


@dg.schedule(
    job=backup,
    cron_schedule="30 12 * * *",
    execution_timezone=NEW_YORK,
    default_status=_STATUS,
    description="12:30 New York every day: an hour after the daily load, which completes a session.",
)
def backup_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One backup a day."""
    return dg.RunRequest(run_key=f"backup {context.scheduled_execution_time:%Y-%m-%d}")


@dg.schedule(
    job=restore_drill,
    cron_schedule="0 5 * * 0",
    execution_timezone=NEW_YORK,
    default_status=_STATUS,
    description="05:00 New York on Sundays, when nothing else runs; Saturday's backup has the whole week.",
)
def restore_drill_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One drill a week."""
    return dg.RunRequest(run_key=f"drill {context.scheduled_execution_time:%Y-%m-%d}")


@dataclass(frozen=True)
class Standing:
    """How the backups stand. problems: sentences; empty if all is well. urgent: it must not stay so."""

    sentence: str
    problems: tuple[str, ...] = ()
    urgent: bool = False
    facts: dict[str, str | int | float] = field(default_factory=dict)


def standing(
    taken: Sequence[Backup], drills: Sequence[Drill], now: dt.datetime, *, on_duty: bool
) -> Standing:
    """Judge the backups (oldest first) and drills (newest first) of a store at `now` (aware).

    A drill that failed is a problem everywhere. That something is missing or old is one only where the schedules
    are on duty; it is urgent but for a first drill that isn't due yet.
    """
    facts = {**_backup_facts(taken, now), **_drill_facts(drills, now)}
    problems, urgent = [], on_duty
    if drills and not drills[0].passed:
        problems.append(f"Drill {drills[0].name} of {drills[0].backup} failed: {drills[0].error}")
    elif on_duty and taken:
        proved = next((drill for drill in drills if drill.passed), None)
        if proved is None:
            problems.append("No backup has been proved by a drill yet: job `restore_drill` does it.")
            urgent = now - taken[0].taken_at > DRILL_GETS_OLD
        elif now - proved.started_at > DRILL_GETS_OLD:
            problems.append(
                f"The last drill that passed is of {proved.started_at:%Y-%m-%d}: run job `restore_drill`."
            )
    if on_duty and not taken:
        problems.append("There is no backup: run job `backup`.")
    elif on_duty and now - taken[-1].taken_at > BACKUP_GETS_OLD:
        problems.append(f"The newest backup is of {taken[-1].taken_at:%Y-%m-%d %H:%M} UTC: run job `backup`.")
        urgent = True
    if problems:
        return Standing(" ".join(problems), tuple(problems), urgent, facts)
    duty = "" if on_duty else "No backup schedule is on duty outside production. "
    newest = (
        f"The newest backup is {taken[-1].name}" if taken else "There is no backup; `kapman backup` takes one"
    )
    proof = f", drilled {drills[0].started_at:%Y-%m-%d}" if drills else ""
    return Standing(f"{duty}{newest}{proof}.", facts=facts)


def _backup_facts(taken: Sequence[Backup], now: dt.datetime) -> dict[str, str | int | float]:
    if not taken:
        return {"backups": 0}
    newest = taken[-1]
    hours = round((now - newest.taken_at).total_seconds() / 3600, 1)
    return {"backups": len(taken), "newest_backup": newest.name, "backup_age_hours": hours,
            "backup_bytes": newest.dump_bytes, "backup_rows": newest.rows}  # fmt: skip


def _drill_facts(drills: Sequence[Drill], now: dt.datetime) -> dict[str, str | int | float]:
    if not drills:
        return {}
    last = drills[0]
    return {"last_drill": last.name, "drill_passed": str(last.passed), "drilled_backup": last.backup,
            "drill_age_days": round((now - last.started_at) / dt.timedelta(days=1), 1),
            "restore_seconds": last.restore_seconds or 0.0}  # fmt: skip


def _until_passed(drills: Iterator[Drill]) -> list[Drill]:
    """The newest drills down to the first that passed: the records of years needn't be read."""
    found = []
    for drill in drills:
        found.append(drill)
        if drill.passed:
            break
    return found


def backup_standing(now: dt.datetime) -> Standing:
    """`standing` of the store that the settings name; one that can't be read is a problem."""
    try:
        store = BackupStore.from_settings(settings())
        return standing(store.backups(), _until_passed(store.drills()), now, on_duty=ON_DUTY)
    except KapmanError as error:
        return Standing(f"Not known: {error}", (str(error),), ON_DUTY)


@dg.asset_check(
    asset=schema,
    name=CHECK,
    blocking=False,
    description=(
        "The newest backup is at most two days old, and a drill of the last nine days has restored one to equal"
        " content hashes. In production only; elsewhere no backup is asked for, but a drill that failed still warns."
        " By hand: `kapman backup`, then `dagster job execute -m kapman_assets -j restore_drill`."
    ),
)
def backup_is_restorable() -> dg.AssetCheckResult:
    """Read the manifests and the drills' results beside the dumps; no database is asked."""
    found = backup_standing(dt.datetime.now(dt.UTC))
    severity = dg.AssetCheckSeverity.ERROR if found.urgent else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        passed=not found.problems, severity=severity, description=found.sentence, metadata=dict(found.facts)
    )
