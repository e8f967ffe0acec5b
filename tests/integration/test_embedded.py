"""The server that comes with the project: up within seconds, private, durable, and hard to break.

A new user types one command and has TimescaleDB: without Docker, as root or not, twice at once, after a
crash, with the port taken or the process id given to somebody else. What can't work says why in one
sentence, and how to mend it, and never shows a password.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from kapman_resources.connection_errors import require_timescaledb
from kapman_resources.embedded import EmbeddedServer
from kapman_resources.embedded.archive import archive_uris
from kapman_resources.embedded.cluster import Cluster
from kapman_resources.embedded.packages import Binaries, fetch, installed, unpacked
from kapman_resources.embedded.postmaster import Account, is_alive, poll
from kapman_resources.errors import DatabaseError

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = Path(os.environ.get("KAPMAN_TEST_HOME", PROJECT / ".kapman")) / "packages"
UNUSED_UID = 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the server as another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that every user can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="kapman-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedServer]:
    """A throw-away server of this test's own, not yet started."""
    server = EmbeddedServer(folder / "postgres", durable=False, packages=PACKAGES)
    yield server
    server.remove()


@pytest.fixture
def durable_server(folder: Path) -> Iterator[EmbeddedServer]:
    """A server with the settings that users get, not yet started."""
    server = EmbeddedServer(folder / "postgres", packages=PACKAGES)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a throw-away server for the tests that only connect."""
    server = EmbeddedServer(tmp_path_factory.mktemp("home") / "postgres", durable=False, packages=PACKAGES)
    yield server.ensure()
    server.remove()


def kapman(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user types it, with nothing in the environment but what is given."""
    return subprocess.run(
        [sys.executable, "-m", "kapman_cli.main", *arguments],
        cwd=PROJECT,
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def starter(home: Path, then: str = "") -> subprocess.Popen[str]:
    """Another process that makes sure of the server, prints its process id, and goes on with `then`."""
    code = f"""
import pathlib, time
from kapman_resources.embedded import EmbeddedServer
home, packages = pathlib.Path({str(home)!r}), pathlib.Path({str(PACKAGES)!r})
server = EmbeddedServer(home, durable=False, packages=packages)
server.ensure()
print(server.status().pid, flush=True)
{then}
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def kill(server: EmbeddedServer) -> int:
    """Kill the postmaster as the kernel would when memory runs out, and return its process id."""
    pid = server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert poll(lambda: not is_alive(pid), 10)
    return pid


def test_server_is_private_durable_and_ready_for_hypertables(
    durable_server: EmbeddedServer, folder: Path
) -> None:
    server = durable_server
    assert server.status().state == "absent"
    with pytest.raises(DatabaseError, match="Run `kapman db start`"):
        server.url()
    url = server.ensure()
    assert server.ensure() == url == server.url()
    assert (folder / "postgres" / "password").stat().st_mode & 0o777 == 0o600
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION timescaledb")
        conn.execute("CREATE TABLE price (time timestamptz NOT NULL, close double precision)")
        conn.execute("SELECT create_hypertable('price', 'time')")
        conn.execute("INSERT INTO price VALUES ('2026-01-02 21:00Z', 1)")
        settings: dict[str, str] = dict(conn.execute("SELECT name, setting FROM pg_settings").fetchall())
        facts = require_timescaledb(conn)
    assert [settings[name] for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3
    assert settings["listen_addresses"] == "127.0.0.1"
    assert settings["TimeZone"] == "UTC"
    assert facts.edition == "apache"
    assert facts.is_superuser
    status = server.status()
    assert (status.state, status.version, status.edition) == ("running", facts.version, "apache")

    server.stop()
    server.stop()
    assert server.status().state == "stopped"
    with psycopg.connect(server.ensure()) as conn:
        assert conn.execute("SELECT close FROM price").fetchall() == [(1.0,)]


def test_three_concurrent_first_starts_end_in_one_server(server: EmbeddedServer, folder: Path) -> None:
    starters = [starter(folder / "postgres") for _ in range(3)]
    pids = {process.communicate(timeout=120)[0].strip() for process in starters}
    assert [process.returncode for process in starters] == [0, 0, 0]
    assert pids == {str(server.status().pid)}


def test_committed_rows_survive_kill_9_in_the_middle_of_a_query(durable_server: EmbeddedServer) -> None:
    server = durable_server
    url = server.ensure()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    def keep_busy() -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(url) as conn:
            conn.execute("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b")

    busy = threading.Thread(target=keep_busy)
    busy.start()
    with psycopg.connect(url, autocommit=True) as conn:
        counting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM gen%'"
        assert poll(lambda: conn.execute(counting).fetchone() == (1,), 10)
    killed = kill(server)
    assert server.status().state == "stopped"
    with psycopg.connect(server.ensure()) as conn:
        assert conn.execute("SELECT answer FROM kept").fetchall() == [(42,)]
    assert server.status().pid != killed
    busy.join(timeout=120)
    assert not busy.is_alive(), "a query of the killed server is still running"


def test_stale_process_id_does_not_prevent_a_start(server: EmbeddedServer, folder: Path) -> None:
    """Ids are given out again after a reboot, and a zombie stays where PID 1 doesn't reap, as in containers."""
    server.ensure()
    data = folder / "postgres" / "data"
    account = Account.for_data(data)
    sleeper = subprocess.Popen(["sleep", "600"], **account.popen)
    zombie = subprocess.Popen(["true"], **account.popen)
    try:
        assert poll(lambda: not is_alive(zombie.pid), 10)
        for somebody in (sleeper, zombie):
            kill(server)
            lock = data / "postmaster.pid"
            lock.write_text("\n".join([str(somebody.pid), *lock.read_text().splitlines()[1:], ""]))
            assert server.status().state == "stopped"
            with psycopg.connect(server.ensure()) as conn:
                assert conn.execute("SELECT 1").fetchone() == (1,)
    finally:
        sleeper.kill()
        sleeper.wait()
        zombie.wait()


def test_server_outlives_its_starter_and_its_ctrl_c(server: EmbeddedServer, folder: Path) -> None:
    process = starter(folder / "postgres", then="time.sleep(600)")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=120)
    # The pipe ends only if the server hasn't inherited it: a caller reading our output must not hang.
    assert process.communicate(timeout=10)[0] == ""
    assert server.status().pid == pid
    assert os.getsid(pid) != process.pid


def test_port_is_kept_until_somebody_else_has_it(server: EmbeddedServer) -> None:
    first = server.ensure()
    port = server.status().port
    server.stop()
    assert server.ensure() == first
    server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with psycopg.connect(server.ensure()) as conn:
            assert conn.info.port == server.status().port != port


@as_root
def test_root_in_a_closed_folder_uses_one_that_the_server_can_reach(folder: Path) -> None:
    folder.chmod(0o700)
    told: list[str] = []
    server = EmbeddedServer(folder / "postgres", packages=PACKAGES, durable=False, tell=told.append)
    try:
        with psycopg.connect(server.ensure()) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        elsewhere = (folder / "postgres").resolve()
        assert elsewhere != folder / "postgres"
        assert any(str(elsewhere) in sentence for sentence in told)
    finally:
        server.remove()
    assert not elsewhere.exists()


@as_root
def test_user_without_name_and_home_gets_a_server(folder: Path) -> None:
    """`docker run --user 54321` gives a uid that no passwd file knows; initdb and libpq ask for its name."""
    fetch(PACKAGES, print)
    os.chown(folder, UNUSED_UID, UNUSED_UID)
    server = EmbeddedServer(folder / "postgres", durable=False, packages=PACKAGES)
    child = os.fork()  # not a new interpreter: that user may not be able to reach ours
    if child == 0:
        os.setgroups([])
        os.setgid(UNUSED_UID)
        os.setuid(UNUSED_UID)
        os.environ.pop("HOME", None)
        try:
            server.ensure()
            os._exit(0 if server.status().edition else 2)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (folder / "postgres" / "data").stat().st_uid == UNUSED_UID
    finally:
        server.remove()


def test_interrupted_fetch_is_never_taken_for_a_complete_one(folder: Path) -> None:
    code = "import pathlib, sys; from kapman_resources.embedded.packages import fetch; "
    code += "fetch(pathlib.Path(sys.argv[1]), print)"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=PROJECT) as fetching:
        assert poll(lambda: any(folder.glob("unpacking-*/apt-*")), 30)
        fetching.kill()
    assert unpacked(folder) is None
    (folder / "trixie" / "usr").mkdir(parents=True)
    assert unpacked(folder) is None
    binaries = fetch(folder, print)
    version = subprocess.run(
        [binaries.bin / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith(f"postgres (PostgreSQL) {binaries.major}.")
    moved = folder / "elsewhere"
    moved.mkdir()
    (folder / "trixie").rename(moved / "trixie")
    assert unpacked(moved) is None, "the interpreter's absolute path no longer exists"


def test_first_start_offline_says_what_to_do(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: every connection is refused
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        configuration = folder / "proxy.conf"
        configuration.write_text(f'Acquire::http::Proxy "{proxy}"; Acquire::https::Proxy "{proxy}";\n')
        done = kapman("db", "start", KAPMAN_HOME=str(folder), APT_CONFIG=str(configuration))
    assert done.returncode == 1
    assert "can't be fetched" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert "docker compose up" in done.stderr
    assert "Traceback" not in done.stderr


def test_archive_comes_from_the_machines_own_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("# the old place\n")
    (tmp_path / "sources.list.d" / "old.list").write_text(
        "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.test/debian bookworm main\n"
        "deb http://a.test/debian-security bookworm-security main contrib # security\n"
        "deb-src http://source.test/debian bookworm main\n"
        "deb [signed-by=/etc/vendor.gpg] http://vendor.test/debian bookworm main\n"
        "deb http://backports.test/debian bookworm-backports main\n"
    )
    (tmp_path / "sources.list.d" / "new.sources").write_text(
        "Types: deb deb-src\n# a comment inside\nURIs: http://b.test/debian\nSuites: trixie trixie-updates\n"
        "Components: main\nSigned-By:\n /usr/share/keyrings/debian-archive-keyring.pgp\n\n"
        "Types: deb\nURIs: http://off.test/debian\nSuites: trixie\nComponents: main\nEnabled: no\n"
    )
    found = archive_uris(tmp_path)
    assert found.main == ("http://b.test/debian", "http://a.test/debian")
    assert found.security == ("http://a.test/debian-security",)


def test_installed_server_is_found_if_it_has_timescaledb() -> None:
    tree = fetch(PACKAGES, print).bin.parents[4]
    assert [(one.major, one.bin.parents[4]) for one in installed(tree / "usr")] == [(17, tree)]
    assert installed(tree / "usr" / "share") == []


def test_database_url_wins_and_keeps_its_password_out_of_the_arguments(running: str) -> None:
    assert kapman("db", "url", DATABASE_URL=running).stdout == running + "\n"
    for command in ("start", "stop"):
        done = kapman("db", command, DATABASE_URL=running)
        assert done.returncode == 0
        assert "nothing was done" in done.stdout
    status = kapman("db", "status", DATABASE_URL=running).stdout
    assert "TimescaleDB  2." in status
    password = conninfo_to_dict(running)["password"]
    assert str(password) not in status
    arguments = kapman("db", "psql", "-c", r"\! tr '\0' ' ' < /proc/$PPID/cmdline", DATABASE_URL=running)
    assert "user=kapman" in arguments.stdout
    assert str(password) not in arguments.stdout


def wrong_password(url: str) -> str:
    user, _, rest = url.rpartition("@")
    return f"{user.rpartition(':')[0]}:SECRET@{rest}"


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (wrong_password, "refused the password of role kapman. Correct user and password"),
        (lambda url: url + "_gone", "has no database kapman_gone. Run `make repave`"),
        (
            lambda url: "postgresql://kapman:SECRET@127.0.0.1:{port}/kapman",
            "No database server answers at 127",
        ),
        (
            lambda url: "postgresql://kapman:SECRET@nowhere.invalid/kapman",
            "host of nowhere.invalid is unknown",
        ),
        (
            lambda url: "postgresql+psycopg://kapman:SECRET@localhost/kapman",
            "isn't a PostgreSQL connection URL",
        ),
    ],
    ids=["wrong password", "no database", "unreachable", "unknown host", "no URL"],
)
def test_server_that_cannot_be_used_is_one_sentence(
    running: str, broken: Callable[[str], str], sentence: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = broken(running).replace("{port}", str(closed.getsockname()[1]))
        done = kapman("db", "status", DATABASE_URL=url)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "SECRET" not in done.stderr + done.stdout
    assert str(conninfo_to_dict(running)["password"]) not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("with_library", "sentence"),
    [
        (False, "is plain PostgreSQL 17"),
        (True, "doesn't load it. Set shared_preload_libraries = 'timescaledb'"),
    ],
    ids=["not installed", "not preloaded"],
)
def test_postgresql_without_timescaledb_is_refused(folder: Path, with_library: bool, sentence: str) -> None:
    binaries = fetch(PACKAGES, print)
    if not with_library:
        usr = binaries.bin.parents[3]
        shutil.copytree(usr, folder / "usr", symlinks=True, ignore=shutil.ignore_patterns("timescaledb*"))
        binaries = Binaries(folder / "usr" / binaries.bin.relative_to(usr), binaries.major, "")
    home = folder / f"home-{secrets.token_hex(2)}"
    home.mkdir(mode=0o755)
    cluster = Cluster(home, Account.for_data(home / "data"), durable=False, tell=print)
    cluster.create(binaries)
    with (cluster.data / "postgresql.auto.conf").open("a") as file:
        file.write("shared_preload_libraries = ''\n")
    cluster.start(binaries)
    server = EmbeddedServer(home, packages=PACKAGES)
    try:
        done = kapman("db", "status", DATABASE_URL=server.url())
    finally:
        server.remove()
    assert done.returncode == 1
    assert sentence in done.stderr
