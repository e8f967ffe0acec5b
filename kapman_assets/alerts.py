"""Sensor `alerts`: failed runs, failed checks and overdue tables, told to people.

Dagster's own run-failure sensor moves on when its function fails, and the alert is lost. This one keeps its
place until the sink has taken the message: what is not delivered now is delivered later, in order, at least
once.
"""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import dagster as dg

from kapman_assets.failures import failure_sentence
from kapman_assets.freshness import DEADLINES
from kapman_assets.jobs import ON_DUTY
from kapman_resources.notifications import DeliveryError, Message, deliver
from kapman_resources.settings import settings

_EVERY = 60  # seconds
_AT_ONCE = 25  # events of a kind a tick
_WILL_RETRY = "dagster/will_retry"
_SPAN = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass(frozen=True)
class Place:
    """How far the alerts have come: the last event of either kind, and the tables that were called overdue."""

    failed: int = 0
    succeeded: int = 0
    overdue: tuple[str, ...] = ()

    @classmethod
    def read(cls, cursor: str) -> "Place":
        """From a sensor's cursor."""
        found = json.loads(cursor)
        return cls(found["failed"], found["succeeded"], tuple(found["overdue"]))

    def written(self) -> str:
        """As a sensor's cursor."""
        return json.dumps(asdict(self))


@dg.sensor(
    minimum_interval_seconds=_EVERY,
    default_status=dg.DefaultSensorStatus.RUNNING if ON_DUTY else dg.DefaultSensorStatus.STOPPED,
    description=(
        "Tells people (`KAPMAN_ALERTS`) of every run that failed, of failed checks in runs that didn't, and of"
        " tables that are overdue. What the sink doesn't take is tried again with the next tick, in order."
    ),
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Deliver what is new since the last tick; stop at the first message that isn't taken."""
    instance = context.instance
    if context.cursor is None:
        return dg.SensorResult(skip_reason="Alerts begin here.", cursor=_present(instance).written())
    place, delivered = Place.read(context.cursor), 0
    for following, message in _news(instance, place, dt.datetime.now(dt.UTC)):
        if message is not None:
            try:
                deliver(message, settings(), note=context.log.error)
            except DeliveryError as error:
                if not delivered:
                    raise dg.Failure(str(error)) from None  # a red tick; the cursor stays where it was
                return dg.SensorResult(
                    skip_reason=f"{delivered} delivered, then: {error}", cursor=place.written()
                )
            delivered += 1
        place = following
    return dg.SensorResult(
        skip_reason=f"{delivered} delivered." if delivered else "Nothing to tell.", cursor=place.written()
    )


def _present(instance: dg.DagsterInstance) -> Place:
    def last(kind: dg.DagsterEventType) -> int:
        found = instance.fetch_run_status_changes(kind, limit=1).records
        return found[0].storage_id if found else 0

    return Place(last(dg.DagsterEventType.RUN_FAILURE), last(dg.DagsterEventType.RUN_SUCCESS))


def _news(
    instance: dg.DagsterInstance, place: Place, now: dt.datetime
) -> Iterator[tuple[Place, Message | None]]:
    """What has happened since, oldest first within its kind, each with the place that follows it."""
    for record in _runs_that_ended(instance, dg.DagsterEventType.RUN_FAILURE, place.failed):
        place = replace(place, failed=record.storage_id)
        yield place, failed_run(instance, record.event_log_entry)
    for record in _runs_that_ended(instance, dg.DagsterEventType.RUN_SUCCESS, place.succeeded):
        place = replace(place, succeeded=record.storage_id)
        yield place, failed_checks(instance, record.run_id)
    overdue = overdue_tables(instance, now, place.overdue)
    new = sorted(set(overdue) - set(place.overdue))
    yield replace(place, overdue=tuple(overdue)), _overdue(new) if new else None


def _runs_that_ended(
    instance: dg.DagsterInstance, how: dg.DagsterEventType, after: int
) -> Sequence[dg.EventLogRecord]:
    condition = dg.RunStatusChangeRecordsFilter(event_type=how, after_storage_id=after)  # type: ignore[arg-type]
    return instance.fetch_run_status_changes(condition, limit=_AT_ONCE, ascending=True).records


def failed_run(instance: dg.DagsterInstance, entry: dg.EventLogEntry) -> Message | None:
    """The message of a failed run: job, steps, the sentences of their errors, failed checks, and what follows."""
    run = instance.get_run_by_id(entry.run_id)
    if run is None:  # deleted since
        return None
    lines = [f"{run.job_name}, run {run.run_id}{_span(run)}"]
    steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    names = []
    for event in (step.dagster_event for step in steps):
        if event is not None:
            names.append(str(event.step_key))
            lines.append(f"{event.step_key}: {failure_sentence(event)}")
    if not names and entry.dagster_event is not None:  # the run itself: its process died, or took too long
        lines.append(entry.dagster_event.message or "It ended without saying why: see its log.")
    lines += _failed_checks(instance, run.run_id)
    retried = run.tags.get(_WILL_RETRY) == "true"
    lines.append("Dagster tries it again by itself." if retried else "It is not tried again by itself.")
    where = f" at {', '.join(names)}" if names else ""
    return Message(f"{run.job_name} failed{where}", "\n".join(lines), link=_link(run.run_id))


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> Message | None:
    """The message of a run that succeeded with failed checks (non-blocking, of severity ERROR); None without."""
    run = instance.get_run_by_id(run_id)
    failed = _failed_checks(instance, run_id)
    if run is None or not failed:
        return None
    lines = [f"{run.job_name}, run {run.run_id}{_span(run)}", *failed]
    return Message(f"{run.job_name} found {len(failed)} failed checks", "\n".join(lines), link=_link(run_id))


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    lines = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        if entry.dagster_event is None:
            continue
        found = entry.dagster_event.asset_check_evaluation_data
        if not found.passed and found.severity is dg.AssetCheckSeverity.ERROR:
            asset = found.asset_key.to_user_string()
            lines.append(f"check {found.check_name} of {asset}: {found.description}")
    return lines


def overdue_tables(instance: dg.DagsterInstance, now: dt.datetime, before: Sequence[str] = ()) -> list[str]:
    """The tables that Dagster calls overdue, where the calendar agrees or they have been called so `before`."""
    records = instance.get_freshness_state_records([dg.AssetKey(name) for name in DEADLINES])
    late = {key.to_user_string() for key, record in records.items() if record.freshness_state.value == "FAIL"}
    return [
        name
        for name, deadline in DEADLINES.items()
        if name in late and (name in before or deadline.session(now) is not None)
    ]


def _overdue(names: Sequence[str]) -> Message:
    lines = [f"{name}: no news by {DEADLINES[name].at:%H:%M} New York" for name in names]
    lines.append("Is its schedule on, and has its run failed? `kapman doctor` looks; runbook, section 3 a.m.")
    return Message(f"overdue: {', '.join(names)}", "\n".join(lines), link=_link(""))


def _span(run: dg.DagsterRun) -> str:
    span = [run.tags[tag] for tag in _SPAN if tag in run.tags]
    return f", {' to '.join(span)}" if span else ""


def _link(run_id: str) -> str:
    base = (settings().ui_url or "").rstrip("/")
    return f"{base}/runs/{run_id}".rstrip("/") if base else ""
