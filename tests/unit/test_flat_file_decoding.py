"""The promise: whatever a flat file holds, no bad row becomes a bar, no good row is lost, none goes uncounted."""

import csv
import datetime as dt
import gzip
import json
import math
import random
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapman_resources.errors import SourceError
from kapman_resources.flat_file_decoding import NEW_YORK, FileBooks, TickerIndex, decode_bars
from kapman_resources.tables import TICKER_NAMESPACE
from tests.conftest import dataset

SESSION = dt.date(2026, 8, 21)
HEADER = ("ticker", "volume", "open", "close", "high", "low", "window_start", "transactions")
SYMBOLS = ("AAPL", "BRK.A", "TPC", "TpC", "XYZpA", "Xr", "TEST", "NaN", "null")


def index_of(*symbols: str) -> TickerIndex:
    ids = [str(uuid.uuid5(TICKER_NAMESPACE, symbol)) for symbol in symbols]
    return TickerIndex.of(pl.DataFrame({"symbol": symbols, "id": ids}))


TICKERS = index_of(*SYMBOLS)


def midnight(session: dt.date) -> int:
    return int(dt.datetime.combine(session, dt.time(), NEW_YORK).timestamp()) * 10**9


def row(ticker: str = "AAPL", /, **values: object) -> bytes:
    """A line of the file; a sound bar but for what `values` says."""
    sound = {
        "volume": 100, "open": 10.5, "close": 11.25, "high": 12, "low": 9.75,
        "window_start": midnight(SESSION), "transactions": 7,
    }  # fmt: skip
    return ",".join(str({"ticker": ticker, **sound, **values}[name]) for name in HEADER).encode()


def packed(*lines: bytes, header: tuple[str, ...] = HEADER) -> bytes:
    # A gzip header carries the time of day: bodies are compared, and name the cases of a test.
    return gzip.compress(b"\n".join([",".join(header).encode(), *lines, b""]), mtime=0)


@dataclass(frozen=True)
class Decoded:
    bars: pl.DataFrame
    books: FileBooks


def decode(body: bytes, session: dt.date, tickers: TickerIndex = TICKERS) -> Decoded:
    """A file decoded alone, which is also what comes out of it between two others."""
    alone = decode_bars([(session, body)], tickers)
    (books,) = alone.books
    assert books.rows_read == alone.bars.height + sum(books.ignored.values()) + books.rejected.height
    assert books.bars == alone.bars.height
    assert books.unknown_symbols["rows"].sum() == books.ignored.get("unknown symbol", 0)
    neighbours = [session + dt.timedelta(days=days) for days in (-1, 1)]
    before, after = (
        packed(row("GHOST", window_start=midnight(day)), row(window_start=midnight(day)))
        for day in neighbours
    )
    together = decode_bars(
        [(neighbours[0], before), (session, body), (neighbours[1], after)],
        tickers,
    )
    assert together.bars.filter(pl.col("date") == session).equals(alone.bars)
    theirs = together.books[1]
    assert (theirs.rows_read, theirs.bars, theirs.ignored) == (books.rows_read, books.bars, books.ignored)
    assert theirs.rejected.equals(books.rejected)
    assert theirs.unknown_symbols.equals(books.unknown_symbols)
    return Decoded(alone.bars, books)


def decoded(*lines: bytes, tickers: TickerIndex = TICKERS) -> Decoded:
    result = decode(packed(*lines), SESSION, tickers)
    assert result.books.rows_read == len(lines)
    return result


def symbols_in(result: Decoded, tickers: TickerIndex = TICKERS) -> list[str]:
    return result.bars.join(tickers.symbols, on="ticker")["symbol"].sort().to_list()


def test_a_bar_keeps_every_value() -> None:
    result = decoded(row(volume=100.25))
    assert result.bars.drop("ticker").to_dicts() == [
        {
            "date": SESSION, "open": 10.5, "high": 12.0, "low": 9.75, "close": 11.25,
            "volume": 100.25, "transactions": 7,
        }
    ]  # fmt: skip
    assert (result.books.ignored, result.books.rejected.height) == ({}, 0)
    assert TICKERS.with_ids(result.bars)["ticker_id"].to_list() == [
        uuid.uuid5(TICKER_NAMESPACE, "AAPL").bytes
    ]


def test_columns_are_found_by_name() -> None:
    usual = decoded(row()).bars
    shuffled = ("low", "extra", "ticker", "transactions", "window_start", "high", "volume", "close", "open")
    values = dict(zip(HEADER, row().decode().split(","), strict=True)) | {"extra": "?"}
    line = ",".join(values[name] for name in shuffled).encode()
    assert decode(packed(line, header=shuffled), SESSION, TICKERS).bars.equals(usual)


@pytest.mark.parametrize("name", HEADER)
def test_a_missing_or_doubled_column_is_named(name: str) -> None:
    without = tuple(column for column in HEADER if column != name)
    for header, found in (
        (without, f"no column '{name}'"),
        ((*HEADER, name), f"more than one column '{name}'"),
    ):
        with pytest.raises(SourceError, match=found):
            decode(packed(row(), header=header), SESSION, TICKERS)


def test_symbols_are_compared_byte_for_byte() -> None:
    """`TpC` (a preferred) once overwrote `TPC` (a common stock) on 54 days."""
    result = decoded(*(row(symbol) for symbol in (*SYMBOLS, "tpc", " AAPL", "AAPL ")))
    assert symbols_in(result) == sorted(SYMBOLS)
    assert result.books.unknown_symbols["symbol"].to_list() == [" AAPL", "AAPL ", "tpc"]


def test_test_symbols_are_told_from_strangers_but_never_from_listed_funds() -> None:
    result = decoded(row("ZVZZT"), row("NTEST.A"), row("GHOST"), row("GHOST"), row("TEST"))
    assert result.books.ignored == {"unknown symbol": 2, "test symbol": 2}
    assert result.books.unknown_symbols.rows() == [("GHOST", 2)]
    assert symbols_in(result) == ["TEST"]


GARBAGE = {
    b"\x00\x01\x02,1,1,1,1,1,1,1": "control character in the line",
    row("AA\rPL"): "control character in the line",
    row("AAPL\x7f"): "control character in the line",
    b"\xff\xfe" + row(): "not UTF-8",
    row("A,APL"): "not as many fields as the header",
    b"AAPL,100": "not as many fields as the header",
    b"": "not as many fields as the header",
    row("ÄPFEL"): "not a symbol",
    row(""): "not a symbol",
    row("A" * 33): "not a symbol",
}


@pytest.mark.parametrize("line", GARBAGE)
def test_a_garbage_line_is_kept_as_it_came_and_spoils_no_neighbour(line: bytes) -> None:
    result = decoded(row("TPC"), line, row("Xr"))
    assert symbols_in(result) == ["TPC", "Xr"]
    assert result.books.rejected.rows() == [(3, line, GARBAGE[line])]


@pytest.mark.parametrize("symbol", ['"AAPL', '"', "'; DROP TABLE ohlcv; --", "%s", "%(x)s", "#AAPL", "\\N"])
def test_signs_that_mean_something_elsewhere_are_just_unknown_names(symbol: str) -> None:
    result = decoded(row("TPC"), row(symbol), row("Xr"))
    assert symbols_in(result) == ["TPC", "Xr"]
    assert result.books.unknown_symbols.rows() == [(symbol, 1)]


BAD_VALUES = [
    *(({name: value}, "price is not positive and finite")
      for name in ("open", "high", "low", "close")
      for value in ("", "x", "nan", "inf", "-inf", 0, -1, "1e999", "1.2.3")),
    ({"high": 9, "open": 9, "close": 9}, "high is below low"),
    ({"open": 13}, "open or close is outside low to high"),
    ({"close": 9.5}, "open or close is outside low to high"),
    ({"volume": ""}, "volume is not a number"),
    ({"volume": "nan"}, "volume is not a number"),
    ({"volume": "inf"}, "volume is not a number"),
    ({"volume": -1}, "volume is negative"),
    ({"volume": "2e12"}, "volume is above 1e+12 shares"),
    ({"transactions": -1}, "transactions is not a whole number"),
    ({"transactions": "x"}, "transactions is not a whole number"),
    ({"transactions": "1.5"}, "transactions is not a whole number"),
    ({"transactions": 10**30}, "transactions is not a whole number"),
    ({"window_start": ""}, "another day's window_start"),
    ({"window_start": "x"}, "another day's window_start"),
    ({"window_start": midnight(SESSION) - 1}, "another day's window_start"),
    ({"window_start": midnight(SESSION) + 86_400 * 10**9}, "another day's window_start"),
]  # fmt: skip


def test_a_nanosecond_before_midnight_is_another_day_even_beside_an_unreadable_time() -> None:
    """Times with a gap among them must not be compared as floats, which are 256 ns apart here."""
    before = row("Xr", window_start=midnight(SESSION) - 1)
    result = decoded(row("TPC"), row("AAPL"), row("TpC"), row("BRK.A", window_start=""), before)
    assert result.books.rejected["raw"].to_list()[-1] == before


@pytest.mark.parametrize(("values", "reason"), BAD_VALUES, ids=[f"{v}" for v, _ in BAD_VALUES])
def test_a_bad_value_is_rejected_with_its_reason(values: dict[str, object], reason: str) -> None:
    line = row(**values)
    result = decoded(row("TPC"), line, row("Xr"))
    assert symbols_in(result) == ["TPC", "Xr"]
    assert result.books.rejected.rows() == [(3, line, reason)]


def test_odd_but_sound_values_are_kept() -> None:
    result = decoded(
        row("AAPL", volume=0, transactions=""), row("TPC", volume="-0.0"), row("Xr", volume=2.5, open=12, low=12, high=12, close=12)
    )  # fmt: skip
    by_symbol = {r["symbol"]: r for r in result.bars.join(TICKERS.symbols, on="ticker").to_dicts()}
    assert by_symbol["AAPL"]["transactions"] is None
    assert math.copysign(1, by_symbol["TPC"]["volume"]) == 1
    assert by_symbol["Xr"]["volume"] == 2.5


def test_of_duplicates_the_latest_then_the_busiest_row_counts_in_any_order() -> None:
    rows = [
        row(window_start=midnight(SESSION), volume=900),
        row(window_start=midnight(SESSION) + 1, volume=5, transactions=""),
        row(window_start=midnight(SESSION) + 1, volume=5, transactions=3, close=11),
        row(window_start=midnight(SESSION) + 1, volume=5, transactions=3, close=12),
        row(window_start=midnight(SESSION) + 1, volume=5, transactions=3, close=12),
        row("TPC"),
    ]
    for seed in range(10):
        random.Random(seed).shuffle(rows)
        result = decoded(*rows)
        assert result.books.ignored == {"duplicate row": 4}
        (aapl,) = result.bars.filter(volume=5.0).to_dicts()
        assert (aapl["close"], aapl["transactions"]) == (12.0, 3)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "is empty"),
        (b"ticker,volume\n", "is not a gzip file"),
        (packed(row())[:-3], "is cut off"),
        (packed(row())[:12], "is cut off"),
        (packed(row()) + b"tail", "is cut off"),
        (packed(row())[:-8] + bytes(8), "is damaged"),
        (gzip.compress(b"", mtime=0), "has no column 'ticker'"),
        (packed(), "holds no rows"),
    ],
    ids=[
        "zero bytes",
        "plain text",
        "trailer cut",
        "body cut",
        "bytes after the end",
        "wrong checksum",
        "nothing inside",
        "header alone",
    ],
)
def test_a_damaged_object_is_refused_whole(body: bytes, found: str) -> None:
    with pytest.raises(SourceError, match=found) as refusal:
        decode(body, SESSION, TICKERS)
    assert "day_aggs_v1/2026/08/2026-08-21.csv.gz" in str(refusal.value)


def test_line_ends_and_marks_of_other_systems_are_read() -> None:
    expected = decoded(row(), row("TPC")).bars
    text = gzip.decompress(packed(row(), row("TPC")))
    for variant in (text.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + text, text.rstrip(b"\n")):
        assert decode(gzip.compress(variant), SESSION, TICKERS).bars.equals(expected)
    half = len(text) // 2
    assert decode(gzip.compress(text[:half]) + gzip.compress(text[half:]), SESSION, TICKERS).bars.equals(
        expected
    )


def test_another_days_file_is_refused_naming_both_days() -> None:
    """The file of 2019-08-12 carries 2019-08-13."""
    monday, tuesday = dt.date(2019, 8, 12), dt.date(2019, 8, 13)
    body = packed(*(row(symbol, window_start=midnight(tuesday)) for symbol in SYMBOLS))
    with pytest.raises(SourceError, match=r"2019-08-12 by its name, but 9 of its 9 rows .* 2019-08-13"):
        decode(body, monday, TICKERS)


def test_a_file_that_is_another_days_in_part_is_refused_but_a_few_strays_are_not() -> None:
    def lines(strays: int) -> list[bytes]:
        stray = midnight(SESSION) - 86_400 * 10**9
        return [row(f"S{n}", window_start=stray if n < strays else midnight(SESSION)) for n in range(1000)]

    names = index_of(*(f"S{n}" for n in range(1000)))
    assert decoded(*lines(10), tickers=names).books.rejected.height == 10
    with pytest.raises(SourceError, match="11 of its 1000 rows"):
        decode(packed(*lines(11)), SESSION, names)


@pytest.mark.parametrize(
    "session", [dt.date(2026, 3, 9), dt.date(2026, 10, 30), dt.date(2026, 11, 2), dt.date(2026, 11, 27)]
)
def test_midnight_in_new_york_follows_daylight_saving_time(session: dt.date) -> None:
    result = decode(packed(row(window_start=midnight(session))), session, TICKERS)
    assert result.bars["date"].to_list() == [session]


def test_seconds_in_the_place_of_nanoseconds_are_another_day() -> None:
    with pytest.raises(SourceError, match="most often 1969-12-31"):
        decode(packed(row(window_start=midnight(SESSION) // 10**9)), SESSION, TICKERS)


# The oracle below decodes row by row, with nothing but the standard library.

numbers = st.sampled_from(
    ["", "x", "nan", "inf", "-inf", "-1", "0", "9", "10", "10.5", "11", "12.25", "1e999", "1e13", "-0.0"]
)
names = st.sampled_from([*SYMBOLS, "aapl", "GHOST", "ZVZZT", "'; DROP TABLE", '"', "%", "", "A" * 33, "Ä"])
starts = st.sampled_from(
    [*[str(midnight(SESSION) + n) for n in (0, 0, 0, 5)], "", str(midnight(SESSION) - 1)]
)
loose_rows = st.tuples(
    names, numbers, numbers, numbers, numbers, numbers, starts, st.sampled_from(["", "3", "4", "-1", "x"])
)
sound_rows = st.tuples(
    st.sampled_from([*SYMBOLS, "GHOST"]), st.sampled_from(["5", "6.5"]), st.sampled_from(["10", "11"]), st.sampled_from(["10", "11"]),
    st.just("12"), st.just("9"), st.just(str(midnight(SESSION))), st.sampled_from(["", "3", "4"]),
)  # fmt: skip
raw_lines = st.one_of(
    sound_rows.map(lambda r: ",".join(r).encode()),
    sound_rows.map(lambda r: ",".join(r).encode()),
    loose_rows.map(lambda r: ",".join(r).encode()),
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"").removesuffix(b"\r")),
)


def oracle(
    lines: list[bytes],
) -> tuple[dict[str, tuple[float | None, ...]], Counter[str], list[tuple[int, bytes]]]:
    """Best row by symbol (open, high, low, close, volume, transactions), ignored rows, rejected lines."""
    best: dict[str, tuple[float, ...]] = {}
    ignored: Counter[str] = Counter()
    rejected = []
    for number, line in enumerate(lines, start=2):
        values = _sound(line)
        if isinstance(values, str):
            ignored[values] += 1
        elif values is None:
            rejected.append((number, line))
        else:
            symbol, preference = values
            ignored["duplicate row"] += symbol in best
            best[symbol] = max(best.get(symbol, preference), preference)
    bars = {s: (*p[3:7], p[1], None if p[2] < 0 else p[2]) for s, p in best.items()}
    return bars, +ignored, rejected


def _sound(line: bytes) -> tuple[str, tuple[float, ...]] | str | None:
    """Symbol and preference of a sound row, the reason to ignore it, or None to reject it."""
    try:
        fields = line.decode().split(",")
    except UnicodeDecodeError:
        return None
    symbol = fields[0]
    if len(fields) != len(HEADER) or any(ord(c) < 32 or ord(c) == 127 for c in line.decode()):
        return None
    if symbol not in SYMBOLS:
        stranger = "test symbol" if symbol == "ZVZZT" else "unknown symbol"
        return stranger if 0 < len(symbol) <= 32 and symbol.isascii() else None
    try:
        volume, open_, close, high, low = map(float, fields[1:6])
        start, trades = int(fields[6]), int(fields[7] or -1)
    except ValueError:
        return None
    day = midnight(SESSION) <= start < midnight(SESSION) + 86_400 * 10**9
    prices = 0 < low <= min(open_, close) <= max(open_, close) <= high < math.inf
    sound = day and prices and 0 <= volume <= 1e12 and (trades >= 0 or not fields[7])
    return (symbol, (start, volume, trades, open_, high, low, close)) if sound else None


@settings(max_examples=150, deadline=None)
@given(st.lists(raw_lines, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_any_mixture_of_rows_gives_what_a_row_by_row_reader_gives(
    lines: list[bytes], shuffler: random.Random
) -> None:
    shuffler.shuffle(lines)
    bars, ignored, rejected = oracle(lines)
    try:
        result = decoded(*lines)
    except SourceError as refusal:
        assert "another day" in str(refusal)
        strays = sum(str(midnight(SESSION) - 1).encode() in line for line in lines)
        # Rows without a time say nothing about the file's day.
        timed = sum(line.count(b",") == 7 and line.split(b",")[6].isdigit() for line in lines)
        assert strays > 10 or strays * 2 > timed
        return
    found = result.bars.join(TICKERS.symbols, on="ticker").select(
        "symbol", "open", "high", "low", "close", "volume", "transactions"
    )
    assert {r[0]: r[1:] for r in found.rows()} == bars
    assert result.books.ignored == ignored
    assert result.books.rejected.select("line", "raw").rows() == rejected


@pytest.mark.parametrize("name", ["odd_symbols_2025", "market_2026"])
def test_real_files_decode_with_every_row_accounted_for(name: str) -> None:
    folder = dataset(name)
    tickers = index_of(*sorted(_reference(folder)))
    files = sorted(folder.glob("flatfiles/us_stocks_sip/day_aggs_v1/*/*/*.csv.gz"))
    assert files
    for path in files[:: max(1, len(files) // 20)]:
        session = dt.date.fromisoformat(path.name.removesuffix(".csv.gz"))
        result = decode(path.read_bytes(), session, tickers)
        with gzip.open(path, "rt", newline="") as text:
            rows = {r["ticker"]: r for r in csv.DictReader(text, quoting=csv.QUOTE_NONE)}
        listed = set(tickers.symbols["symbol"])
        assert result.books.rejected.is_empty()
        assert set(symbols_in(result, tickers)) == listed & set(rows)
        assert set(result.books.unknown_symbols["symbol"]) == set(rows) - listed
        for bar in result.bars.join(tickers.symbols, on="ticker").iter_rows(named=True):
            assert bar["close"] == float(rows[bar["symbol"]]["close"])
            assert bar["volume"] == float(rows[bar["symbol"]]["volume"])


def _reference(folder: Path) -> set[str]:
    (pages,) = folder.glob("reference/tickers/*.pages.jsonl.gz")
    with gzip.open(pages) as lines:
        return {ticker["ticker"] for line in lines for ticker in json.loads(line)["results"]}
