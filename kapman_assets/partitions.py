"""Daily partitions on trading sessions.

A partition exists exactly when its session is in the past: never on a weekend or holiday, never in
the future. Dagster closes a time window at its end, so the windows are laid in a zone whose midnight
is 21:00 UTC: the window of session D ends at 21:00 UTC of D, after the close (16:00 in New York in
winter, 17:00 in summer), and from that moment D's partition is there for the option snapshot of the
same evening. A window in New York's own zone would end at midnight, too late for a snapshot that is
now or never; `end_offset=1` would invent Monday's session on a Saturday.
"""

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import dagster as dg

from kapman_resources.clock import as_of
from kapman_resources.errors import ScopeError
from kapman_resources.sessions import (
    COMPLETED_AT_UTC,
    is_session,
    retained_sessions,
    sessions_between,
)
from kapman_resources.settings import settings

# POSIX reverses the sign: Etc/GMT-3 is three hours ahead of UTC, its midnight is 21:00 UTC.
_ZONE = f"Etc/GMT-{24 - COMPLETED_AT_UTC.hour}"
_WEEKEND = "0 0 * * 0,6"
# The code location may live for weeks: closures are excluded well past the day on which it loaded.
_CLOSURES_AHEAD = dt.timedelta(days=3 * 365)

ONE_RUN = dg.BackfillPolicy.single_run()
"""On every asset, the unpartitioned ones too: a range is one gated run, not a run per session."""


def session_partitions(today: dt.date, *, pinned: bool) -> dg.DailyPartitionsDefinition:
    """One partition per session of the retained window that ends with `today`.

    pinned: whether the partitions end with `today` (a dataset of the past has its own today) or go on
    with the clock.
    """
    first = retained_sessions(today)[0]
    weekdays = (first + dt.timedelta(days=n) for n in range((today - first + _CLOSURES_AHEAD).days))
    zone = ZoneInfo(_ZONE)
    # A demo may live ahead of the clock: its sessions exist although their windows have not ended. The days
    # between are at least the windows between; `end_date` cuts off what is too many.
    ahead = max(0, (today - dt.datetime.now(dt.UTC).date()).days + 1) if pinned else 0
    closures = [
        dt.datetime(day.year, day.month, day.day, tzinfo=zone)
        for day in weekdays
        if day.weekday() < 5 and not is_session(day)
    ]
    return dg.DailyPartitionsDefinition(
        start_date=first.isoformat(),
        end_date=(today + dt.timedelta(days=1)).isoformat() if pinned else None,
        end_offset=ahead,
        timezone=_ZONE,
        exclusions=[_WEEKEND, *closures],
    )


SESSIONS = session_partitions(as_of(), pinned=settings().as_of is not None)


def selected_sessions(context: dg.AssetExecutionContext, only: Sequence[str] = ()) -> list[dt.date]:
    """The sessions that this run covers, ascending: one partition or a range.

    only: of a range these (YYYY-MM-DD): Dagster knows no run over partitions that lie apart.

    Raises:
        ScopeError: `only` names what is no session of the run.
    """
    keys = context.partition_key_range
    covered = sessions_between(dt.date.fromisoformat(keys.start), dt.date.fromisoformat(keys.end))
    strangers = sorted(set(only) - {session.isoformat() for session in covered})
    if strangers:
        raise ScopeError(
            f"The run config asks for {', '.join(map(repr, strangers))}, not among the sessions {keys.start} to {keys.end} of this run.",
            fix="Correct `sessions` in the run config, or the partitions of the run.",
        )
    return [session for session in covered if not only or session.isoformat() in only]
