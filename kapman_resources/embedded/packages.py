"""Where PostgreSQL with TimescaleDB is on this machine: installed, or unpacked from Debian's packages.

Unpacked executables get an interpreter and a library search path of their own, so that they run on an older
Debian than the one they were built for, and beside whatever is installed.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from kapman_resources.connection_errors import MINIMUM_POSTGRESQL, MINIMUM_TIMESCALEDB, version_number
from kapman_resources.embedded.archive import GET_A_SERVER, SEARCH_PATH, SUITE, download, run
from kapman_resources.errors import DatabaseError

MAJOR = 17

SERVER_PACKAGES = ["postgresql-17", "postgresql-client-17", "postgresql-17-timescaledb"]
# The closure of shared libraries of those three, and two tools: patchelf rewrites the executables, and
# libnss-wrapper lends initdb a name for a user without a passwd entry.
LIBRARY_PACKAGES = """
    libc6 libgcc-s1 libstdc++6 zlib1g liblz4-1 libzstd1 liblzma5 libxxhash0 libicu76 libxml2 libssl3t64 libpq5
    libldap2 libsasl2-2 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2 libkeyutils1
    libpam0g libaudit1 libcap-ng0 libselinux1 libpcre2-8-0 libsystemd0 libcap2 libreadline8t64 libtinfo6
    libuuid1 libxslt1.1 patchelf libnss-wrapper
""".split()  # noqa: SIM905  (a list of 33 quoted words would hide what changes)
LEFT_OUT = ["./usr/share/doc", "./usr/share/man", "./usr/share/locale", "*/gconv", "*/bitcode", "*llvmjit*"]


@dataclasses.dataclass(frozen=True)
class Binaries:
    """A PostgreSQL with TimescaleDB: folder of its executables, versions, and libnss_wrapper if unpacked."""

    bin: Path
    major: int
    timescaledb_version: str
    nss_wrapper: Path | None = None


def installed(usr: Path = Path("/usr")) -> list[Binaries]:
    """Installations in Debian's layout with PostgreSQL ≥ 15 and TimescaleDB ≥ 2.19, newest first."""
    found = []
    for folder in usr.glob("lib/postgresql/*/bin"):
        name = folder.parent.name
        if not name.isdigit() or not all((folder / one).exists() for one in ("postgres", "initdb", "psql")):
            continue
        version = _timescaledb_version(usr, int(name))
        if version and int(name) >= MINIMUM_POSTGRESQL and version_number(version) >= MINIMUM_TIMESCALEDB:
            found.append(Binaries(folder, int(name), version))
    return sorted(found, key=lambda one: one.major, reverse=True)


def unpacked(folder: Path) -> Binaries | None:
    """The packages unpacked under `folder`, or None if there are none, or the folder has been moved."""
    tree = folder / SUITE
    try:
        manifest = json.loads((tree / "manifest.json").read_text())
    except FileNotFoundError:
        return None
    # The interpreter's path is written into the executables, so a moved tree doesn't run.
    version = _timescaledb_version(tree / "usr", MAJOR)
    if manifest["root"] != str(tree) or version is None:
        return None
    wrapper = next(tree.glob("usr/lib/*/libnss_wrapper.so"), None)
    return Binaries(tree / "usr/lib/postgresql" / str(MAJOR) / "bin", MAJOR, version, wrapper)


def fetch(folder: Path, tell: Callable[[str], None]) -> Binaries:
    """The packages unpacked under `folder`, downloaded first unless they are there; safe under concurrency.

    The tree gets its name when it is complete, so that an interrupted fetch is never mistaken for one.

    Raises:
        DatabaseError: no Debian sources, no keyring, no network, a bad signature, or no room to unpack.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "lock"):
        if there := unpacked(folder):
            return there
        for remains in [*folder.glob("unpacking-*"), folder / SUITE]:
            shutil.rmtree(remains, ignore_errors=True)
        tell("Fetching PostgreSQL with TimescaleDB from this machine's Debian sources (about 40 MB, once)")
        with tempfile.TemporaryDirectory(prefix="unpacking-", dir=folder, ignore_cleanup_errors=True) as name:
            _prepare(Path(name), final=folder / SUITE)
    folder.chmod(0o755)  # the server may run as another user
    if there := unpacked(folder):
        return there
    raise DatabaseError(
        f"Debian's packages for {SUITE} came without TimescaleDB's library.", fix=f"Instead, {GET_A_SERVER}"
    )


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file, waiting for whoever has it; the end of a process frees what it held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _prepare(scratch: Path, final: Path) -> None:
    """Download and unpack into `scratch`, and rename the complete tree to `final`."""
    tree = scratch / "tree"
    tree.mkdir()
    debs = download([*SERVER_PACKAGES, *LIBRARY_PACKAGES], scratch)
    for deb in debs:
        _unpack(deb, tree)
    _relocate(tree, final)
    versions = dict(deb.name.split("_")[:2] for deb in debs)
    (tree / "manifest.json").write_text(json.dumps({"root": str(final), "packages": versions}, indent=1))
    tree.chmod(0o755)
    tree.rename(final)


def _unpack(deb: Path, tree: Path) -> None:
    """Unpack one package without documentation, translations and bitcode."""
    # As root, tar would by default keep the modes that the umask takes away; so it does for everybody here.
    tar = ["tar", "-x", "--no-same-owner", "--same-permissions", "-C", str(tree)]
    tar += [f"--exclude={pattern}" for pattern in LEFT_OUT]
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C"}
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as source:
        target = subprocess.run(
            tar, stdin=source.stdout, capture_output=True, text=True, env=environment, check=False
        )
    if source.returncode or target.returncode:
        said = target.stderr.strip().splitlines()
        raise DatabaseError(
            f"Package {deb.name} can't be unpacked into {tree}: {said[0] if said else 'dpkg-deb failed'}.",
            fix="Make sure that 200 MB are free there, then try again.",
        )


def _relocate(tree: Path, final: Path) -> None:
    """Let the executables find the unpacked C library and its kin once `tree` is called `final`."""
    libraries = next(tree.glob("usr/lib/*/libc.so.6")).parent
    loader = next(libraries.glob("ld-linux*.so.*"))
    folder = tree / "usr/lib/postgresql" / str(MAJOR) / "bin"
    # patchelf needs the unpacked libraries too, hence the loader in front of it. The old kind of rpath,
    # unlike a runpath, also serves the libraries that those libraries load.
    patch = [str(loader), "--library-path", str(libraries), str(tree / "usr/bin/patchelf"), "--force-rpath"]
    patch += ["--set-interpreter", str(final / loader.relative_to(tree))]
    patch += ["--set-rpath", f"$ORIGIN/{os.path.relpath(libraries, folder)}"]
    for program in sorted(folder.iterdir()):
        if _is_elf(program) and (done := run([*patch, str(program)])).returncode:
            raise DatabaseError(
                f"{program.name} can't be prepared for this machine: {done.stdout.strip()}.",
                fix=f"Instead, {GET_A_SERVER}",
            )


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _timescaledb_version(usr: Path, major: int) -> str | None:
    """TimescaleDB's version in an installation under `usr`, None if it isn't there."""
    control = usr / f"share/postgresql/{major}/extension/timescaledb.control"
    if not control.exists() or not (usr / f"lib/postgresql/{major}/lib/timescaledb.so").exists():
        return None
    found = re.search(r"^default_version\s*=\s*'([^']+)'", control.read_text(), re.MULTILINE)
    return found.group(1) if found else None
