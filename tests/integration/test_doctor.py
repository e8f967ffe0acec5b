"""`kapman doctor` finds what is wrong and says how to mend it: it never hangs, starts nothing, shows no secret, and
one thing that is broken doesn't hide the others.
"""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._daemon.types import DaemonHeartbeat
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kapman_assets import diagnosis as dagster_diagnosis
from kapman_resources.diagnosis import Finding, database, diagnose, machine
from kapman_resources.settings import settings
from kapman_simulator import MarketOptions, Simulator
from tests.integration.command_line import dagster_home, kapman
from tests.integration.conftest import TODAY, Platform, platform_on

SECRETS = ("MASSIVE_API_KEY", "KAPMAN_S3_ACCESS_KEY_ID", "KAPMAN_S3_SECRET_ACCESS_KEY")


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    """A vendor of this module's own: it is told to refuse."""
    with Simulator(
        MarketOptions(symbols=60, sessions=3, underlyings=2, contracts=40, today=TODAY)
    ) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def paved(server_url: str, vendor: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A paved platform, with Dagster's records in a folder of its own."""
    home = tmp_path_factory.mktemp("platform")
    with pytest.MonkeyPatch.context() as patched, platform_on(server_url, vendor.environment, home) as fresh:
        patched.setenv("DAGSTER_HOME", dagster_home(home))
        fresh.materialize("schema")
        yield fresh


def examined() -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code of `kapman doctor --json`, and its findings by name."""
    ended = kapman("doctor", "--json")
    return ended.code, {finding["name"]: finding for finding in json.loads(ended.stdout)["findings"]}


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Other settings for a while; an empty one counts as not set."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in variables.items():
            patched.setenv(name, value)
        settings.cache_clear()
        yield
    settings.cache_clear()


def administer(platform: Platform, statement: sql.Composable) -> None:
    """A statement beside the database."""
    with psycopg.connect(platform.database.url, dbname="postgres", autocommit=True) as admin:
        admin.execute(statement)


def test_a_sound_platform_passes(paved: Platform, vendor: Simulator) -> None:
    """Everything is looked at, nothing fails, every warning has its fix, and no secret is shown."""
    ended = kapman("doctor")
    code, found = examined()
    assert (ended.code, code) == (0, 0), ended.text
    assert {name for name, one in found.items() if one["status"] == "ok"} >= {
        "python", "disk: home", "disk: vault", "database", "clock of the database", "TimescaleDB",
        "market database", "lifecycle policies", "credentials: API key", "credentials: S3 key pair",
        "entitlement: reference tickers", "entitlement: option snapshots", "clock of the vendor", "flat files",
        "vault", "Dagster", "runs", "schedules and sensors", "backups",
    }  # fmt: skip
    assert all(one["fix"] for one in found.values() if one["status"] != "ok")
    assert found["daemon"]["found"] == "has never run here"
    for name in SECRETS:
        assert vendor.environment[name] not in ended.text
    assert not list(Path(settings().home).rglob("*probe*"))


def test_what_the_vendor_refuses_is_told_apart(vendor: Simulator, paved: Platform) -> None:
    """401 is the key, 403 the plan; the S3 secret is neither."""
    with environment(MASSIVE_API_KEY="wrong-key-1", KAPMAN_S3_SECRET_ACCESS_KEY="wrong-secret-1"):
        ended = kapman("doctor")
    assert ended.code == 1
    assert "FAIL  entitlement: option snapshots: status 401: the key is not known" in ended.text
    assert "does not accept the S3 secret" in ended.text
    assert "wrong-" not in ended.text
    vendor.set_faults(["forbidden=options"])
    try:
        code, found = examined()
    finally:
        vendor.set_faults([])
    assert code == 1
    assert found["entitlement: option snapshots"]["found"].startswith("status 403")
    assert found["entitlement: reference tickers"]["status"] == "ok"
    with environment(KAPMAN_S3_SECRET_ACCESS_KEY=""):
        assert examined()[1]["credentials: S3 key pair"]["found"] == "only half of it is set"


def test_a_database_that_is_down_hides_nothing_else(paved: Platform) -> None:
    """One line about the server, in a sentence without the password; the other lines as ever."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = make_conninfo(
            paved.database.url, host="127.0.0.1", port=closed.getsockname()[1], password="marker-password-1"
        )
        with environment(DATABASE_URL=url):
            code, found = examined()
    assert code == 1
    assert "No database server answers" in found["database"]["found"]
    assert "TimescaleDB" not in found
    assert found["vault"]["status"] == found["Dagster"]["status"] == found["flat files"]["status"] == "ok"
    assert "marker-password-1" not in str(found)


def test_servers_that_never_answer_cost_seconds(paved: Platform) -> None:
    """A database and an API that take the connection and say nothing: both are told, in the time of one."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = make_conninfo(paved.database.url, host="127.0.0.1", port=port, sslmode="disable")
        with environment(DATABASE_URL=url, KAPMAN_API_URL=f"http://127.0.0.1:{port}"):
            started = time.monotonic()
            code, found = examined()
            took = time.monotonic() - started
    assert code == 1
    assert "didn't answer in time" in found["database"]["found"]
    assert "doesn't answer (ReadTimeout)" in found["entitlement: reference tickers"]["found"]
    assert found["flat files"]["status"] == "ok"
    assert took < 20


def test_what_killed_commands_leave_is_found(paved: Platform) -> None:
    """Restoring mode, databases in preparation, yoyo's lock: each named, with what clears it."""
    name = paved.database.name
    identifier = sql.Identifier(name)
    administer(paved, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"{name}_paving")))
    administer(paved, sql.SQL("ALTER DATABASE {} SET timescaledb.restoring = 'on'").format(identifier))
    administer(paved, sql.SQL("ALTER DATABASE {} RESET timescaledb.restoring").format(identifier))
    with paved.connect() as connection:
        connection.execute("INSERT INTO kapman_meta.yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)")
    try:
        _, found = examined()
        assert f"'{name}_paving' was left by a command that was killed" in found["leftover database"]["found"]
        assert "by process 4711, which is gone" in found["migration lock"]["found"]
        assert "restoring mode" not in found
        administer(paved, sql.SQL("ALTER DATABASE {} SET timescaledb.restoring = 'on'").format(identifier))
        code, found = examined()
        assert code == 1
        assert "a restore is under way, or was killed" in found["restoring mode"]["found"]
    finally:
        administer(paved, sql.SQL("ALTER DATABASE {} RESET timescaledb.restoring").format(identifier))
        administer(paved, sql.SQL("DROP DATABASE {}").format(sql.Identifier(f"{name}_paving")))
        with paved.connect() as connection:
            connection.execute("DELETE FROM kapman_meta.yoyo_lock")


def test_a_vault_that_cannot_be_written_is_found(paved: Platform, tmp_path: Path) -> None:
    """A file where the folder should be: told, and nothing is made."""
    (tmp_path / "file").write_text("")
    with environment(KAPMAN_VAULT_URL=(tmp_path / "file" / "vault").as_uri()):
        code, found = examined()
    assert code == 1
    assert "can't be made" in found["vault"]["found"]


def test_in_the_demo_nothing_is_started(paved: Platform, tmp_path: Path) -> None:
    """No credentials, no server: the lines say so, the exit code is 1 for the database, and home stays empty."""
    demo = dict.fromkeys((*SECRETS, "DATABASE_URL", "KAPMAN_VAULT_URL"), "")
    with environment(**demo, KAPMAN_HOME=str(tmp_path / "home")):
        ended = kapman("doctor")
    assert ended.code == 1
    assert "FAIL  database: the embedded server is absent\n      -> Start it: kapman db start." in ended.text
    assert "ok    vendor: no credentials: the simulator stands in" in ended.text
    assert not (tmp_path / "home").exists()


def test_stuck_runs_and_a_living_daemon_are_seen(paved: Platform) -> None:
    """A run beyond its time is named; heartbeats of every daemon make the line green."""

    @dg.job
    def endless() -> None:
        """Never run."""

    with dg.DagsterInstance.get() as instance:
        run = instance.create_run_for_job(endless, tags={"dagster/max_runtime": "0.001"})
        instance.report_run_canceling(run)
        for name in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), name, "test", []))
        assert not [f for f in dagster_diagnosis.runs(instance) if f.status == "fail"], (
            "queued for a moment only"
        )
        instance.report_dagster_event(
            dg.DagsterEvent("PIPELINE_START", endless.name, message="started"), run.run_id
        )
        _, found = examined()
        instance.delete_run(run.run_id)
    assert f"endless {run.run_id[:8]} has been started" in found["stuck run"]["found"]
    assert found["daemon"]["status"] == "ok"


def test_schedules_that_are_off_fail_where_a_vendor_is_on_duty(
    paved: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with the command that switches it on."""
    by_default = [(name, kind, "RUNNING") for name, kind, _ in dagster_diagnosis.declarations()]
    monkeypatch.setattr(dagster_diagnosis, "declarations", lambda: by_default)
    with dg.DagsterInstance.get() as instance:
        (sound,) = dagster_diagnosis.automation(instance)
        assert sound.status == "ok"
        switch_off(instance, "daily_options_schedule")
        found = list(dagster_diagnosis.automation(instance))
    assert found == [
        Finding(
            "schedule daily_options_schedule",
            "fail",
            "is switched off",
            "dagster schedule start -m kapman_assets daily_options_schedule",
        )
    ]


def switch_off(instance: dg.DagsterInstance, schedule: str) -> None:
    """What the switch on the Automation page writes down."""
    location = RegisteredCodeLocationOrigin("kapman_assets")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), schedule)
    instance.add_instigator_state(
        InstigatorState(
            origin, InstigatorType.SCHEDULE, InstigatorStatus.STOPPED, ScheduleInstigatorData("", None)
        )
    )


def test_dagsters_records_in_the_market_database_are_found(paved: Platform) -> None:
    """Under whatever driver the URL goes."""
    same = dagster_diagnosis._same_database
    assert same("postgresql+psycopg2://dagster:x@db:5432/kapman", "postgresql://kapman@db/kapman")
    assert not same("postgresql+psycopg2://dagster:x@db:5432/dagster", "postgresql://kapman@db/kapman")


def test_policies_of_the_community_edition_are_judged(paved: Platform) -> None:
    """Where they exist: one that is taken off is missing."""
    with paved.connect() as connection:
        if connection.execute("SHOW timescaledb.license").fetchone() != ("timescale",):
            pytest.skip("the Apache edition has no policies")
        connection.execute("SELECT remove_retention_policy('ohlcv')")
        found = list(database._policies(connection, pinned=True))
        connection.rollback()
    assert found[0].found == "policy_retention of ohlcv is missing"


def test_a_probe_that_breaks_or_hangs_is_a_finding() -> None:
    """What it had found counts; the others go on; its exception's text, which may hold anything, is not shown."""

    def breaks() -> Iterator[Finding]:
        yield Finding("first", "ok", "seen")
        raise ValueError("postgresql://kapman:marker@db/kapman")

    def hangs() -> Iterator[Finding]:
        yield from ()
        time.sleep(30)

    def works() -> Iterator[Finding]:
        yield Finding("third", "ok", "seen too")

    found = list(diagnose({"breaks": breaks, "hangs": hangs, "works": works}, seconds=0.2))
    assert [(f.name, f.status) for f in found] == [
        ("first", "ok"),
        ("breaks", "fail"),
        ("hangs", "fail"),
        ("third", "ok"),
    ]
    assert "ValueError" in found[1].found
    assert "marker" not in str(found)


def test_little_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disk by the file system that a folder will be in; memory by what the system offers."""
    usage = type(shutil.disk_usage(tmp_path))
    for free, status in ((0.5, "fail"), (5, "warn"), (50, "ok")):
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _, f=free: usage(0, 0, int(f * 1e9)))
        (found,) = machine.disk({"home": tmp_path / "not" / "there"})
        assert (found.status, str(tmp_path) in found.found) == (status, True)
    for free, status in ((0.5, "fail"), (1.5, "warn"), (8, "ok")):
        monkeypatch.setattr(machine, "available_memory", lambda f=free: f)
        assert next(iter(machine.memory())).status == status
