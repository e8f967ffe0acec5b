"""The demo's vendor: a simulator in the background when no credentials are set.

The platform reaches it through the same public settings as the real vendor: the simulator's own
`--env-file` tells them. It is started on first use and left running for the next run.
"""

import datetime as dt
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from kapman_resources.errors import VendorError
from kapman_resources.settings import Settings, settings

_START_SECONDS = 90


def vendor_settings() -> Settings:
    """The settings with a vendor in them: the configured one, else the demo's simulator, started if needed.

    Raises:
        VendorError: the simulator did not come up; the sentence names its log.
    """
    configured = settings()
    if configured.has_vendor:
        return configured
    # Imported late: the calendar takes longer to load than all of what a command with a vendor needs here.
    from kapman_resources.clock import as_of  # noqa: PLC0415

    environment = demo_environment(configured.home, as_of())
    return Settings.model_validate({**configured.model_dump(by_alias=False), **environment})


def demo_environment(home: Path, today: dt.date) -> dict[str, str]:
    """The settings that point at a running simulator whose today is `today`, starting it if needed.

    Raises:
        VendorError: it did not come up; the sentence names its log.
    """
    folder = home / "simulator"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        found = _read(folder / "simulator.env")
        if found.get("KAPMAN_AS_OF") == today.isoformat() and _answers(found):
            return found
        stop_demo(home)
        return _start(folder, today)


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


def _start(folder: Path, today: dt.date) -> dict[str, str]:
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
