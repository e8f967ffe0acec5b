"""One PostgreSQL cluster on disk and the process that serves it. The caller holds the home folder's lock."""

import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from psycopg import pq

from kapman_resources.embedded.archive import SEARCH_PATH
from kapman_resources.embedded.configuration import configuration
from kapman_resources.embedded.packages import Binaries
from kapman_resources.embedded.postmaster import Account, disown, is_alive, poll, quit_orphans, running
from kapman_resources.errors import DatabaseError

ROLE = DATABASE = "kapman"
HOST = "127.0.0.1"
ZONES = Path("/usr/share/zoneinfo")  # compiled into Debian's PostgreSQL
PORT_ATTEMPTS = 3
ORPHANS_GIVEN = 30.0  # seconds for server processes without a postmaster to end
RECOVERY_GIVEN = 900.0  # seconds to recover from a crash with at most max_wal_size of log
PATIENCE = 3.0  # seconds after which a person wants to know why it takes so long
LOG_LIMIT = 8 * 2**20


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The cluster in `folder`/data, run by `account`; `tell` is called before slow steps."""

    folder: Path
    account: Account
    durable: bool
    tell: Callable[[str], None]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log" / "server.log"

    def major(self) -> int | None:
        """PostgreSQL's major version of the data, None if there is no data."""
        try:
            return int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def password(self) -> str:
        """The password of the role `kapman`."""
        try:
            return (self.folder / "password").read_text()
        except FileNotFoundError:
            raise DatabaseError(
                f"The password of the embedded server in {self.folder} is gone.",
                fix="Run `kapman db stop`, delete the folder, and repave.",
            ) from None

    def port(self) -> int:
        """The port that was chosen at the last start."""
        try:
            return int((self.folder / "port").read_text())
        except FileNotFoundError:
            raise DatabaseError(
                f"The embedded server in {self.folder} has never been started.", fix="Run `kapman db start`."
            ) from None

    def accepts_connections(self) -> bool:
        """Whether the server of this very data folder is up and answers."""
        server = running(self.data)
        if server is None or not server.ready or server.port is None:
            return False
        # A user without a passwd entry has no default role, hence the name of one.
        target = f"host={HOST} port={server.port} user={ROLE} sslmode=disable connect_timeout=5"
        answer = pq.PGconn.ping(target.encode())
        return bool(answer == pq.Ping.OK)

    def create(self, binaries: Binaries) -> None:
        """Run initdb and make the database, in a temporary folder that becomes `data` when it is complete."""
        self.tell("Creating the database cluster")
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        if not (self.folder / "password").exists():
            self._write("password", secrets.token_urlsafe(24), mode=0o600)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="initdb-") as scratch:
            pwfile = Path(scratch) / "password"
            pwfile.write_text(self.password())
            environment = self._name_for_account(Path(scratch), binaries)
            for path in (pwfile, Path(scratch)):
                self._give(path)
            initdb: list[str | Path] = [binaries.bin / "initdb", "-D", fresh, "-U", ROLE, "--pwfile", pwfile]
            initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
            if binaries.major >= 17:  # the same order of strings as C, without its ASCII-only upper()
                initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            if not self.durable:
                initdb += ["--no-sync"]
            self._run(initdb, environment)
            self._run(
                [binaries.bin / "postgres", "--single", "-c", "exit_on_error=on", "-D", fresh, "postgres"],
                environment,
                stdin=f"CREATE DATABASE {DATABASE}\n",
            )
        with (fresh / "postgresql.conf").open("a") as file:
            file.write("\ninclude '../kapman.conf'\n")
        fresh.rename(self.data)

    def start(self, binaries: Binaries) -> None:
        """Start the server, or wait for the one that is on its way up.

        Raises:
            DatabaseError: it ended again; the sentence has its own last words and where the log is.
        """
        if not (ZONES / "UTC").exists():
            raise DatabaseError(
                f"PostgreSQL needs the time zones in {ZONES}, which aren't there.",
                fix="Run `apt install tzdata`.",
            )
        give_up_on_orphans = time.monotonic() + ORPHANS_GIVEN
        ports_left = PORT_ATTEMPTS
        while True:
            if server := running(self.data):
                if self._comes_up(server.pid):
                    return
                continue
            if (words := self._launch(binaries)) is None:
                return
            if "shared memory block" in words and time.monotonic() < give_up_on_orphans:
                quit_orphans(self.data)
                time.sleep(0.1)
            elif "could not bind" in words and ports_left:
                ports_left -= 1
            else:
                raise DatabaseError(
                    f"The embedded server doesn't start: {_reason(words)}.", fix=f"Its log is {self.log}."
                )

    def _launch(self, binaries: Binaries) -> str | None:
        """Start a postmaster; None if it accepts connections, else what it logged before it ended."""
        self.tell("Starting the embedded TimescaleDB server")
        port = self._free_port()
        self._write("port", str(port))
        self._write("kapman.conf", configuration(port, durable=self.durable))
        disown(self.data)
        self.log.parent.mkdir(exist_ok=True)
        self._give(self.log.parent)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.rename(self.log.with_suffix(".log.1"))
        read_from = self.log.stat().st_size if self.log.exists() else 0
        # The shell ends at once, so that the server is nobody's child: it has its own session, and
        # neither its starter's end nor a Ctrl-C in the starter's terminal reaches it.
        script = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'
        pid = self._run(["/bin/sh", "-c", script, "sh", self.log, binaries.bin / "postgres", "-D", self.data])
        if self._comes_up(int(pid)):
            return None
        return self.log.read_bytes()[read_from:].decode(errors="replace")

    def _comes_up(self, pid: int) -> bool:
        """Wait until the postmaster accepts connections (True) or has ended (False)."""

        def settled() -> bool:
            return not is_alive(pid) or self.accepts_connections()

        if not poll(settled, PATIENCE):
            self.tell("Waiting for the server to recover from a crash, or to finish stopping")
            if not poll(settled, RECOVERY_GIVEN):
                raise DatabaseError(
                    f"The embedded server (process {pid}) isn't ready after {RECOVERY_GIVEN:.0f} s.",
                    fix=f"Its log is {self.log}.",
                )
        return is_alive(pid)

    def _free_port(self) -> int:
        """The port of the last start if nobody has taken it since, else one that is free now."""
        with contextlib.suppress(OSError, DatabaseError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, self.port()))
            return self.port()
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
            return port

    def _name_for_account(self, scratch: Path, binaries: Binaries) -> dict[str, str]:
        """Environment that lends the account a passwd entry, which initdb insists on, if it has none."""
        if self.account.is_named or binaries.nss_wrapper is None:
            return {}
        (scratch / "passwd").write_text(f"{ROLE}:x:{self.account.uid}:{self.account.gid}::/:/bin/false\n")
        (scratch / "group").write_text(f"{ROLE}:x:{self.account.gid}:\n")
        # Without a folder in its name only the unpacked programs find the library; the machine's own
        # shell, whose C library may be too old for it, says that it is ignored.
        return {
            "LD_PRELOAD": binaries.nss_wrapper.name,
            "NSS_WRAPPER_PASSWD": str(scratch / "passwd"),
            "NSS_WRAPPER_GROUP": str(scratch / "group"),
        }

    def _run(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str] = MappingProxyType({}),
        stdin: str = "",
    ) -> str:
        """Standard output of a program run to its end as the account, without the caller's environment."""
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": SEARCH_PATH, "LC_ALL": "C", **environment},
            umask=0o077,
            start_new_session=True,
            **self.account.popen,
        )
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if not line.startswith("ERROR: ld.so")]
            raise DatabaseError(
                f"{Path(command[0]).name} failed in {self.folder}: {' '.join(said[-3:]).rstrip('.')}.",
                fix="Mend that, then run `kapman db start`.",
            )
        return done.stdout

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Replace a small file of the home folder at once; it belongs to whom the folder belongs to."""
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=f"{name}-")
        os.write(descriptor, text.encode())
        os.close(descriptor)
        Path(temporary).chmod(mode)
        owner = self.folder.stat()
        if owner.st_uid != os.geteuid():
            os.chown(temporary, owner.st_uid, owner.st_gid)
        Path(temporary).rename(self.folder / name)

    def _give(self, path: Path) -> None:
        """Let the account own what this process has made."""
        if not self.account.is_me:
            os.chown(path, self.account.uid, self.account.gid)


def _reason(words: str) -> str:
    """The server's own words for its end, without time stamps."""
    fatal = re.findall(r"(?:FATAL|PANIC|ERROR):\s+(.*)", words)
    return "; ".join(dict.fromkeys(fatal or words.strip().splitlines()[-1:])) or "it ended without a word"
