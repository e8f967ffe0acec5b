"""The demo's vendor: a simulator in the background when no credentials are set.

The platform reaches it through the same public settings as the real vendor: the simulator's own
`--env-file` tells them. It is started on first use and left running for the next run, and its past is lived
through (`demo_history`) before anybody gets to see it: whichever door a run comes through, it finds the same.
"""

import datetime as dt
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from kapman_resources.errors import VendorError
from kapman_resources.settings import Settings, settings

_START_SECONDS = 90

_log = logging.getLogger(__name__)


def vendor_settings(tell: Callable[[str], None] = _log.info) -> Settings:
    """The settings with a vendor in them: the configured one, else the demo's simulator, started if needed.

    tell: gets a sentence if the demo has a past to live through first, which takes a while.

    Raises:
        KapmanError: the demo did not come up, see `demo_settings`.
    """
    configured = settings()
    if configured.has_vendor:
        return configured
    # Imported late: the calendar takes longer to load than all of what a command with a vendor needs here.
    from kapman_resources.clock import as_of  # noqa: PLC0415

    return demo_settings(configured, as_of(), tell)


def archive_settings() -> Settings:
    """The same for who only reads the vault: a demo that has run before is not started for that."""
    configured = settings()
    if configured.has_vendor or not (known := _vendor_file(configured.home)).exists():
        return vendor_settings()
    from kapman_resources.clock import as_of  # noqa: PLC0415
    from kapman_resources.demo_history import first_session  # noqa: PLC0415

    return configured.model_copy(update={"vendor": known.read_text(), "vault_since": first_session(as_of())})


def demo_settings(configured: Settings, today: dt.date, tell: Callable[[str], None]) -> Settings:
    """The settings that point at a running simulator whose today is `today`, and whose past is in the vault.

    The simulator is started if needed, and the market lives through what is missing of its past.

    Raises:
        VendorError: the simulator did not come up; the sentence names its log.
        SourceError: the watchlists can't be read, or the vault can't be written.
    """
    from kapman_resources.demo_history import first_session, live_through  # noqa: PLC0415
    from kapman_resources.watchlist_files import read_watchlists  # noqa: PLC0415

    folder = configured.home / "simulator"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        environment = _running(configured.home, today) or _start(configured.home, today)
        since = first_session(today).isoformat()
        demo = Settings.model_validate({**environment, "KAPMAN_VAULT_SINCE": since})
        symbols = read_watchlists(configured.watchlists).frame["symbol"].unique().to_list()
        live_through(demo, today, symbols, tell)
    return demo


def stop_demo(home: Path) -> bool:
    """Stop the background simulator; whether there was one."""
    pid_file = home / "simulator" / "pid"
    try:
        pid = int(pid_file.read_text())
        # A pid may have been given to another program since: look at what it runs.
        if b"simulator" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return False
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    finally:
        pid_file.unlink(missing_ok=True)
        (home / "simulator" / "simulator.env").unlink(missing_ok=True)
    return True


def _vendor_file(home: Path) -> Path:
    """Where the name of the demo's vendor stands when its simulator doesn't run."""
    return home / "simulator" / "vendor"


def _running(home: Path, today: dt.date) -> dict[str, str] | None:
    """The settings of the simulator that runs, if its today is this one."""
    found = _read(home / "simulator" / "simulator.env")
    return found if found.get("KAPMAN_AS_OF") == today.isoformat() and _answers(found) else None


def _start(home: Path, today: dt.date) -> dict[str, str]:
    """Start a simulator in place of the one that runs, if any; return when it answers."""
    stop_demo(home)
    folder = home / "simulator"
    env_file, log = folder / "simulator.env", folder / "simulator.log"
    command = [sys.executable, "-m", "kapman_cli", "simulator"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--today", today.isoformat(), "--env-file", str(env_file)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    (folder / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = _read(env_file)
        if found and _answers(found):
            _vendor_file(home).write_text(found["KAPMAN_VENDOR"])
            return found
        time.sleep(0.05)
    raise VendorError(
        f"The demo's simulator did not start within {_START_SECONDS} s (its log: {log}).",
        fix="Run `kapman simulator` to see why, or set MASSIVE_API_KEY and the KAPMAN_S3_ variables.",
    )


def _read(env_file: Path) -> dict[str, str]:
    try:
        lines = env_file.read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def _answers(environment: Mapping[str, str]) -> bool:
    """Whether both servers accept connections (any HTTP answer will do)."""
    try:
        for name in ("KAPMAN_API_URL", "KAPMAN_S3_ENDPOINT"):
            httpx.get(environment[name], timeout=5)
    except (httpx.TransportError, KeyError):
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
