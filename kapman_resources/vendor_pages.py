"""Raw pages of the vendor's REST API, and their typed decoding straight into columns.

Decoding is strict about the shape and complete in its books: every item of `results` becomes a row, is
ignored under a reason, or is rejected with its raw text and a reason. Nothing depends on how the vendor cut
the items into pages or ordered them.
"""

import datetime as dt
import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from kapman_resources.page_items import Items, Record, Rejected, first_reason

MAX_SYMBOL_LENGTH = 32
MAX_STRIKE = 1e8
"""`strike_price` is numeric(12,4): eight digits before the point."""
MAX_EXPIRY_DAYS = 3660
"""The longest listed options run five to six years; an expiry beyond ten is garbage."""

_NEW_YORK = ZoneInfo("America/New_York")
_EPOCH = dt.date(1970, 1, 1)
_LARGEST_EXACT_INTEGER = 2.0**53


@dataclass(frozen=True, slots=True)
class RawPage:
    """One answer of the vendor, byte for byte.

    number: position among the pages of its query, from 1.
    url: what was asked, without any key.
    fetched_at: when the answer had arrived, aware, UTC.
    body: the JSON text as received (after HTTP's own compression).
    packed: that text as one gzip member, if it came as one: it needn't be compressed again.
    """

    number: int
    url: str
    fetched_at: dt.datetime
    body: bytes = field(repr=False)
    packed: bytes | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class DecodedTickers:
    """Reference tickers of all pages: `read == frame.height + sum(ignored) + len(rejected)`.

    frame: sorted by `symbol`, unique; columns symbol, name, type, primary_exchange, currency, cik,
        composite_figi, share_class_figi (String, null when blank), active (Boolean), last_updated_utc
        (Datetime[us, UTC]).
    ignored: items by reason: other markets, duplicates.
    nulled: fields that held something unusable and became null, by reason.
    """

    frame: pl.DataFrame
    read: int
    ignored: dict[str, int]
    rejected: list[Rejected]
    nulled: dict[str, int]


@dataclass(frozen=True)
class DecodedChain:
    """An underlying's chain: `contracts_read == frame.height + sum(ignored) + len(rejected)`.

    frame: sorted by its key (expiration_date Date, strike_price Float64 in dollars with at most four
        decimals, option_type "C" or "P"), unique; then bid, ask, last (Float64, dollars), volume,
        open_interest (Int64, contracts), implied_volatility (Float64, a year), delta, gamma, theta, vega,
        shares_per_contract (Float64; null when the vendor doesn't say), contract (String, vendor's ticker).
    ignored: items by reason: adjusted, expired, other types, duplicates.
    nulled: fields that held something unusable and became null, by reason.
    stale_volumes: rows whose day bar was another session's, so that their volume is 0.
    underlying_price: the latest price of the underlying that the pages name; None without one.
    """

    frame: pl.DataFrame
    contracts_read: int
    ignored: dict[str, int]
    rejected: list[Rejected]
    nulled: dict[str, int]
    stale_volumes: int
    underlying_price: float | None


class _Ticker(Record, frozen=True, gc=False):
    ticker: str | None = None
    name: str | None = None
    market: str | None = None
    primary_exchange: str | None = None
    type: str | None = None
    active: bool | None = None
    currency_name: str | None = None
    cik: str | None = None
    composite_figi: str | None = None
    share_class_figi: str | None = None
    last_updated_utc: str | None = None


class _Details(Record, frozen=True, gc=False):
    contract_type: str | None = None
    expiration_date: str | None = None
    shares_per_contract: float | None = None
    strike_price: float | None = None
    ticker: str | None = None


class _Day(Record, frozen=True, gc=False):
    # A float holds nanoseconds to 256 ns, and the vendor's midnights exactly: enough to tell a day.
    close: float | None = None
    volume: float | None = None
    last_updated: float | None = None


class _Greeks(Record, frozen=True, gc=False):
    delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    vega: float | None = None


class _Quote(Record, frozen=True, gc=False):
    bid: float | None = None
    ask: float | None = None


class _Trade(Record, frozen=True, gc=False):
    price: float | None = None


class _Underlying(Record, frozen=True, gc=False):
    price: float | None = None
    value: float | None = None  # an index has a value instead of a price
    last_updated: float | None = None


class _Contract(Record, frozen=True, gc=False):
    details: _Details | None = None
    day: _Day | None = None
    greeks: _Greeks | None = None
    last_quote: _Quote | None = None
    last_trade: _Trade | None = None
    underlying_asset: _Underlying | None = None
    implied_volatility: float | None = None
    open_interest: float | None = None


_NO_DETAILS, _NO_DAY, _NO_GREEKS = _Details(), _Day(), _Greeks()
_NO_QUOTE, _NO_TRADE, _NO_UNDERLYING = _Quote(), _Trade(), _Underlying()


class _Books(NamedTuple):
    """What became of the rows that are not in the frame."""

    ignored: Counter[str]
    nulled: Counter[str]


# --- reference tickers -----------------------------------------------------------------------------------

_TICKER_TEXTS = {
    "symbol": "ticker",
    "name": "name",
    "type": "type",
    "primary_exchange": "primary_exchange",
    "currency": "currency_name",
    "cik": "cik",
    "composite_figi": "composite_figi",
    "share_class_figi": "share_class_figi",
}


def decode_tickers(pages: Iterable[bytes]) -> DecodedTickers:
    """Decode pages of `/v3/reference/tickers`.

    Symbols keep their case. An empty or blank field is null. Identical repetitions of a ticker are dropped;
    of contradicting ones the one with the latest `last_updated_utc` stays, then the one with the largest
    field values in column order.

    Raises:
        VendorError: a page is not a JSON object with a list `results`.
    """
    source = Items(pages, _Ticker)
    books = _Books(Counter(), Counter())
    raw = _ticker_columns([item for items in source for item in items])

    usable = raw.with_columns(reason=first_reason(_SYMBOL_RULES))
    source.reject(usable.filter(pl.col("reason").is_not_null()))
    usable = usable.filter(pl.col("reason").is_null()).drop("reason")

    foreign = usable.filter(pl.col("market") != "stocks")["market"].to_list()
    books.ignored.update(f"market {market[:40]!r}" for market in foreign)
    usable = usable.filter(pl.col("market").is_null() | (pl.col("market") == "stocks"))

    frame = _drop_ticker_duplicates(_clean_tickers(usable, books), books)
    return DecodedTickers(
        frame, source.read, _sorted(books.ignored), source.all_rejected(), _sorted(books.nulled)
    )


def _ticker_columns(items: Sequence[_Ticker]) -> pl.DataFrame:
    columns = {name: [getattr(item, key) for item in items] for name, key in _TICKER_TEXTS.items()}
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(columns, pl.String)
    return pl.DataFrame(
        columns
        | {
            "active": [item.active is not False for item in items],  # active ones were asked for
            "last_updated_utc": [item.last_updated_utc for item in items],
            "market": [item.market for item in items],
        },
        schema=schema | {"active": pl.Boolean, "last_updated_utc": pl.String, "market": pl.String},
    ).with_row_index("row")


_SYMBOL_RULES: list[tuple[pl.Expr, str]] = [
    (pl.col("symbol").is_null() | (pl.col("symbol") == ""), "symbol missing"),
    (
        pl.col("symbol").str.len_chars() > MAX_SYMBOL_LENGTH,
        f"symbol longer than {MAX_SYMBOL_LENGTH} characters",
    ),
    (
        ~pl.col("symbol").str.contains(r"^[\x21-\x7E]+$"),
        "symbol with blanks, control or non-ASCII characters",
    ),
]


def _clean_tickers(raw: pl.DataFrame, books: _Books) -> pl.DataFrame:
    texts = [pl.col(name) for name in _TICKER_TEXTS if name != "symbol"]
    # PostgreSQL can't store NUL in a text; the other control characters are no part of a name either.
    garbled = raw.select(text.str.contains(r"\p{Cc}").fill_null(value=False).sum() for text in texts)
    books.nulled.update(
        {f"{name}: control characters": n for name, n in garbled.row(0, named=True).items() if n}
    )
    stamp = pl.col("last_updated_utc").replace("", None)
    parsed = stamp.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False)
    frame = raw.select(
        "symbol",
        *(pl.when(~text.str.contains(r"^\s*$|\p{Cc}")).then(text).name.keep() for text in texts),
        "active",
        last_updated_utc=parsed,
    ).with_columns(pl.col("currency").str.to_lowercase())
    lost = raw.select(stamp.is_not_null() & parsed.is_null()).to_series().sum()
    books.nulled.update({"last_updated_utc: not a time": lost} if lost else {})
    return frame


def _drop_ticker_duplicates(frame: pl.DataFrame, books: _Books) -> pl.DataFrame:
    distinct = frame.unique()
    order = ["last_updated_utc", *(name for name in frame.columns if name != "last_updated_utc")]
    kept = (
        distinct.sort(order, descending=True, nulls_last=True)
        .unique("symbol", keep="first", maintain_order=True)
        .sort("symbol")
    )
    books.ignored.update(
        _counted(
            {
                "duplicate ticker": frame.height - distinct.height,
                "duplicate ticker with other values": distinct.height - kept.height,
            }
        )
    )
    return kept


# --- option chains ---------------------------------------------------------------------------------------

_KEY = ["expiration_date", "strike_price", "option_type"]
_VALUES = [
    "bid", "ask", "last", "volume", "open_interest", "implied_volatility",
    "delta", "gamma", "theta", "vega", "shares_per_contract", "contract",
]  # fmt: skip


def decode_chain(pages: Iterable[bytes], *, underlying: str, session: dt.date) -> DecodedChain:
    """Decode the pages of an underlying's `/v3/snapshot/options/{underlying}` of one session.

    - Adjusted contracts (their root is not the underlying's and ends with a digit) are always ignored, also
      without a standard twin: their deliverable is another one, so their strike doesn't compare. A standard
      root with `shares_per_contract` other than 100 is kept.
    - `volume` is 0 when the day bar is absent, empty, or another session's in New York; null when there is a
      bar that doesn't give a volume; without `last_updated` it is taken as it is.
    - `last` is the last trade's price and nothing else: null on plans without trades.
    - Repetitions of a key: identical ones are dropped; otherwise the underlying's own root wins over another
      one (SPX over SPXW), then the row with open interest, with gamma, with more volume, and last the larger
      values in column order.
    - Negative or, for counts, fractional values are no values: null, and counted in `nulled`.

    Raises:
        VendorError: a page is not a JSON object with a list `results`.
    """
    source = Items(pages, _Contract)
    books = _Books(Counter(), Counter())
    fields, underlying_price = _columns(source, underlying.removeprefix("I:").replace(".", ""), session)
    fault = _first_fault(fields, session)
    if (unfit := np.flatnonzero(fault >= 0)).size:
        reasons = pl.DataFrame({"row": unfit, "reason": [_REASONS[code] for code in fault[unfit].tolist()]})
        is_ignored = pl.col("reason").is_in(_IGNORED)
        books.ignored.update(reasons.filter(is_ignored)["reason"].to_list())
        source.reject(reasons.filter(~is_ignored))
    frame = _drop_contract_duplicates(_clean_contracts(fields, np.flatnonzero(fault < 0), books), books)
    return DecodedChain(
        frame=frame.select(*_KEY, *_VALUES),
        contracts_read=source.read,
        ignored=_sorted(books.ignored),
        rejected=source.all_rejected(),
        nulled=_sorted(books.nulled),
        stale_volumes=int(frame["stale"].sum()),
        underlying_price=underlying_price,
    )


def _columns(
    source: Iterable[Sequence[_Contract]], own: str, session: dt.date
) -> tuple["_Fields", float | None]:
    """The contracts of all pages in arrays, and the underlying's latest price."""
    parts, latest = [_Fields.of([], own, session)], _NO_PRICE
    for items in source:
        parts.append(_Fields.of(items, own, session))
        latest = max(latest, _latest_price(items))
    return _Fields.joined(parts), latest[1] if latest[1] > 0 else None


_CALL, _PUT, _OTHER, _NO_TYPE, _UNKNOWN_TYPE = range(5)
_TYPES = {"call": _CALL, "put": _PUT, "other": _OTHER, None: _NO_TYPE}
_NO_DATE, _NOT_A_DATE = -(2**31), -(2**31) + 1


@dataclass(frozen=True)
class _Fields:
    """The contracts in arrays: a chain is small, and so are its costs here, beside those of a query on it.

    type: int8, one of the codes above. expiration: int64, days since the epoch, or a code above.
    strike_price: `strike` with four decimals. contract: the vendor's tickers. own_root, adjusted, stale:
    booleans. reals: by name, float64, nan where there is none (JSON has no NaN); with `volume` as judged.
    """

    type: np.ndarray
    expiration: np.ndarray
    strike: np.ndarray
    strike_price: np.ndarray
    contract: list[str | None]
    own_root: np.ndarray
    adjusted: np.ndarray
    stale: np.ndarray
    reals: dict[str, np.ndarray]

    @classmethod
    def of(cls, items: Sequence[_Contract], own: str, session: dt.date) -> "_Fields":
        details = [item.details or _NO_DETAILS for item in items]
        days = [item.day or _NO_DAY for item in items]
        greeks = [item.greeks or _NO_GREEKS for item in items]
        quotes = [item.last_quote or _NO_QUOTE for item in items]
        volume, close, updated = (
            _real(values)
            for values in (
                [day.volume for day in days],
                [day.close for day in days],
                [day.last_updated for day in days],
            )
        )
        opens, ends = _day_in_nanoseconds(session)
        stale = (updated < opens) | (updated >= ends)
        no_bar = np.isnan(volume) & np.isnan(close) & np.isnan(updated)
        strike = _real([one.strike_price for one in details])
        contract = [one.ticker for one in details]
        own_root, adjusted = _roots(contract, own)
        with np.errstate(over="ignore"):
            strike_price = np.round(strike, 4)
        return cls(
            type=np.array([_TYPES.get(one.contract_type, _UNKNOWN_TYPE) for one in details], np.int8),
            expiration=np.array([_epoch_days(one.expiration_date) for one in details], np.int64),
            strike=strike,
            strike_price=strike_price,
            contract=contract,
            own_root=own_root,
            adjusted=adjusted,
            stale=stale,
            reals={
                "bid": _real([quote.bid for quote in quotes]),
                "ask": _real([quote.ask for quote in quotes]),
                "last": _real([(item.last_trade or _NO_TRADE).price for item in items]),
                "volume": np.where(stale | no_bar, 0.0, volume),
                "open_interest": _real([item.open_interest for item in items]),
                "implied_volatility": _real([item.implied_volatility for item in items]),
                "delta": _real([one.delta for one in greeks]),
                "gamma": _real([one.gamma for one in greeks]),
                "theta": _real([one.theta for one in greeks]),
                "vega": _real([one.vega for one in greeks]),
                "shares_per_contract": _real([one.shares_per_contract for one in details]),
            },
        )

    @classmethod
    def joined(cls, parts: Sequence["_Fields"]) -> "_Fields":
        """The contracts of all parts, one part after the other."""
        arrays = ("type", "expiration", "strike", "strike_price", "own_root", "adjusted", "stale")
        return cls(
            contract=[ticker for part in parts for ticker in part.contract],
            reals={name: np.concatenate([part.reals[name] for part in parts]) for name in parts[0].reals},
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
        )


def _real(values: list[float | None]) -> np.ndarray:
    try:
        return np.fromiter(values, np.float64, len(values))  # twice as fast
    except TypeError:
        return np.array(values, np.float64)  # None becomes nan


@functools.lru_cache(maxsize=4096)
def _epoch_days(text: str | None) -> int:
    """Days since the epoch of a date as the vendor writes it, or why there is none."""
    if text is None:
        return _NO_DATE
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return _NOT_A_DATE
    try:
        return (dt.date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        return _NOT_A_DATE


def _roots(contracts: Sequence[str | None], own: str) -> tuple[np.ndarray, np.ndarray]:
    """`own_root` and `adjusted`, from the OCC form of the ticker: `O:` root yymmdd C|P strike × 1000."""
    # Nearly every chain has its own root only, which spares it a regular expression.
    if {one and one[: -len("260116C00150000")] for one in contracts} <= {f"O:{own}", None}:
        return np.ones(len(contracts), bool), np.zeros(len(contracts), bool)
    # A ticker that doesn't have the form tells nothing: the contract counts as the underlying's own.
    root = (
        pl.Series(contracts, dtype=pl.String)
        .str.extract(r"^O:(.+)\d{6}[CP]\d{8}$")
        .fill_null(own)
        .alias("root")
    )
    own_root = root == own
    return own_root.to_numpy(), (~own_root & root.str.contains(r"\d$")).to_numpy()


@functools.lru_cache(maxsize=8)
def _day_in_nanoseconds(session: dt.date) -> tuple[float, float]:
    """Midnight in New York at the start and at the end of a day, nanoseconds since the epoch."""
    days = (session, session + dt.timedelta(days=1))
    start, end = (dt.datetime.combine(day, dt.time(), _NEW_YORK).timestamp() * 1e9 for day in days)
    return start, end


_OTHER_TYPE, _ADJUSTED, _EXPIRED = "contract type other", "adjusted contract", "expired before the session"
_IGNORED = (_OTHER_TYPE, _ADJUSTED, _EXPIRED)
_REASONS = (
    _OTHER_TYPE,
    _ADJUSTED,
    "contract type missing",
    "contract type unknown",
    "expiration date missing",
    "expiration date is not a date",
    "expiration date more than ten years away",
    "strike missing",
    "strike too large",
    "strike not positive",
    "strike with more than four decimals",
    _EXPIRED,
)
"""What takes a contract out of the frame, in the order in which the one reason is given."""


def _first_fault(fields: _Fields, session: dt.date) -> np.ndarray:
    """Position in `_REASONS` of the first that applies to each contract; -1 for a sound one."""
    today = (session - _EPOCH).days
    strike, rounded = fields.strike, fields.strike_price
    with np.errstate(invalid="ignore", over="ignore"):
        noise = 1e-9 + 1e-15 * strike  # what binary arithmetic leaves behind
        applies = (
            fields.type == _OTHER,
            fields.adjusted,
            fields.type == _NO_TYPE,
            fields.type == _UNKNOWN_TYPE,
            fields.expiration == _NO_DATE,
            fields.expiration == _NOT_A_DATE,
            fields.expiration > today + MAX_EXPIRY_DAYS,
            np.isnan(strike),
            np.isinf(strike) | (rounded >= MAX_STRIKE),
            strike <= 0,
            (np.abs(strike - rounded) > noise) | (rounded == 0),
            fields.expiration < today,
        )
    fault = np.full(len(strike), -1, np.int8)
    for code in reversed(range(len(applies))):
        fault[applies[code]] = code
    return fault


_NOT_NEGATIVE = ["bid", "ask", "last", "implied_volatility", "volume", "open_interest", "shares_per_contract"]
_COUNTS = ["volume", "open_interest"]


def _wrong_values(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Rules on single fields, `column: what is wrong` → where; the field becomes null, the row stays."""
    wrong = {"not finite": np.isinf(values)}
    if name in _NOT_NEGATIVE:
        wrong["negative"] = values < 0
    if name in _COUNTS:
        wrong["not a whole number"] = np.isfinite(values) & (values != np.floor(values))
        wrong["too large"] = values > _LARGEST_EXACT_INTEGER
    if name == "shares_per_contract":
        wrong["zero"] = values == 0
    return {f"{name}: {what}": where for what, where in wrong.items() if where.any()}


def _clean_contracts(fields: _Fields, rows: np.ndarray, books: _Books) -> pl.DataFrame:
    """These contracts sorted by key: the columns of `_KEY` and `_VALUES`, `stale` and `own_root`."""
    order = rows[np.lexsort((fields.type[rows], fields.strike_price[rows], fields.expiration[rows]))]
    columns = {
        "expiration_date": pl.Series(fields.expiration[order].astype(np.int32)).cast(pl.Date),
        "strike_price": pl.Series(fields.strike_price[order]),
        "option_type": _LETTERS.gather(fields.type[order]),
        "contract": pl.Series(fields.contract, dtype=pl.String).gather(order),
        "stale": pl.Series(fields.stale[order]),
        "own_root": pl.Series(fields.own_root[order]),
    }
    for name, all_values in fields.reals.items():
        values = all_values[order]
        for rule, where in _wrong_values(name, values).items():
            books.nulled[rule] += int(np.count_nonzero(where))
            values = np.where(where, np.nan, values)
        # Adding zero turns -0.0 into 0.0: they are equal, and must not differ in a hash.
        series = pl.Series(values + 0.0, nan_to_null=True)
        columns[name] = series.cast(pl.Int64) if name in _COUNTS else series
    return pl.DataFrame(columns)


_LETTERS = pl.Series(["C", "P"])


def _drop_contract_duplicates(rows: pl.DataFrame, books: _Books) -> pl.DataFrame:
    """One row per key; `rows` come sorted by it, and leave so."""
    before, after = ([rows[name][at] for name in _KEY] for at in (slice(None, -1), slice(1, None)))
    repeats = [(one == other).to_numpy() for one, other in zip(before, after, strict=True)]
    if not np.logical_and.reduce(repeats).any():
        return rows
    distinct = rows.unique()
    foreign = distinct.filter(~pl.col("own_root") & pl.col("own_root").any().over(_KEY))
    rivals = distinct.join(foreign, on=distinct.columns, how="anti", nulls_equal=True)
    kept = (
        rivals.with_columns(
            has_interest=pl.col("open_interest").is_not_null(), has_gamma=pl.col("gamma").is_not_null()
        )
        .sort(["has_interest", "has_gamma", "volume", *_VALUES, "stale"], descending=True, nulls_last=True)
        .unique(_KEY, keep="first", maintain_order=True)
        .sort(_KEY)
    )
    books.ignored.update(
        _counted(
            {
                "duplicate contract": rows.height - distinct.height,
                "same key under another root": foreign.height,
                "duplicate contract with other values": rivals.height - kept.height,
            }
        )
    )
    return kept


_NO_PRICE = (-math.inf, -math.inf)


def _latest_price(items: Sequence[_Contract]) -> tuple[float, float]:
    """When the underlying's latest price was set, and that price."""
    latest, previous = _NO_PRICE, _NO_UNDERLYING
    for item in items:
        asset = item.underlying_asset
        if asset is None or asset == previous:  # nearly every contract repeats the same
            continue
        previous = asset
        price = asset.price if asset.price is not None else asset.value
        if price is not None and price > 0:
            latest = max(latest, (asset.last_updated or 0.0, price))
    return latest


def _counted(reasons: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in reasons.items() if count}


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
