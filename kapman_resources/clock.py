"""The platform's today: the one place that looks at the clock."""

import datetime as dt

from kapman_resources.sessions import (
    last_completed_session,
    session_on_or_before,
    session_open,
    sessions_between,
)
from kapman_resources.settings import settings


def as_of() -> dt.date:
    """The platform's today: `KAPMAN_AS_OF`, else the last completed session by the clock."""
    pinned = settings().as_of
    return session_on_or_before(pinned) if pinned else last_completed_session(dt.datetime.now(dt.UTC))


def live_session() -> dt.date | None:
    """The session whose close a snapshot taken now shows: none while the market trades.

    With `KAPMAN_AS_OF`, and in the demo, the vendor stands still at the as-of session.
    """
    if settings().as_of or not settings().has_vendor:
        return as_of()
    now = dt.datetime.now(dt.UTC)
    last = last_completed_session(now)
    following = sessions_between(last + dt.timedelta(days=1), last + dt.timedelta(days=14))[0]
    return last if now < session_open(following) else None
