"""From the bytes of a flat file to validated columns, every row accounted for.

Bars come out in columns; nothing here loops over rows. Vendor's quirks and their reasons: the
design's vendor.md, "Flat files".
"""

import datetime as dt
import functools
from dataclasses import dataclass
from gzip import BadGzipFile
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from isal import igzip, isal_zlib

from kapman_resources.errors import SourceError
from kapman_resources.flat_files import key_of

NEW_YORK = ZoneInfo("America/New_York")

# Absurd beyond any market: the busiest penny stocks trade about 1e10 shares a day.
MOST_VOLUME = 1e12

UNKNOWN_SYMBOL = "unknown symbol"
TEST_SYMBOL = "test symbol"
DUPLICATE = "duplicate row"

_SCHEMA: dict[str, pl.DataType] = {
    "ticker": pl.String(),
    "volume": pl.Float64(),
    "open": pl.Float64(),
    "close": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "window_start": pl.Int64(),
    "transactions": pl.Int64(),
}
_PRICES = ("open", "high", "low", "close")

# Exchanges' test symbols have no flag. Only symbols that the reference doesn't list are looked at
# here, so a real fund named TEST is safe.
_TEST_SYMBOL = r"^(Z[A-Z]ZZT|[A-Z]TEST)([.][A-Z]+)?$"
_SYMBOL = r"^[ -~]{1,32}$"


@dataclass(frozen=True)
class TickerIndex:
    """The reference universe, prepared once for joining many files.

    symbols: `symbol` String (unique, case kept), `ticker` UInt32, the position of its id in `ids`.
    ids: Binary, 16 bytes each, ascending as PostgreSQL orders uuids: sorting by `ticker` is sorting by key.
    """

    symbols: pl.DataFrame
    ids: pl.Series

    @classmethod
    def of(cls, tickers: pl.DataFrame) -> "TickerIndex":
        """The index of `symbol` (String) and `id` (String, a UUID's text), in any order."""
        ids = pl.col("id").str.replace_all("-", "", literal=True).str.decode("hex")
        ordered = tickers.select("symbol", ids).sort("id").with_row_index("ticker")
        return cls(ordered.select("symbol", "ticker"), ordered["id"].alias("ticker_id"))

    def with_ids(self, bars: pl.DataFrame) -> pl.DataFrame:
        """`DecodedBars.bars` with `ticker_id` (Binary, 16 bytes) in the place of `ticker`; order kept."""
        return bars.select(self.ids.gather(bars["ticker"]).alias("ticker_id"), pl.exclude("ticker"))


@dataclass(frozen=True)
class DecodedBars:
    """A file's rows, sorted into bars, ignored and rejected: rows_read = bars + Σ ignored + rejected.

    bars: `ticker` UInt32 (position in `TickerIndex.ids`, unique, ascending), `date` Date, `open`, `high`, `low`,
        `close` Float64 (USD), `volume` Float64 (shares), `transactions` Int64 (nullable).
    ignored: number of sound rows left out, by reason.
    unknown_symbols: `symbol` String, `rows` UInt32, ascending: what `ignored["unknown symbol"]` counts.
    rejected: `line` Int64 (1 is the header), `raw` Binary (the line as it came), `reason` String.
    """

    bars: pl.DataFrame
    rows_read: int
    ignored: dict[str, int]
    unknown_symbols: pl.DataFrame
    rejected: pl.DataFrame


def decode_bars(body: bytes, session: dt.date, tickers: TickerIndex) -> DecodedBars:
    """Decode a session's file.

    Symbols are compared byte for byte. Of several sound rows of one symbol the one with the latest
    `window_start` counts, then with the highest volume, transactions (none is lowest), open, high, low
    and close; so the result does not depend on the order of the rows. The others are ignored as
    "duplicate row", whether identical or not.

    Raises:
        SourceError: the object is empty, no gzip, truncated or damaged, lacks a column, holds no row, or
            carries another day. No part of it is returned then.
    """
    lines = _Lines.of(_inflate(body, session), session)
    parsed = lines.parse()
    _refuse_other_day(parsed["window_start"].drop_nulls().to_numpy(), session)
    ticker = parsed.select("symbol").join(tickers.symbols, on="symbol", how="left", maintain_order="left")[
        "ticker"
    ]
    known = ticker.is_not_null().to_numpy()
    fault = _first_fault(_row_rules(parsed, lines, session))
    accepted = parsed.with_columns(ticker)
    if not (sound := known & (fault < 0)).all():
        accepted = accepted.filter(sound)
    bars = _without_duplicates(accepted)
    unknown, tests, nameless = _unknown_symbols(parsed["symbol"], ~known)
    unfit = np.flatnonzero(known & (fault >= 0))
    ignored = {
        UNKNOWN_SYMBOL: int(unknown["rows"].sum()),
        TEST_SYMBOL: tests,
        DUPLICATE: accepted.height - bars.height,
    }
    return DecodedBars(
        bars.select(
            "ticker",
            pl.lit(session).alias("date"),
            *_PRICES,
            pl.col("volume").abs(),  # -0.0 becomes 0.0: equal to the database, but not to a content hash
            "transactions",
        ).sort("ticker"),
        lines.count,
        {reason: count for reason, count in ignored.items() if count},
        unknown,
        lines.rejected(
            dict.fromkeys(nameless.tolist(), "not a symbol")
            | {row: _RULES[code] for row, code in zip(unfit.tolist(), fault[unfit].tolist(), strict=True)}
        ),
    )


def _inflate(body: bytes, session: dt.date) -> bytes:
    if not body:
        raise _refusal(session, "is empty (zero bytes)")
    if body[:2] != b"\x1f\x8b":
        raise _refusal(session, "is not a gzip file")
    try:
        return igzip.decompress(body)
    except EOFError:
        raise _refusal(
            session, f"is cut off: its gzip stream does not end within {len(body)} bytes"
        ) from None
    except (BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        raise _refusal(session, f"is damaged: {error}") from None


def _refusal(session: dt.date, what: str) -> SourceError:
    return SourceError(
        f"{key_of(session)} {what}.",
        fix="Nothing of it was loaded. Load the session again when the vendor has replaced the file.",
    )


@dataclass(frozen=True)
class _Lines:
    """The lines after the header, and which of them can be parsed at all.

    A line with control characters, bytes that are no UTF-8, or another number of fields than the header
    never reaches the CSV parser, so that it can't shift or swallow its neighbours.
    """

    text: bytes
    names: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray
    faults: dict[int, str]
    session: dt.date

    @classmethod
    def of(cls, content: bytes, session: dt.date) -> "_Lines":
        content = content.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in content:  # looking for the pair costs 20 times as much
            content = content.replace(b"\r\n", b"\n")
        header, _, text = content.partition(b"\n")
        names = tuple(header.decode("utf-8", "replace").split(","))
        for name in _SCHEMA:
            if names.count(name) != 1:
                raise _refusal(
                    session, f"has {'no' if name not in names else 'more than one'} column {name!r}"
                )
        if not text:
            raise _refusal(session, "holds no rows")
        if not text.endswith(b"\n"):
            text += b"\n"
        characters = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(characters == ord("\n"))
        starts = np.concatenate(([0], ends[:-1] + 1))
        return cls(
            text, names, starts, ends, _line_faults(text, characters, starts, ends, len(names)), session
        )

    @property
    def count(self) -> int:
        return len(self.ends)

    @functools.cached_property
    def parsable(self) -> np.ndarray:
        """Indices of the lines without a fault of their own: row i of `parse()` is line parsable[i]."""
        return np.delete(np.arange(self.count), list(self.faults))

    @functools.cached_property
    def _parsable_text(self) -> bytes:
        if not self.faults:
            return self.text
        keep = np.zeros(self.count, dtype=bool)
        keep[self.parsable] = True
        return np.frombuffer(self.text, np.uint8)[np.repeat(keep, self.ends - self.starts + 1)].tobytes()

    def parse(self) -> pl.DataFrame:
        """The parsable lines: the columns of `_SCHEMA`, `ticker` as `symbol`; unparsable numbers are null."""
        frame = self._read(_SCHEMA)
        if frame.height != len(self.parsable):
            raise _refusal(
                self.session, f"has {len(self.parsable)} lines that parse into {frame.height} rows"
            )
        return frame.select(pl.col("ticker").alias("symbol"), *list(_SCHEMA)[1:])

    def texts(self, name: str) -> pl.Series:
        """The raw text of a column in the rows of `parse()`; null where the field is empty."""
        return self._read({name: pl.String()})[name]

    def _read(self, columns: dict[str, pl.DataType]) -> pl.DataFrame:
        schema = {name: columns.get(name, pl.String()) for name in self.names}
        if not self._parsable_text:
            return pl.DataFrame(schema=schema)
        return pl.read_csv(
            self._parsable_text,
            has_header=False,
            schema=schema,
            columns=[self.names.index(name) for name in columns],
            quote_char=None,  # the vendor doesn't quote; a stray quote must not swallow lines
            ignore_errors=True,
        )

    def rejected(self, faults: dict[int, str]) -> pl.DataFrame:
        """`faults` of rows of `parse()` and the lines' own, with number and raw bytes of each line."""
        together = self.faults | {int(self.parsable[row]): reason for row, reason in faults.items()}
        lines = sorted(together)
        return pl.DataFrame(
            {
                "line": [line + 2 for line in lines],
                "raw": [self._line(line) for line in lines],
                "reason": [together[line] for line in lines],
            },
            schema={"line": pl.Int64, "raw": pl.Binary, "reason": pl.String},
        )

    def _line(self, line: int) -> bytes:
        return self.text[self.starts[line] : self.ends[line]]


def _line_faults(
    text: bytes, characters: np.ndarray, starts: np.ndarray, ends: np.ndarray, fields: int
) -> dict[int, str]:
    """Lines that must not reach the parser, by index, with the reason."""
    faults: dict[int, str] = {}
    commas = np.flatnonzero(characters == ord(","))
    if not _evenly(commas, starts, ends, fields - 1):
        per_line = np.diff(np.searchsorted(commas, np.append(starts, len(text))))
        faults |= dict.fromkeys(
            np.flatnonzero(per_line != fields - 1).tolist(), "not as many fields as the header"
        )
    if not text.isascii():
        suspects = np.unique(np.searchsorted(ends, np.flatnonzero(characters >= 0x80)))
        invalid = [i for i in suspects.tolist() if not _is_utf8(text[starts[i] : ends[i]])]
        faults |= dict.fromkeys(invalid, "not UTF-8")
    if b"\x7f" in text or np.count_nonzero(characters < 0x20) > len(ends):
        control = (characters < 0x20) | (characters == 0x7F)
        control[ends] = False
        lines = np.unique(np.searchsorted(ends, np.flatnonzero(control)))
        faults |= dict.fromkeys(lines.tolist(), "control character in the line")
    return faults


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _evenly(commas: np.ndarray, starts: np.ndarray, ends: np.ndarray, number: int) -> bool:
    """Whether every line has this number of commas (quicker than counting them line by line)."""
    if len(commas) != number * len(ends):
        return False
    by_line = commas.reshape(len(ends), number)
    return bool(((by_line[:, 0] >= starts) & (by_line[:, -1] < ends)).all())


@functools.lru_cache(maxsize=8)
def _window(session: dt.date) -> tuple[int, int]:
    """The session's day in New York, in nanoseconds since the epoch: first, and first of the next."""
    midnights = (dt.datetime.combine(session + dt.timedelta(days=n), dt.time(), NEW_YORK) for n in (0, 1))
    first, after = (round(midnight.timestamp()) * 1_000_000_000 for midnight in midnights)
    return first, after


def _refuse_other_day(window_start: np.ndarray, session: dt.date) -> None:
    """A few stray rows are rejected one by one; more make the whole file another day's.

    window_start: nanoseconds since the epoch, int64, of the rows that have one.
    """
    first, after = _window(session)
    others = window_start[(window_start < first) | (window_start >= after)]
    count = len(window_start)
    if len(others) * 2 <= count and len(others) <= max(10, count // 100):
        return
    times, rows = np.unique(others, return_counts=True)
    most = dt.timedelta(microseconds=int(times[rows.argmax()]) // 1000)
    day = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + most).astimezone(NEW_YORK)
    raise _refusal(
        session,
        f"is the file of {session} by its name, but {len(others)} of its {count} rows carry another day, "
        f"most often {day:%Y-%m-%d}",
    )


_RULES = (
    "another day's window_start",
    "price is not positive and finite",
    "high is below low",
    "open or close is outside low to high",
    "volume is not a number",
    "volume is negative",
    f"volume is above {MOST_VOLUME:.0e} shares",
    "transactions is not a whole number",
)
"""What makes a row unfit, in the order in which the one reason is given."""


def _row_rules(parsed: pl.DataFrame, lines: _Lines, session: dt.date) -> tuple[np.ndarray, ...]:
    """For each of `_RULES` the rows that break it, as booleans. Unparsable numbers are NaN here."""
    first, after = _window(session)
    start = parsed["window_start"].fill_null(-1).to_numpy()  # as floats they would lose nanoseconds
    open_, high, low, close = (parsed[name].to_numpy() for name in _PRICES)
    volume = parsed["volume"].to_numpy()
    with np.errstate(invalid="ignore"):
        return (
            (start < first) | (start >= after),
            ~np.logical_and.reduce([(price > 0) & (price < np.inf) for price in (open_, high, low, close)]),
            high < low,
            (np.maximum(open_, close) > high) | (np.minimum(open_, close) < low),
            ~np.isfinite(volume),
            volume < 0,
            volume > MOST_VOLUME,
            _bad_transactions(parsed["transactions"], lines),
        )


def _bad_transactions(transactions: pl.Series, lines: _Lines) -> np.ndarray:
    """Negative, or no number although the field isn't empty."""
    if not transactions.null_count():
        return transactions.to_numpy() < 0
    unparsed = transactions.is_null() & lines.texts("transactions").is_not_null()
    return unparsed.to_numpy() | (transactions.fill_null(0).to_numpy() < 0)


def _first_fault(rules: tuple[np.ndarray, ...]) -> np.ndarray:
    """Position of the first rule that each row breaks; -1 for a sound row."""
    fault = np.full(len(rules[0]), -1, dtype=np.int8)
    for code in reversed(range(len(rules))):
        fault[rules[code]] = code
    return fault


def _unknown_symbols(symbols: pl.Series, unknown: np.ndarray) -> tuple[pl.DataFrame, int, np.ndarray]:
    """What is in the rows whose symbol the reference doesn't list.

    Returns the names (`symbol` String, unique, ascending; `rows` UInt32), the number of rows of test
    symbols, and the indices of the rows whose text is no symbol at all.
    """
    rows = np.flatnonzero(unknown)
    named = pl.col("symbol").str.contains(_SYMBOL).fill_null(False)
    strangers = pl.DataFrame({"symbol": symbols.gather(rows), "row": rows}).with_columns(
        kind=pl.when(~named).then(0).when(pl.col("symbol").str.contains(_TEST_SYMBOL)).then(1).otherwise(2)
    )
    return (
        strangers.filter(kind=2).group_by("symbol").agg(rows=pl.len()).sort("symbol"),
        strangers.filter(kind=1).height,
        strangers.filter(kind=0)["row"].to_numpy(),
    )


def _without_duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    if not rows.height or np.bincount(rows["ticker"].to_numpy()).max() == 1:
        return rows
    preference = ["window_start", "volume", "transactions", *_PRICES]
    return rows.sort(
        "ticker", *preference, descending=[False] + [True] * len(preference), nulls_last=True
    ).unique("ticker", keep="first", maintain_order=True)
