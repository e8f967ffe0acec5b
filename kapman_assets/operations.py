"""The daily digest: yesterday's session in one message, sent where the alerts go."""

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import dagster as dg

from kapman_assets.backups import backup_standing
from kapman_assets.jobs import NEW_YORK, STATUS
from kapman_assets.resources import DatabaseResource
from kapman_assets.verification import verify
from kapman_resources.clock import as_of
from kapman_resources.database import Connection
from kapman_resources.errors import KapmanError
from kapman_resources.notifications import Message, deliver
from kapman_resources.sessions import is_session
from kapman_resources.settings import settings

DIGEST_JOB = "daily_digest"
_SIZE_TAG = "kapman/database_bytes"
_DAY = 86_400  # seconds


@dg.op
def send_digest(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Collect and send the digest; remember the database's size, with which the next one compares."""
    try:
        message, size = digest(database, context.instance, as_of())
        deliver(message, settings(), note=context.log.info)
    except KapmanError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    context.instance.add_run_tags(context.run_id, {_SIZE_TAG: str(size)})


@dg.job(
    name=DIGEST_JOB,
    description=(
        "One message a session, sent to `KAPMAN_ALERTS`: rows per asset, quarantined rows, checks, runs and"
        " their durations, backups, growth of the database. Changes nothing."
    ),
    tags={"kapman/operation": "safe", "dagster/max_runtime": "1800"},
)
def daily_digest() -> None:
    """See the description."""
    send_digest()


@dg.schedule(
    job=daily_digest,
    cron_schedule="15 13 * * *",
    execution_timezone=NEW_YORK,
    default_status=STATUS,
    description="13:15 New York on the day after a session, when its load should be done.",
)
def digest_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Yesterday's session."""
    today = context.scheduled_execution_time.astimezone(ZoneInfo(NEW_YORK)).date()
    session = today - dt.timedelta(days=1)
    if not is_session(session):
        return dg.SkipReason(f"{session} is no trading session: no digest.")
    return dg.RunRequest(run_key=f"digest {session}")


def digest(database: DatabaseResource, instance: dg.DagsterInstance, session: dt.date) -> tuple[Message, int]:
    """The message about a session, and the size of the database in bytes."""
    answers = list(verify(database.database))
    counts = Counter(answer.status for answer in answers)
    with database.connect() as connection:
        rows = list(_rows(connection, session))
        size = _size(connection)
    lines = [f"Session {session}", *rows, ""]
    lines.append(f"checks: {counts['ok']} ok, {counts['warn']} warn, {counts['failed']} failed")
    lines += [
        f"  {answer.status} {answer.asset}.{answer.check}: {answer.found}"
        for answer in answers
        if answer.status in ("warn", "failed")
    ]
    lines += ["", *_runs(instance, time.time()), "", _growth(instance, size)]
    lines.append(f"backups: {backup_standing(dt.datetime.now(dt.UTC)).sentence}")
    verdict = f"{counts['failed']} checks failed" if counts["failed"] else "all checks passed"
    if not any(row.strip().startswith("ohlcv:") for row in rows):
        verdict = f"no bars, {verdict}"
    severity = "error" if counts["failed"] else "info"
    link = (settings().ui_url or "").rstrip("/")
    return Message(f"{session}: {verdict}", "\n".join(lines), severity, link), size  # type: ignore[arg-type]


def _rows(connection: Connection, session: dt.date) -> Iterator[str]:
    found = connection.execute(
        """
        SELECT asset, rows_written, rows_quarantined, loaded_at FROM kapman_meta.load_manifest
        WHERE partition_key IN (%s, '') AND asset <> 'schema' ORDER BY loaded_at, asset
        """,
        (session.isoformat(),),
    ).fetchall()
    for asset, written, quarantined, loaded_at in found:
        refused = f", {quarantined:,} quarantined" if quarantined else ""
        yield f"  {asset}: {written:,} rows{refused}, loaded {loaded_at:%Y-%m-%d %H:%M}Z"


def _runs(instance: dg.DagsterInstance, now: float) -> Iterator[str]:
    since = dt.datetime.fromtimestamp(now - _DAY, dt.UTC)
    records = instance.get_run_records(dg.RunsFilter(created_after=since), limit=50)
    yield f"runs of the last 24 hours: {len(records)}"
    for record in reversed(records):
        run = record.dagster_run
        took = (
            f", {record.end_time - record.start_time:,.0f} s" if record.start_time and record.end_time else ""
        )
        yield f"  {run.job_name} {run.run_id[:8]}: {run.status.value.lower()}{took}"


def _size(connection: Connection) -> int:
    ((size,),) = connection.execute("SELECT pg_database_size(current_database())").fetchall()
    return int(size)


def _growth(instance: dg.DagsterInstance, size: int) -> str:
    """The database's size, and what has come since the last digest."""
    shown = f"database: {size / 1e9:,.2f} GB"
    for record in instance.get_run_records(dg.RunsFilter(job_name=DIGEST_JOB), limit=10):
        if (before := record.dagster_run.tags.get(_SIZE_TAG)) is not None:
            when = f"{record.create_timestamp:%Y-%m-%d}"
            return f"{shown}, {(size - int(before)) / 1e6:+,.1f} MB since the digest of {when}"
    return shown
