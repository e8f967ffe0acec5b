"""The embedded server's settings, sized for the machine it runs on."""

import os
from pathlib import Path

MEGABYTE = 2**20
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# Parallel queries keep their shared memory in /dev/shm, which is 64 MB in a default container.
ENOUGH_SHARED_MEMORY = 512 * MEGABYTE
# One per database with the extension, plus running jobs.
TIMESCALEDB_WORKERS = 24


def configuration(port: int, *, durable: bool) -> str:
    """Text of the file that `postgresql.conf` includes; `ALTER SYSTEM` still wins over it.

    port: TCP port on the loopback interface.
    durable: False gives up crash safety for speed, for throw-away clusters only.
    """
    memory = machine_memory()
    cores = os.cpu_count() or 1
    values: dict[str, str | int] = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",  # a socket's path may have 107 bytes; a project's folder may be deeper
        "max_connections": 100,
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "timescaledb.max_background_workers": TIMESCALEDB_WORKERS,
        "max_worker_processes": TIMESCALEDB_WORKERS + cores + 8,
        "max_locks_per_transaction": 256,  # one statement over all chunks locks each of them and its indexes
        "shared_buffers": _megabytes(memory // 8, 64, 2048),
        "effective_cache_size": _megabytes(memory // 2, 128, 65536),
        "work_mem": _megabytes(memory // 256, 4, 64),
        "maintenance_work_mem": _megabytes(memory // 16, 32, 1024),
        "dynamic_shared_memory_type": "posix" if _shared_memory() >= ENOUGH_SHARED_MEMORY else "mmap",
        # No replica ever follows this server; loads into chunks of the same transaction skip the WAL.
        "wal_level": "minimal",
        "max_wal_senders": 0,
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %d ",
        "log_checkpoints": "off",
    }
    if not durable:
        values |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    return "".join(f"{name} = '{value}'\n" for name, value in values.items())


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's limit."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [Path(path).read_text().strip() for path in CGROUP_LIMITS if Path(path).exists()]
    return min([physical, *(int(limit) for limit in limits if limit.isdigit())])


def _megabytes(size: int, least: int, most: int) -> str:
    return f"{min(max(size // MEGABYTE, least), most)}MB"


def _shared_memory() -> int:
    """Bytes free in /dev/shm."""
    try:
        found = os.statvfs("/dev/shm")  # noqa: S108  (measured, not written to)
    except FileNotFoundError:
        return 0
    return found.f_bavail * found.f_frsize
