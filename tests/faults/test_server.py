"""The promise: a database server that restarts, crashes or runs out of space, and a vault without space, cost
a run and nothing else. The server is one of this module's own, with the settings that users get."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import dagster as dg
import pytest
from psycopg import sql

from kapman_resources.embedded import EmbeddedServer
from kapman_resources.errors import DatabaseError
from kapman_resources.settings import settings
from kapman_simulator import Simulator
from tests.conftest import PROJECT
from tests.faults.conftest import (
    WATCHLIST,
    Scene,
    error_of,
    materialize,
    repaved_scene,
    sharing_rows,
    tablespace,
    withdraw,
)
from tests.faults.matrix import SERVER, Case
from tests.faults.waiting import (
    closed_at_row,
    closed_before_commit,
    sessions_of_runs,
    until,
    waiting_statement,
)
from tests.integration.conftest import platform_on

CASES = {case.name: case for case in SERVER}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A durable server that may be broken."""
    own = EmbeddedServer(tmp_path_factory.mktemp("postgres"), packages=PROJECT / ".kapman" / "packages")
    own.ensure()
    yield own
    own.remove()


@pytest.fixture(scope="module")
def loaded(
    server: EmbeddedServer, market: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """The platform of this module's tests, on the server of its own."""
    home = tmp_path_factory.mktemp("platform")
    with platform_on(server.url(), market.environment, home, {"test": WATCHLIST}) as platform:
        yield repaved_scene(platform, market)


def restart(server: EmbeddedServer, _: Scene) -> None:
    """Stop it as a system shutdown does, and start it."""
    server.stop()
    server.ensure()


def crash(_: EmbeddedServer, scene: Scene) -> None:
    """Kill the process that works for the run, as the kernel does when memory is short: all of them go down."""
    victims = sessions_of_runs(scene.platform)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)

    def recovered() -> bool:
        try:
            return not set(sessions_of_runs(scene.platform)) & set(victims)
        except DatabaseError:
            return False

    until(recovered, "the server has recovered")


@contextmanager
def stopped_in_copy(scene: Scene) -> Iterator[None]:
    """A gate in the middle of the bars."""
    with scene.platform.connect() as connection:
        row = connection.execute("SELECT max(ticker_id::text) FROM daily_snapshots").fetchone()
    assert row is not None
    with closed_at_row(scene.platform, sql.SQL("ticker_id = {}").format(sql.Literal(row[0]))):
        yield


@contextmanager
def stopped_before_commit(scene: Scene) -> Iterator[None]:
    """A gate before the manifest."""
    with closed_before_commit(scene.platform):
        yield


@pytest.mark.parametrize(
    ("name", "gate", "waits_in", "break_it"),
    [
        ("database restarted in mid-COPY", stopped_in_copy, "COPY", restart),
        ("database process killed in mid-COPY", stopped_in_copy, "COPY", crash),
        (
            "database restarted in a step's transaction",
            stopped_before_commit,
            "INSERT INTO kapman_meta.load_manifest",
            restart,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value in CASES else "",
)
def test_a_server_that_goes_down(
    scene: Scene,
    server: EmbeddedServer,
    name: str,
    gate: Callable[[Scene], AbstractContextManager[None]],
    waits_in: str,
    break_it: Callable[[EmbeddedServer, Scene], None],
) -> None:
    """It goes down under a run that is known to be in that statement."""
    case = CASES[name]
    withdraw(scene.platform, case.step)
    results: list[dg.ExecuteInProcessResult] = []
    run = threading.Thread(target=lambda: results.append(materialize(scene.platform, case.step)))
    with gate(scene):
        run.start()
        until(lambda: waits_in in (waiting_statement(scene.platform) or ""), "it waits", still=run.is_alive)
        break_it(server, scene)
        run.join()
    assert_failed_and_converges(scene, case, results[0])


def assert_failed_and_converges(scene: Scene, case: Case, result: dg.ExecuteInProcessResult) -> None:
    """Failed in a sentence, nothing partly there; the same step again makes everything as it was."""
    assert not result.success
    sentence = error_of(result, case.step)
    for named in case.says:
        assert named in sentence
    scene.assert_whole()
    converge(scene, case)


def converge(scene: Scene, case: Case) -> None:
    """The step once more, and what shares its table."""
    for asset in (case.step, *sharing_rows(case.step)):
        assert materialize(scene.platform, asset).success
    scene.assert_undisturbed()


def test_disk_full_in_the_database(scene: Scene, small_disk: Callable[[str], Path]) -> None:
    """Case `disk full in the database`: the bars' files are on a disk that can't hold them."""
    with tablespace(scene.platform.database, small_disk("24k")):
        with scene.platform.database.connect(autocommit=True) as connection:
            connection.execute("SELECT attach_tablespace('tiny', 'ohlcv')")
        # Chunks that exist stay where they are; the load must make its own.
        withdraw(scene.platform, "ohlcv")
        with scene.platform.connect() as connection:
            connection.execute("SELECT drop_chunks('ohlcv', newer_than => date '2000-01-01')")
        result = materialize(scene.platform, "ohlcv")
        with scene.platform.connect() as connection:
            connection.execute("SELECT detach_tablespace('tiny', 'ohlcv')")
    assert_failed_and_converges(scene, CASES["disk full in the database"], result)


def test_disk_full_while_staging(scene: Scene, small_disk: Callable[[str], Path]) -> None:
    """Case `disk full while staging`: temporary tables are on a disk that can't hold them."""
    withdraw(scene.platform, "daily_snapshots")
    name = sql.Identifier(scene.platform.database.name)
    with tablespace(scene.platform.database, small_disk("64k")):
        with scene.platform.connect() as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} SET temp_tablespaces = tiny").format(name))
        result = materialize(scene.platform, "daily_snapshots")
        with scene.platform.connect() as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} RESET temp_tablespaces").format(name))
    assert_failed_and_converges(scene, CASES["disk full while staging"], result)


def test_disk_full_on_the_vault(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[str], Path]
) -> None:
    """Case `disk full on the vault`: nothing that isn't archived is published."""
    case = CASES["disk full on the vault"]
    withdraw(scene.platform, case.step)
    monkeypatch.setenv("KAPMAN_VAULT_URL", small_disk("8k").as_uri())
    settings.cache_clear()
    result = materialize(scene.platform, case.step)
    monkeypatch.undo()
    settings.cache_clear()
    assert scene.platform.value("SELECT count(*) FROM options_chains") == 0
    assert_failed_and_converges(scene, case, result)
