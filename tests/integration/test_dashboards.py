"""The psql dashboards show what is in the tables, each on one screen, run with and without their variables, and
never fail on an empty database: the page that people open first, also right after a pave. What stays empty on a
healthy platform says so."""

import csv
import datetime as dt
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg import conninfo, sql

from kapman_metrics.dealer import DealerSettings, dealer_metrics
from kapman_resources.database import Connection, Database
from kapman_resources.embedded import EmbeddedServer
from kapman_resources.errors import DatabaseError
from kapman_resources.sessions import expiry_closes, session_close, sessions_between
from kapman_resources.structure import pave, structure_fingerprint
from kapman_resources.tables import ticker_id
from tests.conftest import PROJECT, url_of
from tests.integration.conftest import TODAY, Platform

DASHBOARDS = sorted((PROJECT / "dashboards").glob("*.sql"))
SESSIONS = sessions_between(dt.date(2026, 10, 1), dt.date(2026, 11, 20))
NEWEST, BEFORE = SESSIONS[-1], SESSIONS[-2]

Panels = dict[int, list[dict[str, str]]]


@pytest.fixture(scope="module")
def psql(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A psql: the server's own, else the machine's."""
    home = tmp_path_factory.mktemp("psql")
    try:
        return str(EmbeddedServer(home, packages=PROJECT / ".kapman" / "packages").psql_path())
    except DatabaseError:
        found = shutil.which("psql")
        if found is None:
            pytest.skip("there is no psql here; `kapman db start` fetches one")
        return found


@contextmanager
def paved_database(server_url: str) -> Iterator[Database]:
    """A paved, empty database, dropped at the end."""
    name = f"kapman_test_{secrets.token_hex(4)}"
    database = Database(url_of(server_url, name), holder="tests")
    try:
        pave(database)
        yield database
    finally:
        with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def paved(server_url: str) -> Iterator[Database]:
    """Nothing but structure."""
    with paved_database(server_url) as database:
        yield database


@pytest.fixture(scope="module")
def filled(server_url: str) -> Iterator[Database]:
    """Four tickers: AAA trades always, BBB has a gap, CCC is new and wild, DDD never trades."""
    with paved_database(server_url) as database:
        with database.connect() as connection:
            _insert_reference(connection)
            _insert_bars(connection)
            _insert_options(connection)
        yield database


def run_psql(psql: str, database: Database, *arguments: str, session: str = "") -> str:
    """What psql prints; an SQL error or a word on stderr fails the test. The password is not an argument."""
    target = conninfo.conninfo_to_dict(database.url)
    environment = {**os.environ, "PGPASSWORD": str(target.pop("password", ""))}
    done = subprocess.run(
        [psql, "-X", "-v", "ON_ERROR_STOP=1", "-d", conninfo.make_conninfo("", **target), *arguments],
        input=session, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def panels(output: str) -> Panels:
    """The rows of every panel, by the number in its heading."""
    parts = re.split(r"^== (\d+)\..*==$", output, flags=re.MULTILINE)
    return {
        int(number): list(csv.DictReader(body.strip().splitlines()))
        for number, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def dashboard(psql: str, database: Database, name: str, **variables: object) -> Panels:
    """The panels of a dashboard run with these psql variables."""
    given = [argument for name, value in variables.items() for argument in ("-v", f"{name}={value}")]
    return panels(run_psql(psql, database, "--csv", *given, "-f", f"{PROJECT}/dashboards/{name}.sql"))


@pytest.mark.parametrize("script", DASHBOARDS, ids=lambda script: script.stem)
def test_empty_database_shows_every_panel(psql: str, paved: Database, script: Path) -> None:
    """Right after a pave: no division by zero, no missing variable, every heading there, in order."""
    shown = dashboard(psql, paved, script.stem, DETAIL=1)
    assert list(shown) == list(range(1, script.read_text().count("\\echo '== ") + 1))


@pytest.mark.parametrize("script", DASHBOARDS, ids=lambda script: script.stem)
def test_the_header_documents_every_variable(script: Path) -> None:
    """Purpose, a command to copy, and each variable with its default; nothing is asked for that isn't there."""
    header, body = script.read_text().split("\\if ", 1)
    assert re.match(r"-- [\w-]+(?: [\w-]+)* dashboard: .+[?.]\n--\n--   kapman db psql -v ", header)
    assert f"-f dashboards/{script.name}" in header and "Safe: one read-only transaction" in header
    documented = set(re.findall(r"^-- ([A-Z_]+)  +\S.*\(.+\)$", header, flags=re.MULTILINE))
    assert documented == set(re.findall(r"\{\?([A-Z_]+)\}", "\\if " + body))
    assert max(map(len, script.read_text().splitlines())) <= 120


def commands() -> list[str]:
    """Every psql command of the pages that runs a dashboard, as printed."""
    pages = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
    found = [re.findall(r"psql [^`\n]*-f /?dashboards/\w+\.sql", page.read_text()) for page in pages]
    return sorted({command for page in found for command in page})


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_pages_runs(psql: str, paved: Database, command: str) -> None:
    """Its dashboard is there, and its variables are those that the dashboard's header documents."""
    words = shlex.split(command)
    script = PROJECT / words[-1].lstrip("/")
    header = script.read_text().split("\\if ", 1)[0]
    for assignment in (word for option, word in pairwise(words) if option == "-v"):
        assert f"\n-- {assignment.split('=')[0]} " in header, assignment
    options = [word for pair in pairwise(words) if pair[0] == "-v" for word in pair]
    assert panels(run_psql(psql, paved, "--csv", *options, "-f", str(script)))


@pytest.mark.parametrize("script", DASHBOARDS, ids=lambda script: script.stem)
def test_a_rebuilt_platform_fits_one_screen(psql: str, repaved: Platform, script: Path) -> None:
    """At most 45 lines of at most 120 characters; a panel without rows says in its heading that this may be."""
    printed = run_psql(psql, repaved.database, "-f", str(script)).splitlines()
    assert len(printed) <= 45 and max(map(len, printed)) <= 120
    # A table without rows is its header, a rule, and an empty line.
    unexplained = [
        heading
        for heading, rule, rest in zip(printed, printed[2:], [*printed[3:], ""], strict=False)
        if heading.startswith("== ") and set(rule) <= set("-+") and not rest and "none is" not in heading
    ]
    assert unexplained == []
    detailed = dashboard(psql, repaved.database, script.stem, DETAIL=1)
    assert len(detailed) >= sum(line.startswith("== ") for line in printed)


@pytest.mark.parametrize("script", DASHBOARDS, ids=lambda script: script.stem)
def test_dashboards_only_read_and_leave_psql_as_it_was(psql: str, filled: Database, script: Path) -> None:
    """Included in a session, a dashboard leaves no transaction, no temporary object, no changed format."""
    session = (
        "\\pset\n"
        f"\\i {script}\n"
        "\\echo == end QUIET=:QUIET\n\\pset\n"
        "SELECT count(*) AS temporary FROM pg_class WHERE relpersistence = 't';\n"
        "CREATE TABLE kapman_meta.still_writable ();\nDROP TABLE kapman_meta.still_writable;\n"
    )
    printed = run_psql(psql, filled, "-At", session=session)
    before, rest = printed.split("\n== 1.", 1)
    after = rest.split("== end ")[1].splitlines()
    assert after == ["QUIET=off", *before.splitlines(), "0", "CREATE TABLE", "DROP TABLE"]


def test_ohlcv_dashboard_counts_what_is_there(psql: str, filled: Database) -> None:
    """The numbers of the totals, sanity and watchlist panels are those that were inserted."""
    shown = dashboard(psql, filled, "ohlcv_dashboard", DAYS_BACK=15, DETAIL=1)
    recent = [session for session in SESSIONS if session > NEWEST - dt.timedelta(days=15)]
    bars = 2 * len(SESSIONS) - 8 + 3
    assert shown[1] == [
        {"bars": str(bars), "first_bar": str(SESSIONS[0]), "last_bar": str(NEWEST), "tickers": "4",
         "tickers_with_bars": "3", "sessions_published": "1"}
    ]  # fmt: skip
    assert [row["session"] for row in shown[2]] == [str(session) for session in recent[:-6:-1]]
    assert shown[3][0]["fewest"] == "3" and shown[3][0]["under_50"] == "3"
    assert shown[4][0]["impossible_prices"] == "0" and shown[4][0]["range_over_25_percent"] == "3"
    assert [(row["symbol"], row["days"]) for row in shown[5]] == []
    assert shown[6] == [
        {"watchlist_id": "test", "active": "3", "with_ticker": "2", "with_bars": "2",
         "with_newest_bar": "2", "without_newest_bar": "NOSUCH"}
    ]  # fmt: skip
    assert [row["symbol"] for row in shown[7]] == ["CCC", "BBB", "AAA"]
    assert {row["symbol"] for row in shown[8]} == {"CCC"}
    assert [row["symbol"] for row in shown[9]] == ["AAA", "BBB", "CCC"]
    assert len(shown[10]) == 5 and shown[10][0]["close"] == "100"


def test_ohlcv_dashboard_obeys_its_variables(psql: str, filled: Database) -> None:
    """A longer look back finds the gap; SYMBOL_LIMIT cuts every list; SYMBOL picks the series."""
    shown = dashboard(psql, filled, "ohlcv_dashboard", DAYS_BACK=60, SYMBOL_LIMIT=2, DETAIL=1, SYMBOL="CCC")
    gap = [(row["symbol"], row["last_before"], row["first_after"]) for row in shown[5]]
    assert gap == [("BBB", str(SESSIONS[9]), str(SESSIONS[18]))]
    assert len(shown[2]) == len(shown[7]) == len(shown[9]) == 2
    assert [row["session"] for row in shown[10]] == [str(NEWEST), str(BEFORE)]


def test_options_dashboard_shows_the_newest_snapshot(psql: str, filled: Database) -> None:
    """Coverage against the active watchlist, chains, missing values and expirations of the newest snapshot."""
    shown = dashboard(psql, filled, "options_chains_dashboard", DETAIL=1)
    newest = shown[1][0]
    assert (newest["active_symbols"], newest["symbols"], newest["contracts"]) == ("3", "1", "60")
    assert (newest["calls"], newest["puts"], newest["with_gamma"]) == ("30", "30", "58")
    assert [(row["symbol"], row["reason"]) for row in shown[2]] == [
        ("BBB", "no chain"),
        ("NOSUCH", "no ticker"),
    ]
    assert [(row["session"], row["symbols"], row["contracts"]) for row in shown[3]] == [
        (str(NEWEST), "1", "60"),
        (str(BEFORE), "2", "120"),
    ]
    assert [(row["symbol"], row["no_gamma"]) for row in shown[4]] == [("ALL", "2"), ("AAA", "2")]
    assert shown[5][0]["symbol"] == "AAA" and shown[5][0]["put_call_oi"] == "2.00"
    assert [(row["expiration_date"], row["days"]) for row in shown[6]] == [("2026-12-18", "28")]


def test_dealer_dashboard_shows_the_documents(psql: str, filled: Database) -> None:
    """Statuses, walls and figures are those of the stored documents, which the real computation wrote."""
    shown = dashboard(psql, filled, "dealer_metrics_dashboard", DETAIL=1)
    assert shown[1] == [
        {"active_symbols": "3", "rows": "2", "with_dealer_metrics": "2", "full": "1", "limited": "0",
         "invalid": "1", "full_percent": "50.0"}
    ]  # fmt: skip
    assert [row["symbol"] for row in shown[2]] == ["NOSUCH"]
    assert {(row["status"], row["reason"]) for row in shown[3]} == {("FULL", "-"), ("INVALID", "no_options")}
    assert {row["filter"]: row["contracts"] for row in shown[4]}["missing_gamma"] == "2"
    with filled.connect() as connection:
        stored = connection.execute(
            """
            SELECT (d->>'gex_net')::float8 / 1e6, (d->>'gamma_flip')::float8, (d->'call_wall'->>'strike')::float8,
                   jsonb_array_length(d->'call_walls') + jsonb_array_length(d->'put_walls')
            FROM daily_snapshots s, LATERAL (SELECT s.dealer_metrics_json AS d) AS document
            WHERE ticker_id = %s AND time = %s
            """,
            (ticker_id("AAA"), session_close(NEWEST)),
        ).fetchone()
    assert stored is not None
    net, flip, call_wall, walls = stored
    first = shown[5][0]
    assert (first["symbol"], first["status"], first["spot"]) == ("AAA", "FULL", "100")
    assert float(first["gex_net"]) == pytest.approx(net, abs=0.005)
    assert first["gamma_flip"] == ("-" if flip is None else f"{flip:.2f}")
    assert float(first["call_wall"]) == call_wall
    assert len(shown[6]) == walls == 6
    assert [row["status"] for row in shown[7]] == ["FULL", "INVALID"]


def test_dealer_dashboard_picks_the_nth_snapshot(psql: str, filled: Database) -> None:
    """SNAPSHOT_N counts the snapshots that have dealer metrics, not those without; beyond them, nothing."""
    second = dashboard(psql, filled, "dealer_metrics_dashboard", SNAPSHOT_N=2)
    assert second[1][0]["with_dealer_metrics"] == "1"
    third = dashboard(psql, filled, "dealer_metrics_dashboard", SNAPSHOT_N=3)
    assert third[1][0]["rows"] == "0" and third[5] == []


def test_tickers_dashboard_names_what_the_lists_get_wrong(psql: str, filled: Database) -> None:
    """Types, lists and the symbol that is no ticker."""
    shown = dashboard(psql, filled, "tickers_watchlists_dashboard", DETAIL=1)
    assert (shown[1][0]["tickers"], shown[1][0]["active"], shown[1][0]["differ_in_case_only"]) == (
        "4",
        "4",
        "0",
    )
    assert [(row["type"], row["tickers"], row["percent"]) for row in shown[2]] == [("CS", "4", "100.0")]
    (lists,) = shown[3]
    assert (lists["active"], lists["left_it"], lists["without_ticker"]) == ("3", "1", "1")
    assert [(row["symbol"], row["reason"]) for row in shown[4]] == [("NOSUCH", "no ticker")]
    assert shown[5] == []
    assert [(row["joined"], row["left_it"], row["symbols"]) for row in shown[6]] == [
        ("3", "1", "AAA BBB -CCC NOSUCH")
    ]
    assert [row["symbol"] for row in shown[7]] == ["CCC"]


def test_snapshot_dashboard_counts_documents(psql: str, filled: Database) -> None:
    """Which documents each session has, and who lacks which."""
    shown = dashboard(psql, filled, "daily_snapshots_dashboard", DETAIL=1, SYMBOL="AAA")
    assert (shown[1][0]["rows"], shown[1][0]["tickers"]) == ("4", "2")
    assert [(row["session"], row["rows"], row["dealer"], row["complete"]) for row in shown[2]][:1] == [
        (str(NEWEST), "2", "2", "0")
    ]
    assert [(row["symbol"], row["ticker"], row["dealer"]) for row in shown[3]] == [
        ("AAA", "t", "t"),
        ("BBB", "t", "t"),
        ("NOSUCH", "f", "f"),
    ]
    assert [row["dealer"] for row in shown[7]] == ["FULL", "FULL", "-"]


def test_volatility_dashboard_shows_the_documents(psql: str, repaved: Platform) -> None:
    """Statuses, reasons and numbers are those of the stored documents."""
    shown = dashboard(psql, repaved.database, "volatility_metrics_dashboard", DETAIL=1, SYMBOL="AAPL")
    assert [row["symbol"] for row in shown[2]] == ["NOSUCH"]
    assert sum(int(row["symbols"]) for row in shown[3]) == int(shown[1][0]["with_metrics"]) == 4
    with repaved.connect() as connection:
        stored = connection.execute(
            "SELECT spot, round(100 * atm_iv_30d::numeric, 1)::text FROM analytics.volatility_metrics WHERE symbol = 'AAPL'"
        ).fetchone()
    assert stored is not None
    (newest,) = shown[7]
    assert (newest["session"], float(newest["spot"]), newest["iv_30d"]) == (str(TODAY), *stored)
    assert newest["iv_rank_status"] == "history_too_short"
    assert {row["status"] for row in shown[8]} == {row["status"] for row in shown[3]}


def test_coverage_dashboard_is_the_manifest(psql: str, repaved: Platform) -> None:
    """Every step and session, and what a later step doesn't have."""
    shown = dashboard(psql, repaved.database, "coverage_dashboard", SESSIONS=3)
    assert [row["asset"] for row in shown[1]] == [
        "schema", "tickers", "watchlists", "ohlcv", "options_chains", "daily_snapshots", "dealer_metrics",
        "volatility_metrics",
    ]  # fmt: skip
    assert {row["behind"] for row in shown[1]} == {"0"}
    assert len(shown[2]) == 3 and shown[2][0]["session"] == str(TODAY)
    assert (shown[2][0]["dealer"], shown[2][1]["dealer"]) == ("4", "-")
    assert {row["asset"]: row["sessions"] for row in shown[3]} == {
        "options_chains": "29", "dealer_metrics": "29", "volatility_metrics": "29",
    }  # fmt: skip
    assert shown[4] == shown[5] == [] and {"unknown symbol", "test symbol"} <= {
        row["reason"] for row in shown[6]
    }


def test_drift_dashboard_hashes_as_the_platform_does(psql: str, repaved: Platform) -> None:
    """Right after a rebuild nothing has drifted, and the SQL's structure is the platform's own fingerprint."""
    shown = dashboard(psql, repaved.database, "drift_dashboard")
    with repaved.connect() as connection:
        fingerprint = structure_fingerprint(connection)
    assert shown[1][0]["now"] == fingerprint[:32], (
        "dashboards/drift_dashboard.sql no longer writes the structure as kapman_resources/structure/fingerprint.py does"
    )
    assert shown[1][0]["same"] == "t"
    assert {row["asset"]: (row["compared"], row["same"], row["changed"]) for row in shown[2]} == {
        "tickers": ("1", "1", "0"), "watchlists": ("1", "1", "0"), "ohlcv": ("5", "5", "0"),
        "options_chains": ("1", "1", "0"), "daily_snapshots": ("5", "5", "0"), "dealer_metrics": ("1", "1", "0"),
        "volatility_metrics": ("1", "1", "0"),
    }  # fmt: skip
    assert shown[3] == shown[4] == []
    assert [(row["rows"], row["missing"], row["unknown"]) for row in shown[5]] == [("4", "-", "-")] * 4
    assert len(shown[6]) == 5


def test_drift_dashboard_sees_what_somebody_changed(psql: str, repaved: Platform) -> None:
    """A number, a document's key and a table of their own: each turns its panel, and going back turns it back."""
    change = (
        "UPDATE ohlcv SET volume = volume + 1 WHERE date = %(today)s AND ticker_id = %(id)s",
        "UPDATE daily_snapshots SET price_metrics_json = price_metrics_json || '{\"made_up\": 1}'"
        " WHERE time = %(close)s AND ticker_id = %(id)s",
        "UPDATE kapman_meta.load_manifest SET content_hash = content_hash || '!'"
        " WHERE asset = 'options_chains' AND partition_key = %(today)s::text",
        "CREATE TABLE kapman_meta.by_hand ()",
    )
    back = (
        "UPDATE ohlcv SET volume = volume - 1 WHERE date = %(today)s AND ticker_id = %(id)s",
        "UPDATE daily_snapshots SET price_metrics_json = price_metrics_json - 'made_up'"
        " WHERE time = %(close)s AND ticker_id = %(id)s",
        "UPDATE kapman_meta.load_manifest SET content_hash = rtrim(content_hash, '!')"
        " WHERE asset = 'options_chains' AND partition_key = %(today)s::text",
        "DROP TABLE kapman_meta.by_hand",
    )
    names = {"today": TODAY, "close": session_close(TODAY), "id": ticker_id("AAPL")}
    with repaved.connect() as connection:
        for statement in change:
            connection.execute(statement.encode(), names)
    try:
        shown = dashboard(psql, repaved.database, "drift_dashboard")
    finally:
        with repaved.connect() as connection:
            for statement in back:
                connection.execute(statement.encode(), names)
    assert shown[1][0]["same"] == "f"
    changed = {row["asset"]: row["changed_by_hand"] for row in shown[2] if row["changed"] != "0"}
    assert changed == dict.fromkeys(["ohlcv", "options_chains", "daily_snapshots"], str(TODAY))
    assert {(row["asset"], row["changed_source"]) for row in shown[3]} == {
        ("dealer_metrics", "options_chains"),
        ("volatility_metrics", "options_chains"),
    }
    assert [row["unknown"] for row in shown[5]] == ["-", "made_up", "-", "-"]
    assert dashboard(psql, repaved.database, "drift_dashboard")[1][0]["same"] == "t"


def _insert_reference(connection: Connection) -> None:
    for symbol in ("AAA", "BBB", "CCC", "DDD"):
        connection.execute(
            "INSERT INTO tickers (id, symbol, type, active) VALUES (%s, %s, 'CS', true)",
            (ticker_id(symbol), symbol),
        )
    for symbol, active in (("AAA", True), ("BBB", True), ("NOSUCH", True), ("CCC", False)):
        connection.execute(
            "INSERT INTO watchlists (watchlist_id, symbol, active, source, effective_date)"
            " VALUES ('test', %s, %s, 'test.txt', %s)",
            (symbol, active, NEWEST),
        )


def _insert_bars(connection: Connection) -> None:
    """AAA on every session, BBB without eight of them, CCC on the last three with ranges of half its price."""
    bars = [("AAA", session, 101.0, 99.0, 5000.0) for session in SESSIONS]
    bars += [("BBB", session, 101.0, 99.0, 2000.5) for session in SESSIONS[:10] + SESSIONS[18:]]
    bars += [("CCC", session, 130.0, 80.0, 10.0) for session in SESSIONS[-3:]]
    for symbol, session, high, low, volume in bars:
        connection.execute(
            "INSERT INTO ohlcv (ticker_id, date, open, high, low, close, volume) VALUES (%s, %s, 100, %s, %s, 100, %s)",
            (ticker_id(symbol), session, high, low, volume),
        )
    connection.execute(
        "INSERT INTO kapman_meta.load_manifest (asset, partition_key, sources) VALUES ('ohlcv', %s, '[]')",
        (str(NEWEST),),
    )


def _insert_options(connection: Connection) -> None:
    """AAA's chain in both snapshots, BBB's in the older one; two contracts lack gamma. Dealer metrics of both
    sessions, and one snapshot row without any in the middle of the day before."""
    for session, symbols in ((BEFORE, ["AAA", "BBB"]), (NEWEST, ["AAA"])):
        for symbol in symbols:
            for row in _chain(symbol).iter_rows(named=True):
                connection.execute(
                    """
                    INSERT INTO options_chains (time, ticker_id, expiration_date, strike_price, option_type,
                        bid, ask, volume, open_interest, implied_volatility, gamma)
                    VALUES (%(time)s, %(ticker_id)s, %(expiration_date)s, %(strike_price)s, %(option_type)s,
                        1, 1.1, %(volume)s, %(open_interest)s, %(implied_volatility)s, %(gamma)s)
                    """,
                    {**row, "time": session_close(session)},
                )
    _insert_dealer_metrics(connection, BEFORE, ["AAA"])
    _insert_dealer_metrics(connection, NEWEST, ["AAA", "BBB"])
    connection.execute(
        "INSERT INTO daily_snapshots (time, ticker_id, price_metrics_json, model_version) VALUES (%s, %s, '{}', 't')",
        (session_close(BEFORE) - dt.timedelta(hours=1), ticker_id("AAA")),
    )


def _chain(symbol: str) -> pl.DataFrame:
    strikes = [85.0 + n for n in range(30)]
    rows = [
        (ticker_id(symbol), dt.date(2026, 12, 18), strike, kind, 50, 100 if kind == "C" else 200, 0.25, gamma)
        for kind in ("C", "P")
        for strike in strikes
        for gamma in [None if strike == strikes[0] else 0.05 - 0.001 * abs(strike - 100)]
    ]
    names = ["ticker_id", "expiration_date", "strike_price", "option_type", "volume", "open_interest",
             "implied_volatility", "gamma"]  # fmt: skip
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None).with_columns(
        shares_per_contract=pl.lit(None, pl.Float64)
    )


def _insert_dealer_metrics(connection: Connection, session: dt.date, symbols: list[str]) -> None:
    """Documents of the real computation; only AAA has contracts."""
    contracts = _chain("AAA")
    frame = dealer_metrics(
        contracts.join(expiry_closes(contracts["expiration_date"]), on="expiration_date"),
        pl.DataFrame(
            [(ticker_id(symbol), symbol, 100.0, "ohlcv") for symbol in symbols],
            schema=["ticker_id", "symbol", "spot", "spot_source"], orient="row",
        ),
        snapshot_time=session_close(session), session=session, settings=DealerSettings(), model_version="test",
    )  # fmt: skip
    for row in frame.iter_rows(named=True):
        connection.execute(
            "INSERT INTO daily_snapshots (time, ticker_id, dealer_metrics_json, model_version)"
            " VALUES (%s, %s, %s, 'test')",
            (session_close(session), row["ticker_id"], row["dealer_metrics_json"]),
        )
