"""Verified packages of one Debian release, downloaded through a private apt configuration.

The archive's address comes from the machine's own apt sources, and proxies and credentials of the machine
stay in force; apt's state does not: nothing is installed, no list of the machine is touched, and no root
rights are needed. Signatures are verified with the installed keyring of the Debian archive.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kapman_resources.errors import DatabaseError

SUITE = "trixie"
GET_A_SERVER = (
    "set DATABASE_URL to a PostgreSQL 15 to 18 with TimescaleDB 2.19 or later, or install one here "
    "(`apt install postgresql-17-timescaledb` on Debian 13), or start one with `docker compose up -d`."
)
# Third-party repositories use Debian's suite names too, so the signature's keyring is looked at as well.
RELEASE = "buster|bullseye|bookworm|trixie|forky|duke|sid|(?:old){0,2}stable|testing|unstable"
MAIN_SUITE = re.compile(rf"(?:{RELEASE})")
SECURITY_SUITE = re.compile(rf"(?:{RELEASE})(?:-security|/updates)")
KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")
# What `env -i` leaves out. apt and dpkg-deb start programs of their own by name.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONFIGURATION = """\
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::State::extended_states "{folder}/extended_states";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/debian.sources";
Dir::Etc::sourceparts "{folder}/empty";
Dir::Etc::preferences "{folder}/preferences";
Dir::Etc::preferencesparts "{folder}/empty";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear Acquire::IndexTargets::deb::DEP-11;
"""


@dataclasses.dataclass(frozen=True)
class ArchiveUris:
    """The Debian archive as this machine's apt sources name it, in their order."""

    main: tuple[str, ...]
    security: tuple[str, ...]


def archive_uris(etc: Path = Path("/etc/apt")) -> ArchiveUris:
    """The URIs of Debian's main and security archives in the `.list` and `.sources` files under `etc`."""
    main: list[str] = []
    security: list[str] = []
    for uris, suites, components, signed_by in _sources(etc):
        if "main" not in components or (signed_by and "debian-archive" not in signed_by):
            continue
        if any(map(MAIN_SUITE.fullmatch, suites)):
            main += uris
        if any(map(SECURITY_SUITE.fullmatch, suites)):
            security += uris
    return ArchiveUris(tuple(dict.fromkeys(main)), tuple(dict.fromkeys(security)))


def download(names: Sequence[str], folder: Path) -> list[Path]:
    """Download the newest version of each named package, and return the files.

    folder: empty; it also keeps apt's private state, and is the caller's to delete.

    Raises:
        DatabaseError: no Debian sources or keyring on this machine, no network, or a bad signature.
    """
    archive = archive_uris()
    keyring = next((path for name in KEYRINGS if (path := Path("/usr/share/keyrings") / name).exists()), None)
    if not archive.main or keyring is None or shutil.which("apt-get", path=SEARCH_PATH) is None:
        raise DatabaseError(
            "The embedded TimescaleDB can't be fetched: this machine has no apt source of a Debian archive, "
            "or no keyring for it.",
            fix=f"Instead, {GET_A_SERVER}",
        )
    reason = ""
    for uri in archive.main:
        suites = [(uri, SUITE), *((security, f"{SUITE}-security") for security in archive.security)]
        attempt = Path(tempfile.mkdtemp(prefix="apt-", dir=folder))
        apt = ["apt-get", "-q", "-c", str(_configuration(attempt, suites, keyring))]
        for step in (["update"], ["download", *names]):
            done = run([*apt, *step], cwd=attempt)
            if done.returncode:
                reason = reason or _complaint(done.stdout)
                break
        else:
            return sorted(attempt.glob("*.deb"))
    raise DatabaseError(
        f"The embedded TimescaleDB can't be fetched from this machine's apt sources: {reason}.",
        fix=f"Get online and try again, or {GET_A_SERVER}",
    )


def run(command: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, its two outputs together in `stdout`; the caller judges the return code."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _sources(etc: Path) -> Iterator[tuple[list[str], list[str], list[str], str]]:
    """(URIs, suites, components, Signed-By) of every enabled source of binary packages."""
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.is_file() and path.suffix == ".list":
            yield from _one_line_sources(path.read_text())
        elif path.is_file() and path.suffix == ".sources":
            yield from _stanza_sources(path.read_text())


def _one_line_sources(text: str) -> Iterator[tuple[list[str], list[str], list[str], str]]:
    """Entries of the form `deb [options] uri suite component…`."""
    for line in text.splitlines():
        entry = re.match(r"\s*deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if entry:
            options, uri, suite, components = entry.groups()
            signed_by = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
            yield [uri], [suite], components.split(), signed_by.group(1) if signed_by else ""


def _stanza_sources(text: str) -> Iterator[tuple[list[str], list[str], list[str], str]]:
    """Entries as stanzas of `Field: value` lines, whose values may go on in indented lines."""
    without_comments = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", without_comments):
        pairs = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        fields = {name.lower(): value for name, value in pairs}
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").strip() != "no":
            uris, suites, components = (
                fields.get(name, "").split() for name in ("uris", "suites", "components")
            )
            yield uris, suites, components, fields.get("signed-by", "")


def _configuration(folder: Path, suites: Sequence[tuple[str, str]], keyring: Path) -> Path:
    """Write an apt configuration whose sources and state are all under `folder`."""
    for name in ("lists/partial", "cache/archives/partial", "empty"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "debian.sources").write_text(
        "\n".join(
            f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"
            for uri, suite in suites
        )
    )
    path = folder / "apt.conf"
    path.write_text(CONFIGURATION.format(folder=folder))
    return path


def _complaint(output: str) -> str:
    """The first error that apt printed, without its prefix, and URIs without user and password."""
    errors = re.findall(r"^(?:Err:\d+ .*\n|E: |W: )\s*(.+)", output, re.MULTILINE)
    return re.sub(r"//[^/@\s]+@", "//", errors[0]).strip().rstrip(".") if errors else "apt-get gave no reason"
