"""Who runs the server and whether it runs: facts from the process table, never from a lock file alone.

`pg_ctl status` trusts `postmaster.pid`, which survives a kill -9, may name a process id that has been
given to somebody else since, and names a zombie where PID 1 doesn't reap. /proc knows better.
"""

import contextlib
import dataclasses
import os
import pwd
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Greater than any process id that Linux gives out (2^22), so it never names a live process.
NOBODYS_PID = 2**31 - 1
POLL_EVERY = 0.02


@dataclasses.dataclass(frozen=True)
class Account:
    """The operating-system user that the server runs as; PostgreSQL refuses to be root."""

    uid: int
    gid: int

    @classmethod
    def for_data(cls, data: Path) -> "Account":
        """This process's own user; for root the owner of existing data, else `postgres`, else `nobody`."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        with contextlib.suppress(FileNotFoundError):
            owner = data.stat()
            if owner.st_uid != 0:
                return cls(owner.st_uid, owner.st_gid)
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        return cls(65534, 65534)

    @property
    def is_me(self) -> bool:
        """Whether programs of this account need no change of user."""
        return self.uid == os.geteuid()

    @property
    def is_named(self) -> bool:
        """Whether the uid has a passwd entry, without which initdb doesn't work."""
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            return False
        return True

    @property
    def popen(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen` that start a program as this account and nothing else."""
        return {} if self.is_me else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_reach(self, folder: Path) -> bool:
        """Whether this account may enter `folder`, going by the permission bits on the way there."""
        if self.is_me:
            return True  # and if not, the system says so itself
        return all(self._may_enter(step) for step in [folder, *folder.parents] if step.exists())

    def _may_enter(self, folder: Path) -> bool:
        found = folder.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


@dataclasses.dataclass(frozen=True)
class Postmaster:
    """A live postmaster of one data folder. port is None until it has opened one."""

    pid: int
    started: int
    port: int | None
    ready: bool


def running(data: Path) -> Postmaster | None:
    """The live postmaster of the data folder, or None; a stale or reused `postmaster.pid` counts as none."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    if not _is_server(pid, data):
        return None
    lines += [""] * 8  # the file grows while the server starts
    ready = lines[7].strip() == "ready"
    return Postmaster(pid, int(lines[2] or 0), int(lines[3]) if lines[3].strip() else None, ready)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until the condition holds (True) or the time is over (False)."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_EVERY)
    return True


def disown(data: Path) -> None:
    """Make a dead postmaster's lock file harmless, whoever has its process id today.

    PostgreSQL refuses to start while the id in the file names any process of the same user. The file
    itself stays: the shared-memory key in it is what keeps a new server off the data while backends of
    the old one are still alive.
    """
    path = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        _, _, rest = path.read_text().partition("\n")
        if rest:
            path.write_text(f"{NOBODYS_PID}\n{rest}")
        else:
            path.unlink()  # cut off in mid-write: it never named any shared memory


def quit_orphans(data: Path) -> None:
    """Tell server processes that outlived their postmaster to quit.

    An idle one notices by itself; one in the middle of a query doesn't.
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        if _arguments(pid)[0].startswith("postgres:") and _works_in(pid, data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)


def _is_server(pid: int, data: Path) -> bool:
    """Whether the process is a live postmaster of this data folder."""
    words = _arguments(pid)
    if not is_alive(pid) or Path(words[0]).name != "postgres":
        return False
    # Root in a container may not see another user's working folder; the arguments are public.
    return _works_in(pid, data) or str(data) in words


def _arguments(pid: int) -> list[str]:
    """The process's command line; a server process below the postmaster writes its title there."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return [""]


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
