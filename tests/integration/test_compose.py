"""docker-compose.yml stands as far as a machine without an engine can show it: secrets come from
outside, volumes are on the image's own paths, every service says how it is known to be well, its commands
exist, and the database that it sets up can be paved by the role that it gives to the platform."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]
from psycopg.conninfo import make_conninfo

from kapman_resources.database import Connection, Database
from kapman_resources.embedded import EmbeddedServer
from kapman_resources.errors import DatabaseError
from kapman_resources.settings import Settings
from kapman_resources.structure import pave
from tests.conftest import PROJECT
from tests.integration.test_docs import variables

COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PASSWORDS = ("POSTGRES_PASSWORD", "KAPMAN_DB_PASSWORD", "DAGSTER_DB_PASSWORD", "KAPMAN_READER_PASSWORD")
# Characters that break URLs, shells and SQL when somebody pastes a password into one.
AWKWARD = "a b'c\"d/e:f@g%20h?i&j$k\\l"


def connect(where: dict[str, str], role: str, password: str, database: str) -> Connection:
    return psycopg.connect(
        make_conninfo(**where, user=role, password=password, dbname=database), autocommit=True
    )


def words(command: str | list[str]) -> list[str]:
    return command.split() if isinstance(command, str) else command


def test_every_service_restarts_and_is_checked() -> None:
    """No service is up in name only."""
    for name, service in SERVICES.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
        for dependency in service.get("depends_on", {}).values():
            assert dependency == {"condition": "service_healthy"}, name


def test_no_secret_has_a_value_or_a_default() -> None:
    """Passwords are demanded by name; vendor keys are passed on, never written down; nothing in argv."""
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if variable == "KAPMAN_LOADER_PASSWORD":
                assert value == f"${{{variable}:-}}", f"{name}: nobody has to separate the loader"
            elif "PASSWORD" in variable:
                assert re.fullmatch(r"\$\{\w+_PASSWORD:\?.+\}", value), f"{name}: {variable}"
            elif "KEY" in variable:
                assert value == f"${{{variable}:-}}", f"{name}: {variable}"
        assert "PASSWORD" not in str(service.get("command", "")), name
        assert "PASSWORD" not in str(service["healthcheck"]), name


def test_ports_are_on_loopback_only() -> None:
    """Neither the database nor an interface without a login is offered to the network."""
    assert {port.split(":")[0] for service in SERVICES.values() for port in service.get("ports", [])} == {
        "127.0.0.1"
    }


def test_volumes_are_where_the_images_keep_their_data() -> None:
    """PostgreSQL 17's image keeps it in /var/lib/postgresql/data; the vault and Dagster's files are named volumes."""
    database = SERVICES["db"]
    assert re.fullmatch(r"\$\{KAPMAN_DB_IMAGE:-timescale/timescaledb:2\.\d+\.\d+-pg17\}", database["image"])
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in database["volumes"]}
    assert mounts["/var/lib/postgresql/data"] in COMPOSE["volumes"]
    code = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["code"]["volumes"]}
    assert code[f"{SERVICES['code']['environment']['KAPMAN_HOME']}/vault"] in COMPOSE["volumes"]
    used = {
        v.split(":")[0] for service in SERVICES.values() for v in service.get("volumes", []) if v[0] != "."
    }
    assert used == set(COMPOSE["volumes"])
    for path in [v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if v[0] == "."]:
        assert (PROJECT / path).exists(), path


def test_code_location_gets_every_setting() -> None:
    """A setting in .env reaches the platform in its container; paths of the host don't."""
    environment = SERVICES["code"]["environment"]
    assert set(variables()) <= set(environment)
    fixed = {"DATABASE_URL", "KAPMAN_HOME", "KAPMAN_PAVE_HOSTS", "KAPMAN_WATCHLISTS"}
    assert {name: environment[name] for name in set(variables()) - fixed} == {
        name: f"${{{name}:-}}" for name in set(variables()) - fixed
    }


def test_commands_start_programs_of_the_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command and health check names a program, and options, that the installed versions have."""
    programs = entry_points(group="console_scripts")
    for name in SERVICES.keys() - {"db", "grafana"}:
        for command in (words(SERVICES[name]["command"]), SERVICES[name]["healthcheck"]["test"][1:]):
            if command[0] == "python":
                compile(command[2], name, "exec")
                continue
            subcommands = [word for word in command[1:3] if re.fullmatch(r"[a-z][a-z-]+", word)]
            monkeypatch.setattr("sys.argv", [command[0], *subcommands, "--help"])
            with pytest.raises(SystemExit) as end:
                programs[command[0]].load()()
            assert not end.value.code, command
            shown = capsys.readouterr().out
            options = re.findall(r"--[a-z0-9-]+", " ".join(command))
            assert [option for option in options if option not in shown] == [], command


def test_demo_environment_is_what_the_simulator_expects() -> None:
    """docker/demo.env sets real settings only, with the simulator's own keys and the ports of its service."""
    from kapman_simulator import vendor
    from kapman_simulator.objects import BUCKET

    lines = (PROJECT / "docker" / "demo.env").read_text().splitlines()
    demo = dict(line.split("=", 1) for line in lines if line and line[0] != "#")
    assert demo.pop("COMPOSE_PROFILES") == SERVICES["simulator"]["profiles"][0]
    assert set(demo) <= set(variables())
    assert demo["MASSIVE_API_KEY"] == vendor.API_KEY and demo["KAPMAN_S3_BUCKET"] == BUCKET
    assert demo["KAPMAN_S3_ACCESS_KEY_ID"] == vendor.S3_ACCESS_KEY_ID
    assert demo["KAPMAN_S3_SECRET_ACCESS_KEY"] == vendor.S3_SECRET_ACCESS_KEY
    for setting, option in (("KAPMAN_API_URL", "--port"), ("KAPMAN_S3_ENDPOINT", "--s3-port")):
        port = demo[setting].rsplit(":", 1)[1]
        assert demo[setting] == f"http://simulator:{port}"
        assert f"{option}={port}" in words(SERVICES["simulator"]["command"])


def test_grafana_is_closed_quiet_and_provisioned_from_files() -> None:
    """A pinned release, a login, nothing sent out, and the data source and dashboards of this checkout, read-only."""
    grafana = SERVICES["grafana"]
    assert re.fullmatch(r"\$\{KAPMAN_GRAFANA_IMAGE:-grafana/grafana:\d+\.\d+\.\d+\}", grafana["image"])
    environment = grafana["environment"]
    for variable in (
        "GF_AUTH_ANONYMOUS_ENABLED", "GF_USERS_ALLOW_SIGN_UP", "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "GF_NEWS_NEWS_FEED_ENABLED",
    ):  # fmt: skip
        assert environment[variable] == "false", variable
    mounts = {}
    for volume in grafana["volumes"]:
        source, target, *mode = volume.split(":")
        assert source == "grafana" or mode == ["ro"], volume
        mounts[target] = source

    def provisioned(kind: str) -> dict[str, Any]:
        folder = PROJECT / mounts[f"/etc/grafana/provisioning/{kind}"]
        (found,) = [yaml.safe_load(path.read_text()) for path in folder.iterdir()]
        return dict(found)

    (source,) = provisioned("datasources")["datasources"]
    assert source["user"] == "kapman_reader" and source["url"].split(":")[0] in SERVICES
    assert source["secureJsonData"] == {"password": "${KAPMAN_READER_PASSWORD}"}
    assert "KAPMAN_READER_PASSWORD" in environment
    (provider,) = provisioned("dashboards")["providers"]
    dashboards = provider["options"]["path"]
    assert list((PROJECT / mounts[dashboards]).glob("*.json"))
    home = Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == dashboards and (PROJECT / mounts[dashboards] / home.name).exists()


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose passes a setting that .env doesn't have as an empty one."""
    for name in variables():
        monkeypatch.setenv(name, "")
    empty = Settings(_env_file=None)  # type: ignore[call-arg]
    assert empty == Settings.model_construct(**{n: f.default for n, f in Settings.model_fields.items()})


def test_image_has_what_the_containers_use() -> None:
    """Folders and files that compose and the workspace name are made or copied by the Dockerfile."""
    dockerfile = (PROJECT / "docker" / "Dockerfile").read_text()
    code = SERVICES["code"]["environment"]
    assert f"KAPMAN_HOME={code['KAPMAN_HOME']}" in dockerfile
    assert "COPY docker/dagster.yaml /var/lib/dagster/dagster.yaml" in dockerfile
    assert "DAGSTER_HOME=/var/lib/dagster" in dockerfile
    assert re.search(r"^USER (?!root)", dockerfile, flags=re.MULTILINE)
    kept = (PROJECT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in kept, "nothing goes into the image unless it is named"
    for path in [line[1:] for line in kept if line.startswith("!")]:
        assert list(PROJECT.glob(path)), path
    server = yaml.safe_load((PROJECT / "docker" / "workspace.yaml").read_text())["load_from"][0][
        "grpc_server"
    ]
    assert server["host"] in SERVICES and str(server["port"]) in SERVICES[server["host"]]["command"]


@pytest.fixture(scope="module")
def compose_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server set up by docker/initdb.sh as the image would: where it is."""
    server = EmbeddedServer(
        tmp_path_factory.mktemp("compose"), durable=False, packages=PROJECT / ".kapman" / "packages"
    )
    try:
        url = server.ensure()
    except DatabaseError as error:
        pytest.skip(f"no server to run docker/initdb.sh on: {error}")
    try:
        with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
            connection.execute("CREATE ROLE postgres SUPERUSER LOGIN PASSWORD 'administrator'")
            where = {"host": str(connection.info.host), "port": str(connection.info.port)}
        # The embedded server has a `kapman` of its own: out of the way.
        with connect(where, "postgres", "administrator", "postgres") as connection:
            connection.execute("ALTER DATABASE kapman RENAME TO embedded")
            connection.execute("ALTER ROLE kapman RENAME TO embedded")
        environment = {
            "PATH": f"{server.bin_folder()}:{os.environ['PATH']}",
            "PGHOST": where["host"], "PGPORT": where["port"], "PGPASSWORD": "administrator",
            "POSTGRES_USER": "postgres", **dict.fromkeys(PASSWORDS, AWKWARD),
        }  # fmt: skip
        script = PROJECT / "docker" / "initdb.sh"
        done = subprocess.run(
            [script], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert AWKWARD not in done.stdout + done.stderr
        yield where
    finally:
        server.stop()


def test_platform_role_can_pave_again_and_again(
    compose_database: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without being superuser, with the URL and PGPASSWORD that compose passes, whatever the password."""
    monkeypatch.setenv("PGPASSWORD", AWKWARD)
    url = SERVICES["code"]["environment"]["DATABASE_URL"]
    address = f"{compose_database['host']}:{compose_database['port']}"
    database = Database(url.replace("db:5432", address), holder="tests")
    for _ in range(2):
        pave(database)
    with database.connect() as connection:
        row = connection.execute(
            "SELECT count(*), (SELECT rolsuper FROM pg_roles WHERE rolname = user) FROM ohlcv"
        )
        assert row.fetchone() == (0, False)


def test_grafana_may_read_what_is_paved_and_nothing_more(
    compose_database: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role of the data source, by its own password: a pave grants it the tables and views again."""
    monkeypatch.setenv("PGPASSWORD", AWKWARD)
    address = f"{compose_database['host']}:{compose_database['port']}"
    pave(
        Database(SERVICES["code"]["environment"]["DATABASE_URL"].replace("db:5432", address), holder="tests")
    )
    with connect(compose_database, "kapman_reader", AWKWARD, "kapman") as connection:
        assert connection.execute("SELECT count(*) FROM analytics.quarantined").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM public.ohlcv").fetchone() == (0,)
        for forbidden in ("DELETE FROM public.ohlcv", "CREATE TABLE public.own ()", "CREATE SCHEMA own"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())


@pytest.mark.parametrize(
    ("role", "database"), [("kapman", "dagster"), ("dagster", "kapman"), ("kapman_reader", "dagster")]
)
def test_no_role_enters_the_others_database(
    compose_database: dict[str, str], role: str, database: str
) -> None:
    """A fault in one of the two can't reach the other's rows."""
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(compose_database, role, AWKWARD, database)


def test_dagster_keeps_its_records_there(
    compose_database: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker/dagster.yaml loads, speaks psycopg2, and a run is recorded in database `dagster`."""
    shutil.copy(PROJECT / "docker" / "dagster.yaml", tmp_path / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_PG_HOST", compose_database["host"])
    monkeypatch.setenv("DAGSTER_PG_PORT", compose_database["port"])
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", AWKWARD)

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def idle() -> None:
        nothing()

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        result = idle.execute_in_process(instance=instance)
        assert result.success
    with connect(compose_database, "dagster", AWKWARD, "dagster") as connection:
        rows = connection.execute("SELECT status FROM runs WHERE run_id = %s", (result.run_id,)).fetchall()
    assert rows == [("SUCCESS",)]
