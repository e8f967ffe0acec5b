"""Promises: whoever asks in SQL finds every metric, in a column of its type that explains itself, with the value that is
in the JSON; the views follow the catalogue; and the published example gets the stored number."""

import datetime as dt
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from kapman_metrics import views
from kapman_metrics.catalogue import TECHNICAL, Metric
from kapman_metrics.dealer import DEALER_METRICS
from kapman_metrics.reference import SECTIONS
from kapman_resources.database import Connection, Database
from kapman_resources.structure import migrate, roll_back, structure_dump
from kapman_resources.structure.migrations import MIGRATIONS
from kapman_resources.structure_facts import ANALYTICS_VIEWS
from tests.conftest import PROJECT
from tests.integration.conftest import TODAY, Platform

PAGE = (PROJECT / "docs" / "analytics.md").read_text()
IDENTITY = {"symbol": "text", "session": "date", "time": "timestamp with time zone", "ticker_id": "uuid"}
DOCUMENTS = {section.column: section.metrics for section in SECTIONS}
# One row per document, one column per key; the views of list elements are tested one by one.
FLAT = {
    "technical_indicators": "technical_indicators_json",
    "price_metrics": "price_metrics_json",
    "dealer_metrics": "dealer_metrics_json",
    "volatility_metrics": "volatility_metrics_json",
}


@pytest.fixture(scope="module")
def connection(repaved: Platform) -> Iterator[Connection]:
    """The repaved platform's database, read only."""
    with repaved.connect() as connection:
        connection.read_only = True
        yield connection


def rows(
    connection: Connection, query: Any, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()


def all_of(connection: Connection, view: str) -> list[dict[str, Any]]:
    return rows(connection, sql.SQL("SELECT * FROM {}").format(sql.Identifier("analytics", view)))


def documents(connection: Connection, column: str) -> dict[tuple[Any, Any], dict[str, Any]]:
    """(ticker_id, time) → document."""
    found = connection.execute(
        sql.SQL("SELECT ticker_id, time, {0} FROM daily_snapshots WHERE {0} IS NOT NULL").format(
            sql.Identifier(column)
        )
    ).fetchall()
    assert found, f"no snapshot has {column}"
    return {(ticker, time): document for ticker, time, document in found}


def columns(connection: Connection) -> dict[str, dict[str, tuple[str, str | None]]]:
    """View → column → (type, comment), as PostgreSQL has them."""
    found: dict[str, dict[str, tuple[str, str | None]]] = {}
    for view, column, type, comment in connection.execute(
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'analytics'::regnamespace AND a.attnum > 0 ORDER BY c.relname, a.attnum
        """
    ):
        found.setdefault(view, {})[column] = (type, comment)
    return found


def value_at(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What the keys lead to; null where an object on the way is null. A key that is missing is an error."""
    value: Any = document
    for key in path:
        value = None if value is None else value[key]
    return value


# -- views and catalogue --------------------------------------------------------------------------


def test_the_views_are_those_of_the_catalogue() -> None:
    """The newest generated migration is what the catalogue generates now."""
    *_, newest = sorted(MIGRATIONS.glob("*.analytics_views.sql"))
    depends = re.search(r"^-- depends: (.+)$", newest.read_text(), flags=re.MULTILINE)
    assert depends
    last = max(path.name.removesuffix(".sql") for path in MIGRATIONS.glob("????.*[!k].sql"))
    following = f"schema/{int(last[:4]) + 1:04}.analytics_views"
    assert newest.read_text() == views.migration(depends[1]), (
        "The catalogue of metrics has changed and the views have not. Run\n"
        f"  python -m kapman_metrics.views {last} > {following}.sql\n"
        f"  cp schema/{newest.name} {following}.rollback.sql\n"
        "(docs/analytics.md, 'When the catalogue of metrics changes')."
    )


def test_another_generation_takes_the_place_of_the_first_and_can_be_taken_back(
    database: Database, tmp_path: Path
) -> None:
    """As docs/analytics.md says: a new file, and the generation before it as its rollback."""
    schema = Path(shutil.copytree(MIGRATIONS, tmp_path / "schema"))
    migrate(database, schema)
    with database.connect() as connection:
        before = structure_dump(connection)
    (schema / "9999.analytics_views.sql").write_text(views.migration("0012.analytics_quarantine"))
    shutil.copy(schema / "0010.analytics_views.sql", schema / "9999.analytics_views.rollback.sql")
    assert migrate(database, schema) == ["9999.analytics_views"]
    with database.connect() as connection:
        assert structure_dump(connection) == before
    assert roll_back(database, schema)[0] == "9999.analytics_views"
    with database.connect() as connection:
        left = connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'analytics'").fetchall()
    assert left == []


def to_list(metric: Metric) -> list[str]:
    """The metric's keys, without [] and without what follows the first list."""
    keys: list[str] = []
    for key in metric.path:
        keys.append(key.removesuffix("[]"))
        if key.endswith("[]"):
            break
    return keys


def in_a_flat_view(metric: Metric) -> bool:
    return metric.group not in ("pattern_recognition", "profile", "call_walls[]", "put_walls[]")


def expected_columns(document: str) -> dict[str, str]:
    """Column → type of a flat view, told from docs/analytics.md's rule and not from the generator."""
    types = {
        "number": "double precision",
        "integer": "bigint",
        "text": "text",
        "date": "date",
        "time": "timestamp with time zone",
    }
    expected = dict(IDENTITY)
    for metric in filter(in_a_flat_view, DOCUMENTS[document]):
        keys = to_list(metric)
        name = keys[-1] if document == "technical_indicators_json" else "_".join(keys)
        expected[name] = "jsonb" if "[]" in "".join(metric.path) else types[metric.type]
    return expected


def test_every_key_has_its_column_and_there_is_no_other(connection: Connection) -> None:
    """Names and types, in the order of the catalogue."""
    found = {
        view: {name: type for name, (type, _) in described.items()}
        for view, described in columns(connection).items()
    }
    assert set(found) == set(ANALYTICS_VIEWS)
    assert {view.name for view in views.VIEWS} < set(found)
    for view, document in FLAT.items():
        expected = expected_columns(document)
        assert list(found[view].items()) == list(expected.items()), view
    patterns = [metric.path[-1] for metric in TECHNICAL if metric.group == "pattern_recognition"]
    assert found["candlestick_patterns"] == IDENTITY | dict.fromkeys(patterns, "integer")
    assert found["candlestick_signals"] == IDENTITY | {"pattern": "text", "value": "integer"}
    number = "double precision"
    assert found["dealer_walls"] == IDENTITY | {"side": "text", "rank": "bigint"} | {
        metric.path[1]: "bigint" if metric.type == "integer" else number
        for metric in DEALER_METRICS
        if metric.group in ("call_walls[]", "put_walls[]")
    }
    assert found["gex_profile"] == IDENTITY | dict.fromkeys(
        ["strike", "call_gex", "put_gex", "net_gex"], number
    )


def test_every_view_and_column_explains_itself(connection: Connection) -> None:
    """Comments everywhere; those of metrics carry formula and unit."""
    for view, described in columns(connection).items():
        (comment,) = connection.execute(
            "SELECT obj_description(to_regclass('analytics.' || %s))", (view,)
        ).fetchone() or (None,)
        assert comment, view
        assert [name for name, (_, text) in described.items() if not text] == [], view
    said = columns(connection)["technical_indicators"]["macd_signal"][1]
    assert said == "EMA9 of macd; parameters: 12, 26, 9; bars: 34 [price]"


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", FLAT)
def test_values_are_those_of_the_json(connection: Connection, view: str) -> None:
    """Every row, every key, to the last digit."""
    wanted = documents(connection, FLAT[view])
    shown = all_of(connection, view)
    assert {(row["ticker_id"], row["time"]) for row in shown} == set(wanted)
    assert len(shown) == len(wanted)
    for row in shown:
        document = wanted[row["ticker_id"], row["time"]]
        for metric in filter(in_a_flat_view, DOCUMENTS[FLAT[view]]):
            value = value_at(document, to_list(metric))
            if isinstance(value, str) and metric.type in ("date", "time"):
                value = dt.datetime.fromisoformat(value)
                value = value.date() if metric.type == "date" else value
            elif isinstance(value, int | float | str):
                python = {"number": int | float, "integer": int, "text": str}[metric.type]
                assert isinstance(value, python), metric.path
            assert row[views.column_name(metric)] == value, (row["symbol"], metric.path)


def test_every_row_says_whose_it_is(connection: Connection) -> None:
    """Symbol and session, also of a half day and in summer time."""
    shown = all_of(connection, "price_metrics")
    symbols = dict(connection.execute("SELECT id, symbol FROM tickers").fetchall())
    assert all(row["symbol"] == symbols[row["ticker_id"]] for row in shown)
    bars = set(connection.execute("SELECT ticker_id, date FROM ohlcv").fetchall())
    assert all((row["ticker_id"], row["session"]) in bars for row in shown)
    assert max(row["session"] for row in shown) == TODAY


def test_candlesticks_are_shown_both_ways(connection: Connection) -> None:
    """Wide with every pattern, long without zeros."""
    wanted = {
        (*key, pattern): value
        for key, document in documents(connection, "technical_indicators_json").items()
        for pattern, value in document["pattern_recognition"].items()
    }
    wide = {
        (row["ticker_id"], row["time"], name): value
        for row in all_of(connection, "candlestick_patterns")
        for name, value in row.items()
        if name not in IDENTITY
    }
    assert wide == wanted
    long = [
        ((row["ticker_id"], row["time"], row["pattern"]), row["value"])
        for row in all_of(connection, "candlestick_signals")
    ]
    assert sorted(long) == sorted((key, value) for key, value in wanted.items() if value)
    assert long


def test_walls_and_profile_are_the_lists_of_the_json(connection: Connection) -> None:
    """Element by element and in order; the profile adds up to net exposure."""
    walls: dict[Any, list[dict[str, Any]]] = {}
    profile: dict[Any, list[dict[str, Any]]] = {}
    for view, found in (("dealer_walls", walls), ("gex_profile", profile)):
        for row in all_of(connection, view):
            found.setdefault((row["ticker_id"], row["time"]), []).append(row)
    assert walls
    for key, document in documents(connection, "dealer_metrics_json").items():
        for side in ("call", "put"):
            own = sorted((w for w in walls.get(key, []) if w["side"] == side), key=lambda w: w["rank"])
            assert [w["rank"] for w in own] == list(range(1, len(own) + 1))
            assert [
                {name: w[name] for name in wall}
                for w, wall in zip(own, document[f"{side}_walls"], strict=True)
            ] == (document[f"{side}_walls"])
        own = profile.get(key, [])
        for name in ("strike", "call_gex", "put_gex"):
            assert [row[name] for row in own] == document["profile"][name]
        if own:
            total = pytest.approx(document["gex_net"], abs=1e-9 * document["gex_total"])
            assert sum(row["net_gex"] for row in own) == total


def test_the_watchlist_shows_every_active_symbol_as_of_its_newest_metrics(connection: Connection) -> None:
    """Also the symbol that the vendor doesn't list; each symbol once."""
    active = {symbol for (symbol,) in connection.execute("SELECT symbol FROM watchlists WHERE active")}
    shown = {row["symbol"]: row for row in all_of(connection, "watchlist")}
    assert set(shown) == active
    assert shown["NOSUCH"]["ticker_id"] is shown["NOSUCH"]["close"] is None
    price, dealer, volatility = (
        {row["symbol"]: row for row in all_of(connection, view) if row["session"] == TODAY}
        for view in ("price_metrics", "dealer_metrics", "volatility_metrics")
    )
    for symbol in active - {"NOSUCH"}:
        row, newest = shown[symbol], dealer[symbol]
        assert (row["session"], row["dealer_session"], row["watchlists"]) == (TODAY, TODAY, "test")
        assert (row["close"], row["change_pct"]) == (price[symbol]["close"], price[symbol]["change_pct"])
        assert (row["dealer_status"], row["gamma_flip"], row["dgpi"]) == (
            newest["status"], newest["gamma_flip"], newest["dgpi"],
        )  # fmt: skip
        assert (row["call_wall"], row["put_wall"]) == (newest["call_wall_strike"], newest["put_wall_strike"])
        for name in (
            "atm_iv_30d",
            "expected_move_30d",
            "iv_rank",
            "iv_rank_status",
            "iv_percentile",
            "iv_skew_25d",
        ):
            assert row[name] == volatility[symbol][name]
        if newest["gamma_flip"]:
            move = newest["gamma_flip"] - newest["spot"]
            assert row["distance_to_flip_pct"] == pytest.approx(100 * move / newest["spot"])
    assert any(row["distance_to_flip_pct"] is not None for row in shown.values())


def test_loads_and_health_are_the_manifest(connection: Connection) -> None:
    """Every load, and its rows by asset."""
    manifest = rows(connection, "SELECT * FROM kapman_meta.load_manifest")
    loads = all_of(connection, "loads")
    assert {(row["asset"], str(row["session"] or "")): row["rows_written"] for row in loads} == {
        (row["asset"], row["partition_key"]): row["rows_written"] for row in manifest
    }
    health = {row["asset"]: row for row in all_of(connection, "asset_health")}
    assert set(health) == {row["asset"] for row in manifest}
    bars = health["ohlcv"]
    assert (bars["sessions"], bars["last_session"]) == (30, TODAY)
    assert bars["rows_read"] == bars["rows_written"] + bars["rows_ignored"] + bars["rows_quarantined"]
    assert bars["rows_ignored"] == sum(
        sum(row["rows_ignored"].values()) for row in manifest if row["asset"] == "ohlcv"
    )


# -- readers --------------------------------------------------------------------------------------


def test_a_reader_needs_no_right_but_select_on_the_views(repaved: Platform) -> None:
    """Views read with their owner's rights; the tables stay closed, and nothing can be written."""
    role = sql.Identifier(f"{repaved.database.name}_reader")
    with repaved.connect() as connection:
        for grant in (
            "CREATE ROLE {}",
            "GRANT USAGE ON SCHEMA analytics TO {}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO {}",
            "SET LOCAL ROLE {}",
        ):
            connection.execute(sql.SQL(grant).format(role))
        for view in ANALYTICS_VIEWS:
            query = sql.SQL("SELECT * FROM {} LIMIT 5").format(sql.Identifier("analytics", view))
            connection.execute(query).fetchall()
        for forbidden in (
            "SELECT * FROM kapman_meta.load_manifest",
            "SELECT * FROM public.daily_snapshots",
            "DELETE FROM analytics.loads",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(forbidden)
        connection.rollback()


def examples() -> list[str]:
    """The queries of docs/analytics.md, block by block."""
    return re.findall(r"^```sql\n(?!GRANT)(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_page_names_every_view() -> None:
    """The table of docs/analytics.md is the list of views."""
    named = re.findall(r"^\| `(\w+)` \|", PAGE.split("\n## ")[0], flags=re.MULTILINE)
    assert sorted(named) == sorted(ANALYTICS_VIEWS)


@pytest.mark.parametrize("query", examples(), ids=lambda query: query.split("FROM ")[1].split()[0])
def test_every_example_of_the_page_finds_something(connection: Connection, query: str) -> None:
    """As printed."""
    assert rows(connection, query)


def test_net_gex_by_hand_is_the_stored_number(connection: Connection) -> None:
    """The published example, from the contracts of the table to `gex_net`."""
    (query,) = (query for query in examples() if query.startswith("-- net GEX by hand"))
    (row,) = rows(connection, query)
    assert row["contracts"] == row["eligible_options_count"] >= 25
    assert row["gex_net_by_hand"] == pytest.approx(row["gex_net"], abs=1e-11 * row["gex_total"])
