"""Raw pages of the vendor's REST API, and their typed decoding straight into columns.

Decoding is strict about the shape and complete in its books: every item of `results` becomes a row, is
ignored under a reason, or is rejected with its raw text and a reason. Nothing depends on how the vendor cut
the items into pages or ordered them.
"""

import datetime as dt
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from kapman_resources.page_items import Items, Record, Rejected, first_reason

MAX_SYMBOL_LENGTH = 32
MAX_STRIKE = 1e8
"""`strike_price` is numeric(12,4): eight digits before the point."""
MAX_EXPIRY_DAYS = 3660
"""The longest listed options run five to six years; an expiry beyond ten is garbage."""

_NEW_YORK = ZoneInfo("America/New_York")
_LARGEST_EXACT_INTEGER = 2.0**53


@dataclass(frozen=True, slots=True)
class RawPage:
    """One answer of the vendor, byte for byte.

    number: position among the pages of its query, from 1.
    url: what was asked, without any key.
    fetched_at: when the answer had arrived, aware, UTC.
    body: the JSON text as received (after HTTP's own compression).
    """

    number: int
    url: str
    fetched_at: dt.datetime
    body: bytes = field(repr=False)


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
    raw = _ticker_columns(source.items)

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
    own_root = underlying.removeprefix("I:").replace(".", "")
    judged = _chain_columns(source.items).lazy().with_columns(_root_columns(source.items, own_root))
    rows = judged.with_columns(_derived(session)).with_columns(_judgement(session)).collect()

    if rows["reason"].null_count() < rows.height:
        unwanted, is_ignored = rows.filter(pl.col("reason").is_not_null()), pl.col("reason").is_in(_IGNORED)
        books.ignored.update(unwanted.filter(is_ignored)["reason"].to_list())
        source.reject(unwanted.filter(~is_ignored))
        rows = rows.filter(pl.col("reason").is_null())

    frame = _drop_contract_duplicates(_clean_contracts(rows, books), books)
    return DecodedChain(
        frame=frame.select(*_KEY, *_VALUES),
        contracts_read=source.read,
        ignored=_sorted(books.ignored),
        rejected=source.all_rejected(),
        nulled=_sorted(books.nulled),
        stale_volumes=int(frame["stale"].sum()),
        underlying_price=_underlying_price(source.items),
    )


def _chain_columns(items: Sequence[_Contract]) -> pl.DataFrame:
    """One column per field, typed, nothing judged; `row` is the item's position."""
    details = [item.details or _NO_DETAILS for item in items]
    days = [item.day or _NO_DAY for item in items]
    greeks = [item.greeks or _NO_GREEKS for item in items]
    quotes = [item.last_quote or _NO_QUOTE for item in items]
    real, text = pl.Float64, pl.String
    columns: dict[str, tuple[list, type[pl.DataType]]] = {
        "contract_type": ([d.contract_type for d in details], text),
        "expiration": ([d.expiration_date for d in details], text),
        "strike": ([d.strike_price for d in details], real),
        "contract": ([d.ticker for d in details], text),
        "shares_per_contract": ([d.shares_per_contract for d in details], real),
        "day_volume": ([d.volume for d in days], real),
        "day_close": ([d.close for d in days], real),
        "day_updated": ([d.last_updated for d in days], real),
        "delta": ([g.delta for g in greeks], real),
        "gamma": ([g.gamma for g in greeks], real),
        "theta": ([g.theta for g in greeks], real),
        "vega": ([g.vega for g in greeks], real),
        "bid": ([q.bid for q in quotes], real),
        "ask": ([q.ask for q in quotes], real),
        "last": ([(item.last_trade or _NO_TRADE).price for item in items], real),
        "implied_volatility": ([item.implied_volatility for item in items], real),
        "open_interest": ([item.open_interest for item in items], real),
    }
    series = [pl.Series(name, values, dtype=dtype) for name, (values, dtype) in columns.items()]
    return pl.DataFrame(series).with_row_index("row")


def _root_columns(items: Sequence[_Contract], own: str) -> list[pl.Expr]:
    """`own_root` and `adjusted`, from the OCC form of the ticker: `O:` root yymmdd C|P strike × 1000."""
    start, length = f"O:{own}", len("O:") + len(own) + len("260116C00150000")
    tickers = ((item.details or _NO_DETAILS).ticker for item in items)
    # Nearly every chain has its own root only, which spares it a regular expression, half of all the time.
    if all(ticker is None or (len(ticker) == length and ticker.startswith(start)) for ticker in tickers):
        return [pl.lit(value=True).alias("own_root"), pl.lit(value=False).alias("adjusted")]
    # A ticker that doesn't have the form tells nothing: the contract counts as the underlying's own.
    root = pl.col("contract").str.extract(r"^O:(.+)\d{6}[CP]\d{8}$").fill_null(own)
    return [
        (root == own).alias("own_root"),
        ((root != own) & root.str.contains(r"\d$")).alias("adjusted"),
    ]


@functools.lru_cache(maxsize=8)
def _derived(session: dt.date) -> list[pl.Expr]:
    opens, ends = _day_in_nanoseconds(session)
    updated, expiration = pl.col("day_updated"), pl.col("expiration")
    whole_date = expiration.str.len_bytes() == len("2026-01-16")
    return [
        pl.when(whole_date).then(expiration.str.to_date("%Y-%m-%d", strict=False)).alias("expiration_date"),
        # Not `/ 1e4`: Polars divides by a constant as it multiplies by the reciprocal, an ulp off.
        pl.col("strike").round(4).alias("strike_price"),
        pl.when(pl.col("contract_type") == "call")
        .then(pl.lit("C"))
        .when(pl.col("contract_type") == "put")
        .then(pl.lit("P"))
        .alias("option_type"),
        ((updated < opens) | (updated >= ends)).fill_null(value=False).alias("stale"),
        pl.all_horizontal(pl.col("day_volume", "day_close", "day_updated").is_null()).alias("no_bar"),
    ]


@functools.lru_cache(maxsize=8)
def _judgement(session: dt.date) -> list[pl.Expr]:
    volume = pl.when(pl.col("stale") | pl.col("no_bar")).then(0.0).otherwise(pl.col("day_volume"))
    return [volume.alias("volume"), first_reason(_contract_rules(session)).alias("reason")]


def _day_in_nanoseconds(session: dt.date) -> tuple[float, float]:
    """Midnight in New York at the start and at the end of a day, nanoseconds since the epoch."""
    days = (session, session + dt.timedelta(days=1))
    start, end = (dt.datetime.combine(day, dt.time(), _NEW_YORK).timestamp() * 1e9 for day in days)
    return start, end


_OTHER_TYPE, _ADJUSTED, _EXPIRED = "contract type other", "adjusted contract", "expired before the session"
_IGNORED = (_OTHER_TYPE, _ADJUSTED, _EXPIRED)


def _contract_rules(session: dt.date) -> list[tuple[pl.Expr, str]]:
    """What takes a contract out of the frame, in the order in which the reasons apply."""
    strike, horizon = pl.col("strike"), session + dt.timedelta(days=MAX_EXPIRY_DAYS)
    noise = 1e-9 + 1e-15 * strike  # what binary arithmetic leaves behind
    return [
        (pl.col("contract_type") == "other", _OTHER_TYPE),
        (pl.col("adjusted"), _ADJUSTED),
        (pl.col("contract_type").is_null(), "contract type missing"),
        (pl.col("option_type").is_null(), "contract type unknown"),
        (pl.col("expiration").is_null(), "expiration date missing"),
        (pl.col("expiration_date").is_null(), "expiration date is not a date"),
        (pl.col("expiration_date") > horizon, "expiration date more than ten years away"),
        (strike.is_null(), "strike missing"),
        (~strike.is_finite() | (pl.col("strike_price") >= MAX_STRIKE), "strike too large"),
        (strike <= 0, "strike not positive"),
        (
            ((strike - pl.col("strike_price")).abs() > noise) | (pl.col("strike_price") == 0),
            "strike with more than four decimals",
        ),
        (pl.col("expiration_date") < session, _EXPIRED),
    ]


_NOT_NEGATIVE = ["bid", "ask", "last", "implied_volatility", "volume", "open_interest", "shares_per_contract"]
_COUNTS = ["volume", "open_interest"]
_REALS = [*_NOT_NEGATIVE, "delta", "gamma", "theta", "vega"]
_NO_VALUE: dict[str, pl.Expr] = (
    {f"{name}: not finite": ~pl.col(name).is_finite() for name in _REALS}
    | {f"{name}: negative": pl.col(name) < 0 for name in _NOT_NEGATIVE}
    | {f"{name}: not a whole number": pl.col(name) != pl.col(name).floor() for name in _COUNTS}
    | {f"{name}: too large": pl.col(name) > _LARGEST_EXACT_INTEGER for name in _COUNTS}
    | {"shares_per_contract: zero": pl.col("shares_per_contract") == 0}
)
"""Rules on single fields, `column: what is wrong` → where; the field becomes null, the row stays."""
_NO_VALUE_COUNTS = [wrong.sum().alias(name) for name, wrong in _NO_VALUE.items()]


def _clean_contracts(rows: pl.DataFrame, books: _Books) -> pl.DataFrame:
    counts = rows.select(_NO_VALUE_COUNTS).row(0, named=True)
    found = {name: count for name, count in counts.items() if count}
    books.nulled.update(found)
    for name in found:
        column = name.partition(":")[0]
        rows = rows.with_columns(pl.when(~_NO_VALUE[name]).then(pl.col(column)).alias(column))
    # Adding zero turns -0.0 into 0.0: they are equal, and must not differ in a hash.
    reals = [pl.col(name) + 0.0 for name in _REALS if name not in _COUNTS]
    counts_as_integers = pl.col(_COUNTS).cast(pl.Int64)
    return (
        rows.lazy()
        .select(*_KEY, "contract", "stale", "own_root", counts_as_integers, *reals)
        .sort(_KEY)
        .collect()
    )


def _drop_contract_duplicates(rows: pl.DataFrame, books: _Books) -> pl.DataFrame:
    """One row per key; `rows` come sorted by it, and leave so."""
    repeats = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in _KEY)
    if not rows.select(repeats.any()).item():
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


def _underlying_price(items: Sequence[_Contract]) -> float | None:
    seen = {item.underlying_asset or _NO_UNDERLYING for item in items}
    prices = [
        (asset.last_updated or 0.0, price)
        for asset in seen
        if (price := asset.price if asset.price is not None else asset.value) is not None and price > 0
    ]
    return max(prices)[1] if prices else None


def _counted(reasons: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in reasons.items() if count}


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
