"""From the bytes of a flat file to validated columns, every row accounted for.

Bars come out in columns; nothing here loops over rows. Vendor's quirks and their reasons: the
design's vendor.md, "Flat files".
"""

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

_NO_STRANGERS = pl.DataFrame(schema={"symbol": pl.String, "rows": pl.UInt32})
_NOTHING_REJECTED = pl.DataFrame(schema={"line": pl.Int64, "raw": pl.Binary, "reason": pl.String})


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
class FileBooks:
    """What became of a file's rows: rows_read = bars + Σ ignored + rejected.

    ignored: number of sound rows left out, by reason.
    unknown_symbols: `symbol` String, `rows` UInt32, ascending: what `ignored["unknown symbol"]` counts.
    rejected: `line` Int64 (1 is the header), `raw` Binary (the line as it came), `reason` String.
    """

    session: dt.date
    rows_read: int
    bars: int
    ignored: dict[str, int]
    unknown_symbols: pl.DataFrame
    rejected: pl.DataFrame


@dataclass(frozen=True)
class DecodedBars:
    """The bars of some files, and each file's books in the order of the files.

    bars: ordered by file and `ticker`: `ticker` UInt32 (position in `TickerIndex.ids`, unique in a file), `date`
        Date, `open`, `high`, `low`, `close` Float64 (USD), `volume` Float64 (shares), `transactions` Int64
        (nullable).
    """

    bars: pl.DataFrame
    books: list[FileBooks]


def decode_bars(files: Sequence[tuple[dt.date, bytes]], tickers: TickerIndex) -> DecodedBars:
    """Decode files, each the body of a session's object.

    They are decoded together because parsing and joining them one by one costs half as much again; what
    comes out for a file doesn't depend on its company.

    Symbols are compared byte for byte. Of several sound rows of one symbol the one with the latest
    `window_start` counts, then with the highest volume, transactions (none is lowest), open, high, low
    and close; so the result does not depend on the order of the rows. The others are ignored as
    "duplicate row", whether identical or not.

    Raises:
        SourceError: an object is empty, no gzip, truncated or damaged, lacks a column, holds no row, or
            carries another day. No part of any file is returned then.
    """
    lines = [_Lines.of(_inflate(body, session), session) for session, body in files]
    rows = _Rows.of(lines)
    ticker = rows.parsed.select("symbol").join(
        tickers.symbols, on="symbol", how="left", maintain_order="left"
    )["ticker"]
    known = ticker.is_not_null().to_numpy()
    fault = _first_fault(_row_rules(rows))
    sound = np.flatnonzero(known & (fault < 0))
    kept = _without_duplicates(rows, ticker.fill_null(0).to_numpy(), sound, tickers.ids.len())
    sessions = pl.Series("date", [one.session for one in lines], dtype=pl.Date)
    bars = rows.parsed.select(
        ticker,
        sessions.gather(rows.file),
        *_PRICES,
        pl.col("volume").abs(),  # -0.0 becomes 0.0: equal to the database, but not to a content hash
        "transactions",
    )[kept]
    unknown, tests, nameless = _unknown_symbols(rows, ~known)
    bars_of, sound_of = (np.bincount(rows.file[which], minlength=len(lines)) for which in (kept, sound))
    unfit = np.flatnonzero(known & (fault >= 0))
    faults = dict.fromkeys(nameless.tolist(), "not a symbol")
    faults |= {row: _RULES[code] for row, code in zip(unfit.tolist(), fault[unfit].tolist(), strict=True)}
    books = []
    for at, one in enumerate(lines):
        ignored = {
            UNKNOWN_SYMBOL: int(unknown[at]["rows"].sum()) if at in unknown else 0,
            TEST_SYMBOL: int(tests[at]),
            DUPLICATE: int(sound_of[at] - bars_of[at]),
        }
        books.append(
            FileBooks(
                one.session,
                one.count,
                int(bars_of[at]),
                {reason: count for reason, count in ignored.items() if count},
                unknown.get(at, _NO_STRANGERS),
                one.rejected(rows.of_file(faults, at)),
            )
        )
    return DecodedBars(bars, books)


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
    """A file's lines after the header, and which of them can be parsed at all.

    A line with control characters, bytes that are no UTF-8, or another number of fields than the header
    never reaches the CSV parser, so that it can't shift or swallow its neighbours.

    faults: reason by index of the line.
    examined: whether every line was looked at; otherwise the file as a whole looks right, and its rows tell
        (`_Rows.of`) whether two wrong lines make up for each other.
    """

    session: dt.date
    names: tuple[str, ...]
    text: bytes
    count: int
    faults: dict[int, str]
    examined: bool

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
        count = int(np.count_nonzero(characters == ord("\n")))
        lines = cls(session, names, text, count, {}, examined=False)
        sound = (
            names == tuple(_SCHEMA)
            and np.count_nonzero(characters == ord(",")) == count * (len(names) - 1)
            and text.isascii()
            and not _has_control_characters(text, characters, count)
        )
        return lines if sound else lines.examine()

    def examine(self) -> "_Lines":
        """The same with the fault of every faulty line."""
        faults = _line_faults(self.text, self.starts, self.ends, len(self.names))
        return replace(self, faults=faults, examined=True)

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """Where each line ends."""
        return np.flatnonzero(np.frombuffer(self.text, np.uint8) == ord("\n"))

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Where each line begins."""
        return np.concatenate(([0], self.ends[:-1] + 1))

    @property
    def parsable(self) -> int:
        """The number of lines without a fault of their own: the rows that the file has in `_Rows`."""
        return self.count - len(self.faults)

    @functools.cached_property
    def parsable_text(self) -> bytes:
        """Those lines."""
        if not self.faults:
            return self.text
        keep = np.ones(self.count, dtype=bool)
        keep[list(self.faults)] = False
        return np.frombuffer(self.text, np.uint8)[np.repeat(keep, self.ends - self.starts + 1)].tobytes()

    def rejected(self, faults: dict[int, str]) -> pl.DataFrame:
        """`faults` of the file's rows and the lines' own, with number and raw bytes of each line."""
        if not (faults or self.faults):
            return _NOTHING_REJECTED
        line_of = np.delete(np.arange(self.count), list(self.faults))
        together = self.faults | {int(line_of[row]): reason for row, reason in faults.items()}
        lines = sorted(together)
        return pl.DataFrame(
            {
                "line": [line + 2 for line in lines],
                "raw": [self.text[self.starts[line] : self.ends[line]] for line in lines],
                "reason": [together[line] for line in lines],
            },
            schema=_NOTHING_REJECTED.schema,
        )


@dataclass(frozen=True)
class _Rows:
    """The parsable lines of all files as rows, in the files' order.

    parsed: the columns of `_SCHEMA`, `ticker` as `symbol`; unparsable numbers are null.
    file: position of each row's file in `lines`.
    """

    lines: list[_Lines]
    parsed: pl.DataFrame
    file: np.ndarray

    @classmethod
    def of(cls, lines: list[_Lines]) -> "_Rows":
        """Parse the files; `lines` is brought up to date where a file had to be examined."""
        try:
            rows = cls._parsed(lines)
        except pl.exceptions.ComputeError:  # a line with more fields than the header
            doubtful = list(range(len(lines)))
        else:
            # As many commas as there should be, and no line with too many: one with too few lacks the last.
            last = rows.parsed[list(_SCHEMA)[-1]]
            doubtful = np.unique(rows.file[last.is_null().to_numpy()]).tolist() if last.null_count() else []
        examined = {at: lines[at].examine() for at in doubtful if not lines[at].examined}
        for at, one in examined.items():
            lines[at] = one
        if any(one.faults for one in examined.values()):
            rows = cls._parsed(lines)
        return rows

    @classmethod
    def _parsed(cls, lines: list[_Lines]) -> "_Rows":
        frame, counts = _read(lines, _SCHEMA), [one.parsable for one in lines]
        if frame.height != sum(counts):
            named = ", ".join(key_of(one.session) for one in lines)
            raise SourceError(
                f"{named}: {sum(counts)} lines parse into {frame.height} rows.",
                fix="Nothing of it was loaded. Look at the files for what is no CSV.",
            )
        parsed = frame.select(pl.col("ticker").alias("symbol"), *list(_SCHEMA)[1:])
        return cls(lines, parsed, np.repeat(np.arange(len(lines), dtype=np.int32), counts))

    def texts(self, name: str) -> pl.Series:
        """The raw text of a column, row by row; null where the field is empty."""
        return _read(self.lines, {name: pl.String()})[name]

    def each(self, values: Sequence[int]) -> np.ndarray:
        """A number of each file, int64, for each of its rows."""
        return np.asarray(values, np.int64)[self.file]

    def of_file(self, by_row: dict[int, str], at: int) -> dict[int, str]:
        """What belongs to a file's rows, by the row's position among them."""
        if not by_row:
            return by_row
        first, after = np.searchsorted(self.file, [at, at + 1]).tolist()
        return {row - first: what for row, what in by_row.items() if first <= row < after}


def _read(lines: Sequence[_Lines], columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """These columns of the files' parsable lines."""
    if len({one.names for one in lines}) > 1:
        return pl.concat([_read([one], columns) for one in lines])
    names, text = lines[0].names, b"".join(one.parsable_text for one in lines)
    schema = {name: columns.get(name, pl.String()) for name in names}
    if not text:
        return pl.DataFrame(schema=columns)
    return pl.read_csv(
        text,
        has_header=False,
        schema=schema,
        columns=[names.index(name) for name in columns],
        quote_char=None,  # the vendor doesn't quote; a stray quote must not swallow lines
        ignore_errors=True,
    ).select(list(columns))


def _has_control_characters(text: bytes, characters: np.ndarray, lines: int) -> bool:
    return b"\x7f" in text or int(np.count_nonzero(characters < 0x20)) > lines


def _line_faults(text: bytes, starts: np.ndarray, ends: np.ndarray, fields: int) -> dict[int, str]:
    """Lines that must not reach the parser, by index, with the reason."""
    characters = np.frombuffer(text, np.uint8)
    commas = np.flatnonzero(characters == ord(","))
    per_line = np.diff(np.searchsorted(commas, np.append(starts, len(text))))
    faults = dict.fromkeys(
        np.flatnonzero(per_line != fields - 1).tolist(), "not as many fields as the header"
    )
    if not text.isascii():
        suspects = np.unique(np.searchsorted(ends, np.flatnonzero(characters >= 0x80)))
        invalid = [i for i in suspects.tolist() if not _is_utf8(text[starts[i] : ends[i]])]
        faults |= dict.fromkeys(invalid, "not UTF-8")
    if _has_control_characters(text, characters, len(ends)):
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


@functools.lru_cache(maxsize=8)
def _window(session: dt.date) -> tuple[int, int]:
    """The session's day in New York, in nanoseconds since the epoch: first, and first of the next."""
    midnights = (dt.datetime.combine(session + dt.timedelta(days=n), dt.time(), NEW_YORK) for n in (0, 1))
    first, after = (round(midnight.timestamp()) * 1_000_000_000 for midnight in midnights)
    return first, after


def _other_days(rows: _Rows) -> np.ndarray:
    """Which rows carry another day than their file's.

    Raises:
        SourceError: a few stray rows are rejected one by one; more make the whole file another day's.
    """
    window_start = rows.parsed["window_start"]
    start = window_start.fill_null(-1).to_numpy()  # as floats they would lose nanoseconds
    windows = [_window(one.session) for one in rows.lines]
    stray = (start < rows.each([first for first, _ in windows])) | (
        start >= rows.each([after for _, after in windows])
    )
    if stray.any():
        given = window_start.is_not_null().to_numpy()
        for at, one in enumerate(rows.lines):
            of_file = given & (rows.file == at)
            _refuse_other_day(start[of_file & stray], int(np.count_nonzero(of_file)), one.session)
    return stray


def _refuse_other_day(others: np.ndarray, count: int, session: dt.date) -> None:
    """others: the strays' nanoseconds since the epoch, of `count` rows that have a time."""
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


def _row_rules(rows: _Rows) -> tuple[np.ndarray, ...]:
    """For each of `_RULES` the rows that break it, as booleans. Unparsable numbers are NaN here."""
    open_, high, low, close = (rows.parsed[name].to_numpy() for name in _PRICES)
    volume = rows.parsed["volume"].to_numpy()
    with np.errstate(invalid="ignore"):
        return (
            _other_days(rows),
            ~np.logical_and.reduce([(price > 0) & (price < np.inf) for price in (open_, high, low, close)]),
            high < low,
            (np.maximum(open_, close) > high) | (np.minimum(open_, close) < low),
            ~np.isfinite(volume),
            volume < 0,
            volume > MOST_VOLUME,
            _bad_transactions(rows),
        )


def _bad_transactions(rows: _Rows) -> np.ndarray:
    """Negative, or no number although the field isn't empty."""
    transactions = rows.parsed["transactions"]
    if not transactions.null_count():
        return transactions.to_numpy() < 0
    unparsed = transactions.is_null() & rows.texts("transactions").is_not_null()
    return unparsed.to_numpy() | (transactions.fill_null(0).to_numpy() < 0)


def _first_fault(rules: tuple[np.ndarray, ...]) -> np.ndarray:
    """Position of the first rule that each row breaks; -1 for a sound row."""
    fault = np.full(len(rules[0]), -1, dtype=np.int8)
    for code in reversed(range(len(rules))):
        fault[rules[code]] = code
    return fault


def _unknown_symbols(
    rows: _Rows, unknown: np.ndarray
) -> tuple[dict[int, pl.DataFrame], np.ndarray, np.ndarray]:
    """What is in the rows whose symbol the reference doesn't list.

    Returns by position of the file the names (`symbol` String, unique, ascending; `rows` UInt32), by file
    the number of rows of test symbols, and the indices of the rows whose text is no symbol at all.
    """
    which = np.flatnonzero(unknown)
    if not len(which):
        return {}, np.zeros(len(rows.lines), np.int64), which
    named = pl.col("symbol").str.contains(_SYMBOL).fill_null(False)
    strangers = pl.DataFrame(
        {"symbol": rows.parsed["symbol"].gather(which), "row": which, "file": rows.file[which]}
    ).with_columns(
        kind=pl.when(~named).then(0).when(pl.col("symbol").str.contains(_TEST_SYMBOL)).then(1).otherwise(2)
    )
    names = strangers.filter(kind=2).group_by("file", "symbol").agg(rows=pl.len()).sort("file", "symbol")
    return (
        {
            at: of_file
            for (at,), of_file in names.partition_by("file", as_dict=True, include_key=False).items()
        },
        np.bincount(strangers.filter(kind=1)["file"].to_numpy(), minlength=len(rows.lines)),
        strangers.filter(kind=0)["row"].to_numpy(),
    )


def _without_duplicates(rows: _Rows, ticker: np.ndarray, sound: np.ndarray, tickers: int) -> np.ndarray:
    """The sound rows that count, one a file and ticker, ordered by file and ticker.

    Every row goes to the cell of its file and ticker; the last one to come stays.
    """
    cells = np.full(len(rows.lines) * tickers, -1, np.int32)
    place = rows.file.astype(np.int64) * tickers + ticker
    cells[place[sound]] = sound
    kept = cells[cells >= 0]
    if len(kept) < len(sound):
        preference = ["window_start", "volume", "transactions", *_PRICES]
        best_last = (
            rows.parsed[sound].with_columns(row=sound).sort(preference, nulls_last=False)["row"].to_numpy()
        )
        cells[place[best_last]] = best_last
        kept = cells[cells >= 0]
    return kept
