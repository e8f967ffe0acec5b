"""The trading sessions of the generated market, and what a timestamp of the vendor looks like."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np

from kapman_simulator.market import Unservable

NEW_YORK = ZoneInfo("America/New_York")

# Every price path starts here, whatever window is served: that is why a later "today" only appends sessions.
ORIGIN = date(2022, 1, 3)
# Expiries reach some two and a half years beyond today, and --today may be a few years ahead of the clock.
LAST = date(2031, 12, 31)

# A day's session counts as over at 21:00 UTC, which is 16:00 or 17:00 in New York: never before the close.
COMPLETED_AT = time(21, tzinfo=UTC)


@cache
def all_sessions() -> tuple[date, ...]:
    """Every XNYS session from ORIGIN to LAST, in order."""
    calendar = exchange_calendars.get_calendar("XNYS", start=ORIGIN.isoformat(), end=LAST.isoformat())
    return tuple(session.date() for session in calendar.sessions)


@cache
def session_ordinals() -> np.ndarray:
    """`all_sessions()` as proleptic Gregorian ordinals (int64), for searches."""
    return np.array([session.toordinal() for session in all_sessions()], dtype=np.int64)


def session_on_or_before(day: date) -> date:
    """The last session that is not after `day`; Unservable outside the generated market's years."""
    if not ORIGIN <= day <= LAST:
        raise Unservable(f"{day} is outside the generated market, which runs from {ORIGIN} to {LAST}.")
    return all_sessions()[int(np.searchsorted(session_ordinals(), day.toordinal(), side="right")) - 1]


def last_completed_session(now: datetime) -> date:
    """The last session that was over at `now` (an aware datetime)."""
    moment = now.astimezone(UTC)
    over = moment.timetz() >= COMPLETED_AT
    return session_on_or_before(moment.date() if over else moment.date() - timedelta(days=1))


def window(today: date, count: int) -> tuple[date, ...]:
    """The `count` sessions that end with the session `today`; Unservable if the market isn't that old."""
    end = all_sessions().index(today) + 1
    if not 0 < count <= end:
        raise Unservable(
            f"{count} sessions before {today} can't be served: the generated market starts on {ORIGIN}, "
            f"so there are {end}."
        )
    return all_sessions()[end - count : end]


def midnight_ns(session: date) -> int:
    """Midnight in New York as nanoseconds since the epoch: the vendor's `window_start` and `last_updated`."""
    return int(datetime.combine(session, time(), NEW_YORK).timestamp()) * 1_000_000_000


def close_ns(session: date) -> int:
    """16:00 in New York as nanoseconds since the epoch."""
    return int(datetime.combine(session, time(16), NEW_YORK).timestamp()) * 1_000_000_000
