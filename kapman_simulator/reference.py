"""Reference rows and splits of the generated market, as `/v3/reference/tickers` and `/stocks/v1/splits` have them."""

import math
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from hashlib import blake2b

import msgspec

from kapman_simulator.listings import Listing
from kapman_simulator.market import Split, Ticker

_FIGI_LETTERS = "0123456789BCDFGHJKLMNPQRSTVWXYZ"  # a FIGI has no vowels


def tickers(listings: list[Listing], today: date) -> list[Ticker]:
    """The rows known on `today`, sorted by symbol: what is listed is active, what was delisted is not."""
    return [
        Ticker(row.symbol, "stocks", row.type, active, msgspec.json.encode(_fields(row, today, active)))
        for row in listings
        if row.in_reference and row.listed <= today.toordinal()
        for active in [today.toordinal() < row.delisted]
    ]


def _fields(row: Listing, today: date, active: bool) -> dict[str, str | bool]:
    fields: dict[str, str | bool] = {
        "ticker": row.symbol,
        "name": row.name,
        "market": "stocks",
        "locale": "us",
        "primary_exchange": row.exchange,
        "type": row.type,
        "active": active,
        "currency_name": "usd",
    }
    if not row.blank_fields:
        # The classes and rights of one issuer share its CIK.
        fields["cik"] = f"{_number(row.symbol.split('.')[0], 2_000_000):010d}"
        fields["composite_figi"] = _figi("composite", row.symbol)
        fields["share_class_figi"] = _figi("share class", row.symbol)
    day = today if active else date.fromordinal(row.delisted)
    updated = datetime.combine(day, time(6, 5), UTC) + timedelta(seconds=_number(row.symbol, 600))
    if not active:
        fields["delisted_utc"] = f"{day}T04:00:00Z"
    fields["last_updated_utc"] = updated.strftime("%Y-%m-%dT%H:%M:%SZ")
    return fields


def splits(listings: list[Listing], today: date) -> list[Split]:
    """Every split up to `today`, newest first."""
    events = [
        (date.fromordinal(day).isoformat(), row, ratio)
        for row in listings
        for day, ratio in row.splits
        if day <= today.toordinal()
    ]
    events.sort(key=lambda event: (event[0], event[1].symbol), reverse=True)
    return [
        Split(row.symbol, day, msgspec.json.encode(_split(row, day, ratio, today)))
        for day, row, ratio in events
    ]


def _split(row: Listing, day: str, ratio: float, today: date) -> dict[str, str | float]:
    split_from, split_to = Fraction(ratio).limit_denominator(1000).as_integer_ratio()[::-1]
    later = [r for d, r in row.splits if date.fromisoformat(day).toordinal() <= d <= today.toordinal()]
    return {
        "adjustment_type": "forward_split" if ratio > 1 else "reverse_split",
        "execution_date": day,
        # What a price before this day is multiplied by to compare with today's.
        "historical_adjustment_factor": round(1 / math.prod(later), 10),
        "id": blake2b(f"{row.symbol} {day}".encode(), digest_size=16).hexdigest(),
        "split_from": split_from,
        "split_to": split_to,
        "ticker": row.symbol,
    }


def _number(text: str, below: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") % below


def _figi(kind: str, symbol: str) -> str:
    """An identifier in the shape of a FIGI: BBG, eight characters, a check digit."""
    number = _number(f"{kind} {symbol}", len(_FIGI_LETTERS) ** 6)
    body = "00"
    for _ in range(6):
        number, digit = divmod(number, len(_FIGI_LETTERS))
        body += _FIGI_LETTERS[digit]
    return f"BBG{body}{sum(map(ord, body)) % 10}"
