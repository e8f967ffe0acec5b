"""The private TimescaleDB server of a project folder: created, started, stopped and described.

Layout of the home folder::

    data/         the cluster (mode 0700, owned by the account that the server runs as)
    log/          server.log and its predecessor
    kapman.conf   settings, written anew at each start
    password      of the role `kapman` (mode 0600)
    port, lock
"""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from kapman_resources.connection_errors import explain, require_timescaledb
from kapman_resources.embedded.cluster import DATABASE, HOST, ROLE, Cluster
from kapman_resources.embedded.packages import Binaries, exclusive, fetch, installed, unpacked
from kapman_resources.embedded.postmaster import Account, is_alive, poll, running
from kapman_resources.errors import DatabaseError

STOP_GIVEN = 60.0  # seconds, as pg_ctl; a server ended by force recovers from its log at the next start

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ServerStatus:
    """What `kapman db status` tells. Unknown values are None; uptime is to the second."""

    state: str
    """`running`, `starting`, `stopped`, or `absent` if there is no cluster yet."""
    data: Path
    log: Path
    pid: int | None = None
    port: int | None = None
    version: str | None = None
    timescaledb_version: str | None = None
    edition: str | None = None
    uptime: dt.timedelta | None = None


class EmbeddedServer:
    """One TimescaleDB server under `home`, shared by every process that names the same folder.

    home: folder for everything. For root, whose server runs as another user, it becomes a link into
        /var/lib if that user can't reach it.
    durable: False gives up crash safety for speed, for throw-away clusters only.
    packages: folder of the unpacked packages, which homes can share, by default beside `home`. Nothing is
        unpacked if the machine has PostgreSQL with TimescaleDB installed.
    tell: called with a sentence before each step that takes a person's time; logs by default.
    """

    def __init__(
        self,
        home: Path,
        *,
        durable: bool = True,
        packages: Path | None = None,
        tell: Callable[[str], None] = log.info,
    ) -> None:
        self._home = home.absolute()
        self._durable = durable
        self._packages = packages.absolute() if packages else self._home.with_name("packages")
        self._tell = tell

    def ensure(self) -> str:
        """The URL of the server, which accepts connections: fetched, created and started if it must be.

        Safe under concurrent callers, and a matter of milliseconds if the server is healthy. The empty
        database `kapman` comes with the cluster; it isn't made again if somebody drops it.

        Raises:
            DatabaseError: no packages and no network, or the server doesn't start; says what to do.
        """
        with self._explained():
            if not self._cluster.accepts_connections():
                self._settle(self._home)
                with exclusive(self._folder / "lock"):
                    self._bring_up()
            return self.url()

    def url(self) -> str:
        """`postgresql://kapman:<password>@127.0.0.1:<port>/kapman`, without starting anything.

        Raises:
            DatabaseError: there is no cluster yet.
        """
        with self._explained():
            cluster = self._cluster
            if not cluster.data.exists():
                raise DatabaseError(
                    f"There is no embedded server in {self._home} yet.", fix="Run `kapman db start`."
                )
            return f"postgresql://{ROLE}:{cluster.password()}@{HOST}:{cluster.port()}/{DATABASE}"

    def stop(self) -> None:
        """Stop the server, ending its sessions; nothing happens if it isn't running."""
        with self._explained():
            if self._cluster.data.exists():
                with exclusive(self._folder / "lock"):
                    self._end(signal.SIGINT, signal.SIGQUIT)

    def remove(self) -> None:
        """End the server at once and delete its data, log and settings, but not the packages."""
        with self._explained():
            folder = self._folder
            if not folder.exists():
                return
            with exclusive(folder / "lock"):
                self._end(signal.SIGQUIT)
            for name in ("data", "data.new", "log"):
                shutil.rmtree(folder / name, ignore_errors=True)
            for name in ("password", "port", "kapman.conf", "lock"):
                (folder / name).unlink(missing_ok=True)
            if self._home.is_symlink():
                self._home.unlink()
            with contextlib.suppress(OSError):  # not ours to delete if something else is in it
                folder.rmdir()

    def status(self) -> ServerStatus:
        """The state of the server; a running one is asked for its versions."""
        with self._explained():
            cluster = self._cluster
            status = ServerStatus("absent", cluster.data, cluster.log)
            if not cluster.data.exists():
                return status
            binaries = self._find_binaries()
            status = dataclasses.replace(
                status,
                state="stopped",
                version=str(cluster.major()),
                timescaledb_version=binaries.timescaledb_version if binaries else None,
            )
            if (server := running(cluster.data)) is None:
                return status
            uptime = dt.timedelta(seconds=max(0, int(time.time()) - server.started))
            status = dataclasses.replace(
                status, state="starting", pid=server.pid, port=server.port, uptime=uptime
            )
            if not cluster.accepts_connections():
                return status
            url = self.url()
            try:
                with psycopg.connect(url, dbname="postgres") as conn:
                    facts = require_timescaledb(conn)
            except psycopg.OperationalError as error:
                raise explain(error, url) from error
            return dataclasses.replace(
                status,
                state="running",
                version=facts.version,
                timescaledb_version=facts.timescaledb_version,
                edition=facts.edition,
            )

    def bin_folder(self) -> Path:
        """The folder of psql, pg_dump, pg_restore and their like, of the server's own version.

        Raises:
            DatabaseError: nothing is unpacked or installed yet.
        """
        if (binaries := self._find_binaries()) is None:
            raise DatabaseError(
                f"There is no PostgreSQL with TimescaleDB in {self._home} yet.", fix="Run `kapman db start`."
            )
        return binaries.bin

    def psql_path(self) -> Path:
        """The psql of the server's own version."""
        return self.bin_folder() / "psql"

    def _end(self, *signals: signal.Signals) -> None:
        """Send one signal after the other until the server is gone. The caller holds the lock."""
        cluster = self._cluster
        if (server := running(cluster.data)) is None:
            return
        for how in signals:
            os.kill(server.pid, how)
            if poll(lambda: not is_alive(server.pid), STOP_GIVEN):
                return
        raise DatabaseError(
            f"The embedded server (process {server.pid}) doesn't stop.", fix=f"Its log is {cluster.log}."
        )

    @property
    def _folder(self) -> Path:
        return self._home.resolve()

    @property
    def _cluster(self) -> Cluster:
        return Cluster(self._folder, Account.for_data(self._folder / "data"), self._durable, self._tell)

    def _find_binaries(self) -> Binaries | None:
        """Binaries that are here already and fit the cluster, if there is one."""
        cluster = self._cluster
        found = [there] if (there := unpacked(self._packages.resolve())) else []
        if cluster.account.is_named:  # else initdb needs the wrapper that only the packages have
            found += installed()
        fitting = (one for one in found if cluster.major() in (None, one.major))
        return next((one for one in fitting if cluster.account.can_reach(one.bin)), None)

    def _bring_up(self) -> None:
        """Fetch, create and start what is missing. The caller holds the lock."""
        cluster = self._cluster
        binaries = self._find_binaries() or fetch(self._settle(self._packages), self._tell)
        if cluster.major() not in (None, binaries.major):
            raise DatabaseError(
                f"The data in {cluster.data} needs PostgreSQL {cluster.major()}, which isn't here.",
                fix=f"Install postgresql-{cluster.major()}-timescaledb, or delete {self._folder} and repave.",
            )
        if cluster.major() is None:
            cluster.create(binaries)
        cluster.start(binaries)

    def _settle(self, path: Path) -> Path:
        """Make a folder where the server's account can reach it, and return where that is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        account = self._cluster.account
        if not account.can_reach(path.resolve().parent):
            # Only root gets here. The name is derived, so that the same project finds its server again.
            elsewhere = Path("/var/lib") / f"kapman-{hashlib.sha256(bytes(path)).hexdigest()[:12]}"
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()
            with contextlib.suppress(FileExistsError):
                path.symlink_to(elsewhere)
            self._tell(f"User {account.uid}, who runs the server, can't reach {path}: it is in {elsewhere}")
        folder = path.resolve()
        folder.mkdir(exist_ok=True)
        if not account.is_me and folder.stat().st_uid == os.geteuid():
            folder.chmod(0o755)
        return folder

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn a refusal of the file system or the kernel into a sentence."""
        try:
            yield
        except OSError as error:
            raise DatabaseError(
                f"User {os.geteuid()} can't use the embedded server in {self._home}: {error}.",
                fix="Run as the user who made it, or set KAPMAN_HOME to a folder of your own with 1 GB free.",
            ) from error
