"""The schedules ask for the right session at the right hour, and say why when there is none."""

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from kapman_assets import defs
from kapman_assets.jobs import daily_options_schedule, daily_schedule, retention_schedule
from kapman_assets.partitions import session_partitions
from kapman_resources.sessions import last_completed_session, session_close

NEW_YORK = ZoneInfo("America/New_York")


def evaluate(schedule: dg.ScheduleDefinition, tick: str) -> dg.RunRequest | dg.SkipReason:
    """What the schedule asks for at a New York time."""
    at = dt.datetime.fromisoformat(tick).replace(tzinfo=NEW_YORK)
    repository = defs.get_repository_def()
    with dg.build_schedule_context(scheduled_execution_time=at, repository_def=repository) as context:
        data = schedule.evaluate_tick(context)
    if data.run_requests:
        return data.run_requests[0]
    return dg.SkipReason(data.skip_message)


@pytest.mark.parametrize(
    ("tick", "session"),
    [("2026-11-20 11:30", "2026-11-19"), ("2026-11-21 11:30", "2026-11-20"), ("2026-03-09 11:30", None)],
)
def test_the_daily_load_takes_yesterdays_session(tick: str, session: str | None) -> None:
    """Friday's on Saturday; nothing on a Monday, and it says that Sunday was no session."""
    found = evaluate(daily_schedule, tick)
    if session is None:
        assert isinstance(found, dg.SkipReason)
        assert "2026-03-08 is no trading session" in found.skip_message
    else:
        assert isinstance(found, dg.RunRequest)
        assert (found.partition_key, found.run_key) == (session, f"flat file {session}")


def test_the_option_snapshot_is_taken_on_its_own_evening() -> None:
    """At 17:15 of the session; a holiday is skipped with the reason."""
    found = evaluate(daily_options_schedule, "2026-11-20 17:15")
    assert isinstance(found, dg.RunRequest)
    assert found.partition_key == "2026-11-20"
    skipped = evaluate(daily_options_schedule, "2025-12-25 17:15")
    assert isinstance(skipped, dg.SkipReason)
    assert "no trading session" in skipped.skip_message
    assert (daily_options_schedule.cron_schedule, daily_options_schedule.execution_timezone) == (
        "15 17 * * *",
        "America/New_York",
    )


def test_retention_runs_once_a_night() -> None:
    """One run key a day."""
    found = evaluate(retention_schedule, "2026-11-20 03:00")
    assert isinstance(found, dg.RunRequest)
    assert found.run_key == "2026-11-20"


@pytest.mark.parametrize(
    ("clock", "newest"),
    [
        ("2026-11-20T20:59:59+00:00", "2026-11-19"),
        ("2026-11-20T21:00:00+00:00", "2026-11-20"),
        ("2026-11-22T12:00:00+00:00", "2026-11-20"),  # a Sunday has Friday's, never Monday's
        ("2026-11-26T23:00:00+00:00", "2026-11-25"),  # Thanksgiving
        ("2026-11-27T21:00:00+00:00", "2026-11-27"),  # a half day
        ("2026-07-06T21:00:00+00:00", "2026-07-06"),  # in summer time, an hour after the close
        ("2025-01-09T23:00:00+00:00", "2025-01-08"),  # closed for a day of mourning
    ],
)
def test_a_partition_appears_when_its_session_is_over(clock: str, newest: str) -> None:
    """Partitions and the platform's today follow one rule; never a future session, never a holiday."""
    now = dt.datetime.fromisoformat(clock)
    partitions = session_partitions(dt.date(2026, 1, 2), pinned=False)
    assert partitions.get_partition_keys(current_time=now)[-1] == newest
    assert last_completed_session(now) == dt.date.fromisoformat(newest)
    assert session_close(dt.date.fromisoformat(newest)) <= now


def test_a_demo_ahead_of_the_clock_has_its_own_today() -> None:
    """Tomorrow's demo: the pinned day is the last partition although its evening hasn't come."""
    tomorrow = dt.date(2031, 3, 3)
    keys = session_partitions(tomorrow, pinned=True).get_partition_keys()
    assert keys[-1] == "2031-03-03"
    assert "2031-03-01" not in keys
