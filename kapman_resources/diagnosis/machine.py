"""This machine: Python, disk, memory."""

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from kapman_resources.diagnosis import Finding, Probe
from kapman_resources.object_store import local_folder
from kapman_resources.settings import Settings

PYTHON = ((3, 11), (3, 15))
"""First version that works, and the first that has not been tried (pyproject.toml, `requires-python`)."""

GB = 1e9
# The whole market over 730 days takes 1.5 GB with its indexes, its log files 8 GB at most under compose; a base
# load 0.9 GB of memory, metrics of the whole market 1.5 GB (benchmarks/README.md).
LEAST_DISK, COMFORTABLE_DISK = 1.0, 10.0
LEAST_MEMORY, COMFORTABLE_MEMORY = 1.0, 2.0

_MEMORY = Path("/proc/meminfo")
_CONTAINER_LIMIT, _CONTAINER_USE = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def probes(settings: Settings) -> Mapping[str, Probe]:
    """The probes of this machine."""
    return {"python": python, "disk": partial(disk, folders(settings)), "memory": memory}


def folders(settings: Settings) -> dict[str, Path]:
    """The folders that fill up here, by what they hold."""
    found = {"home": settings.home}
    for what, url in (("vault", settings.vault), ("backups", settings.backups)):
        if folder := local_folder(url):
            found[what] = folder
    if settings.database_url is None:
        found["embedded database"] = settings.home / "postgres"
    return found


def python() -> Iterator[Finding]:
    """Whether this Python is one that the platform runs on."""
    first, end = PYTHON
    version = ".".join(map(str, sys.version_info[:3]))
    supported = f"{first[0]}.{first[1]} to {end[0]}.{end[1] - 1}"
    if first <= sys.version_info[:2] < end:
        yield Finding("python", "ok", f"{version} (supported: {supported})")
    else:
        yield Finding(
            "python",
            "fail",
            f"{version}; supported: {supported}",
            "Make the environment with another: make PYTHON=...",
        )


def disk(folders: Mapping[str, Path]) -> Iterator[Finding]:
    """Room on the file systems of the folders (where one doesn't exist yet, of the one that it will be in)."""
    for what, folder in folders.items():
        there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
        free = shutil.disk_usage(there).free / GB
        name, found = f"disk: {what}", f"{free:,.1f} GB free in {there}"
        if free < LEAST_DISK:
            yield Finding(name, "fail", found, f"Make room: below {LEAST_DISK:g} GB a load may not end.")
        elif free < COMFORTABLE_DISK:
            yield Finding(name, "warn", found, f"Make room: a full market wants {COMFORTABLE_DISK:g} GB.")
        else:
            yield Finding(name, "ok", found)


def memory() -> Iterator[Finding]:
    """Memory that this process could still have: the machine's, or what is left of its container's."""
    free = available_memory()
    if free is None:
        yield Finding("memory", "warn", "unknown on this system", "2 GB are wanted for a full market.")
        return
    found = f"{free:.1f} GB available"
    if free < LEAST_MEMORY:
        yield Finding("memory", "fail", found, "End other programs: a base load of a full market takes 1 GB.")
    elif free < COMFORTABLE_MEMORY:
        yield Finding("memory", "warn", found, "A full market's metrics take up to 2 GB.")
    else:
        yield Finding("memory", "ok", found)


def available_memory() -> float | None:
    """Available memory in GB, None where the system doesn't tell."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        free = min(free, int(_CONTAINER_LIMIT.read_text()) - int(_CONTAINER_USE.read_text()))
    return free / GB
