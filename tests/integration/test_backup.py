"""The promise: what the main job destroys can be brought back. A backup is one moment of the database, published
whole or not at all; restored, it has the very content; and nothing is replaced before that has been proved.

On a disk and on S3, through the commands and jobs that people use.
"""

import contextlib
import datetime as dt
import json
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import dagster as dg
import msgspec
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kapman_assets import backups as backup_jobs
from kapman_assets import defs
from kapman_resources import backups, structure
from kapman_resources.backups import Backup, BackupError, BackupStore, Drill
from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Database
from kapman_resources.errors import Refused
from kapman_resources.settings import settings
from kapman_resources.structure import structure_dump
from kapman_resources.tables import TICKER_NAMESPACE
from kapman_simulator import Simulator
from tests.conftest import url_of
from tests.faults.waiting import until
from tests.integration.command_line import FIRST, MARKET, WATCHLISTS, kapman
from tests.integration.conftest import TODAY, Platform, platform_on

NOW = dt.datetime(2026, 11, 21, 17, 30, 12, tzinfo=dt.UTC)
SECRET = "backup-marker-secret"
NAME = "full_20261121_1730"


@pytest.fixture(scope="module")
def platform(
    server_url: str, client_programs: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A repaved platform, shared by the module: a test that destroys it brings it back."""
    with (
        Simulator(MARKET) as vendor,
        platform_on(server_url, vendor.environment, tmp_path_factory.mktemp("platform"), WATCHLISTS) as fresh,
    ):
        assert fresh.run("repave", first=FIRST, last=TODAY).success
        yield fresh


@pytest.fixture(params=["file", "s3"])
def store(
    request: pytest.FixtureRequest, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BackupStore]:
    """An empty store, on a disk and on S3, named by the settings."""
    own = {"KAPMAN_BACKUP_URL": (tmp_path / "backups").as_uri()}
    if request.param == "s3":
        endpoint, bucket = request.getfixturevalue("s3_endpoint"), f"backups-{secrets.token_hex(4)}"
        keys = {"aws_access_key_id": "someone", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=bucket)
        own = {
            "KAPMAN_BACKUP_URL": f"s3://{bucket}/kapman",
            "KAPMAN_BACKUP_S3_ENDPOINT": endpoint,
            "KAPMAN_BACKUP_S3_ACCESS_KEY_ID": "someone",
            "KAPMAN_BACKUP_S3_SECRET_ACCESS_KEY": SECRET,
        }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield BackupStore.from_settings(settings())
    monkeypatch.undo()
    settings.cache_clear()


on_disk = pytest.mark.parametrize("store", ["file"], indirect=True)


@pytest.fixture
def beside(platform: Platform, server_url: str) -> Iterator[Database]:
    """A database that doesn't exist yet, to restore into."""
    name = f"{platform.database.name}_beside"
    yield Database(url_of(server_url, name), "tests")
    drop(server_url, name, f"{name}_restoring", f"{name}_before_restore")


def drop(server_url: str, *names: str) -> None:
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        for name in names:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def state(database: Database) -> tuple[list[tuple[str, str, int]], str, list[tuple]]:
    """Content, structure and bookkeeping."""
    with database.connect() as connection:
        loads = connection.execute("SELECT * FROM kapman_meta.load_manifest ORDER BY 1, 2").fetchall()
        return database_hashes(connection), structure_dump(connection), loads


def take(platform: Platform, store: BackupStore, at: dt.datetime = NOW) -> Backup:
    return backups.take(platform.database, store, taken_by="tests", at=at)


def test_destroyed_and_restored_it_is_the_same(
    platform: Platform, store: BackupStore, server_url: str
) -> None:
    """Backup, DROP DATABASE, restore: content, structure and bookkeeping are equal, and the platform goes on."""
    before = state(platform.database)
    taken = kapman("backup")
    assert taken.code == 0, taken.text
    location = taken.stdout.decode().splitlines()[-1]
    assert location.startswith(store.url.removeprefix("file://")) and location.endswith(".dump")
    drop(server_url, platform.database.name)
    restored = kapman("restore", location, "--yes")
    assert restored.code == 0, restored.text
    assert "every content hash equal" in restored.text
    assert state(platform.database) == before
    assert kapman("backup", "--verify").code == 0
    assert platform.materialize("watchlists").success


@on_disk
def test_a_repave_gives_what_the_backup_holds(platform: Platform, store: BackupStore) -> None:
    """Two ways back, one content: scenario A and scenario B agree."""
    taken = take(platform, store)
    assert platform.run("repave", first=FIRST, last=TODAY).success
    with platform.connect() as connection:
        rebuilt = {f"public.{name}": (rows, found) for name, found, rows in database_hashes(connection)}
    assert {
        table.name: (table.rows, table.hash) for table in taken.tables if table.name in rebuilt
    } == rebuilt


@on_disk
def test_a_manifest_tells_what_a_person_asks(platform: Platform, store: BackupStore) -> None:
    taken = take(platform, store)
    assert (taken.name, taken.database, taken.as_of) == (NAME, platform.database.name, TODAY)
    counted = {table.name: table.rows for table in taken.tables}
    assert counted["public.ohlcv"] == platform.value("SELECT count(*) FROM ohlcv") > 0
    assert counted["kapman_meta.load_manifest"] == platform.value(
        "SELECT count(*) FROM kapman_meta.load_manifest"
    )
    assert taken.dump_bytes == Path(store.location(NAME)).stat().st_size
    listing = json.loads(kapman("backup", "--list", "--json").stdout)
    assert [one["name"] for one in listing["backups"]] == [NAME]
    assert NAME in kapman("backup", "--list").text


def test_nothing_is_overwritten(platform: Platform, store: BackupStore) -> None:
    """A second backup in the same minute has a name of its own, and so has one beside a dump without a manifest."""
    assert [take(platform, store).name for _ in range(2)] == [NAME, f"{NAME}_2"]
    store._delete(f"{NAME}.json")
    assert take(platform, store).name == f"{NAME}_3"
    assert [rest.name for rest in backups.remains(store)] == [f"{NAME}.dump"]
    assert [one.name for one in store.backups()] == [f"{NAME}_2", f"{NAME}_3"]


@on_disk
def test_a_backup_is_one_moment_and_shows_no_password(
    platform: Platform, store: BackupStore, beside: Database
) -> None:
    """Rows committed while pg_dump is at work are neither in the dump nor in its manifest; `ps` shows no password."""
    password = str(conninfo_to_dict(platform.database.url).get("password") or "")
    taken: list[Backup] = []
    worker = threading.Thread(target=lambda: taken.append(take(platform, store)))
    before = state(platform.database)
    with psycopg.connect(platform.database.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.gate ()")
        try:
            with connection.transaction():
                connection.execute("LOCK TABLE public.gate")
                worker.start()
                programs = until(lambda: pg_dumps(platform), "pg_dump waits", still=worker.is_alive)
                assert all(password not in text for text in programs) or not password
                with platform.connect() as other:
                    other.execute("UPDATE watchlists SET source = 'later ' || source")
        finally:
            worker.join()
            connection.execute("DROP TABLE public.gate")
            connection.execute("UPDATE watchlists SET source = replace(source, 'later ', '')")
    assert state(platform.database)[0] == before[0]
    assert [(f"public.{name}", found) for name, found, _ in before[0]] == [
        (table.name, table.hash) for table in taken[0].tables if table.name.startswith("public.")
    ]
    backups.restore(beside, store, NAME)  # which compares the dump with the manifest
    assert state(beside)[0] == before[0]


def pg_dumps(platform: Platform) -> list[str]:
    """Command lines of the pg_dump that waits for a lock, if one does."""
    with platform.database.connect(autocommit=True, database="postgres") as connection:
        waits = connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock' "
            "AND query LIKE 'LOCK TABLE%%gate%%'",
            (platform.database.name,),
        ).fetchone()
    if not waits:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
    return [text for text in found if "pg_dump" in text]


@on_disk
def test_retention_keeps_the_newest_and_what_a_drill_has_proved(
    platform: Platform, store: BackupStore
) -> None:
    """Only a verified backup lets others go; the one that a drill has restored stays, however old."""
    first = take(platform, store)
    rest = [published_copy(store, first, NOW + dt.timedelta(days=day)) for day in range(1, 5)]
    store.record_drill(drill_of(first, NOW))
    foreign = published_copy(store, first, NOW - dt.timedelta(days=9), database="another")
    told: list[str] = []
    gone = backups.keep_newest(store, rest[-1], 2, by="tests", at=NOW, tell=told.append)
    assert [one.name for one in gone] == [rest[0].name, rest[1].name]
    left = {foreign.name, first.name, rest[2].name, rest[3].name}
    assert {one.name for one in store.backups()} == left
    assert {path.stem for path in Path(store.location(NAME)).parent.glob("*.dump")} == left
    assert all(one.name in text for one, text in zip(gone, told, strict=True))


def published_copy(store: BackupStore, like: Backup, at: dt.datetime, **changes: object) -> Backup:
    """Another backup with the same dump."""
    name = f"full_{at:%Y%m%d_%H%M}"
    copy = msgspec.structs.replace(like, name=name, taken_at=at, **changes)
    store.write_dump(name, list(store.read_dump(like.name)))
    store.publish(copy)
    return copy


def drill_of(backup: Backup, at: dt.datetime, error: str | None = None) -> Drill:
    return Drill(
        1, f"drill_{at:%Y%m%d_%H%M}", backup.name, backup.database, at, "tests", 1, 1, 1.0, 1.0, error
    )


@on_disk
def test_an_owner_gets_his_database_back(
    platform: Platform, store: BackupStore, beside: Database, server_url: str
) -> None:
    """The role that restores is a superuser; what it restores belongs to whom the database belonged, with his
    settings and grants, and to nobody else."""
    role = f"kapman_test_owner_{secrets.token_hex(4)}"
    take(platform, store)
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(sql.Identifier(role), SECRET)
        )
        admin.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                sql.Identifier(beside.name), sql.Identifier(role)
            )
        )
        for change in ("SET work_mem = '33MB'", "CONNECTION LIMIT 7"):
            admin.execute(sql.SQL("ALTER DATABASE {} " + change).format(sql.Identifier(beside.name)))
        admin.execute(sql.SQL("COMMENT ON DATABASE {} IS 'mine'").format(sql.Identifier(beside.name)))
    owner = Database(make_conninfo(beside.url, user=role, password=SECRET), "tests")
    try:
        with pytest.raises(BackupError, match=r"no superuser.*KAPMAN_RESTORE_URL"):
            backups.restore(owner, store, NAME)
        backups.restore(beside, store, NAME)
        with owner.connect() as connection:
            connection.execute("UPDATE ohlcv SET volume = 1 WHERE date = (SELECT max(date) FROM ohlcv)")
            connection.execute("CREATE INDEX ON ohlcv (volume)")
            connection.execute("DELETE FROM kapman_meta.load_manifest")
            found = connection.execute(
                "SELECT current_setting('work_mem'), datconnlimit, shobj_description(oid, 'pg_database'), "
                "current_setting('timescaledb.restoring') FROM pg_database WHERE datname = current_database()"
            ).fetchone()
        assert found == ("33MB", 7, "mine", "off")
    finally:
        drop(server_url, beside.name)
        with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@on_disk
def test_a_restore_asks_first_and_keeps_what_it_was_told_to_keep(
    platform: Platform, store: BackupStore, beside: Database
) -> None:
    """Nobody's database is replaced by accident: not without --yes, not somebody else's, not a kept one."""
    taken = take(platform, store)
    refused = kapman("restore", "latest")
    assert refused.code == 1 and "--yes" in refused.text and f"{taken.rows:,} rows" in refused.text
    for text in (f"replaces  database {platform.database.name!r}", "bars until 2026-11-20"):
        assert text in refused.text
    assert kapman("restore", "full_20200101_0000", "--yes").code == 1
    into = ("--into", beside.name, "--yes")
    assert kapman("restore", NAME, *into).code == 0
    kept = kapman("restore", NAME, *into, "--keep")
    assert kept.code == 0 and f"{beside.name}_before_restore" in kept.text
    again = kapman("restore", NAME, *into)
    assert again.code == 1 and "Drop or rename it" in again.text
    with psycopg.connect(beside.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA kapman_meta CASCADE")
    foreign = kapman("restore", NAME, *into)
    assert foreign.code == 1 and "is not KapMan's" in foreign.text


@on_disk
def test_a_restore_waits_for_nobody(platform: Platform, store: BackupStore) -> None:
    """While a load is at work a restore is refused, naming it; a backup isn't. While a repave is, both are."""
    take(platform, store)
    with platform.database.lock(exclusive=False):
        take(platform, store)
        with pytest.raises(Refused, match="in use by tests"):
            backups.restore(platform.database, store, NAME)
    with platform.database.lock(exclusive=True):
        with pytest.raises(Refused, match="in use by tests"):
            take(platform, store)
        assert backups.take(platform.database, store, taken_by="a pave", at=NOW, locked=True)


@on_disk
def test_backup_and_drill_as_jobs(
    platform: Platform, store: BackupStore, monkeypatch: pytest.MonkeyPatch, server_url: str
) -> None:
    """The scheduled jobs: a drill passes and is on record beside the backups; a damaged dump turns the check red."""
    monkeypatch.setattr(backup_jobs, "ON_DUTY", True)
    assert not judged(platform).passed  # nothing is there
    assert platform.run("backup").success
    assert "No backup has been proved" in str(judged(platform).description)
    assert platform.run("restore_drill").success
    assert judged(platform).passed
    (drill,) = store.drills()
    assert drill.passed and drill.restore_seconds and drill.backup == store.newest().name
    dump = Path(store.location(drill.backup))
    dump.write_bytes(dump.read_bytes()[:-1] + b"?")
    assert not platform.run("restore_drill", raise_on_error=False).success
    red = judged(platform)
    assert not red.passed and red.severity is dg.AssetCheckSeverity.ERROR
    assert "damaged" in str(red.description)
    with psycopg.connect(server_url, dbname="postgres") as admin:
        left = admin.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", (f"{platform.database.name}\\_%",)
        )
        assert left.fetchall() == []


def judged(platform: Platform) -> dg.AssetCheckEvaluation:
    """What the check says now."""
    job = defs.resolve_implicit_global_asset_job_def()
    key = dg.AssetCheckKey(dg.AssetKey("schema"), backup_jobs.CHECK)
    done = job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process(
        instance=platform.instance
    )
    (evaluation,) = done.get_asset_check_evaluations()
    return evaluation


@pytest.mark.parametrize(
    ("age", "drilled", "failed", "on_duty", "problem", "urgent"),
    [
        pytest.param(None, None, False, False, "", False, id="nothing asked for"),
        pytest.param(None, None, False, True, "There is no backup", True, id="none in production"),
        pytest.param(3.0, None, False, False, "", False, id="old, where nobody is on duty"),
        pytest.param(3.0, 3.0, False, True, "The newest backup is of", True, id="old in production"),
        pytest.param(
            1.0, None, False, True, "No backup has been proved", False, id="first drill not due yet"
        ),
        pytest.param(1.0, 10.0, False, True, "The last drill that passed", True, id="drill too old"),
        pytest.param(1.0, 1.0, True, False, "failed: broken", False, id="failed drill"),
        pytest.param(1.0, 1.0, True, True, "failed: broken", True, id="failed drill in production"),
        pytest.param(1.0, 8.0, False, True, "", False, id="as it should be"),
    ],
)
def test_when_the_check_is_red(
    age: float | None, drilled: float | None, failed: bool, on_duty: bool, problem: str, urgent: bool
) -> None:
    """Days since the backup and the drill, and what the check makes of them."""
    taken = [] if age is None else [backup_of(NOW - dt.timedelta(days=age))]
    drills = [] if drilled is None else [
        drill_of(taken[0], NOW - dt.timedelta(days=drilled), "broken" if failed else None)
    ]  # fmt: skip
    found = backup_jobs.standing(taken, drills, NOW, on_duty=on_duty)
    assert bool(found.problems) == bool(problem)
    assert problem in found.sentence
    assert found.urgent == urgent


def backup_of(at: dt.datetime) -> Backup:
    return Backup(
        1, f"full_{at:%Y%m%d_%H%M}", "kapman", "1", "kapman", at, "tests", TODAY, "17.1", "2.19.3", "apache",
        "0.1", "17.1", "", (), (), 1, 1, "", 1.0,
    )  # fmt: skip


def test_missing_programs_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client_programs: None
) -> None:
    """Who has no pg_dump of the server's version is told which package brings it."""
    monkeypatch.setenv("KAPMAN_HOME", str(tmp_path))
    settings.cache_clear()
    with pytest.raises(BackupError, match=r"PostgreSQL 99.*apt install postgresql-client-99"):
        backups.find_programs(990001)
    settings.cache_clear()
    found = backups.find_programs(170000)
    assert found.major >= 17 and os.access(found.folder / "pg_restore", os.X_OK)


def test_urls_of_stores(tmp_path: Path) -> None:
    """Credentials never belong into a URL, and the sentence doesn't repeat them."""
    for url in ("s3://key:marker@bucket/x", "ftp://bucket/x", "/backups"):
        with pytest.raises(BackupError, match="without credentials") as caught:
            BackupStore(url)
        assert "marker" not in str(caught.value)


def test_policies_wait_for_the_comparison_and_then_go_on(
    database: Database, client_programs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Community edition: rows that have expired since the backup come back with it and are compared; only then does
    retention take them, because TimescaleDB's scheduler works again."""
    monkeypatch.delenv("KAPMAN_AS_OF")  # which would pause them for good
    settings.cache_clear()
    structure.pave(database)
    store = BackupStore(tmp_path.as_uri())
    with database.connect() as connection:
        if connection.execute("SHOW timescaledb.license").fetchone() != ("timescale",):
            pytest.skip("this server runs the Apache edition, which has no policies")
        connection.execute(
            "SELECT alter_job(job_id, next_start => 'infinity') FROM timescaledb_information.jobs "
            "WHERE hypertable_name IS NOT NULL"
        )
        connection.execute(
            "INSERT INTO tickers (id, symbol, active) VALUES (uuid_generate_v5(%s, 'AAPL'), 'AAPL', true)",
            (TICKER_NAMESPACE,),
        )
        connection.execute(
            "INSERT INTO ohlcv (ticker_id, date, open, high, low, close, volume, transactions) "
            "SELECT id, current_date - 1000 + 50 * n, 10, 12, 9, 11, 1, 1 FROM tickers, generate_series(0, 19) n"
        )
    taken = backups.take(database, store, taken_by="tests", at=NOW)
    assert taken.rows == 21
    backups.restore(database, store, NAME)  # it fails if a row is missing

    def oldest_went() -> bool:
        with database.connect() as connection:
            return connection.execute("SELECT count(*) < 20 FROM ohlcv").fetchone() == (True,)

    until(oldest_went, "retention runs")
    monkeypatch.undo()
    settings.cache_clear()
