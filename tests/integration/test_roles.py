"""Least privilege holds: a repave by an owner and a loader gives the same content as one by a superuser; the loader
writes rows and changes no structure; the reader reads everything, also after the next pave, and writes nothing."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import conninfo, sql

from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Database
from kapman_resources.settings import SettingsError, settings
from kapman_resources.structure import make_roles
from kapman_resources.structure.roles import LOADER, OWNER, READER, ROLES, existing_roles, script
from kapman_simulator import Simulator
from tests.conftest import url_of
from tests.faults.waiting import until
from tests.integration.command_line import kapman
from tests.integration.conftest import TODAY, Platform, platform_on
from tests.integration.test_columnstore import convert


@dataclass(frozen=True)
class Roles:
    """The server as each of the three roles."""

    server_url: str
    password: str

    def url(self, role: str, database: str = "postgres") -> str:
        return conninfo.make_conninfo(self.server_url, user=role, password=self.password, dbname=database)


@pytest.fixture(scope="module")
def roles(server_url: str) -> Iterator[Roles]:
    """The three roles, made as the command makes them, with a password; gone at the end."""
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        if existing_roles(admin):
            pytest.skip("the server has KapMan's roles already: they are somebody's, and stay as they are")
        assert make_roles(admin) == ROLES
        password = secrets.token_hex(16)
        for role in ROLES:
            admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), password))
        yield Roles(server_url, password)
        for role in ROLES:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


FIRST = "2026-11-16"


@dataclass(frozen=True)
class Separated:
    """A platform that was repaved by its owner alone, and again by owner and loader."""

    platform: Platform
    by_owner: list[tuple[str, str, int]]

    @property
    def name(self) -> str:
        return self.platform.database.name

    def hashes(self) -> list[tuple[str, str, int]]:
        with self.platform.connect() as connection:
            return database_hashes(connection)


@pytest.fixture(scope="module")
def separated(
    roles: Roles, vendor: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Separated]:
    home = tmp_path_factory.mktemp("separated")
    with (
        platform_on(roles.url(OWNER), vendor.environment, home) as platform,
        pytest.MonkeyPatch.context() as environment,
    ):
        assert platform.run("repave", first=FIRST, last=TODAY).success
        alone = Separated(platform, []).hashes()
        # As under docker compose: the password beside the URL, which wins over one in it.
        url = roles.url(LOADER, platform.database.name).replace(roles.password, "another")
        environment.setenv("KAPMAN_LOADER_URL", url)
        environment.setenv("KAPMAN_LOADER_PASSWORD", roles.password)
        settings.cache_clear()
        assert platform.run("repave", first=FIRST, last=TODAY).success
        yield Separated(platform, alone)


def test_owner_and_loader_make_the_same_content(separated: Separated) -> None:
    """The loader owns nothing: its rows make chunks of the owner's, and prove their keys on the way."""
    assert separated.hashes() == separated.by_owner
    with separated.platform.connect() as connection:
        owners = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public' OR tablename LIKE '_hyper_%'"
        ).fetchall()
        chunks = connection.execute("SELECT count(*) FROM show_chunks('ohlcv')").fetchone()
    assert owners == [(OWNER,)] and chunks != (0,)


def test_the_loader_mends_a_damaged_session(separated: Separated) -> None:
    """Damage is mended row by row, too: staging, deleting and inserting are all that it takes."""
    with separated.platform.connect() as connection:
        connection.execute("DELETE FROM ohlcv WHERE date = '2026-11-18' AND volume > 1e6")
    assert separated.platform.materialize("ohlcv", partition="2026-11-18").success
    assert separated.hashes() == separated.by_owner


def test_the_loader_mends_a_session_in_the_columnstore(separated: Separated) -> None:
    """Chunks that the owner's policy has converted take the loader's rows, and convert again."""
    platform = separated.platform
    if platform.value("SHOW timescaledb.license") != "timescale":
        pytest.skip(
            "the Apache edition has no columnstore; set KAPMAN_TEST_DATABASE_URL to a Community server"
        )
    with platform.connect() as connection:
        connection.execute("DELETE FROM options_chains WHERE option_type = 'P' AND time::date = %s", (TODAY,))
    convert(platform)
    assert separated.hashes() != separated.by_owner
    assert platform.materialize("options_chains", partition=TODAY).success
    convert(platform)
    assert separated.hashes() == separated.by_owner


FORBIDDEN_TO_BOTH = [
    "CREATE TABLE public.mine ()",
    "CREATE TABLE kapman_meta.mine ()",
    "CREATE SCHEMA mine",
    "DROP TABLE public.ohlcv CASCADE",
    "DROP VIEW analytics.loads",
    "ALTER TABLE public.ohlcv DROP CONSTRAINT ohlcv_pkey",
    "ALTER TABLE public.tickers ADD COLUMN mine text",
    "TRUNCATE public.ohlcv",
    "TRUNCATE public.watchlists",
    "SELECT drop_chunks('public.ohlcv', older_than => DATE '2100-01-01')",
    "SELECT set_chunk_time_interval('public.ohlcv', INTERVAL '1 day')",
    "DELETE FROM kapman_meta.migration_checksums",
    "SET session_replication_role = replica",
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
]
FORBIDDEN_TO_READER = [
    "INSERT INTO public.tickers (id, symbol, active) VALUES (uuid_generate_v4(), 'MINE', true)",
    "UPDATE public.ohlcv SET close = close",
    "DELETE FROM public.options_chains",
    "SELECT raw FROM kapman_meta.quarantine",
    "SELECT * FROM kapman_meta.migration_checksums",
    "DELETE FROM kapman_meta.quarantine",
    "UPDATE kapman_meta.load_manifest SET content_hash = ''",
    "SELECT id FROM public.tickers FOR UPDATE",
]


@pytest.mark.parametrize("role", [LOADER, READER])
def test_neither_changes_structure_nor_drops_chunks(separated: Separated, roles: Roles, role: str) -> None:
    with psycopg.connect(roles.url(role, separated.name), autocommit=True) as connection:
        for statement in FORBIDDEN_TO_BOTH + (FORBIDDEN_TO_READER if role == READER else []):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
                pytest.fail(f"{role} may: {statement}")
    with (
        psycopg.connect(roles.url(role), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(separated.name)))


def test_the_reader_reads_every_table_and_view_after_the_second_pave(
    separated: Separated, roles: Roles
) -> None:
    with psycopg.connect(roles.url(READER, separated.name)) as connection:
        relations = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = 'public' OR tablename = 'load_manifest'"
            " UNION ALL SELECT schemaname, viewname FROM pg_views WHERE schemaname = 'analytics'"
        ).fetchall()
        assert len(relations) > 15
        for name in relations:
            connection.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(*name))).fetchall()
        assert database_hashes(connection)[2][2] > 0


def test_the_market_page_is_whole_for_the_reader(separated: Separated, roles: Roles) -> None:
    """Every dataset, and every check of the data-health tab."""
    from kapman_market.app import make_app
    from kapman_market.connections import ReadOnlyDatabase
    from kapman_market.downloads import _DATASETS
    from kapman_market.health import HealthChecks

    database = ReadOnlyDatabase(lambda: roles.url(READER, separated.name))
    try:
        client = make_app(database).server.test_client()
        for dataset in _DATASETS:
            answer = client.get(f"/csv/{dataset}?symbol=AAPL")
            assert (answer.status_code, answer.text.count("\n") > 1) == (200, True), (dataset, answer.text)
        checks = HealthChecks(database)
        board = checks.board("as it is")
        until(lambda: not board.running, "all checks asked")
        assert board.trouble is None
        assert [(one.audit.name, one.numbers) for one in board.checks if one.status == "not asked"] == []
        assert len(board.checks) > 40
    finally:
        database.close()


def test_a_loader_url_of_another_database_is_refused(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    from kapman_assets.resources import loader_of

    monkeypatch.setenv("KAPMAN_LOADER_URL", roles.url(LOADER, "elsewhere"))
    settings.cache_clear()
    try:
        with pytest.raises(SettingsError, match=r"'elsewhere'.*'kapman'"):
            loader_of(Database(roles.url(OWNER, "kapman")))
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_existing_roles_are_left_as_they_are(roles: Roles, server_url: str) -> None:
    """Neither attributes nor passwords change when the roles are set up again, by the command or by its script."""
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 7").format(sql.Identifier(READER)))
        look = "SELECT to_jsonb(r) FROM pg_authid r WHERE rolname = ANY (%s) ORDER BY rolname"
        before = admin.execute(look, (list(ROLES),)).fetchall()
        assert make_roles(admin) == ()
        assert admin.execute(look, (list(ROLES),)).fetchall() == before


def test_the_command_prints_a_script_and_applies_it(
    separated: Separated, roles: Roles, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rights that somebody has taken away are granted again; no password is in the script."""
    name = separated.name
    with psycopg.connect(server_url, autocommit=True, dbname=name) as admin:
        admin.execute(
            sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(sql.Identifier(READER))
        )
    monkeypatch.setenv("DATABASE_URL", url_of(server_url, name))
    printed = kapman("db", "roles")
    assert printed.code == 0 and printed.stdout.decode().strip().endswith(script(name))
    assert "PASSWORD" not in printed.text and roles.password not in printed.text
    applied = kapman("db", "roles", "--apply")
    assert applied.code == 0, applied.text
    assert "left as" in applied.text
    with psycopg.connect(roles.url(READER, name)) as connection:
        connection.execute("SELECT count(*) FROM public.ohlcv")
    monkeypatch.undo()
    settings.cache_clear()
