#!/usr/bin/env python3
"""The supply chain: `make audit`, or `python scripts/audit.py [--offline]` in the environment that it judges.

Offline, always: every requirement of every lock file is pinned and hashed; what is installed is what the lock
names, in these versions and nothing besides. Then, over the network: known vulnerabilities of all of them, asked
of an advisory service by pip-audit, in an environment of its own from scripts/audit.lock.

Exit code 0: all well. 1: something is wrong. 2: nothing is known to be wrong, but the service could not be asked
(about some package); that is no pass.
"""

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
INSTALLED = PROJECT / "requirements-dev.lock"
LOCKS = [
    PROJECT / name
    for name in ("requirements.lock", "requirements-dev.lock", "scripts/uv.lock", "scripts/audit.lock")
]
# What an environment has before a lock is installed into it, and the project itself.
NOT_LOCKED = {"kapman", "pip", "setuptools"}
TOOL = Path(sysconfig.get_path("data")) / "audit"
GIVEN = 600  # seconds, for all packages

OK, WRONG, NOT_ASKED = 0, 1, 2


def main() -> int:
    """Print a line a finding and a line a step; the worst outcome is the exit code."""
    findings = [*locks(), *installation()]
    for finding in findings:
        print(f"WRONG  {finding}")
    if not findings:
        print("ok     every locked package is pinned and hashed, and installed in just that version")
    outcome = OK if "--offline" in sys.argv[1:] else advisories()
    return WRONG if findings else outcome


def locks() -> Iterator[str]:
    """What a lock file lets in that nobody has looked at; and pins on which the first two differ."""
    pins: list[dict[str, set[str]]] = []
    for path in LOCKS:
        pins.append({})
        file = path.relative_to(PROJECT)
        for entry in entries(path):
            text, *hashes = re.split(r"\s+--hash=", entry)
            if text.startswith("-") or not re.fullmatch(r"[^@\s]+==[^*,\s]+( ; .+)?", text):
                yield f"{file}: {text!r} is not the name of a package with one version"
                continue
            if not hashes or not all(re.fullmatch(r"sha256:[0-9a-f]{64}", one.strip()) for one in hashes):
                yield f"{file}: {text!r} has no hash, or another than SHA-256"
            # More than one where the version depends on Python's.
            pins[-1].setdefault(text.partition("==")[0], set()).add(text)
    runtime, tested = pins[:2]
    for name in sorted(runtime):
        if runtime[name] != tested.get(name):
            yield f"{name} is tested in another version than it runs in: {LOCKS[1].name} differs from {LOCKS[0].name}"


def installation() -> Iterator[str]:
    """Where this environment differs from the lock: other versions, packages that are missing or came besides."""
    here = {canonicalize_name(one.name): one.version for one in metadata.distributions()}
    wanted = {}
    for entry in entries(INSTALLED):
        requirement = Requirement(re.split(r"\s+--hash=", entry)[0])
        if requirement.marker is None or requirement.marker.evaluate():
            wanted[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    for name in sorted(wanted.keys() - here.keys()):
        yield f"{name} is locked and not installed (`make test` installs {INSTALLED.name})"
    for name in sorted(here.keys() - wanted.keys() - NOT_LOCKED):
        yield f"{name} {here[name]} is installed and no lock names it"
    for name in sorted(wanted.keys() & here.keys()):
        if here[name] != wanted[name]:
            yield f"{name} is installed as {here[name]}, the lock has {wanted[name]}"


def entries(lock: Path) -> Iterator[str]:
    """The requirements of a lock file, each with its hashes on one line, without comments."""
    joined = lock.read_text().replace("\\\n", " ")
    for line in joined.splitlines():
        if entry := re.sub(r"(^|\s)#.*", "", line).strip():
            yield entry


def advisories() -> int:
    """What pip-audit finds, printed."""
    program = TOOL / "bin" / "pip-audit"
    try:
        if not program.exists():
            uv = Path(sys.executable).with_name("uv")
            run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, TOOL])
            lock = PROJECT / "scripts" / "audit.lock"
            python = ["--python", TOOL / "bin" / "python", "--system-certs"]
            run([uv, "pip", "install", "--quiet", *python, "--no-deps", "--require-hashes", "-r", lock])
        asked = run(
            [program, "--requirement", INSTALLED, "--require-hashes", "--disable-pip", "--format", "json"],
            codes=(0, 1),  # 1: vulnerabilities
        )
        found = json.loads(asked)["dependencies"]
    except (subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
        print(f"NOT ASKED  known vulnerabilities: {_reason(error)}")
        print("           Run `make audit` where the package index's advisories can be reached.")
        return NOT_ASKED
    return told(found)


def told(found: list[dict]) -> int:  # type: ignore[type-arg]  # pip-audit's JSON
    """Print what pip-audit says of each package. A service that knows no package has not been asked."""
    vulnerable = [one for one in found if one.get("vulns")]
    unknown = [one["name"] for one in found if "skip_reason" in one]
    for one in vulnerable:
        for known in one["vulns"]:
            better = ", ".join(known["fix_versions"]) or "none yet"
            print(f"WRONG  {one['name']} {one['version']}: {known['id']}, mended in: {better}")
    if unknown:
        some = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        print(f"NOT ASKED  the advisory service doesn't know {len(unknown)} of {len(found)} packages: {some}")
    if not found:
        print("NOT ASKED  pip-audit has looked at no package")
    if not vulnerable and found and not unknown:
        print(f"ok     no known vulnerability in {len(found)} packages")
    return WRONG if vulnerable else NOT_ASKED if unknown or not found else OK


def run(command: list[str | Path], codes: tuple[int, ...] = (0,)) -> str:
    """Standard output of a program; CalledProcessError if its exit code is none of `codes`."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GIVEN)
    # pip-audit exits with 1 for a service that it can't reach, too; only then there is no output.
    if ended.returncode not in codes or not (ended.stdout or codes == (0,)):
        raise subprocess.CalledProcessError(ended.returncode, command, ended.stdout, ended.stderr)
    return ended.stdout


def _reason(error: Exception) -> str:
    """What a program said last; of a traceback the kind of error, because its text is full of addresses."""
    said = str(getattr(error, "stderr", None) or error)
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), type(error).__name__)
    kind = re.match(r"(?:\w+\.)*(\w+(?:Error|Exception|Timeout))\b", last)
    if kind:
        return f"the service can't be reached ({kind[1]})"
    return re.sub(r"https?://\S+", "(address)", last)[:300]


if __name__ == "__main__":
    sys.exit(main())
