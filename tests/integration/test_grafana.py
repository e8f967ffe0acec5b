"""Promise: Grafana's panels show what is in the database. Every query of every panel and variable runs on a
rebuilt platform, for a role that may do no more than read `public` and `analytics`, finds something, and is quick;
and the files are those that Grafana can load: panels that don't overlap, explain themselves and have units, one
data source, no secret."""

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from psycopg import Cursor, sql
from psycopg.rows import DictRow, dict_row

from kapman_resources.database import Connection
from tests.conftest import PROJECT
from tests.integration.conftest import TODAY, Platform

FOLDER = PROJECT / "dashboards" / "grafana"
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
PANELS = [(board, panel["id"]) for board in BOARDS for panel in BOARDS[board]["panels"]]
# Of the release that docker-compose.yml names (npm package @grafana/schema 12.4.11).
SCHEMA_VERSION = 42
UNITS = {
    "d",
    "s",
    "short",
    "none",
    "percent",
    "percentunit",
    "bytes",
    "string",
    "currencyUSD",
    "suffix: rows/s",
}
MAY_BE_EMPTY = {
    ("data_health", "Quarantined, by reason"): "nothing of a clean market is quarantined",
    ("data_health", "Quality flags of the newest session"): "a clean market gives no reason for a flag",
}
# A row, but no number in it.
MAY_BE_NULL = {
    ("dealer_overview", "Median IV rank"): "one archived session is too short a history",
    ("dealer_overview", "$symbol: IV rank and percentile"): "the same",
}


def panel_of(board: str, id: int) -> dict[str, Any]:
    return next(panel for panel in BOARDS[board]["panels"] if panel["id"] == id)


# -- the files ------------------------------------------------------------------------------------


def test_there_are_four_dashboards_with_stable_names() -> None:
    """Links and bookmarks go by uid."""
    assert {name: board["uid"] for name, board in BOARDS.items()} == {
        "data_health": "kapman-health",
        "dealer_overview": "kapman-dealer",
        "loads": "kapman-loads",
        "storage": "kapman-storage",
    }


@pytest.mark.parametrize("board", BOARDS)
def test_a_dashboard_loads_as_it_is(board: str) -> None:
    """The schema of the pinned release, no id of somebody's server, read-only as provisioned dashboards are."""
    found = BOARDS[board]
    assert found["schemaVersion"] == SCHEMA_VERSION and "id" not in found
    assert found["editable"] is False and found["timezone"] == "America/New_York"
    assert found["title"].startswith("KapMan: ") and len(found["description"]) > 40
    text = (FOLDER / f"{board}.json").read_text()
    assert not re.search(r"password|secret|token|kapman_meta\.|https?://", text, flags=re.IGNORECASE)
    for link in re.findall(r"/d/([\w-]+)", text):
        assert link in {other["uid"] for other in BOARDS.values()}


@pytest.mark.parametrize("board", BOARDS)
def test_panels_explain_themselves_and_fit_the_grid(board: str) -> None:
    """Ids are unique and stable, every panel says what it shows and in which unit, none covers another."""
    panels = BOARDS[board]["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"] and len(panel["description"]) > 20, panel["id"]
        units = {panel["fieldConfig"]["defaults"]["unit"]} | {
            one["value"]
            for override in panel["fieldConfig"]["overrides"]
            for one in override["properties"]
            if one["id"] == "unit"
        }
        assert units <= UNITS | {"dateTimeAsIso"}, panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None, panel["title"]
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["w"] > 0 and place["x"] + place["w"] <= 24, panel["title"]
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_everything_asks_the_provisioned_data_source() -> None:
    """One uid and type, in panels, targets and variables."""
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/kapman.yaml").read_text())["datasources"]
    expected = {"type": source["type"], "uid": source["uid"]}
    for board in BOARDS.values():
        used = [panel["datasource"] for panel in board["panels"]]
        used += [target["datasource"] for panel in board["panels"] for target in panel["targets"]]
        used += [variable["datasource"] for variable in board["templating"]["list"]]
        assert all(one == expected for one in used), board["title"]


def test_the_page_names_every_panel() -> None:
    """docs/dashboards.md says what each panel tells; a click on `?` in a panel says the same at more length."""
    page = (PROJECT / "docs" / "dashboards.md").read_text().split("## In Grafana")[1]
    for board in BOARDS.values():
        section = page.split("### " + board["title"].removeprefix("KapMan: ").capitalize())[1].split(
            "\n### "
        )[0]
        for panel in board["panels"]:
            assert panel["title"].removeprefix("$symbol: ") in section, panel["title"]


# -- the queries ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(repaved: Platform) -> Iterator[Cursor[DictRow]]:
    """What the data source may do: SELECT in `public` and `analytics`, and wait no longer than a second."""
    role = sql.Identifier(f"{repaved.database.name}_grafana")
    with repaved.connect() as connection:
        for statement in (
            "CREATE ROLE {}",
            "GRANT USAGE ON SCHEMA public, analytics TO {}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public, analytics TO {}",
            "SET LOCAL ROLE {}",
            "SET LOCAL statement_timeout = '1s'",
        ):
            connection.execute(sql.SQL(statement).format(role))
        with connection.cursor(row_factory=dict_row) as cursor:
            yield cursor
        connection.rollback()


def expanded(text: str, variables: Mapping[str, list[str]], first: dt.datetime, last: dt.datetime) -> str:
    """The query as Grafana's PostgreSQL data source sends it: variables, then intervals, then macros.

    As it does with `timescaledb: true`; a macro or a format that isn't here is an error.
    """
    moments = [moment.astimezone(dt.UTC).strftime("'%Y-%m-%dT%H:%M:%SZ'") for moment in (first, last)]

    def variable(match: re.Match[str]) -> str:
        values = variables[match["name"]]
        if match["format"] == "sqlstring":
            return ",".join("'" + value.replace("'", "''") + "'" for value in values)
        assert match["format"] is None and len(values) == 1, match[0]
        return values[0]

    def macro(match: re.Match[str]) -> str:
        name, arguments = match["name"], [one.strip() for one in match["arguments"].split(",")]
        match name:
            case "timeFilter":
                return f"{arguments[0]} BETWEEN {moments[0]} AND {moments[1]}"
            case "timeFrom" | "timeTo":
                return moments[name == "timeTo"]
            case "timeGroup" | "timeGroupAlias":
                assert arguments[1] == "1h"
                bucket = f"time_bucket('3600.000s',{arguments[0]})"
                return f'{bucket} AS "time"' if name.endswith("Alias") else bucket
        raise AssertionError(f"unknown macro {match[0]}")

    text = re.sub(r"\$\{(?P<name>[a-z]\w*)(?::(?P<format>\w+))?\}", variable, text)
    text = text.replace("$__interval_ms", "3600000").replace("$__interval", "1h")
    text = re.sub(r"\$__(?P<name>\w+)\((?P<arguments>[^)]*)\)", macro, text)
    assert "$" not in text, text
    return text


def rows(cursor: Cursor[DictRow], text: str) -> list[DictRow]:
    """What the query finds; whatever it is, it can't write."""
    connection: Connection = cursor.connection
    with connection.transaction(force_rollback=True):
        return cursor.execute(text.encode()).fetchall()


@pytest.fixture(scope="module")
def span() -> tuple[dt.datetime, dt.datetime]:
    """A dashboard's time range that has the market's sessions in it and the moment of their load."""
    today = dt.datetime.combine(TODAY, dt.time(), dt.UTC)
    return today - dt.timedelta(days=120), max(today, dt.datetime.now(dt.UTC)) + dt.timedelta(days=2)


def choices(
    cursor: Cursor[DictRow], board: str, span: tuple[dt.datetime, dt.datetime]
) -> dict[str, list[str]]:
    """The dashboard's variables as it opens: All where there is one, else the first value."""
    chosen: dict[str, list[str]] = {}
    for variable in BOARDS[board]["templating"]["list"]:
        assert variable["query"] == variable["definition"] and variable["refresh"] == 1
        found = [next(iter(row.values())) for row in rows(cursor, expanded(variable["query"], chosen, *span))]
        assert found, variable["name"]
        chosen[variable["name"]] = found if variable["includeAll"] else found[:1]
    return chosen


@pytest.mark.parametrize(("board", "id"), PANELS)
def test_every_panel_shows_something(
    reader: Cursor[DictRow], span: tuple[dt.datetime, dt.datetime], board: str, id: int
) -> None:
    """On a rebuilt platform, within a second, in the shape that the panel takes."""
    panel = panel_of(board, id)
    variables = choices(reader, board, span)
    for target in panel["targets"]:
        found = rows(reader, expanded(target["rawSql"], variables, *span))
        names = [column.name for column in reader.description or ()]
        assert len(set(names)) == len(names)
        for override in panel["fieldConfig"]["overrides"]:
            assert override["matcher"]["options"] in names, "an override of a column that isn't there"
        if (board, panel["title"]) in MAY_BE_EMPTY:
            continue
        assert found, "no row"
        if panel["type"] == "stat":
            assert len(found) == len(names) == 1
        if target["format"] == "time_series":
            times = [row["time"] for row in found]
            assert names[0] == "time" and times == sorted(times)
            assert all(isinstance(time, dt.datetime) and time.tzinfo for time in times)
        if (board, panel["title"]) not in MAY_BE_NULL:
            values = [value for row in found for name, value in row.items() if name != "time"]
            assert any(value is not None for value in values), "nothing but nulls"


@pytest.mark.parametrize("board", BOARDS)
def test_a_symbol_with_a_quote_harms_nothing(
    reader: Cursor[DictRow], span: tuple[dt.datetime, dt.datetime], board: str
) -> None:
    """Variables can be typed into the address bar: they are values, whatever is in them."""
    typed = {variable["name"]: ["O'NEIL'; DROP TABLE"] for variable in BOARDS[board]["templating"]["list"]}
    for panel in BOARDS[board]["panels"]:
        for target in panel["targets"]:
            rows(reader, expanded(target["rawSql"], typed, *span))


def test_the_numbers_are_those_of_the_platform(
    repaved: Platform, reader: Cursor[DictRow], span: tuple[dt.datetime, dt.datetime]
) -> None:
    """The row of numbers that people glance at, against the tables themselves."""

    def value(board: str, title: str) -> Any:
        (panel,) = (panel for panel in BOARDS[board]["panels"] if panel["title"] == title)
        query = expanded(panel["targets"][0]["rawSql"], choices(reader, board, span), *span)
        return next(iter(rows(reader, query)[0].values()))

    assert value("data_health", "Symbols without a ticker") == 1, "NOSUCH"
    assert value("data_health", "Rows not accounted for") == 0
    assert value("data_health", "Sessions without snapshots") == 0
    assert value("storage", "Expired chunks") == 0
    assert value("storage", "Chunks") == repaved.value(
        "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_schema = 'public'"
    )
    assert value("dealer_overview", "Session") == str(TODAY)
    written = repaved.value("SELECT sum(rows_written) FROM kapman_meta.load_manifest WHERE run_id <> ''")
    assert value("loads", "Rows of the last run") == written
