"""The promise: `kill -9` or Ctrl-C at any moment leaves whole sessions, and running the step again ends where an
undisturbed run ends, in the database and in Dagster's records; runs that must not meet refuse each other.

The moment is not a matter of luck: a lock of the test's own stops the step exactly there, PostgreSQL says
that it waits, and then the process gets its signal.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from psycopg import sql

from kapman_resources import manifest
from tests.conftest import PROJECT
from tests.faults.conftest import (
    PARTITIONED,
    SESSIONS,
    Scene,
    error_of,
    materialize,
    range_tags,
    sharing_rows,
    withdraw,
)
from tests.faults.matrix import KILLS, Case
from tests.faults.waiting import (
    LONG,
    closed_at_row,
    closed_before_commit,
    closed_before_publishing,
    rows_copied,
    sessions_of_runs,
    until,
    waiting_statement,
)
from tests.integration.conftest import Platform

KEYS = {session.isoformat() for session in SESSIONS}


class Processes:
    """Step processes; one more than needed is always under way, since importing takes them seconds."""

    def __init__(self) -> None:
        self._next = self._spawn()

    def start(self, *assets: str, job: str | None = None) -> "subprocess.Popen[str]":
        """Run assets, or a job, over the market's sessions, with the environment of this moment."""
        process, self._next = self._next, self._spawn()
        partitioned = job or not {"schema", "tickers", "watchlists"} & set(assets)
        order = {
            "environment": dict(os.environ),
            "job": job,
            "assets": assets,
            "tags": range_tags() if partitioned else {},
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return process

    def close(self) -> None:
        """End the one that nobody needed."""
        self._next.kill()
        self._next.communicate()

    def _spawn(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.step_process"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """The module's supply of step processes."""
    supply = Processes()
    yield supply
    supply.close()


@pytest.fixture
def recorded(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The scene with Dagster's records on disk as users have them, empty at first."""
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "dagster_home" / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield replace(scene, platform=replace(scene.platform, instance=instance))


def kill(process: "subprocess.Popen[str]") -> None:
    """`kill -9`, and certainty that it was this which ended it."""
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()


def cancel(process: "subprocess.Popen[str]") -> None:
    """Ctrl-C: the process ends by itself, at once, and Dagster has it on record."""
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LONG) not in (0, -signal.SIGKILL)
    process.communicate()
    with dg.DagsterInstance.get() as instance:
        (record,) = instance.get_run_records(limit=1)
    assert record.dagster_run.status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)


ENDS = {"kill -9": kill, "Ctrl-C": cancel}


def wait_until_it_waits(process: "subprocess.Popen[str]", platform: Platform, for_what: str) -> None:
    """Poll until the process's session waits for a lock, in a statement that contains `for_what`."""

    def waits() -> bool:
        return for_what in (waiting_statement(platform) or "")

    until(waits, f"the step waits in {for_what!r}", still=lambda: process.poll() is None)


def published(platform: Platform, asset: str) -> set[str]:
    """Sessions that the manifest says are published."""
    with platform.connect() as connection:
        return {session.isoformat() for session in manifest.sessions(manifest.published(connection, asset))}


def materialized(platform: Platform, asset: str) -> set[str]:
    """Sessions that Dagster says are materialized."""
    return platform.instance.get_materialized_partitions(dg.AssetKey(asset))


Start = Callable[[], "subprocess.Popen[str]"]


@contextmanager
def before_copy(scene: Scene, start: Start) -> Iterator["subprocess.Popen[str]"]:
    """The transaction is open, nothing is copied."""
    with closed_before_publishing(scene.platform):
        process = start()
        wait_until_it_waits(process, scene.platform, "pg_advisory_xact_lock")
        assert rows_copied(scene.platform) is None
        yield process


@contextmanager
def during_copy(scene: Scene, start: Start) -> Iterator["subprocess.Popen[str]"]:
    """Some rows are on the server, others are not."""
    with scene.platform.connect() as connection:
        last = connection.execute("SELECT max(ticker_id::text) FROM daily_snapshots").fetchone()
    assert last is not None
    with closed_at_row(scene.platform, sql.SQL("ticker_id = {}").format(sql.Literal(last[0]))):
        process = start()
        wait_until_it_waits(process, scene.platform, "COPY")
        assert rows_copied(scene.platform) is not None
        yield process


@contextmanager
def before_commit(scene: Scene, start: Start) -> Iterator["subprocess.Popen[str]"]:
    """All rows are on the server, checked and with their keys; the manifest's row is not written."""
    with closed_before_commit(scene.platform):
        process = start()
        wait_until_it_waits(process, scene.platform, "INSERT INTO kapman_meta.load_manifest")
        yield process


@contextmanager
def after_commit(scene: Scene, start: Start) -> Iterator["subprocess.Popen[str]"]:
    """Published, and Dagster's event log is locked before it can be told."""
    with closed_before_commit(scene.platform) as open_manifest:
        process = start()
        wait_until_it_waits(process, scene.platform, "INSERT INTO kapman_meta.load_manifest")
        (record,) = scene.platform.instance.get_run_records(limit=1)
        log = Path(os.environ["DAGSTER_HOME"]) / "history" / "runs" / f"{record.dagster_run.run_id}.db"
        with closing(sqlite3.connect(log, isolation_level=None)) as events:
            events.execute("BEGIN IMMEDIATE")
            open_manifest()
            until(lambda: published(scene.platform, "ohlcv") == KEYS, "the commit is visible")
            yield process


@contextmanager
def between_sessions(scene: Scene, start: Start) -> Iterator["subprocess.Popen[str]"]:
    """Of three sessions to be added to a filled table the first is published, the second waits."""
    with scene.platform.connect() as connection:
        connection.execute("DELETE FROM ohlcv WHERE date >= %s", (SESSIONS[3],))
        connection.execute(
            "DELETE FROM kapman_meta.load_manifest WHERE asset = 'ohlcv' AND partition_key >= %s",
            (SESSIONS[3].isoformat(),),
        )
    with closed_at_row(scene.platform, sql.SQL("date = {}").format(sql.Literal(SESSIONS[4]))):
        process = start()
        wait_until_it_waits(process, scene.platform, "INSERT INTO")
        yield process


@contextmanager
def between_chains(scene: Scene, start: Start) -> Iterator["subprocess.Popen[str]"]:
    """One chain is in the vault, the vendor doesn't answer for the other."""
    scene.vendor.set_faults(["api_timeout=AAPL"])
    process = start()
    archive = scene.platform.home / "vault"
    until(
        lambda: list(archive.glob("*/options/*/MSFT.json")),
        "a chain is in the vault",
        still=lambda: process.poll() is None,
    )
    assert not list(archive.glob("*/options/*/AAPL.json"))
    yield process


MOMENTS: dict[str, Callable[[Scene, Start], AbstractContextManager["subprocess.Popen[str]"]]] = {
    "before COPY": before_copy,
    "during COPY": during_copy,
    "between COPY and commit": before_commit,
    "between commit and Dagster's event": after_commit,
    "between two sessions": between_sessions,
    "between two chains": between_chains,
    "between archive and commit": before_commit,
    "before the snapshots' commit": before_commit,
    "before the dealer metrics' commit": before_commit,
    "before the volatility metrics' commit": before_commit,
    "before the tickers' commit": before_commit,
    "before the watchlists' commit": before_commit,
}


@pytest.mark.parametrize("case", KILLS, ids=lambda case: case.name)
def test_a_step_that_is_ended(recorded: Scene, processes: Processes, case: Case) -> None:
    """Ended at that moment, it leaves whole sessions; the same step again makes everything as it was."""
    platform = recorded.platform
    end, moment = next(
        (act, case.name.removeprefix(f"{name} ")) for name, act in ENDS.items() if case.name.startswith(name)
    )
    if moment != "between two sessions":
        withdraw(platform, case.step)
    partitioned = case.step in PARTITIONED or case.step == "ohlcv"
    with MOMENTS[moment](recorded, partial(processes.start, case.step)) as process:
        end(process)
    until(lambda: not sessions_of_runs(platform), "the dead process's session is gone")
    if case.step != "tickers":  # they were wrong before
        recorded.assert_whole()
    keys = sorted(KEYS)
    assert published(platform, case.step) == set(keys[: case.visible])
    assert materialized(platform, case.step) == set()
    recorded.vendor.set_faults([])
    assert materialize(platform, case.step).success
    for asset in sharing_rows(case.step):
        assert materialize(platform, asset).success
    recorded.assert_undisturbed()
    assert materialized(platform, case.step) == published(platform, case.step)
    assert bool(published(platform, case.step)) == partitioned


def test_a_repave_lets_nobody_in(recorded: Scene, processes: Processes) -> None:
    """Case `repave or load during a repave`: each is told who is at work, and the repave ends undisturbed."""
    with half_of_a_repave(recorded, processes) as repave:
        (record,) = recorded.platform.instance.get_run_records(limit=1)
        holder = f"repave run {record.dagster_run.run_id[:8]}"
        assert holder in error_of(recorded.repave(), "schema")
        assert holder in error_of(materialize(recorded.platform, "ohlcv"), "ohlcv")
        assert holder in error_of(materialize(recorded.platform, "tickers"), "tickers")
    assert repave.wait() == 0
    recorded.assert_undisturbed()


@contextmanager
def half_of_a_repave(scene: Scene, processes: Processes) -> Iterator["subprocess.Popen[str]"]:
    """A repave that has made the database anew and loaded tickers; then its watchlist is a pipe."""
    (watchlist,) = (scene.platform.home / "watchlists").iterdir()
    text = watchlist.read_text()
    watchlist.unlink()
    os.mkfifo(watchlist)
    process = processes.start(job="repave")

    def reader_is_there() -> int | None:
        try:
            return os.open(watchlist, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    pipe = until(reader_is_there, "the repave reads its watchlist", still=lambda: process.poll() is None)
    watchlist.unlink()
    watchlist.write_text(text)
    try:
        yield process
    finally:
        os.write(pipe, text.encode())
        os.close(pipe)


def test_a_load_lets_no_repave_in(recorded: Scene, processes: Processes) -> None:
    """Case `repave during a load`: refused before anything is dropped, and the load ends as it should."""
    withdraw(recorded.platform, "ohlcv")
    with before_commit(recorded, partial(processes.start, "ohlcv")) as load:
        (record,) = recorded.platform.instance.get_run_records(limit=1)
        sentence = error_of(recorded.repave(), "schema")
        assert f"run {record.dagster_run.run_id[:8]}" in sentence
    assert load.wait() == 0
    recorded.assert_undisturbed()


def test_two_loads_give_what_one_gives(recorded: Scene, processes: Processes) -> None:
    """Case `two loads of the same sessions`: both succeed, one after the other."""
    withdraw(recorded.platform, "ohlcv")
    with before_commit(recorded, partial(processes.start, "ohlcv")) as first:
        second = processes.start("ohlcv")
        until(lambda: len(sessions_of_runs(recorded.platform)) > 1, "both have begun")
    assert (first.wait(), second.wait()) == (0, 0)
    recorded.assert_undisturbed()
