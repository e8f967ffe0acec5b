"""Promises: a pave gives the same empty structure every time and never destroys somebody else's database;
a migration destroys nothing; and every structural check notices when its subject is broken."""

import datetime as dt
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql
from psycopg.rows import dict_row

from kapman_resources.database import Connection, Database
from kapman_resources.errors import DatabaseError, Refused, StructureError
from kapman_resources.settings import settings
from kapman_resources.structure import (
    apply_lifecycle,
    drop_expired_chunks,
    migrate,
    pave,
    roll_back,
    structure_dump,
    structure_fingerprint,
)
from kapman_resources.structure.migrations import MIGRATIONS
from kapman_resources.structure_facts import STRUCTURE_AUDITS, STRUCTURE_PARAMETERS, StructureAudit
from kapman_resources.tables import TABLES, TICKER_NAMESPACE

AUDITS = {audit.name: audit for audit in STRUCTURE_AUDITS}
AAPL = uuid.uuid5(TICKER_NAMESPACE, "AAPL")


@pytest.fixture(scope="module", autouse=True)
def today_is_the_clocks() -> Iterator[None]:
    """Without KAPMAN_AS_OF, which other integration tests set."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("KAPMAN_AS_OF", raising=False)
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture
def as_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[dt.date]:
    """A day of the past as the platform's today."""
    day = dt.date(2024, 6, 28)
    monkeypatch.setenv("KAPMAN_AS_OF", day.isoformat())
    settings.cache_clear()
    yield day
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def paved(server_url: str) -> Iterator[Database]:
    """A paved database that the tests of this module share; they roll back what they do to it."""
    name = f"kapman_test_{secrets.token_hex(4)}"
    database = Database(conninfo.make_conninfo(server_url, dbname=name), holder="tests")
    pave(database)
    yield database
    with database.connect(autocommit=True, database="postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def connection(paved: Database) -> Iterator[Connection]:
    """A transaction in the shared paved database that is rolled back."""
    with paved.connect() as connection:
        yield connection
        connection.rollback()


def dump(database: Database) -> str:
    with database.connect() as connection:
        return structure_dump(connection)


def fill(connection: Connection, first: dt.date = dt.date(2026, 11, 20)) -> None:
    """One ticker with one bar."""
    connection.execute("INSERT INTO tickers (id, symbol, active) VALUES (%s, 'AAPL', true)", (AAPL,))
    bar(connection, first)


def bar(connection: Connection, date: dt.date, **changed: float | None) -> None:
    values: dict[str, Any] = {
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 100.5,
        "transactions": 7,
    }
    values |= changed
    connection.execute(
        "INSERT INTO ohlcv (ticker_id, date, open, high, low, close, volume, transactions) VALUES "
        "(%(ticker)s, %(date)s, %(open)s, %(high)s, %(low)s, %(close)s, %(volume)s, %(transactions)s)",
        {"ticker": AAPL, "date": date, **values},
    )


def ask(connection: Connection, audit: StructureAudit) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The audit's violations and facts."""
    with connection.cursor(row_factory=dict_row) as cursor:
        violations = cursor.execute(audit.violations, audit.parameters).fetchall()
        facts = cursor.execute(audit.facts, audit.parameters).fetchone()
    assert facts, f"{audit.name} shows no numbers"
    return violations, facts


def is_community(connection: Connection) -> bool:
    row = connection.execute("SHOW timescaledb.license").fetchone()
    return bool(row and row[0] == "timescale")


def require_community(connection: Connection) -> None:
    if not is_community(connection):
        pytest.skip("the Apache edition has no policies; set KAPMAN_TEST_DATABASE_URL to a Community server")


# -- pave ---------------------------------------------------------------------------------------


def test_two_paves_give_the_identical_structure_and_no_rows(database: Database) -> None:
    pave(database)
    first = dump(database)
    with database.connect() as connection:
        fill(connection)
    pave(database)
    assert dump(database) == first
    with database.connect() as connection:
        for table in TABLES:
            count = connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("public", table))
            )
            assert count.fetchone() == (0,), table


def test_the_dump_notices_a_single_changed_default(connection: Connection) -> None:
    before = structure_fingerprint(connection)
    connection.execute("ALTER TABLE recommendations ALTER COLUMN status SET DEFAULT 'closed'")
    assert structure_fingerprint(connection) != before


def test_the_dump_is_independent_of_the_session(connection: Connection) -> None:
    before = structure_dump(connection)
    connection.execute("SET LOCAL search_path = kapman_meta, public")
    connection.execute("SET LOCAL intervalstyle = 'iso_8601'")
    connection.execute("SET LOCAL datestyle = 'German'")
    assert structure_dump(connection) == before
    assert connection.execute("SHOW search_path").fetchone() == ("kapman_meta, public",), "left as it was"


def test_a_pave_keeps_what_the_database_is_besides_its_content(database: Database) -> None:
    role = f"kapman_reader_{secrets.token_hex(4)}"
    name, reader = sql.Identifier(database.name), sql.Identifier(role)
    describe = """
        SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocprovider, datcollate, datctype,
               datconnlimit, datallowconn, shobj_description(oid, 'pg_database'),
               -- A pave lets KapMan's own roles in, where a test beside this one has made them.
               (SELECT array_agg(entry::text ORDER BY entry::text) FROM unnest(datacl) AS entry
                WHERE entry::text !~ '^kapman_(owner|loader|reader)='),
               (SELECT array_agg(setrole::regrole || ' ' || line ORDER BY setrole, line)
                FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS line WHERE setdatabase = d.oid)
        FROM pg_database d WHERE datname = current_database()
    """
    with database.connect(autocommit=True, database="postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE {}").format(name))
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(reader))
        try:
            admin.execute(
                sql.SQL(
                    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' "
                    "LC_COLLATE 'C' LC_CTYPE 'C' CONNECTION LIMIT 77 OWNER {}"
                ).format(name, reader)
            )
            for statement in (
                'ALTER DATABASE {} SET search_path = "$user", public, "odd, name"',
                "ALTER DATABASE {} SET statement_timeout = '55s'",
                "ALTER DATABASE {} SET timescaledb.restoring = on",
                "ALTER ROLE {reader} IN DATABASE {} SET work_mem = '9MB'",
                "COMMENT ON DATABASE {} IS 'it''s ours'",
                "REVOKE ALL ON DATABASE {} FROM PUBLIC",
                "GRANT CONNECT ON DATABASE {} TO {reader} WITH GRANT OPTION",
            ):
                admin.execute(sql.SQL(statement).format(name, reader=reader))
            with psycopg.connect(database.url) as before:
                expected = before.execute(describe).fetchone()
            assert expected is not None
            pave(database)
            with psycopg.connect(database.url) as after:
                found = after.execute(describe).fetchone()
            assert found is not None
            assert found[:-1] == expected[:-1]
            assert found[-1] == [line for line in expected[-1] if "restoring" not in line]
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            admin.execute(sql.SQL("DROP ROLE {}").format(reader))


def test_an_owner_without_superuser_rights_can_pave(server_url: str) -> None:
    name, password = f"kapman_test_{secrets.token_hex(4)}", secrets.token_hex(16)
    identifier = sql.Identifier(name)
    owner = Database(conninfo.make_conninfo(server_url, dbname=name, user=name, password=password))
    with psycopg.connect(server_url, dbname="postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(identifier, password))
        try:
            pave(owner)
            first = dump(owner)
            pave(owner)
            assert dump(owner) == first
            admin.execute(sql.SQL("ALTER ROLE {} NOCREATEDB").format(identifier))
            with pytest.raises(DatabaseError, match="CREATEDB"):
                pave(owner)
            assert dump(owner) == first, "refused before anything was dropped"
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
            admin.execute(sql.SQL("DROP ROLE {}").format(identifier))


def test_a_pave_creates_a_database_that_does_not_exist(database: Database) -> None:
    with database.connect(autocommit=True, database="postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(database.name)))
    pave(database)
    assert "public.ohlcv" in dump(database)


def test_a_connected_client_in_an_open_transaction_is_terminated(database: Database) -> None:
    pave(database)
    with psycopg.connect(database.url) as client:
        client.execute("LOCK TABLE ohlcv")
        pave(database)
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")


def test_a_foreign_database_is_refused_and_left_alone(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE customers AS SELECT 1 AS id")
    for operation in (pave, migrate):
        with pytest.raises(Refused, match=r"not KapMan's.*public\.customers"):
            operation(database)
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (1,)


def test_a_killed_restore_is_named_and_a_pave_mends_it(database: Database) -> None:
    migrate(database)
    with database.connect(autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET timescaledb.restoring = on").format(sql.Identifier(database.name))
        )
    with pytest.raises(DatabaseError, match="restoring mode"):
        migrate(database)
    pave(database)
    assert migrate(database) == []


def test_dagsters_storage_is_never_dropped(database: Database) -> None:
    pave(database)
    with database.connect() as connection:
        connection.execute("CREATE TABLE runs (); CREATE TABLE event_logs ()")
    with pytest.raises(Refused, match="Dagster"):
        pave(database)


@pytest.mark.parametrize("name", ["postgres", "template0", "template1"])
def test_the_servers_own_databases_are_refused(server_url: str, name: str) -> None:
    with pytest.raises(Refused, match=name):
        pave(Database(conninfo.make_conninfo(server_url, dbname=name)))


def test_a_second_pave_at_the_same_time_is_refused_or_waits_its_turn(database: Database) -> None:
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            pave(database)
            outcomes.append("paved")
        except Refused as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "paved" in outcomes
    assert all(outcome == "paved" or "Another pave" in outcome for outcome in outcomes), outcomes
    assert "public.ohlcv" in dump(database)


# Kills its own process, as kill -9 does, before the first statement that contains the marker.
KILLED_PAVE = """
import os, signal, sys
import psycopg
from kapman_resources.database import Database
from kapman_resources.structure import pave

url, marker = sys.stdin.readline().strip(), sys.stdin.readline().strip()
execute = psycopg.Cursor.execute

def execute_or_die(self, query, *arguments, **options):
    text = query if isinstance(query, str) else query.as_string(self.connection)
    if marker in text:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, query, *arguments, **options)

psycopg.Cursor.execute = execute_or_die
pave(Database(url))
"""


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE DATABASE",
        'SET "statement_timeout"',
        "WITH (FORCE)",
        "RENAME TO",
        "ALLOW_CONNECTIONS true",
        "CREATE SCHEMA IF NOT EXISTS kapman_meta",
        "CREATE TABLE public.ohlcv",
        "INSERT INTO kapman_meta.migration_checksums",
        "COMMENT ON TABLE",
    ],
)
def test_a_pave_that_was_killed_is_completed_by_the_next_one(
    database: Database, paved: Database, statement: str
) -> None:
    """Wherever kill -9 hits, the next pave ends in the same structure and the database's settings survive."""
    with database.connect(autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET statement_timeout = '55s'").format(sql.Identifier(database.name))
        )
    child = subprocess.run(
        [sys.executable, "-c", KILLED_PAVE], input=f"{database.url}\n{statement}\n", text=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, "the pave never came to that statement"
    deadline = time.monotonic() + 30
    while True:
        try:
            pave(database)
            break
        except Refused:  # until the server has noticed that the dead client is gone
            assert time.monotonic() < deadline
    assert dump(database) == dump(paved)
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("55s",)


# -- migrations -----------------------------------------------------------------------------------


def migration_ids() -> list[str]:
    return sorted(path.stem for path in MIGRATIONS.glob("*.sql") if ".rollback" not in path.name)


def test_migrating_a_filled_database_destroys_nothing(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    applied = migrate(database)
    assert applied == migration_ids()
    before = dump(database)
    with database.connect() as connection:
        fill(connection)
    assert migrate(database) == []
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM ohlcv").fetchone() == (1,)
    assert dump(database) == before
    assert capfd.readouterr().out == "", "yoyo must not print"


def test_every_migration_can_be_taken_back_and_applied_again(database: Database) -> None:
    applied = migrate(database)
    before = dump(database)
    assert roll_back(database) == applied[::-1]
    with database.connect() as connection:
        left = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname IN ('public', 'analytics') "
            "OR (schemaname = 'kapman_meta' AND tablename !~ 'yoyo|migration_checksums') "
            "UNION ALL SELECT viewname FROM pg_views WHERE schemaname = 'analytics'"
        ).fetchall()
        assert left == []
    assert migrate(database) == applied
    assert dump(database) == before


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may change, in a folder with an awkward name."""
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "a [copy] of schema"))


def test_an_edited_migration_is_refused_by_name(database: Database, schema: Path) -> None:
    migrate(database, schema)
    with (schema / "0004.watchlists.sql").open("a") as file:
        file.write("CREATE INDEX ON public.watchlists (symbol);\n")
    with pytest.raises(StructureError, match=r"0004\.watchlists was edited"):
        migrate(database, schema)


def test_a_migration_of_a_newer_checkout_is_refused_by_name(database: Database, schema: Path) -> None:
    (schema / "9999.later.sql").write_text(
        "-- depends: 0012.analytics_quarantine\nCREATE TABLE kapman_meta.later ();\n"
    )
    assert migrate(database, schema)[-1] == "9999.later"
    with pytest.raises(StructureError, match=r"9999\.later.*doesn't know"):
        migrate(database)


def test_a_failing_migration_leaves_nothing_and_can_be_mended(database: Database, schema: Path) -> None:
    migrate(database, schema)
    before = dump(database)
    later = schema / "9999.later.sql"
    later.write_text(
        "-- depends: 0012.analytics_quarantine\nCREATE TABLE kapman_meta.later ();\nSELECT 1 / 0;\n"
    )
    with pytest.raises(StructureError, match=r"9999\.later failed.*division by zero"):
        migrate(database, schema)
    assert dump(database) == before
    later.write_text("-- depends: 0012.analytics_quarantine\nCREATE TABLE kapman_meta.later ();\n")
    assert migrate(database, schema) == ["9999.later"]


def test_the_lock_of_a_killed_migration_does_not_stop_the_next(database: Database) -> None:
    migrate(database)
    with database.connect() as connection:
        connection.execute("INSERT INTO kapman_meta.yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    assert migrate(database) == []
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM kapman_meta.yoyo_lock").fetchone() == (0,)


def test_concurrent_migrations_apply_each_migration_once(database: Database) -> None:
    applied: list[list[str]] = []
    threads = [threading.Thread(target=lambda: applied.append(migrate(database))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, applied)) == [0, 0, len(migration_ids())]


# -- constraints ----------------------------------------------------------------------------------


def test_ticker_ids_of_python_and_postgresql_are_the_same(connection: Connection) -> None:
    for symbol in ("AAPL", "BRK.B", "TpC", "Ä☃"):
        connection.execute(
            "INSERT INTO tickers (id, symbol, active) VALUES (%s, %s, true)",
            (uuid.uuid5(TICKER_NAMESPACE, symbol), symbol),
        )
    with pytest.raises(psycopg.errors.CheckViolation, match="tickers_id_check"):
        connection.execute(
            "INSERT INTO tickers (id, symbol, active) VALUES (%s, 'MSFT', true)", (uuid.uuid4(),)
        )


@pytest.mark.parametrize(
    ("changed", "constraint"),
    [
        ({"low": 0.0}, "prices"),
        ({"low": -1.0}, "prices"),
        ({"low": 10.5}, "prices"),
        ({"high": 10.5}, "prices"),
        ({"high": 8.0}, "prices"),
        ({"open": float("nan")}, "prices"),
        ({"close": float("nan")}, "prices"),
        ({"low": float("nan")}, "prices"),
        ({"high": float("nan")}, "prices"),
        ({"high": float("inf")}, "prices"),
        ({"volume": -1.0}, "volume"),
        ({"volume": float("nan")}, "volume"),
        ({"volume": float("inf")}, "volume"),
        ({"transactions": -1}, "transactions"),
    ],
)
def test_impossible_bars_are_rejected(
    connection: Connection, changed: dict[str, float], constraint: str
) -> None:
    fill(connection)
    bar(connection, dt.date(2026, 11, 19), transactions=None, volume=0)
    with pytest.raises(psycopg.errors.CheckViolation, match=f"ohlcv_{constraint}_check"):
        bar(connection, dt.date(2026, 11, 18), **changed)


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("option_type", "X", "option_type"),
        ("option_type", "c", "option_type"),
        ("strike_price", 0, "strike_price"),
        ("strike_price", "NaN", "strike_price"),
        ("bid", -0.01, "quotes"),
        ("ask", float("nan"), "quotes"),
        ("volume", -1, "counts"),
        ("open_interest", -1, "counts"),
        ("implied_volatility", float("inf"), "implied_volatility"),
        ("gamma", float("nan"), "greeks"),
        ("theta", float("-inf"), "greeks"),
        ("shares_per_contract", 0.0, "shares_per_contract"),
    ],
)
def test_impossible_contracts_are_rejected(
    connection: Connection, column: str, value: object, constraint: str
) -> None:
    fill(connection)
    statement = sql.SQL(
        "INSERT INTO options_chains (time, ticker_id, expiration_date, {}) "
        "VALUES ('2026-11-20 21:00+00', %(ticker)s, '2026-12-18', {})"
    )

    def insert(values: dict[str, object]) -> None:
        connection.execute(
            statement.format(
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(map(sql.Placeholder, values)),
            ),
            {"ticker": AAPL, **values},
        )

    insert({"strike_price": 100, "option_type": "C"})  # everything that may be absent is
    with pytest.raises(psycopg.errors.CheckViolation, match=f"options_chains_{constraint}_check"):
        insert({"strike_price": 105, "option_type": "C", column: value})


def test_rows_need_their_ticker(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="ohlcv_ticker_id_fkey"):
        bar(connection, dt.date(2026, 11, 20))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("direction", "UP"),
        ("action", "SHORT"),
        ("confidence", 1.01),
        ("confidence", "NaN"),
        ("status", "open"),
    ],
)
def test_recommendations_use_the_contracts_words(connection: Connection, column: str, value: object) -> None:
    fill(connection)
    connection.execute(
        "INSERT INTO daily_snapshots (time, ticker_id, model_version) VALUES ('2026-11-20 21:00+00', %s, '1')",
        (AAPL,),
    )
    values: dict[str, object] = {
        "id": uuid.uuid4(), "snapshot_time": "2026-11-20 21:00+00", "ticker_id": AAPL,
        "recommendation_date": "2026-11-20", "direction": "LONG", "action": "BUY", "confidence": 0.5,
    }  # fmt: skip
    statement = sql.SQL("INSERT INTO recommendations ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, [*values, "status"])),
        sql.SQL(", ").join(map(sql.Placeholder, [*values, "status"])),
    )
    connection.execute(statement, {**values, "status": "active"})
    with pytest.raises(psycopg.errors.CheckViolation, match=f"recommendations_{column}_check"):
        connection.execute(statement, {**values, "id": uuid.uuid4(), "status": "active", column: value})


# -- audits -----------------------------------------------------------------------------------------


def test_every_audit_passes_after_a_pave(connection: Connection) -> None:
    for audit in STRUCTURE_AUDITS:
        violations, facts = ask(connection, audit)
        if audit.name == "columnstore_is_available" and not is_community(connection):
            assert violations == [{"columnstore": "not available in this edition"}]
            assert (audit.severity, audit.blocking) == ("WARN", False)
        else:
            assert violations == [], (audit.name, facts)


BREAKAGES = [
    ("extensions_are_installed", 'DROP EXTENSION "uuid-ossp" CASCADE'),
    ("contract_tables_exist", "DROP TABLE watchlists CASCADE"),
    ("public_holds_nothing_else", "CREATE TABLE stray ()"),
    ("public_holds_nothing_else", "CREATE VIEW stray AS SELECT 1 AS one"),
    ("public_holds_nothing_else", "CREATE MATERIALIZED VIEW stray AS SELECT 1 AS one"),
    ("public_holds_nothing_else", "DROP TABLE watchlists CASCADE; CREATE VIEW watchlists AS SELECT 1 AS one"),
    ("no_ohlcv_daily_exists", "CREATE VIEW analytics.ohlcv_daily AS SELECT * FROM ohlcv"),
    ("no_ohlcv_daily_exists", "CREATE TABLE kapman_meta.ohlcv_daily ()"),
    ("no_contract_table_exists", "CREATE TABLE option_contracts ()"),
    ("no_contract_table_exists", 'CREATE VIEW "Contracts" AS SELECT 1 AS one'),
    ("columns_equal_declarations", "ALTER TABLE ohlcv ALTER COLUMN transactions SET NOT NULL"),
    ("columns_equal_declarations", "ALTER TABLE ohlcv DROP COLUMN transactions"),
    ("columns_equal_declarations", "ALTER TABLE tickers ADD COLUMN sector text"),
    ("columns_equal_declarations", "ALTER TABLE tickers ALTER COLUMN cik TYPE varchar(20)"),
    ("columns_equal_declarations", "COMMENT ON COLUMN ohlcv.open IS 'Another price.'"),
    ("keys_equal_declarations", "ALTER TABLE options_chains DROP CONSTRAINT options_chains_key"),
    ("keys_equal_declarations", "ALTER TABLE ohlcv DROP CONSTRAINT ohlcv_pkey"),
    ("foreign_keys_are_valid", "ALTER TABLE ohlcv DROP CONSTRAINT ohlcv_ticker_id_fkey"),
    (
        "foreign_keys_are_valid",
        "ALTER TABLE daily_snapshots DROP CONSTRAINT daily_snapshots_ticker_id_fkey, ADD CONSTRAINT "
        "daily_snapshots_ticker_id_fkey FOREIGN KEY (ticker_id) REFERENCES tickers (id) NOT VALID",
    ),
    ("check_constraints_are_valid", "ALTER TABLE ohlcv DROP CONSTRAINT ohlcv_prices_check"),
    ("hypertables_are_registered", "SELECT set_chunk_time_interval('ohlcv', interval '7 days')"),
    (
        "hypertables_are_registered",
        "SELECT create_hypertable('daily_snapshots', by_range('time'), create_default_indexes => false)",
    ),
    (
        "hypertables_are_registered",
        "DROP TABLE ohlcv; CREATE TABLE ohlcv (ticker_id uuid, date date)",
    ),
    ("analytics_views_exist", "DROP VIEW analytics.dealer_walls"),
    ("analytics_views_exist", "DROP VIEW analytics.gex_profile; CREATE TABLE analytics.gex_profile ()"),
]


@pytest.mark.parametrize(("name", "breakage"), BREAKAGES)
def test_each_audit_fails_when_its_subject_is_broken(
    connection: Connection, name: str, breakage: str
) -> None:
    if "create_hypertable" in breakage:  # foreign keys may not point to a hypertable
        connection.execute("ALTER TABLE recommendations DROP CONSTRAINT recommendations_snapshot_fkey")
    connection.execute(breakage)
    violations, _ = ask(connection, AUDITS[name])
    assert violations


def test_a_missing_policy_is_noticed(connection: Connection) -> None:
    require_community(connection)
    retention, columnstore = AUDITS["retention_is_730_days"], AUDITS["columnstore_after_120_days"]
    connection.execute("SELECT remove_retention_policy('ohlcv')")
    violations, facts = ask(connection, retention)
    assert [row["hypertable"] for row in violations] == ["ohlcv"]
    assert facts["policies"] == 1
    connection.execute("CALL remove_columnstore_policy('options_chains')")
    assert len(ask(connection, columnstore)[0]) == 1
    apply_lifecycle(connection)
    assert ask(connection, retention)[0] == ask(connection, columnstore)[0] == []


def test_an_expired_chunk_is_noticed(connection: Connection) -> None:
    """Also on the Community edition, whose scheduled policy may fail night after night."""
    retention = AUDITS["retention_is_730_days"]
    newest = dt.date(2026, 11, 20)
    fill(connection, newest)
    bar(connection, newest - dt.timedelta(days=800))
    violations, facts = ask(connection, retention)
    assert [row["hypertable"] for row in violations] == ["ohlcv"]
    assert facts["enforcer"] == ("policy" if is_community(connection) else "platform job")


@pytest.mark.parametrize("day_of_chunk", [0, 8, 29])
def test_the_whole_window_has_not_expired_wherever_chunks_begin(
    connection: Connection, day_of_chunk: int
) -> None:
    newest = dt.date(1970, 1, 1) + dt.timedelta(days=690 * 30 + day_of_chunk)
    fill(connection, newest)
    bar(connection, newest - dt.timedelta(days=729))
    assert ask(connection, AUDITS["retention_is_730_days"])[0] == []


def test_the_audits_share_one_set_of_parameters() -> None:
    for audit in STRUCTURE_AUDITS:
        for name, value in audit.parameters.items():
            assert STRUCTURE_PARAMETERS[name] == value, (audit.name, name)
        assert audit.violations % dict.fromkeys(audit.parameters, "x")
        assert audit.facts % dict.fromkeys(audit.parameters, "x")


# -- lifecycle ----------------------------------------------------------------------------------------


def test_the_lifecycle_is_applied_once_and_names_its_enforcer(connection: Connection) -> None:
    jobs = (
        "SELECT job_id, config FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL ORDER BY 1"
    )
    before = connection.execute(jobs).fetchall()
    lifecycle = apply_lifecycle(connection)
    assert connection.execute(jobs).fetchall() == before
    if is_community(connection):
        assert (lifecycle.enforcer, lifecycle.columnstore) == ("policy", "available")
        assert len(before) == 3
    else:
        assert (lifecycle.enforcer, lifecycle.columnstore) == (
            "platform job",
            "not available in this edition",
        )
        assert before == []


def test_the_lifecycle_does_not_depend_on_the_search_path(connection: Connection) -> None:
    connection.execute("SET LOCAL search_path = 'analytics'")
    if is_community(connection):
        connection.execute("SELECT public.remove_retention_policy('public.ohlcv')")
        connection.execute("CALL public.remove_columnstore_policy('public.options_chains')")
    apply_lifecycle(connection)
    assert ask(connection, AUDITS["retention_is_730_days"])[0] == []
    assert ask(connection, AUDITS["columnstore_after_120_days"])[0] == []


def test_a_policy_with_another_interval_is_replaced(connection: Connection) -> None:
    require_community(connection)
    connection.execute("SELECT remove_retention_policy('ohlcv')")
    connection.execute("SELECT add_retention_policy('ohlcv', interval '90 days')")
    assert ask(connection, AUDITS["retention_is_730_days"])[0]
    apply_lifecycle(connection)
    assert ask(connection, AUDITS["retention_is_730_days"])[0] == []


def test_by_the_clock_the_policy_drops_expired_chunks_and_the_platform_does_not(database: Database) -> None:
    pave(database)
    with database.connect(autocommit=True) as connection:
        require_community(connection)
        today = dt.datetime.now(dt.UTC).date()
        fill(connection, today)
        bar(connection, today - dt.timedelta(days=800))
        assert drop_expired_chunks(database, today) == []
        (job,) = connection.execute(
            "SELECT job_id FROM timescaledb_information.jobs "
            "WHERE proc_name = 'policy_retention' AND hypertable_name = 'ohlcv'"
        ).fetchall()
        connection.execute("CALL run_job(%s)", job)  # what the scheduler does once a day
        assert connection.execute("SELECT array_agg(date) FROM ohlcv").fetchone() == ([today],)


def test_as_of_pauses_the_retention_policies_and_the_clock_resumes_them(
    database: Database, as_of: dt.date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock they would drop sessions of the window that ends on a day of the past."""
    states = (
        "SELECT array_agg(scheduled) FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"
    )
    pave(database)
    with database.connect(autocommit=True) as connection:
        require_community(connection)
        assert connection.execute(states).fetchone() == ([False, False],)
        assert apply_lifecycle(connection).enforcer == "platform job"
        assert ask(connection, AUDITS["retention_is_730_days"])[0] == []
        monkeypatch.delenv("KAPMAN_AS_OF")
        settings.cache_clear()
        assert migrate(database) == []
        assert connection.execute(states).fetchone() == ([True, True],)
        assert apply_lifecycle(connection).enforcer == "policy"


def test_the_platform_drops_whole_expired_chunks_only(database: Database, as_of: dt.date) -> None:
    pave(database)
    expires = as_of - dt.timedelta(days=730)
    with database.connect() as connection:
        fill(connection, as_of)
        for days in (-400, -31, 0, 1):
            bar(connection, expires + dt.timedelta(days=days))
    assert len(drop_expired_chunks(database, as_of)) == 2
    with database.connect() as connection:
        oldest = connection.execute("SELECT min(date), count(*) FROM ohlcv").fetchone()
    assert oldest == (expires, 3), "the day on the border shares a chunk with later ones"
    assert drop_expired_chunks(database, as_of) == []
