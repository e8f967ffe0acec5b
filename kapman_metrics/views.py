"""The SQL of the views that flatten `daily_snapshots`, generated from the catalogue: the two cannot drift apart.

python -m kapman_metrics.views 0009.analytics > schema/0010.analytics_views.sql

The argument is the migration that this one follows; docs/analytics.md says what to do when the catalogue
has changed.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill

from kapman_metrics.catalogue import TECHNICAL, Metric, ValueType
from kapman_metrics.reference import SECTIONS

_SQL_TYPES: dict[ValueType, str] = {
    "number": "double precision",
    "integer": "bigint",
    "text": "text",
    "date": "date",
    "time": "timestamptz",
}
_METRICS = {section.column: section.metrics for section in SECTIONS}
_PATTERNS, _PROFILE, _CALL_WALLS, _PUT_WALLS = "pattern_recognition", "profile", "call_walls[]", "put_walls[]"
_IN_OTHER_VIEWS = (_PATTERNS, _PROFILE, _CALL_WALLS, _PUT_WALLS)
_NAMED_BY_LAST_KEY = {metric.group for metric in TECHNICAL} | {_PROFILE, _CALL_WALLS, _PUT_WALLS}


@dataclass(frozen=True)
class Column:
    """A column of a view: name, SQL type, the expression behind it, and what people read about it."""

    name: str
    type: str
    expression: str
    comment: str


@dataclass(frozen=True)
class View:
    """A view of the snapshots that have `document`, with a row for each, or for each element of a list in it.

    columns: its own; `IDENTITY` comes before them. items: the FROM items that take the document apart, which
    may name `s` (the snapshot) and `t` (its ticker). condition: which of the rows are left, if not all.
    """

    name: str
    comment: str
    document: str
    columns: tuple[Column, ...]
    items: tuple[str, ...]
    condition: str = ""


IDENTITY = (
    Column("symbol", "text", "t.symbol", "Symbol of the ticker."),
    Column(
        "session",
        "date",
        "(s.time AT TIME ZONE 'America/New_York')::date",
        "Trading session: the date of time in New York.",
    ),
    Column("time", "timestamptz", "s.time", "Close of the session; the filter with an index behind it."),
    Column("ticker_id", "uuid", "s.ticker_id", "Ticker that the row belongs to (public.tickers.id)."),
)
"""The columns that every view starts with."""


def column_name(metric: Metric) -> str:
    """The name of the column that shows the metric.

    A technical indicator's is the last of its keys, which is unique. Elsewhere it is all keys joined by
    underscores: `call_wall_strike`, `filters_expired`. A wall or a strike of the profile is a row of its own, and
    its columns are the last keys again; any other list is one column, named after the list.
    """
    if metric.group in _NAMED_BY_LAST_KEY:
        return metric.path[-1].removesuffix("[]")
    return "_".join(_to_list(metric.path)).removesuffix("[]")


def _to_list(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path as far as its first list, with it."""
    lists = [place for place, key in enumerate(path, start=1) if key.endswith("[]")]
    return path[: lists[0]] if lists else path


def _comment(metric: Metric) -> str:
    """What it is and when it is null, and its unit in brackets, as in the comments of the tables."""
    parts = [
        metric.formula,
        f"parameters: {metric.parameters}" if metric.parameters else "",
        f"bars: {metric.minimum_bars}" if metric.minimum_bars > 1 else "",
        f"null when: {metric.null_rule}" if metric.null_rule else "",
    ]
    unit = f" [{metric.units}]" if metric.units != "text" else ""
    return "; ".join(part for part in parts if part) + unit


def _list_comment(metrics: Sequence[Metric]) -> str:
    """The same of a list, whose elements may have several values."""
    if metrics[0].path == _to_list(metrics[0].path):
        return f"List: {_comment(metrics[0])}"
    return "List of objects: " + "; ".join(f"{metric.path[-1]}: {_comment(metric)}" for metric in metrics)


def _flat(name: str, comment: str, document: str) -> View:
    """One row per document, one column per value that is in no other view.

    The document is read once, by jsonb_to_record, and what is nested in it from the parts, in memory. Chains
    of -> that start at the stored document read and decompress it again for every column: five times as
    slow for the indicators.
    """
    by_column: dict[str, list[Metric]] = {}
    for metric in _METRICS[document]:
        if metric.group not in _IN_OTHER_VIEWS:
            by_column.setdefault(column_name(metric), []).append(metric)
    fields: dict[str, str] = {}
    columns = []
    for column, shown in by_column.items():
        path = _to_list(shown[0].path)
        is_list = path[-1].endswith("[]")
        if any(_to_list(metric.path) != path for metric in shown) or (len(shown) > 1 and not is_list):
            paths = ", ".join(".".join(metric.path) for metric in shown)
            raise ValueError(f"These metrics of {document} have the same column name {column!r}: {paths}.")
        type = "jsonb" if is_list else _SQL_TYPES[shown[0].type]
        first, *rest = (key.removesuffix("[]") for key in path)
        fields[first] = "jsonb" if rest else type
        expression = _nested(f"d.{first}", rest, type) if rest else f"d.{first}"
        columns.append(
            Column(column, type, expression, _list_comment(shown) if is_list else _comment(shown[0]))
        )
    return View(
        name, comment, document, tuple(columns), (_record(f"jsonb_to_record(s.{document}) AS d", fields),)
    )


def _nested(part: str, keys: Sequence[str], type: str) -> str:
    """A value below a jsonb `part`, cast from its text: jsonb's own casts refuse a null before PostgreSQL 18."""
    *branches, leaf = (f"'{key}'" for key in keys)
    value = "->".join([part, *branches]) + ("->" if type == "jsonb" else "->>") + leaf
    return value if type in ("jsonb", "text") else f"({value})::{type}"


def _record(call: str, fields: dict[str, str]) -> str:
    """A function that returns a record, with the list of its columns; no line ends between name and type."""
    listed = ", ".join(f"{name} {type}".replace(" ", "\xa0") for name, type in fields.items())
    lines = fill(listed, 110, initial_indent="    ", subsequent_indent="    ").replace("\xa0", " ")
    return f"{call} (\n{lines}\n)"


def _candlesticks() -> tuple[View, View]:
    document = "technical_indicators_json"
    patterns = [metric for metric in _METRICS[document] if metric.group == _PATTERNS]
    wide = View(
        "candlestick_patterns",
        "Candlestick patterns, a column for each; candlestick_signals lists those that occurred.",
        document,
        tuple(Column(column_name(m), "integer", f"p.{column_name(m)}", _comment(m)) for m in patterns),
        (
            _record(
                f"jsonb_to_record(s.{document}->'{_PATTERNS}') AS p",
                {column_name(metric): "integer" for metric in patterns},
            ),
        ),
    )
    long = View(
        "candlestick_signals",
        "Candlestick patterns that occurred: a row for each symbol, session and pattern whose value is not 0.",
        document,
        (
            Column("pattern", "text", "p.pattern", "Name of the pattern (docs/metrics.md)."),
            Column("value", "integer", "p.value::integer", f"Strength and direction [{patterns[0].units}]"),
        ),
        (f"jsonb_each_text(s.{document}->'{_PATTERNS}') AS p (pattern, value)",),
        "p.value <> '0'",
    )
    return wide, long


def _dealer_walls() -> View:
    document = "dealer_metrics_json"
    calls, puts = (
        [metric for metric in _METRICS[document] if metric.group == side]
        for side in (_CALL_WALLS, _PUT_WALLS)
    )
    if [m.path[1:] for m in calls] != [m.path[1:] for m in puts]:
        raise ValueError("call_walls and put_walls hold different values: view dealer_walls can't show both.")
    fields = {column_name(metric): _SQL_TYPES[metric.type] for metric in calls}
    own = tuple(Column(column_name(m), _SQL_TYPES[m.type], f"w.{column_name(m)}", _comment(m)) for m in calls)
    return View(
        "dealer_walls",
        "Call and put walls: a row for each symbol, session, side and rank.",
        document,
        (
            Column("side", "text", "side.name", "call or put."),
            Column("rank", "bigint", "w.rank", "Place among the walls of the side, 1 is the first."),
            *own,
        ),
        (
            f"jsonb_to_record(s.{document}) AS d (call_walls jsonb, put_walls jsonb)",
            "(VALUES ('call', d.call_walls), ('put', d.put_walls)) AS side (name, walls)",
            _record("ROWS FROM (jsonb_to_recordset(side.walls) AS", fields)
            + f") WITH ORDINALITY AS w ({', '.join([*fields, 'rank'])})",
        ),
    )


def _gex_profile() -> View:
    document = "dealer_metrics_json"
    metrics = [metric for metric in _METRICS[document] if metric.group == _PROFILE]
    names = [column_name(metric) for metric in metrics]
    net = Column(
        "net_gex",
        "double precision",
        "e.call_gex + e.put_gex",
        f"call_gex + put_gex; their sum over the strikes is gex_net [{metrics[-1].units}]",
    )
    return View(
        "gex_profile",
        "Gamma exposure by strike: a row for each symbol, session and strike.",
        document,
        (
            *(
                Column(n, "double precision", f"e.{n}", _comment(m))
                for n, m in zip(names, metrics, strict=True)
            ),
            net,
        ),
        (
            _record(
                f"jsonb_to_record(s.{document}->'{_PROFILE}') AS p",
                dict.fromkeys(names, "double precision[]"),
            ),
            f"unnest({', '.join(f'p.{name}' for name in names)}) AS e ({', '.join(names)})",
        ),
    )


VIEWS: tuple[View, ...] = (
    _flat(
        "technical_indicators",
        "Technical indicators: a row for each symbol and session.",
        "technical_indicators_json",
    ),
    *_candlesticks(),
    _flat("price_metrics", "Price metrics: a row for each symbol and session.", "price_metrics_json"),
    _flat(
        "dealer_metrics",
        "Dealer metrics: a row for each symbol and session; lists are in dealer_walls and gex_profile.",
        "dealer_metrics_json",
    ),
    _dealer_walls(),
    _gex_profile(),
    _flat(
        "volatility_metrics",
        "Volatility metrics: a row for each symbol and session.",
        "volatility_metrics_json",
    ),
)
"""The views in the order in which they are made."""


def migration(depends: str) -> str:
    """The migration that puts these views in the place of older ones; `depends` is the one before it."""
    names = ", ".join(f"analytics.{view.name}" for view in VIEWS)
    head = [
        "-- The views of daily_snapshots in typed columns. Generated; edit kapman_metrics/views.py instead:",
        f"-- python -m kapman_metrics.views {depends} > this file",
        f"-- depends: {depends}",
        f"{fill(f'DROP VIEW IF EXISTS {names};', 110, subsequent_indent='    ')}",
        "",
    ]
    return "\n".join([*head, *(line for view in VIEWS for line in _statements(view))])


def _statements(view: View) -> Iterator[str]:
    """One statement that creates the view and one for all of its comments."""
    columns = (*IDENTITY, *view.columns)
    yield f"CREATE VIEW analytics.{view.name} AS"
    for place, column in enumerate(columns):
        selected = column.expression
        if re.fullmatch(rf"\w+\.{column.name}", selected) is None:
            selected += f" AS {column.name}"
        yield ("SELECT " if place == 0 else "       ") + selected + ("," if column is not columns[-1] else "")
    yield "FROM public.daily_snapshots s"
    yield "JOIN public.tickers t ON t.id = s.ticker_id"
    for item in view.items:
        yield f"CROSS JOIN LATERAL {item}"
    yield f"WHERE s.{view.document} IS NOT NULL" + (f" AND {view.condition}" if view.condition else "") + ";"
    yield "DO $comments$ BEGIN"
    yield f"    COMMENT ON VIEW analytics.{view.name} IS {_literal(view.comment)};"
    for column in columns:
        yield f"    COMMENT ON COLUMN analytics.{view.name}.{column.name} IS {_literal(column.comment)};"
    yield "END $comments$;"
    yield ""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the migration that the new one follows, e.g. 0009.analytics.")
    sys.stdout.write(migration(sys.argv[1]))
