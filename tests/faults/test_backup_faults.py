"""The promise: whatever happens to a backup or a restore, the database that was there is as it was, no half of a
backup ever counts, and the next command says what was left, clears it away and ends as if nothing had happened.
"""

import datetime as dt
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg import sql

from kapman_resources import backups, structure
from kapman_resources.backups import BackupStore
from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Database
from kapman_resources.errors import KapmanError
from kapman_resources.settings import settings
from kapman_resources.structure import replacement
from kapman_resources.tables import TICKER_NAMESPACE
from tests.conftest import PROJECT, url_of
from tests.faults.conftest import Hashes, tablespace
from tests.faults.matrix import BACKUP_FAULTS, BACKUP_KILLS, Case
from tests.integration.command_line import kapman

NOW = dt.datetime(2026, 11, 20, 17, 30, tzinfo=dt.UTC)
NAME = "full_20261120_1730"
CASES = {case.name: case for case in BACKUP_FAULTS}

_STORE = "kapman_resources.backups.store"
_PROGRAMS = "kapman_resources.backups.programs"
_RESTORE = "kapman_resources.backups.restore"
GATES = {
    "while pg_dump writes": (_PROGRAMS, "Dump.chunks", 1, True),
    "before the manifest": (_STORE, "BackupStore.publish", 1, False),
    "while an old backup is deleted": (_STORE, "BackupStore.remove_claimed", 1, False),
    "before the new database is made": (_RESTORE, "prepare", 1, False),
    "while pg_restore reads": (_PROGRAMS, "_feed", 2, True),  # the first reads its table of contents
    "before the content is compared": (_RESTORE, "validate", 1, False),
    "before the databases change names": (_RESTORE, "swap", 1, False),
    "before the former database is dropped": ("kapman_resources.structure.replacement", "_drop", 1, False),
}


class Commands:
    """`kapman` processes that can be stopped at a gate; one more than needed is always under way."""

    def __init__(self) -> None:
        self._next = self._spawn()

    def killed_at(self, moment: str, *arguments: str) -> None:
        """Run `kapman ARGUMENTS` up to that moment, and kill it there."""
        process, self._next = self._next, self._spawn()
        assert process.stdin is not None and process.stdout is not None
        order = {"environment": dict(os.environ), "arguments": arguments, "gate": GATES[moment]}
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "reached\n"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.communicate()

    def close(self) -> None:
        """End the one that nobody needed."""
        self._next.kill()
        self._next.communicate()

    def _spawn(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.backup_process"],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    """The module's supply of processes."""
    supply = Commands()
    yield supply
    supply.close()


@dataclass
class Scene:
    """A database with rows, a backup of it, and its content, which nothing may change."""

    database: Database
    store: BackupStore
    content: Hashes

    def assert_undisturbed(self) -> None:
        """The content is what it was, and no other database has been left."""
        with self.database.connect() as connection:
            assert database_hashes(connection) == self.content
        with self.database.connect(autocommit=True, database="postgres") as server:
            assert replacement.find(server, self.database.name) == []

    def edit(self, **changes: object) -> None:
        """Let the manifest say something else."""
        path = Path(self.store.location(NAME)).with_suffix(".json")
        path.write_bytes(msgspec.json.encode({**json.loads(path.read_bytes()), **changes}))


@pytest.fixture(scope="module")
def filled(server_url: str, client_programs: None) -> Iterator[Database]:
    """A paved database with tickers and bars in two chunks."""
    name = f"kapman_test_{secrets.token_hex(4)}"
    database = Database(url_of(server_url, name), "tests")
    structure.pave(database)
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO tickers (id, symbol, active) SELECT uuid_generate_v5(%s, s), s, true "
            "FROM (SELECT 'T' || number AS s FROM generate_series(1, 1000) number) symbols",
            (TICKER_NAMESPACE,),
        )
        connection.execute(
            "INSERT INTO ohlcv (ticker_id, date, open, high, low, close, volume, transactions) "
            "SELECT id, date '2026-10-01' + day, 10, 12, 9, 11, 100 * day, day "
            "FROM tickers, generate_series(1, 40) day"
        )
    yield database
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        for one in (name, f"{name}_restoring", f"{name}_before_restore"):
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(one)))


@pytest.fixture(scope="module")
def original(filled: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backup of it."""
    folder = tmp_path_factory.mktemp("original")
    store = BackupStore(folder.as_uri())
    backups.take(filled, store, taken_by="tests", at=NOW)
    return folder


@pytest.fixture
def scene(
    filled: Database, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """The database, and a store of this test's own with that backup; the settings name both."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for path in original.glob("full_*"):
        (folder / path.name).write_bytes(path.read_bytes())
    own = {"DATABASE_URL": filled.url, "KAPMAN_BACKUP_URL": folder.as_uri(), "KAPMAN_BACKUP_KEEP": "1"}
    for name, value in {**own, "KAPMAN_AS_OF": "2026-11-20"}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    with filled.connect() as connection:
        content = database_hashes(connection)
    yield Scene(filled, BackupStore(folder.as_uri()), content)
    settings.cache_clear()


def moment_of(case: Case) -> str:
    return case.name.removeprefix("kill -9 ")


@pytest.mark.parametrize(
    "case", [case for case in BACKUP_KILLS if case.step == "backup"], ids=lambda case: case.name
)
def test_a_backup_that_is_killed(scene: Scene, commands: Commands, case: Case) -> None:
    """It doesn't count, the one before does; the next backup names it, removes it, and is the only one there."""
    commands.killed_at(moment_of(case), "backup")
    sound = {one.name for one in scene.store.backups()}
    if case.name == "kill -9 while an old backup is deleted":
        assert NAME not in sound and len(sound) == 1  # the new one is verified, or nothing were deleted
    else:
        assert sound == {NAME}
    listed = kapman("backup", "--list")
    assert "was when kapman backup was killed" in listed.text
    assert len(backups.remains(scene.store)) == 1
    again = kapman("backup")
    assert again.code == 0, again.text
    for text in case.says:
        assert text in again.stderr.decode()
    (last,) = scene.store.backups()
    assert again.stdout.decode().splitlines()[-1] == scene.store.location(last.name)
    folder = Path(scene.store.location(last.name)).parent
    assert {path.name for path in folder.iterdir()} == {f"{last.name}.dump", f"{last.name}.json"}
    assert backups.verify(scene.store, last.name) == last
    scene.assert_undisturbed()


@pytest.mark.parametrize(
    "case", [case for case in BACKUP_KILLS if case.step == "restore"], ids=lambda case: case.name
)
def test_a_restore_that_is_killed(scene: Scene, commands: Commands, case: Case) -> None:
    """The database has its content, the old one or the restored one, whole; the next restore explains the rest."""
    if case.name == "kill -9 before the former database is dropped":
        rest = replacement.replaced_name(scene.database.name)
    else:
        rest = replacement.restoring_name(scene.database.name)
    commands.killed_at(moment_of(case), "restore", "latest", "--yes")
    with scene.database.connect() as connection:
        assert database_hashes(connection) == scene.content
    with scene.database.connect(autocommit=True, database="postgres") as server:
        left = replacement.find(server, scene.database.name)
        assert [one.database for one in left] == ([rest] if case.says else [])
        assert all(repr(rest) in one.what and "kapman restore" in one.fix for one in left)
    again = kapman("restore", "latest", "--yes")
    assert again.code == 0, again.text
    for text in case.says:
        assert text in again.stderr.decode()
    scene.assert_undisturbed()


def test_a_pave_clears_a_killed_restore_away(scene: Scene, commands: Commands, server_url: str) -> None:
    """Case `kill -9 while pg_restore reads`, and then nobody restores again: the repave drops what was left."""
    other = f"{scene.database.name}_other"
    commands.killed_at("while pg_restore reads", "restore", "latest", "--yes", "--into", other)
    paved = Database(url_of(server_url, other), "tests")
    structure.pave(paved)
    with paved.connect(autocommit=True, database="postgres") as server:
        assert replacement.find(server, other) == []
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other)))


def fails(scene: Scene, case: Case, *arguments: str) -> None:
    """The command ends with its sentence, and nothing has changed."""
    done = kapman(*arguments)
    assert done.code == 1
    for text in case.says:
        assert text in done.stderr.decode()
    scene.assert_undisturbed()


def truncate(scene: Scene) -> None:
    dump = Path(scene.store.location(NAME))
    os.truncate(dump, dump.stat().st_size // 2)


def change(scene: Scene) -> None:
    dump = Path(scene.store.location(NAME))
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 0xFF
    dump.write_bytes(content)


def mislead(scene: Scene) -> None:
    tables = [msgspec.to_builtins(one) for one in scene.store.backup(NAME).tables]
    for table in tables:
        table["rows"] += table["name"] == "public.ohlcv"
    scene.edit(tables=tables)


DAMAGE: dict[str, Callable[[Scene], None]] = {
    "truncated dump": truncate,
    "changed dump": change,
    "missing dump": lambda scene: Path(scene.store.location(NAME)).unlink(),
    "damaged manifest": lambda scene: (
        Path(scene.store.location(NAME)).with_suffix(".json").write_text("{") and None
    ),
    "dump of other content than its manifest": mislead,
    "dump of a later PostgreSQL": lambda scene: scene.edit(postgresql="99.1"),
    "dump of another TimescaleDB": lambda scene: scene.edit(timescaledb="2.0.0"),
    "dump of a later KapMan": lambda scene: scene.edit(migrations=["0001.extensions", "9999.unknown"]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_backup_that_can_not_be_restored(scene: Scene, original: Path, name: str) -> None:
    """Refused in a sentence that says why; with the sound backup the same command restores."""
    DAMAGE[name](scene)
    fails(scene, CASES[name], "restore", NAME, "--yes")
    if name == "truncated dump":
        assert kapman("backup", "--verify", NAME).code == 1
        assert kapman("restore", str(original / f"{NAME}.dump"), "--yes").code == 0
        scene.assert_undisturbed()


def test_community_on_apache(scene: Scene) -> None:
    """Case `dump of the Community edition`: its columnstore can't be read by the other."""
    with scene.database.connect() as connection:
        row = connection.execute("SELECT current_setting('timescaledb.license')").fetchone()
    if row == ("timescale",):
        pytest.skip("this server runs the Community edition, which can restore both")
    scene.edit(edition="timescale")
    fails(scene, CASES["dump of the Community edition"], "restore", NAME, "--yes")


def test_disk_full_in_the_server(scene: Scene, small_disk: Callable[[str], Path], server_url: str) -> None:
    """Case `no room for a second database`, known before anything is made; and, where the manifest says too little,
    case `disk full in the database during a restore`: the database on that disk stays as it is."""
    name = f"{scene.database.name}_small"
    small = Database(url_of(server_url, name), "tests")
    into = ("restore", NAME, "--yes", "--into", name)
    with psycopg.connect(server_url, autocommit=True) as admin:
        [(empty,)] = admin.execute("SELECT pg_database_size('template0')").fetchall()
        disk = small_disk(f"{empty // 1024 + 1800}k")  # room for an empty database, and for no second one
        with tablespace(scene.database, disk):
            create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 TABLESPACE tiny")
            admin.execute(create.format(sql.Identifier(name)))
            admin.execute("CHECKPOINT")  # it is on that disk now
            try:
                fails(scene, CASES["no room for a second database"], *into)
                scene.edit(database_bytes=1)
                with pytest.raises(KapmanError, match=r"disk is full|No space left"):
                    backups.restore(small, scene.store, NAME)
                with small.connect() as connection:
                    assert connection.execute("SELECT count(*) FROM pg_extension").fetchone() == (1,)
                subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
                assert kapman(*into).code == 0
                assert replacement.find(admin, name) == []
            finally:
                for one in (name, replacement.restoring_name(name)):
                    admin.execute(
                        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(one))
                    )
    scene.assert_undisturbed()


def test_disk_full_in_the_store(
    scene: Scene, small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case `disk full in the store`: nothing is left there, and the next backup finds room."""
    folder = small_disk("16k")
    monkeypatch.setenv("KAPMAN_BACKUP_URL", folder.as_uri())
    fails(scene, CASES["disk full in the store"], "backup")
    assert list(folder.iterdir()) == []


def test_a_pg_dump_that_fails(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own words are in the sentence, and the store is as it was."""
    programs = backups.find_programs(170000)
    for name in ("pg_dump", "pg_restore"):
        text = f'#!/bin/sh\n[ "$1" = --version ] && exec {programs.folder}/{name} --version\n'
        text += "echo half of a dump; echo 'pg_dump: error: something is wrong' >&2; exit 1\n"
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr("kapman_resources.backups.programs._installed", lambda: iter([
        backups.Programs(tmp_path, programs.version)
    ]))  # fmt: skip
    done = kapman("backup")
    assert done.code == 1 and re.search("pg_dump failed: .*something is wrong", done.text)
    assert {path.name for path in Path(scene.store.location(NAME)).parent.iterdir()} == {
        f"{NAME}.dump", f"{NAME}.json",
    }  # fmt: skip
