"""Polars frames into PostgreSQL's binary COPY format, column by column.

The format (PostgreSQL documentation, COPY, "Binary Format"): a signature, then per row the number of
fields and per field its length (-1 for null) and its bytes in network order, then a trailer.

| PostgreSQL | Polars column |
|---|---|
| uuid | Binary, 16 bytes each |
| text | String |
| jsonb | String (JSON text) |
| date | Date |
| timestamptz | Datetime with a time zone, any unit |
| double precision | Float64, or any number |
| bigint, integer | Int64, Int32, or any whole number |
| numeric(12,4) | Decimal, or Float64 (rounded to four decimals) |
| character(1) | String of one ASCII character |
| boolean | Boolean |
"""

import datetime as dt
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from psycopg import sql

from kapman_resources.database import Connection
from kapman_resources.errors import AuditError
from kapman_resources.tables import Column, PgType, Table

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

# Rows encoded at a time, to bound the memory: a row of fixed width takes about 100 bytes and as many of
# temporaries, one with JSON several thousand. psycopg cuts what it sends into small pieces by itself.
_FIXED_ROWS, _JOINED_ROWS = 65_536, 4_096

_DAYS_TO_2000 = (dt.date(2000, 1, 1) - dt.date(1970, 1, 1)).days
_MICROSECONDS_TO_2000 = _DAYS_TO_2000 * 86_400_000_000
_NULL = (-1).to_bytes(4, "big", signed=True)


def copy_frame(connection: Connection, destination: sql.Composable, table: Table, frame: pl.DataFrame) -> int:
    """COPY a frame into a relation that has `table`'s columns, in the caller's transaction.

    frame: any of the table's columns, in any order; the others take their defaults.
    Returns the number of rows.

    Raises:
        AuditError: a value doesn't fit its column's type.
    """
    return copy_blocks(connection, destination, frame.columns, encode(table, frame))


def copy_blocks(
    connection: Connection, destination: sql.Composable, columns: list[str], blocks: Iterator[memoryview]
) -> int:
    """COPY encoded blocks of rows with these columns; returns the number of rows."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        destination, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            copy.write(HEADER)
            for block in blocks:
                copy.write(block)
            copy.write(TRAILER)
        return cursor.rowcount


def encode(table: Table, frame: pl.DataFrame) -> Iterator[memoryview]:
    """The frame's rows as blocks of COPY data, without header and trailer.

    frame: columns of `table`, typed as this module's docstring says.

    Raises:
        AuditError: a value doesn't fit its column's type.
        KeyError: a column that the table doesn't have.
    """
    columns = _declared(table, frame)
    if any(column.type in _VARIABLE for column in columns):
        rows, at_a_time = _joined_rows, _JOINED_ROWS
    else:
        rows, at_a_time = _fixed_rows, _FIXED_ROWS
    for block in frame.iter_slices(at_a_time):
        yield rows(columns, block)


def fixed_rows(table: Table, frame: pl.DataFrame) -> np.ndarray | None:
    """The frame's rows encoded as a matrix of bytes, uint8 of shape (rows, width), contiguous.

    For who wants to put encoded rows into another order, which is many times cheaper than encoding anew.
    None if their widths differ: a value is null, or a column is text or JSON.

    Raises:
        AuditError: a value doesn't fit its column's type.
    """
    columns = _declared(table, frame)
    if any(column.type in _VARIABLE or frame[column.name].null_count() for column in columns):
        return None
    rows = _structured(columns, frame)
    return rows.view("u1").reshape(frame.height, rows.itemsize)


def _declared(table: Table, frame: pl.DataFrame) -> list[Column]:
    """The table's columns that the frame has, in the frame's order."""
    by_name = {column.name: column for column in table.columns}
    return [by_name[name] for name in frame.columns]


def _fixed_rows(columns: list[Column], frame: pl.DataFrame) -> memoryview:
    """Rows of types of fixed width: the bytes of null values are cut out of the structured array."""
    rows = _structured(columns, frame)
    nulls = [i for i, column in enumerate(columns) if frame[column.name].null_count()]
    if not nulls:
        return rows.view("u1").data
    content = rows.view("u1").reshape(frame.height, rows.itemsize)
    present = np.ones(content.shape, dtype=bool)
    for i in nulls:
        null = frame[columns[i].name].is_null().to_numpy()
        place, start = rows.dtype.fields[f"value {i}"][:2]  # type: ignore[index]
        rows[f"length {i}"][null] = -1
        present[null, start : start + place.itemsize] = False
    return content[present].data


def _structured(columns: list[Column], frame: pl.DataFrame) -> np.ndarray:
    """One record a row: `fields`, then `length i` and `value i` of each column; anything where it is null."""
    layout = [("fields", ">i2")]
    for i, column in enumerate(columns):
        layout += [(f"length {i}", ">i4"), (f"value {i}", _FIXED[column.type][0])]
    record = np.zeros(1, np.dtype(layout))
    record["fields"] = len(columns)
    for i in range(len(columns)):
        record[f"length {i}"] = record.dtype[f"value {i}"].itemsize
    # Copying one record as bytes costs a tenth of filling its lengths field by field.
    opaque = f"V{record.itemsize}"
    rows = np.full(frame.height, record.view(opaque)[0], opaque).view(record.dtype)
    for i, column in enumerate(columns):
        rows[f"value {i}"] = _FIXED[column.type][1](column, frame[column.name])
    return rows


def _joined_rows(columns: list[Column], frame: pl.DataFrame) -> memoryview:
    """Rows with text or JSON: every field's length and bytes as objects, joined once."""
    fields = np.empty((frame.height, 2 * len(columns) + 1), dtype=object)
    fields[:, 0] = len(columns).to_bytes(2, "big")
    for position, column in enumerate(columns):
        series = frame[column.name]
        if column.type in _VARIABLE:
            prefix, values = _variable_values(column, series)
        else:
            raw = np.asarray(_FIXED[column.type][1](column, series), _FIXED[column.type][0])
            prefix = [raw.itemsize.to_bytes(4, "big")] * frame.height
            values = raw.view(f"V{raw.itemsize}").tolist()
        null = series.is_null().to_numpy()
        fields[:, 2 * position + 1] = prefix
        fields[:, 2 * position + 2] = values
        fields[null, 2 * position + 1] = _NULL
        fields[null, 2 * position + 2] = b""
    return memoryview(b"".join(fields.ravel().tolist()))


def _variable_values(column: Column, series: pl.Series) -> tuple[list[bytes], list[bytes]]:
    """Length words (for jsonb with the format's version byte, 1) and the texts' bytes."""
    _demand(column, series, series.dtype == pl.String)
    texts = series.fill_null("").cast(pl.Binary)
    sizes = texts.bin.size().to_numpy()
    if column.type == "jsonb":
        words = np.empty(len(sizes), [("length", ">i4"), ("version", "u1")])
        words["length"], words["version"] = sizes + 1, 1
    else:
        words = np.empty(len(sizes), [("length", ">i4")])
        words["length"] = sizes
    return words.view(f"V{words.itemsize}").tolist(), texts.to_list()


def _uuid(column: Column, series: pl.Series) -> np.ndarray:
    _demand(column, series, series.dtype == pl.Binary)
    filled = series.fill_null(bytes(16))
    _demand(column, series, bool((filled.bin.size() == 16).all()))
    return filled.bin.reinterpret(dtype=pl.Array(pl.UInt8, 16)).to_numpy().view("V16").ravel()


def _date(column: Column, series: pl.Series) -> np.ndarray:
    _demand(column, series, series.dtype == pl.Date)
    return series.to_physical().fill_null(0).to_numpy() - np.int32(_DAYS_TO_2000)


def _timestamptz(column: Column, series: pl.Series) -> np.ndarray:
    _demand(column, series, isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is not None)
    return series.dt.cast_time_unit("us").to_physical().fill_null(0).to_numpy() - _MICROSECONDS_TO_2000


def _number(exact: type[pl.DataType]) -> Callable[[Column, pl.Series], np.ndarray]:
    def convert(column: Column, series: pl.Series) -> np.ndarray:
        if series.dtype != exact:
            _demand(
                column,
                series,
                series.dtype.is_integer() or (exact == pl.Float64 and series.dtype.is_numeric()),
            )
            try:
                series = series.cast(exact)
            except pl.exceptions.InvalidOperationError:
                _demand(column, series, fits=False)
        return (series.fill_null(0) if series.null_count() else series).to_numpy()

    return convert


def _numeric(column: Column, series: pl.Series) -> np.ndarray:
    """numeric(12,4): digits of base 10,000 - two before the point, one after it - with their header.

    The server strips leading and trailing zero digits by itself, so that the width can be fixed.
    """
    if series.dtype.is_float():
        _demand(column, series, bool(series.is_finite().all()))  # null counts as true here
        values = (series.fill_null(0) * 10_000).round().to_numpy()
    else:
        _demand(column, series, series.dtype.is_decimal() or series.dtype.is_integer())
        values = series.cast(pl.Decimal(38, 4)).fill_null(0).to_physical().cast(pl.Float64).to_numpy()
    _demand(column, series, bool((np.abs(values) < 1e12).all()))  # whole numbers below 2^53: exact
    magnitude = np.abs(values).astype(np.int64)
    parts = np.empty((len(values), 7), ">i2")
    parts[:, 0], parts[:, 1], parts[:, 3] = 3, 1, 4  # digits, weight of the first, decimals shown
    parts[:, 2] = np.where(values < 0, 0x4000, 0)
    parts[:, 4] = magnitude // 100_000_000
    parts[:, 5] = magnitude // 10_000 % 10_000
    parts[:, 6] = magnitude % 10_000
    return parts.view("V14").ravel()


def _character(column: Column, series: pl.Series) -> np.ndarray:
    _demand(column, series, series.dtype == pl.String)
    filled = series.fill_null(" ")
    _demand(column, series, bool(((filled.str.len_bytes() == 1) & (filled.str.len_chars() == 1)).all()))
    return np.frombuffer("".join(filled.to_list()).encode(), np.uint8)


def _boolean(column: Column, series: pl.Series) -> np.ndarray:
    _demand(column, series, series.dtype == pl.Boolean)
    return series.fill_null(False).to_numpy()


_FIXED: dict[PgType, tuple[str, Callable[[Column, pl.Series], np.ndarray]]] = {
    "uuid": ("V16", _uuid),
    "date": (">i4", _date),
    "timestamptz": (">i8", _timestamptz),
    "double precision": (">f8", _number(pl.Float64)),
    "bigint": (">i8", _number(pl.Int64)),
    "integer": (">i4", _number(pl.Int32)),
    "numeric(12,4)": ("V14", _numeric),
    "character(1)": ("u1", _character),
    "boolean": ("u1", _boolean),
}
"""Types of fixed width: their place in a row, and the conversion of a series (anything where it is null)."""

_VARIABLE: frozenset[PgType] = frozenset({"text", "jsonb"})


def _demand(column: Column, series: pl.Series, fits: bool) -> None:
    if not fits:
        raise AuditError(
            f"Column {column.name!r} ({column.type}) can't take its values of type {series.dtype}: "
            "wrong type, or a value out of range.",
            fix="Nothing was written. Give the frame a column as kapman_resources/binary_copy.py lists them.",
        )
