"""By when each table has news: freshness policies for Dagster, and the calendar that they don't know.

Dagster's policies look at a cron expression, which knows weekdays and no holidays: on the day after one an
asset shows as overdue until its next load. Nobody is alerted then, because alerts ask `Deadline.session`.
"""

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import dagster as dg

from kapman_resources.sessions import is_session
from kapman_resources.settings import settings

NEW_YORK = "America/New_York"
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Deadline:
    """When, in New York, a session's rows should be there.

    at: hour and minute; days_after: 0 on the session's own day, 1 on the next.
    """

    at: dt.time
    days_after: int

    @property
    def cron(self) -> str:
        """The deadline on the days that can follow a session: Monday to Friday, or Tuesday to Saturday."""
        return f"{self.at.minute} {self.at.hour} * * {1 + self.days_after}-{5 + self.days_after}"

    @property
    def policy(self) -> dg.FreshnessPolicy | None:
        """Dagster's policy; None with KAPMAN_AS_OF, where time stands still and nothing becomes due."""
        if settings().as_of is not None:
            return None
        return dg.FreshnessPolicy.cron(self.cron, lower_bound_delta=_DAY, timezone=NEW_YORK)

    def session(self, now: dt.datetime) -> dt.date | None:
        """The session that the last deadline before `now` (aware) was about; None if that day was no session."""
        here = now.astimezone(ZoneInfo(NEW_YORK))
        day = here.date() if here.time() >= self.at else here.date() - _DAY
        while not 0 <= (day - dt.timedelta(days=self.days_after)).weekday() < 5:
            day -= _DAY
        session = day - dt.timedelta(days=self.days_after)
        return session if is_session(session) else None


AFTER_DAILY_LOAD = Deadline(dt.time(13, 0), days_after=1)
"""Job `daily` starts at 11:30 on the day after the session and takes minutes; the vendor may be an hour late."""

AFTER_SNAPSHOT = Deadline(dt.time(18, 30), days_after=0)
"""Job `daily_options` starts at 17:15 on the session; until the next open a second attempt is still possible."""

DEADLINES = {
    "tickers": AFTER_DAILY_LOAD,
    "watchlists": AFTER_DAILY_LOAD,
    "ohlcv": AFTER_DAILY_LOAD,
    "options_chains": AFTER_SNAPSHOT,
    "daily_snapshots": AFTER_DAILY_LOAD,
    "dealer_metrics": AFTER_DAILY_LOAD,
    "volatility_metrics": AFTER_DAILY_LOAD,
}
"""Of every table; `schema` has none: it changes when its migrations do."""
