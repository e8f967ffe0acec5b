"""The quarantine: source rows that could not be used, as they came, and why.

Rows get here and leave only with the load of their partition (`manifest.record`), in its transaction.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import errors, sql
from psycopg.rows import class_row

from kapman_resources.database import Connection
from kapman_resources.errors import ScopeError, StructureError
from kapman_resources.manifest import Quarantined

ASSETS = ("tickers", "watchlists", "ohlcv", "options_chains")
"""The assets that read sources, in the order in which they are loaded."""


@dataclass(frozen=True)
class Filter:
    """Which rows are meant; None means all. `partition`: a session (YYYY-MM-DD), "" for an asset without any."""

    asset: str | None = None
    partition: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        """Raises ScopeError when no asset of that name reads a source."""
        if self.asset is not None and self.asset not in ASSETS:
            raise ScopeError(
                f"Asset {self.asset!r} has no quarantine.", fix=f"Those that have one: {', '.join(ASSETS)}."
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """The values for `_WHICH`."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "reason": self.reason,
            "assets": list(ASSETS),
        }


@dataclass(frozen=True)
class Row(Quarantined):
    """A row in quarantine; it gets a new id whenever its partition is loaded."""

    id: int
    asset: str
    partition: str
    run_id: str | None
    quarantined_at: dt.datetime


@dataclass(frozen=True)
class Group:
    """How many rows of a partition are in quarantine for one reason."""

    asset: str
    partition: str
    reason: str
    rows: int


_WHICH = sql.SQL("""
    FROM kapman_meta.quarantine
    WHERE (%(asset)s::text IS NULL OR asset = %(asset)s)
      AND (%(partition)s::text IS NULL OR partition_key = %(partition)s)
      AND (%(reason)s::text IS NULL OR reason = %(reason)s)
""")
_ROW = sql.SQL(
    "SELECT id, asset, partition_key AS partition, source, line, reason, raw, run_id, quarantined_at"
)
_GROUPS = sql.SQL("""
    SELECT asset, partition_key AS partition, reason, count(*) AS rows {which}
    GROUP BY 1, 2, 3 ORDER BY array_position(%(assets)s, asset), 2, 3
""").format(which=_WHICH)
_ROWS = sql.SQL("""
    {row} {which}
    ORDER BY partition_key DESC, array_position(%(assets)s, asset), source, line, id LIMIT %(limit)s
""").format(row=_ROW, which=_WHICH)
_ONE = sql.SQL("{row} FROM kapman_meta.quarantine WHERE id = %s").format(row=_ROW)


def groups(connection: Connection, which: Filter) -> list[Group]:
    """Counts by asset (in the order of the chain), partition and reason, ascending.

    Raises:
        StructureError: the database is unpaved.
    """
    with _paved(connection), connection.cursor(row_factory=class_row(Group)) as cursor:
        return cursor.execute(_GROUPS, which.parameters).fetchall()


def rows(connection: Connection, which: Filter, limit: int | None = None) -> list[Row]:
    """The rows, the newest partition's first, in the order of their lines; at most `limit`.

    Raises:
        StructureError: the database is unpaved.
    """
    with _paved(connection), connection.cursor(row_factory=class_row(Row)) as cursor:
        return cursor.execute(_ROWS, {**which.parameters, "limit": limit}).fetchall()


def row(connection: Connection, number: int) -> Row:
    """The row with that id.

    Raises:
        ScopeError: there is none (any more).
        StructureError: the database is unpaved.
    """
    with _paved(connection), connection.cursor(row_factory=class_row(Row)) as cursor:
        found = cursor.execute(_ONE, (number,)).fetchone()
    if found is None:
        raise ScopeError(
            f"Row {number} is not in quarantine; a row gets a new id whenever its partition is loaded.",
            fix="`kapman quarantine list` shows the rows that are.",
        )
    return found


@dataclass(frozen=True)
class Change:
    """What loading a partition again does to its quarantine.

    left: rows that are no longer refused. stayed: rows that are refused, with the reason of now. came: new ones.
    """

    left: list[Quarantined]
    stayed: list[Quarantined]
    came: list[Quarantined]

    @property
    def reasons(self) -> dict[str, int]:
        """Why rows are still refused, counted, by reason ascending."""
        return dict(sorted(Counter(one.reason for one in self.stayed).items()))


def compare(before: Iterable[Quarantined], after: Iterable[Quarantined]) -> Change:
    """Match the rows of a partition by source and raw text: a line may have moved, a reason may be another."""
    refused: dict[tuple[str, bytes], list[Quarantined]] = {}
    for one in after:
        refused.setdefault((one.source, one.raw), []).append(one)
    change = Change([], [], [])
    for one in before:
        if same := refused.get((one.source, one.raw)):
            change.stayed.append(same.pop(0))
        else:
            change.left.append(one)
    change.came.extend(one for rest in refused.values() for one in rest)
    return change


@contextmanager
def _paved(connection: Connection) -> Iterator[None]:
    try:
        yield
    except errors.UndefinedTable as error:
        raise StructureError(
            f"Database {connection.info.dbname!r} has no quarantine: it is unpaved.",
            fix="Run `make repave`, which builds and loads it.",
        ) from error
