"""Nobody destroys a database that shouldn't be: production wants its name and a verified backup, another machine
wants its name, and each refusal says what would let it pass. A dry run and `kapman plan` change nothing at all."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg import conninfo

from kapman_assets.order import CHAIN
from kapman_resources.backups import BackupStore, verify
from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Database
from kapman_resources.errors import Refused
from kapman_resources.settings import settings
from kapman_resources.structure import Consent, pave, structure_fingerprint
from kapman_simulator import Simulator
from tests.integration.command_line import dagster_home, kapman
from tests.integration.conftest import TODAY, Platform, platform_on

Set = Callable[..., None]
FIRST = "2026-11-18"


@pytest.fixture(scope="module")
def loaded(
    server_url: str, vendor: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A platform with three sessions in it, shared by the tests that must not change it."""
    with platform_on(server_url, vendor.environment, tmp_path_factory.mktemp("guards")) as platform:
        assert platform.run("repave", first=FIRST, last=TODAY).success
        yield platform


@pytest.fixture
def set_(monkeypatch: pytest.MonkeyPatch) -> Iterator[Set]:
    """Set environment variables, and have the settings read again."""

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield change
    monkeypatch.undo()
    settings.cache_clear()


def everything(platform: Platform) -> tuple[Any, ...]:
    """Content, structure, bookkeeping and identity of the database."""
    with platform.connect() as connection:
        books = connection.execute(
            "SELECT oid, (SELECT jsonb_agg(to_jsonb(m) ORDER BY asset, partition_key) FROM kapman_meta.load_manifest m)"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        return database_hashes(connection), structure_fingerprint(connection), books


def config(**given: Any) -> dict[str, Any]:
    return {"ops": {"schema": {"config": given}}}


def sentence(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    failure = result.failure_data_for_node("schema")
    assert failure and failure.user_failure_data and failure.user_failure_data.description
    return failure.user_failure_data.description


def by_job(platform: Platform, **given: Any) -> dg.ExecuteInProcessResult:
    return platform.run("repave", first=FIRST, last=TODAY, config=config(**given), raise_on_error=False)


def by_asset(platform: Platform, **given: Any) -> dg.ExecuteInProcessResult:
    return platform.materialize("schema", config=config(pave=True, **given), raise_on_error=False)


# -- production -------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", [by_job, by_asset])
@pytest.mark.parametrize("name", ["", "kapman", "postgres"])
def test_production_wants_the_databases_own_name(loaded: Platform, set_: Set, door: Any, name: str) -> None:
    """Whoever launches job or asset from Python, the launchpad or a command meets the same asset."""
    before = everything(loaded)
    set_(KAPMAN_ENV="prod")
    said = sentence(door(loaded, confirm_database=name))
    assert f"This is production: a pave of '{loaded.database.name}' must name it" in said
    assert f'confirm_database: "{loaded.database.name}"' in said, "and how to confirm"
    assert everything(loaded) == before
    assert not list(loaded.home.glob("backups/full_*")), "no backup of what isn't destroyed"


def test_production_wants_a_backup_also_of_who_calls_pave_itself(loaded: Platform, set_: Set) -> None:
    """There is no way around the asset: the function that drops the database asks again."""
    before = everything(loaded)
    set_(KAPMAN_ENV="prod")
    with pytest.raises(Refused, match="must name it"):
        pave(loaded.database)
    with pytest.raises(Refused, match="no verified backup"):
        pave(loaded.database, Consent(loaded.database.name))
    assert everything(loaded) == before


def test_a_backup_that_fails_refuses_the_pave(
    loaded: Platform, set_: Set, tmp_path: Path, client_programs: None
) -> None:
    before = everything(loaded)
    (tmp_path / "file").write_text("no folder")
    set_(KAPMAN_ENV="prod", KAPMAN_BACKUP_URL=(tmp_path / "file" / "backups").as_uri())
    said = sentence(by_job(loaded, confirm_database=loaded.database.name))
    assert "is refused, because its backup failed" in said
    assert everything(loaded) == before


def test_a_confirmed_pave_in_production_rests_on_a_verified_backup(
    platform: Platform, set_: Set, client_programs: None
) -> None:
    """The backup holds what was destroyed; a database without rows needs none, and the run says so."""
    set_(KAPMAN_ENV="prod")
    confirmed = {"confirm_database": platform.database.name}

    def paved() -> Any:
        result = by_asset(platform, **confirmed)
        assert result.success
        (materialization,) = result.asset_materializations_for_node("schema")
        return materialization.metadata["backup"].value

    assert paved() == "none was taken", "there was no database"
    assert paved() == "none was taken", "it was empty"
    platform.materialize("tickers")
    with platform.connect() as connection:
        tickers = connection.execute("SELECT count(*) FROM tickers").fetchone()
    backup = verify(BackupStore.from_settings(settings()), paved())
    assert platform.value("SELECT count(*) FROM tickers") == 0
    assert {(table.name, table.rows) for table in backup.tables} >= {("public.tickers", *(tickers or ()))}


# -- other machines ------------------------------------------------------------------------------------


@contextmanager
def reached_from_elsewhere(url: str) -> Iterator[str]:
    """The server through an address of this machine that isn't loopback: its URL there."""
    target = conninfo.conninfo_to_dict(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the system picks the address that it would use
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def relay() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((str(target["host"]), int(target["port"])))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server((address, 0)) as listener:
        threading.Thread(target=relay, daemon=True).start()
        port = listener.getsockname()[1]
        yield conninfo.make_conninfo(url, host=address, port=port, sslmode="disable")
        listener.shutdown(socket.SHUT_RDWR)


def test_another_machine_wants_the_name_even_in_development(database: Database, set_: Set) -> None:
    """The address that was reached decides, whatever the URL calls it."""
    set_(KAPMAN_ENV="dev")
    pave(database)
    with reached_from_elsewhere(database.url) as url:
        there = conninfo.conninfo_to_dict(url)
        address = str(there["host"])
        disguised = conninfo.make_conninfo(url, host="localhost", hostaddr=address)
        several = conninfo.make_conninfo(url, host=f"127.0.0.1,{address}", port=f"1,{there['port']}")
        for remote in (url, disguised, several):
            with pytest.raises(
                Refused, match=r"not this machine: a pave of it must name it.*KAPMAN_PAVE_HOSTS"
            ):
                pave(Database(remote))
        set_(KAPMAN_PAVE_HOSTS="localhost, db.invalid")
        with pytest.raises(Refused, match="not this machine"):
            pave(Database(disguised))
        pave(Database(url), Consent(database.name))
        set_(KAPMAN_PAVE_HOSTS=f"db.invalid, {address}")
        pave(Database(several))
    pave(database)


# -- the lock ---------------------------------------------------------------------------------------


def test_a_lock_names_its_holder(loaded: Platform) -> None:
    holder = Database(loaded.database.url, "daily run 1a2b3c4d")
    with (
        holder.lock(exclusive=False),
        pytest.raises(Refused) as refused,
        loaded.database.lock(exclusive=True),
    ):
        pass
    assert re.search(
        r"in use by daily run 1a2b3c4d \(server process \d+, connected from \S+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)",
        str(refused.value),
    )


# -- dry runs --------------------------------------------------------------------------------------------


def test_a_dry_repave_is_green_and_does_nothing(loaded: Platform) -> None:
    """One step tells the plan, the others are skipped: nothing is materialized, checked or recorded."""
    before = everything(loaded)
    materialized = {
        name: loaded.instance.get_latest_materialization_event(dg.AssetKey(name)) for name in CHAIN
    }
    result = by_job(loaded, dry_run=True)
    assert result.success
    assert {event.step_key for event in result.all_events if event.is_step_skipped} >= set(CHAIN[1:])
    assert not result.get_asset_materialization_events() and not result.get_asset_check_evaluations()
    assert {
        name: loaded.instance.get_latest_materialization_event(dg.AssetKey(name)) for name in CHAIN
    } == materialized
    log = "\n".join(entry.user_message for entry in loaded.instance.all_logs(result.run_id))
    assert f"Dropped: database '{loaded.database.name}'" in log and "No guard objects." in log
    assert everything(loaded) == before


def test_a_dry_migration_names_what_is_pending(loaded: Platform) -> None:
    before = everything(loaded)
    assert loaded.materialize("schema", config=config(dry_run=True)).success
    assert everything(loaded) == before


def test_the_plan_tells_what_a_repave_would_do(loaded: Platform, set_: Set, tmp_path: Path) -> None:
    """Rows, chunks, files, sessions and refusals are those of the database, the bucket and the settings."""
    set_(DAGSTER_HOME=dagster_home(tmp_path))
    before = everything(loaded)
    plan = json.loads(kapman("plan", "--json").stdout)
    rows = {name: count for name, _, count in before[0]}
    assert {d["table"].removeprefix("public."): d["rows"] for d in plan["dropped"]}.items() >= rows.items()
    chunks = {d["table"]: d["chunks"] for d in plan["dropped"]}
    assert chunks["public.ohlcv"] == loaded.value("SELECT count(*) FROM show_chunks('ohlcv')")
    assert chunks["public.tickers"] is None
    assert plan["files"]["files"] == 30 and plan["files"]["known"] == 3 and plan["files"]["new"] == 27
    assert plan["files"]["bytes"] > 30 * 100
    assert plan["chains"] == {"sessions": 1, "archived_sessions": 1, "live_session": None, "live_chains": 0}
    assert plan["symbols"] == 4, "and NOSUCH, which is no ticker"
    assert plan["refusals"] == [] and plan["last_repave"] is None and plan["backup"] is None

    set_(KAPMAN_ENV="prod")
    refused = kapman("plan")
    assert refused.code == 0
    assert "WOULD BE REFUSED: This is production" in refused.text
    assert "Backed up first, and verified: the whole database, to file://" in refused.text
    with Database(loaded.database.url, "daily run 1a2b3c4d").lock(exclusive=False):
        held = kapman("plan", "--confirm", loaded.database.name)
    assert held.text.count("WOULD BE REFUSED") == 1 and "in use by daily run 1a2b3c4d" in held.text
    assert everything(loaded) == before
    assert kapman("summary").code == 1, "no run has been recorded"


def test_a_plan_of_nothing(platform: Platform, set_: Set, tmp_path: Path) -> None:
    """Before the first repave: no database, an empty vault."""
    set_(DAGSTER_HOME=dagster_home(tmp_path))
    plan = kapman("plan")
    assert plan.code == 0, plan.text
    assert "it would be made" in plan.text and "No guard objects." in plan.text
    with psycopg.connect(platform.database.url, dbname="postgres") as server:
        found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", (platform.database.name,))
        assert found.fetchone() is None


def test_a_dry_run_is_no_last_repave(loaded: Platform) -> None:
    from kapman_assets.plan import last_repave

    known = last_repave(loaded.instance)
    assert known and known.seconds > 0
    assert by_job(loaded, dry_run=True).success
    assert last_repave(loaded.instance) == known
