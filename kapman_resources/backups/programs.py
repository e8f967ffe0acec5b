"""pg_dump and pg_restore: found in the server's own version, and run so that no password can be seen."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from psycopg.conninfo import make_conninfo

from kapman_resources.backups.records import BackupError
from kapman_resources.connection_errors import parse
from kapman_resources.database import Database
from kapman_resources.embedded import EmbeddedServer, default_home
from kapman_resources.errors import DatabaseError
from kapman_resources.redaction import known_secrets

_READ_BYTES = 1024 * 1024
_LOCK_WAIT = "60s"
# Level 1 of zstd packs bars to 16 % of their size on disk in 2.6 s of CPU; gzip, pg_dump's own choice, took
# 18.6 s for the same size, lz4 1.7 s for twice the size. pg_dump 15 knows gzip alone.
_COMPRESSION = "zstd:1"
_COMPRESSION_BEFORE_16 = "1"
# pg_dump's advice about the circular foreign keys of TimescaleDB's catalog, which its pre-restore step takes care of.
_EXPECTED = re.compile(r"circular foreign-key|^pg_dump: (detail|hint): ", re.IGNORECASE)


class Dump:
    """A pg_dump at work; `chunks` is what it writes."""

    def __init__(self, process: "subprocess.Popen[bytes]", said: "_Said") -> None:
        self._process = process
        self._said = said

    def chunks(self) -> Iterator[bytes]:
        """The dump's bytes.

        Raises:
            BackupError: pg_dump failed; raised at the end, before the last chunk is taken for all there is.
        """
        output = cast("IO[bytes]", self._process.stdout)
        while chunk := output.read(_READ_BYTES):
            yield chunk
        if self._process.wait():
            raise BackupError(
                f"pg_dump failed: {self._said.text() or f'it ended with {self._process.returncode}'}.",
                fix="Mend that, then take the backup again; this one doesn't count.",
            )


@dataclass(frozen=True)
class Programs:
    """The folder that has pg_dump and pg_restore, and their version, e.g. 17.12."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """Their major version."""
        return int(self.version.partition(".")[0])

    @contextmanager
    def dump(self, database: Database, snapshot: str) -> Iterator[Dump]:
        """A full dump in custom format of that snapshot of the database; ended if its reader ends first."""
        level = _COMPRESSION if self.major >= 16 else _COMPRESSION_BEFORE_16
        arguments = [
            "--format=custom", f"--compress={level}", f"--snapshot={snapshot}",
            f"--lock-wait-timeout={_LOCK_WAIT}",
        ]  # fmt: skip
        with _Said() as said:
            process = self._start("pg_dump", arguments, database, said, stdout=subprocess.PIPE)
            try:
                yield Dump(process, said)
            finally:
                _end(process)

    def list_contents(self, chunks: Iterable[bytes]) -> list[str]:
        """The table of contents of a dump, a line an entry; reads the dump to its end.

        Raises:
            BackupError: it is no dump that this version can read.
        """
        with _Said() as said, tempfile.TemporaryFile() as listed:
            process = self._start("pg_restore", ["--list"], None, said, stdin=subprocess.PIPE, stdout=listed)
            try:
                _feed(process, chunks)
            finally:
                _end(process)
            if process.returncode:
                raise BackupError(
                    f"pg_restore {self.version} can't read the dump: {said.text()}.",
                    fix="Use another backup: `kapman backup --list`.",
                )
            listed.seek(0)
            return [line for line in listed.read().decode().splitlines() if not line.startswith(";")]

    def restore(self, database: Database, chunks: Iterable[bytes]) -> None:
        """Restore a dump into the database, in one transaction.

        Raises:
            BackupError: it can't be; nothing was restored then.
        """
        arguments = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
        with _Said() as said:
            process = self._start("pg_restore", arguments, database, said, stdin=subprocess.PIPE)
            try:
                _feed(process, chunks)
            finally:
                _end(process)
            if process.returncode:
                raise BackupError(
                    f"pg_restore failed: {said.text() or f'it ended with {process.returncode}'}.",
                    fix="Mend that, then restore again; the database that was there is as it was.",
                )

    def _start(
        self, name: str, arguments: list[str], database: Database | None, said: "_Said", **pipes: object
    ) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "LC_ALL": "C"}
        if database is not None:
            # Everybody on the machine can read a program's arguments, so the password goes another way.
            target = parse(database.url)
            if "sslpassword" in target:
                raise BackupError(
                    f"DATABASE_URL has an sslpassword, which {name} could be given in its arguments only.",
                    fix="Use a client key without a passphrase, readable by this user alone.",
                )
            if password := target.pop("password", None):
                environment["PGPASSWORD"] = password
            environment["PGAPPNAME"] = f"kapman: {database.holder}"[:63]
            arguments = ["--no-password", "--dbname", make_conninfo("", **target), *arguments]
        return subprocess.Popen(
            [str(self.folder / name), *arguments],
            env=environment, stderr=said.file, **{"stdin": subprocess.DEVNULL, **pipes},  # type: ignore[call-overload]
        )  # fmt: skip


def find_programs(server_version: int, at_least: int = 0) -> Programs:
    """The programs that fit a server: its own major version if they are here, else the next newer one.

    server_version: as `connection.info.server_version` has it, e.g. 170012.
    at_least: major version of the pg_dump that wrote what is to be restored.

    Raises:
        BackupError: there are none.
    """
    wanted = max(server_version // 10000, at_least)
    fitting = [one for one in _installed() if one.major >= wanted]
    if not fitting:
        raise BackupError(
            f"There is no pg_dump and pg_restore of PostgreSQL {wanted} here, which is the server's version.",
            fix=f"Install them: apt install postgresql-client-{wanted} (the package of your system may be called "
            "otherwise), or put their folder on PATH.",
        )
    return min(fitting, key=lambda one: one.major)


def _installed() -> Iterator[Programs]:
    """Every pair on this machine: the embedded server's, Debian's, and what is on PATH."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    folders += [Path(found).parent] if (found := shutil.which("pg_dump")) else []
    with suppress(DatabaseError):  # nothing is unpacked here, as it should be with a server of one's own
        folders.insert(0, EmbeddedServer(default_home()).bin_folder())
    for folder in folders:
        if not (folder / "pg_restore").exists() or not (folder / "pg_dump").exists():
            continue
        asked = subprocess.run(
            [str(folder / "pg_dump"), "--version"], capture_output=True, text=True, check=False
        )
        if version := re.search(r"\d+(\.\d+)?", asked.stdout):
            yield Programs(folder, version[0])


def _feed(process: "subprocess.Popen[bytes]", chunks: Iterable[bytes]) -> None:
    """Give the chunks to a program, and all of them to their source, also after the program has had enough."""
    target = cast("IO[bytes]", process.stdin)
    listens = True
    for chunk in chunks:
        if listens:
            try:
                target.write(chunk)
            except BrokenPipeError:
                listens = False
    with suppress(BrokenPipeError):
        target.close()
    process.wait()


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def _scratch() -> IO[bytes]:
    return tempfile.TemporaryFile()


@dataclass
class _Said:
    """What a program writes to standard error: in a file, because a pipe that nobody reads stops it."""

    file: IO[bytes] = field(default_factory=_scratch)

    def __enter__(self) -> "_Said":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def text(self) -> str:
        """The lines that say what is wrong, in one; without secrets."""
        self.file.seek(0)
        lines = self.file.read().decode(errors="replace").splitlines()
        told = [line for line in lines if line.strip() and not _EXPECTED.search(line)]
        return known_secrets().text(" ".join(" ".join(told).split())[:600]).rstrip(".")
