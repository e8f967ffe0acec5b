"""The promise: what a frame holds is what the table holds, for every type, at its extremes, nulls included.

The oracle is psycopg's own INSERT of Python values, by another protocol format than COPY.
"""

import datetime as dt
import struct
import uuid
from collections.abc import Iterator
from decimal import Decimal

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from kapman_resources.binary_copy import copy_frame, encode
from kapman_resources.database import Connection, Database
from kapman_resources.errors import AuditError
from kapman_resources.tables import Column, PgType, Table

TYPES: dict[PgType, tuple[pl.DataType | type[pl.DataType], st.SearchStrategy[object]]] = {
    "uuid": (pl.Binary, st.uuids()),
    "text": (pl.String, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
    "date": (pl.Date, st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))),
    "timestamptz": (
        pl.Datetime("us", "UTC"),
        st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    ),
    "double precision": (pl.Float64, st.floats()),
    "bigint": (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    "integer": (pl.Int32, st.integers(-(2**31), 2**31 - 1)),
    "numeric(12,4)": (
        pl.Decimal(12, 4),
        st.integers(-(10**12) + 1, 10**12 - 1).map(lambda n: Decimal(n).scaleb(-4)),
    ),
    "character(1)": (pl.String, st.sampled_from("CPx ")),
    "boolean": (pl.Boolean, st.booleans()),
    "jsonb": (pl.String, st.sampled_from(["{}", '{"a": [1.5, null, "é"]}', "null", '"' + "x" * 5000 + '"'])),
}


def table(*types: PgType) -> Table:
    """A table with a column `c<position>` of each type."""
    columns = (Column(f"c{position}", type_, "", nullable=True) for position, type_ in enumerate(types))
    return Table("target", "", (Column("n", "integer", ""), *columns), key=("n",))


ALL = table(*TYPES)
FIXED = table(*(type_ for type_ in TYPES if type_ not in {"text", "jsonb"}))


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as connection:
        yield connection


def made(connection: Connection, name: str, declared: Table) -> sql.Identifier:
    """An empty temporary table with the declared columns."""
    definitions = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type))
        for column in declared.columns
    )
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(sql.Identifier(name), definitions))
    return sql.Identifier(name)


def frame_of(declared: Table, rows: list[tuple[object, ...]]) -> pl.DataFrame:
    values = [
        [v.bytes if isinstance(v, uuid.UUID) else v for v in column] for column in zip(*rows, strict=True)
    ]
    return pl.DataFrame(
        [
            pl.Series(column.name, data, dtype=TYPES[column.type][0])
            for column, data in zip(declared.columns, values, strict=True)
        ]
    )


def inserted(connection: Connection, destination: sql.Identifier, rows: list[tuple[object, ...]]) -> None:
    marks = sql.SQL(", ").join([sql.Placeholder()] * len(rows[0]))
    with connection.cursor() as cursor:
        cursor.executemany(sql.SQL("INSERT INTO {} VALUES ({})").format(destination, marks), rows)


def content(connection: Connection, relation: sql.Identifier) -> list[tuple[object, ...]]:
    """The rows' text, which tells apart what compares as equal (-0 and 0, 1.0 and 1.0000)."""
    statement = sql.SQL("SELECT t::text, pg_column_size(t.*) FROM {} t ORDER BY n").format(relation)
    return connection.execute(statement).fetchall()


@pytest.mark.parametrize("declared", [ALL, FIXED], ids=["with text", "fixed width"])
def test_every_type_arrives_as_psycopg_itself_would_insert_it(
    connection: Connection, declared: Table
) -> None:
    values = [TYPES[column.type][1] for column in declared.columns[1:]]
    row = st.tuples(*(st.none() | value for value in values))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(row, min_size=1, max_size=12))
    def check(rows: list[tuple[object, ...]]) -> None:
        numbered = [(n, *values) for n, values in enumerate(rows)]
        ours, theirs = made(connection, "ours", declared), made(connection, "theirs", declared)
        assert copy_frame(connection, ours, declared, frame_of(declared, numbered)) == len(rows)
        inserted(connection, theirs, numbered)
        assert content(connection, ours) == content(connection, theirs)

    check()


def test_more_rows_than_a_block_arrive_in_their_order(connection: Connection) -> None:
    for declared, count in ((table("bigint"), 70_000), (table("text"), 9_000)):
        values = pl.Series(range(count)).cast(pl.Int64)
        frame = pl.DataFrame(
            {
                "n": values.cast(pl.Int32),
                "c0": values if declared.columns[1].type == "bigint" else values.cast(pl.String),
            }
        )
        frame = frame.with_columns(pl.when(pl.col("n") % 7 == 0).then(None).otherwise("c0").alias("c0"))
        destination = made(connection, "ours", declared)
        assert copy_frame(connection, destination, declared, frame) == count
        statement = sql.SQL(
            "SELECT count(*) FILTER (WHERE c0::bigint = n), count(*) FILTER (WHERE c0 IS NULL) FROM {}"
        )
        nulls = -(-count // 7)
        assert connection.execute(statement.format(destination)).fetchone() == (count - nulls, nulls)


def test_an_empty_frame_is_an_empty_copy(connection: Connection) -> None:
    for declared in (ALL, FIXED):
        frame = frame_of(declared, [(1, *[None] * (len(declared.columns) - 1))]).clear()
        assert copy_frame(connection, made(connection, "ours", declared), declared, frame) == 0


def test_prices_given_as_floats_become_exact_strikes(connection: Connection) -> None:
    """1.005 is 1.00499… in binary; strikes come as floats and must still meet in the key."""
    declared = table("numeric(12,4)")
    strikes = [0.5, 1.005, 2.675, 0.1 + 0.2, 1234.5678, 99_999_999.9999, -7.25, 0.0, 0.00004, None]
    frame = pl.DataFrame({"n": range(len(strikes)), "c0": strikes}, schema={"n": pl.Int32, "c0": pl.Float64})
    destination = made(connection, "ours", declared)
    copy_frame(connection, destination, declared, frame)
    rows = connection.execute(sql.SQL("SELECT c0::text FROM {} ORDER BY n").format(destination)).fetchall()
    assert [row[0] for row in rows] == [
        "0.5000", "1.0050", "2.6750", "0.3000", "1234.5678", "99999999.9999", "-7.2500", "0.0000", "0.0000", None,
    ]  # fmt: skip


def test_times_of_any_unit_and_zone_are_the_same_instant(connection: Connection) -> None:
    declared = table("timestamptz")
    instant = dt.datetime(2026, 8, 21, 20, 0, tzinfo=dt.UTC)
    for unit in ("ms", "us", "ns"):
        times = pl.Series([instant]).dt.cast_time_unit(unit).dt.convert_time_zone("America/New_York")
        destination = made(connection, "ours", declared)
        copy_frame(connection, destination, declared, pl.DataFrame({"n": [1], "c0": times}))
        assert connection.execute(sql.SQL("SELECT c0 FROM {}").format(destination)).fetchone() == (instant,)


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("uuid", pl.Series([b"short"])),
        ("uuid", pl.Series([str(uuid.UUID(int=1))])),
        ("numeric(12,4)", pl.Series([1e8])),
        ("numeric(12,4)", pl.Series([float("nan")])),
        ("character(1)", pl.Series(["CC"])),
        ("character(1)", pl.Series(["é"])),
        ("integer", pl.Series([2**31])),
        ("bigint", pl.Series([1.5])),
        ("timestamptz", pl.Series([dt.datetime(2026, 1, 1)])),  # noqa: DTZ001
        ("date", pl.Series(["2026-01-01"])),
        ("text", pl.Series([1])),
        ("boolean", pl.Series([1])),
    ],
)
def test_a_value_that_does_not_fit_is_refused_naming_the_column(
    connection: Connection, type_: PgType, values: pl.Series
) -> None:
    declared = table(type_)
    destination = made(connection, "ours", declared)
    with pytest.raises(AuditError, match="'c0'"):
        copy_frame(connection, destination, declared, pl.DataFrame({"n": [1], "c0": values}))


def test_a_column_that_the_table_lacks_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="surprise"):
        list(encode(table("text"), pl.DataFrame({"surprise": ["x"]})))


def test_the_format_is_what_the_server_itself_writes(connection: Connection) -> None:
    """Byte for byte, on a row that can be checked by eye."""
    declared = table("double precision", "text")
    destination = made(connection, "ours", declared)
    copy_frame(connection, destination, declared, pl.DataFrame({"n": [7], "c0": [1.5], "c1": ["né"]}))
    with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(destination)) as copy:
        received = b"".join(bytes(block) for block in copy)
    row = struct.pack(">hiiidi", 3, 4, 7, 8, 1.5, 3) + "né".encode()
    assert received == b"PGCOPY\n\xff\r\n\0" + bytes(8) + row + b"\xff\xff"


def test_a_failing_copy_leaves_nothing(connection: Connection) -> None:
    declared = table("integer")
    destination = made(connection, "ours", declared)
    connection.execute(sql.SQL("ALTER TABLE {} ADD CHECK (c0 > 0)").format(destination))
    with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
        copy_frame(connection, destination, declared, pl.DataFrame({"n": [1, 2], "c0": [1, -1]}))
    assert content(connection, destination) == []
