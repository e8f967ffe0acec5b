"""Which expirations are listed on a session."""

from datetime import date, timedelta

from kapman_simulator.sessions import all_sessions, session_on_or_before

FRIDAY = 4


def third_friday(year: int, month: int) -> date:
    """The third Friday of a month, trading session or not."""
    first = date(year, month, 1)
    return first + timedelta(days=(FRIDAY - first.weekday()) % 7 + 14)


def is_monthly(expiry: date) -> bool:
    """Whether `expiry` is a month's standard expiration: its third Friday, or the session before a holiday."""
    return expiry == session_on_or_before(third_friday(expiry.year, expiry.month))


def expiries(session: date, contracts: int, *, daily: bool) -> list[date]:
    """Eight to fourteen expirations after `session`, in order, more of them in a larger chain.

    Weeklies first, then monthlies and the Januaries of the next two years; with `daily`, also this session itself and
    each of the four that follow it. An expiration on a holiday moves to the session before it.
    """
    count = min(max(contracts // 36, 8), 14)
    friday = session + timedelta(days=(FRIDAY - session.weekday() - 1) % 7 + 1)
    near = [friday + timedelta(weeks=week) for week in range(count - 5)]
    if daily:
        index = all_sessions().index(session)
        near = sorted({*all_sessions()[index : index + 5], *near})[: count - 5]
    months = [divmod(session.year * 12 + session.month + ahead, 12) for ahead in range(12)]
    monthlies = [day for year, month in months if (day := third_friday(year, month + 1)) > near[-1]][:3]
    long_dated = [third_friday(session.year + ahead, 1) for ahead in (1, 2, 3)]
    long_dated = [day for day in long_dated if day > monthlies[-1]][:2]
    return sorted({session_on_or_before(day) for day in (*near, *monthlies, *long_dated)})
