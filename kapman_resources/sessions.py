"""Trading sessions of the New York Stock Exchange: which days, and when each one closes."""

import datetime as dt
import functools
from collections.abc import Iterable

import exchange_calendars
import polars as pl

RETENTION_DAYS = 730
"""The rolling window of `ohlcv` and `options_chains`, in calendar days before the as-of session."""

# A session counts as completed from 21:00 UTC of its day: 16:00 in New York in winter, 17:00 in
# summer, after the close in both, and one fixed rule for the clock and for Dagster's partitions.
COMPLETED_AT_UTC = dt.time(21, 0, tzinfo=dt.UTC)

# Fixed ends, so that no answer depends on the day on which the process started. The calendar ends
# after the farthest listed expiry (LEAPS run about three years).
_FIRST, _LAST = "2015-01-01", "2034-12-31"


@functools.cache
def _calendar() -> exchange_calendars.ExchangeCalendar:
    return exchange_calendars.get_calendar("XNYS", start=_FIRST, end=_LAST)


@functools.cache
def _closes() -> dict[dt.date, dt.datetime]:
    closes = _calendar().closes
    return {day.date(): close.to_pydatetime() for day, close in closes.items()}


def is_session(day: dt.date) -> bool:
    """Whether the exchange trades on that day (half days do)."""
    return day in _closes()


def session_close(session: dt.date) -> dt.datetime:
    """The close of a session as an aware UTC time: 16:00 New York, 13:00 on half days."""
    return _closes()[session]


def session_open(session: dt.date) -> dt.datetime:
    """The open of a session as an aware UTC time: 09:30 New York."""
    opened: dt.datetime = _calendar().session_open(session.isoformat()).to_pydatetime()
    return opened


def sessions_between(first: dt.date, last: dt.date) -> list[dt.date]:
    """All sessions from first to last, both included, ascending."""
    return [day for day in _closes() if first <= day <= last]


def session_on_or_before(day: dt.date) -> dt.date:
    """The last session that is not after the day."""
    return sessions_between(day - dt.timedelta(days=14), day)[-1]


def last_completed_session(now: dt.datetime) -> dt.date:
    """The last session whose day had passed 21:00 UTC at `now` (aware)."""
    moment = now.astimezone(dt.UTC)
    day = moment.date() if moment.timetz() >= COMPLETED_AT_UTC else moment.date() - dt.timedelta(days=1)
    return session_on_or_before(day)


def retained_sessions(as_of: dt.date) -> list[dt.date]:
    """The sessions of the rolling window that ends with `as_of`, ascending."""
    return sessions_between(as_of - dt.timedelta(days=RETENTION_DAYS - 1), as_of)


def expiry_closes(expirations: Iterable[dt.date]) -> pl.DataFrame:
    """When contracts of each expiration stop trading.

    Returns `expiration_date` (Date, unique, ascending) and `expires_at` (Datetime[us, UTC]): the close
    of that day's session, or of the last session before it when the exchange is closed on that day.
    """
    days = sorted(set(expirations))
    return pl.DataFrame(
        {
            "expiration_date": days,
            "expires_at": [session_close(session_on_or_before(day)) for day in days],
        },
        schema={"expiration_date": pl.Date, "expires_at": pl.Datetime("us", "UTC")},
    )
