"""Faults in the content of a daily file."""

from collections.abc import Callable
from datetime import date, timedelta

from kapman_simulator.faults.stage import Stage, fault
from kapman_simulator.objects import gunzipped, gzipped
from kapman_simulator.sessions import midnight_ns

Row = dict[bytes, bytes]
PRICES = (b"open", b"high", b"low", b"close")


def edit_rows(body: bytes, change: Callable[[list[Row]], list[Row]]) -> bytes:
    """The file with its rows changed; the columns are those of the first row."""
    header, *lines = gunzipped(body).rstrip(b"\n").split(b"\n")
    names = header.split(b",")
    rows = change([dict(zip(names, line.split(b","), strict=True)) for line in lines])
    columns = list(rows[0]) if rows else names
    written = [b",".join(columns), *(b",".join(row.get(name, b"") for name in columns) for row in rows)]
    return gzipped(b"\n".join(written) + b"\n")


def _edit(stage: Stage, key: str, change: Callable[[list[Row]], list[Row]]) -> None:
    stage.market.files[key] = edit_rows(stage.market.files[key], change)


def _spoil(stage: Stage, key: str, change: Callable[[Row], None]) -> None:
    """Change three rows: those of underlyings where the file has them, since unknown symbols are ignored anyway."""

    def spoil(rows: list[Row]) -> list[Row]:
        loved = [row for row in rows if row[b"ticker"].decode("latin-1") in stage.market.chains]
        for row in (loved or rows)[:3]:
            change(row)
        return rows

    _edit(stage, key, spoil)


def _day(key: str) -> date:
    return date.fromisoformat(key[-len("YYYY-MM-DD.csv.gz") :][:10])


@fault("file")
def missing_file(stage: Stage, key: str) -> None:
    """The file isn't in the bucket."""
    del stage.market.files[key]


@fault("file")
def zero_byte_file(stage: Stage, key: str) -> None:
    """The object is there and has no byte."""
    stage.market.files[key] = b""


@fault("file")
def header_only_file(stage: Stage, key: str) -> None:
    """The file has its header and no row."""
    _edit(stage, key, lambda _: [])


@fault("file")
def truncated_gzip(stage: Stage, key: str) -> None:
    """The gzip stream ends at two thirds of its length."""
    body = stage.market.files[key]
    stage.market.files[key] = body[: len(body) * 2 // 3]


@fault("file")
def corrupt_gzip(stage: Stage, key: str) -> None:
    """The gzip trailer's checksum doesn't fit the content."""
    body = stage.market.files[key]
    stage.market.files[key] = body[:-8] + bytes(byte ^ 0xFF for byte in body[-8:-4]) + body[-4:]


@fault("file")
def not_gzip(stage: Stage, key: str) -> None:
    """The object holds plain text in spite of its name."""
    stage.market.files[key] = gunzipped(stage.market.files[key])


@fault("file")
def half_written_row(stage: Stage, key: str) -> None:
    """The text ends in the middle of its last row, in a gzip file that is whole."""
    stage.market.files[key] = gzipped(gunzipped(stage.market.files[key])[:-25])


@fault("file")
def wrong_date_file(stage: Stage, key: str) -> None:
    """Every row carries the next day's window_start, as the vendor's file of 2019-08-12 does."""
    _spoil_dates(stage, key, every=1)


@fault("file")
def mixed_dates(stage: Stage, key: str) -> None:
    """Every tenth row carries the next day's window_start."""
    _spoil_dates(stage, key, every=10)


def _spoil_dates(stage: Stage, key: str, every: int) -> None:
    tomorrow = str(midnight_ns(_day(key) + timedelta(days=1))).encode()

    def shift(rows: list[Row]) -> list[Row]:
        for row in rows[::every]:
            row[b"window_start"] = tomorrow
        return rows

    _edit(stage, key, shift)


@fault("file")
def duplicate_ticker_rows(stage: Stage, key: str) -> None:
    """Three tickers have a second row: the first an equal one, the others with another volume and close."""

    def repeat(rows: list[Row]) -> list[Row]:
        loved = [row for row in rows if row[b"ticker"].decode("latin-1") in stage.market.chains] or rows
        return rows + [
            dict(row) if i == 0 else {**row, b"volume": b"1", b"close": row[b"open"]}
            for i, row in enumerate(loved[:3])
        ]

    _edit(stage, key, repeat)


@fault("file")
def garbage_tickers(stage: Stage, key: str) -> None:
    """Rows with tickers that are binary, hold NUL, SQL, %, quotes, commas or nothing, or are 5,000 letters long."""
    garbage = (
        b"\xff\xfe\x01\x80",
        b"NU\x00L",
        b"'; DROP TABLE tickers; --",
        b"100%",
        b"%s",
        b'"QUO""TED"',
        b'"COM,MA"',
        b"",
        b"   ",
        b"\\N",
        "ÄÖÜ€".encode(),
        b"X" * 5000,
    )
    _edit(stage, key, lambda rows: rows + [{**rows[0], b"ticker": ticker} for ticker in garbage])


@fault("file")
def wrong_case_symbols(stage: Stage, key: str) -> None:
    """Three tickers come in lower case: other symbols, to be ignored, never to be mended."""

    def lower(row: Row) -> None:
        row[b"ticker"] = row[b"ticker"].lower()

    _spoil(stage, key, lower)


@fault("file")
def fractional_volume(stage: Stage, key: str) -> None:
    """Every volume has a fraction, as volumes may since 2026."""

    def fraction(rows: list[Row]) -> list[Row]:
        return [{**row, b"volume": row[b"volume"].split(b".")[0] + b".123456"} for row in rows]

    _edit(stage, key, fraction)


@fault("file")
def reordered_columns(stage: Stage, key: str) -> None:
    """The columns come in alphabetical order."""
    _edit(stage, key, lambda rows: [dict(sorted(row.items())) for row in rows])


@fault("file")
def missing_column(stage: Stage, key: str) -> None:
    """The file has no column `close`."""
    _edit(stage, key, lambda rows: [{name: row[name] for name in row if name != b"close"} for row in rows])


@fault("file")
def extra_column(stage: Stage, key: str) -> None:
    """The file has a column `vwap` that nobody announced, before the others."""
    _edit(stage, key, lambda rows: [{b"vwap": row[b"close"], **row} for row in rows])


@fault("file")
def nan_price(stage: Stage, key: str) -> None:
    """Three rows have NaN for their prices."""
    _spoil(stage, key, lambda row: row.update(dict.fromkeys(PRICES, b"NaN")))


@fault("file")
def blank_price(stage: Stage, key: str) -> None:
    """Three rows have no close."""
    _spoil(stage, key, lambda row: row.update({b"close": b""}))


@fault("file")
def text_price(stage: Stage, key: str) -> None:
    """Three rows have a word where the open should be."""
    _spoil(stage, key, lambda row: row.update({b"open": b"halted"}))


@fault("file")
def negative_price(stage: Stage, key: str) -> None:
    """Three rows have negative prices."""
    _spoil(stage, key, lambda row: row.update({name: b"-" + row[name] for name in PRICES}))


@fault("file")
def zero_price(stage: Stage, key: str) -> None:
    """Three rows have prices of zero."""
    _spoil(stage, key, lambda row: row.update(dict.fromkeys(PRICES, b"0")))


@fault("file")
def high_below_low(stage: Stage, key: str) -> None:
    """Three rows have a high below their low."""
    _spoil(stage, key, lambda row: row.update({b"high": b"1.01", b"low": b"2.02"}))


@fault("file")
def absurd_volume(stage: Stage, key: str) -> None:
    """Three rows have a volume of 10^30, beyond every integer type."""
    _spoil(stage, key, lambda row: row.update({b"volume": b"1" + b"0" * 30}))


@fault("file")
def negative_volume(stage: Stage, key: str) -> None:
    """Three rows have a negative volume."""
    _spoil(stage, key, lambda row: row.update({b"volume": b"-" + row[b"volume"]}))
