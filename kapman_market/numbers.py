"""Numbers and days as traders write them. A value that isn't there is a dash; the minus is the typographic one."""

import datetime as dt
import math
from typing import TypeGuard
from zoneinfo import ZoneInfo

MISSING = "–"
_NEW_YORK = ZoneInfo("America/New_York")
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def dollars(value: float | None, *, sign: bool = False) -> str:
    """A notional in dollars to three or four figures: `$415.3M`, `−$1.30B`, `$950`; with `sign` also a plus."""
    if not _known(value):
        return MISSING
    return f"{_sign(value, sign)}${_scaled(abs(value))}"


def amount(value: float | None) -> str:
    """A count of shares or contracts, scaled: `12.3M`, `950`."""
    return f"{_sign(value, False)}{_scaled(abs(value))}" if _known(value) else MISSING


def price(value: float | None) -> str:
    """Dollars and cents, with four decimals below a dollar: `309.35`, `0.0812`."""
    if not _known(value):
        return MISSING
    return f"{_sign(value, False)}{abs(value):,.{2 if abs(value) >= 1 else 4}f}"


def strike(value: float | None) -> str:
    """A strike as it is listed, without idle zeros: `310`, `312.5`."""
    if not _known(value):
        return MISSING
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def percent(value: float | None, *, sign: bool = True, digits: int = 2) -> str:
    """A number that is in percent already: `+1.23%`."""
    return f"{_sign(round(value, digits), sign)}{abs(value):,.{digits}f}%" if _known(value) else MISSING


def volatility(value: float | None) -> str:
    """An implied or realized volatility, a fraction per year, in percent: 0.2345 is `23.5%`."""
    return f"{100 * value:,.1f}%" if _known(value) else MISSING


def points(value: float | None) -> str:
    """A difference of volatilities, in vol points: `+2.1`."""
    return f"{_sign(round(value, 1), True)}{abs(value):,.1f}" if _known(value) else MISSING


def index(value: float | None) -> str:
    """A figure between −100 and 100, or 0 and 100: `−83.4`."""
    return f"{_sign(round(value, 1), False)}{abs(value):,.1f}" if _known(value) else MISSING


def multiple(value: float | None) -> str:
    """A ratio: `1.35×`."""
    return f"{value:,.2f}×" if _known(value) else MISSING


def count(value: int | None) -> str:
    """A whole number: `5,213`."""
    return MISSING if value is None else f"{value:,}"


def day(session: dt.date | None) -> str:
    """A session with its weekday: `Fri 2026-11-20`."""
    return MISSING if session is None else f"{session:%a %Y-%m-%d}"


def moment(time: dt.datetime | None) -> str:
    """An aware time on New York's clock: `2026-11-20 16:00 New York`."""
    return MISSING if time is None else f"{time.astimezone(_NEW_YORK):%Y-%m-%d %H:%M} New York"


def _scaled(size: float) -> str:
    # Rounded first: 999,999 is 1.000M and not 1000.0K.
    size = float(f"{size:.4g}") if size >= 1000 else size
    for unit, letter in _UNITS:
        if size >= unit:
            scaled = size / unit
            return f"{scaled:.{2 if scaled < 10 else 1}f}{letter}"
    return f"{size:,.0f}"


def _sign(value: float, plus: bool) -> str:
    return "−" if value < 0 else "+" if plus and value > 0 else ""


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
