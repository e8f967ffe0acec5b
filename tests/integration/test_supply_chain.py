"""Nothing gets into an environment that nobody has locked, and an audit that didn't happen is no pass."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml  # type: ignore[import-untyped]

from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def audit() -> SimpleNamespace:
    """scripts/audit.py, which is no module of a package."""
    return SimpleNamespace(**runpy.run_path(str(PROJECT / "scripts" / "audit.py")))


def test_every_requirement_of_every_lock_file_is_pinned_and_hashed(audit: SimpleNamespace) -> None:
    assert [lock for lock in audit.LOCKS if len(list(audit.entries(lock))) < 1] == []
    assert list(audit.locks()) == []


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("httpx==0.28.1", "has no hash"),
        ("httpx==0.28.1 --hash=md5:abc", "has no hash"),
        ("httpx>=0.28 --hash=sha256:" + 64 * "0", "one version"),
        ("httpx @ https://files.example.com/httpx.whl", "one version"),
        ("--index-url https://index.example.com", "one version"),
        ("-e ../elsewhere", "one version"),
    ],
    ids=["bare", "weak", "range", "address", "index", "editable"],
)
def test_what_a_lock_file_must_not_have_is_found(
    audit: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, finding: str
) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(f"# a comment\nanyio==4.16.0 \\\n    --hash=sha256:{64 * 'a'}\n    # via httpx\n{line}\n")
    monkeypatch.setitem(audit.locks.__globals__, "LOCKS", [lock, lock])
    monkeypatch.setitem(audit.locks.__globals__, "PROJECT", tmp_path)
    found = list(audit.locks())
    assert len(found) == 2
    assert all(one.startswith("some.lock") and finding in one for one in found)


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "no known vulnerability in 1 packages"),
        ([], 2, "looked at no package"),
        (
            [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "?"}],
            2,
            "doesn't know 1 of 2",
        ),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}],
            1,
            "mended in: 2",
        ),
    ],
    ids=["sound", "nothing", "unknown", "vulnerable"],
)
def test_an_audit_passes_only_if_everything_was_asked(
    audit: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    dependencies: list[object],
    code: int,
    said: str,
) -> None:
    """pip-audit itself calls it a success when the service knows none of the packages."""
    assert audit.told(dependencies) == code
    assert said in capsys.readouterr().out


def test_every_image_has_a_version_and_can_be_pinned() -> None:
    """SECURITY.md tells how: each is a variable whose default is an exact tag."""
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    images = {service["image"] for service in compose["services"].values()} - {"kapman"}
    images.add(compose["x-platform"]["build"]["args"]["PYTHON_IMAGE"])
    documented = (PROJECT / "SECURITY.md").read_text()
    for image in images:
        named = re.fullmatch(r"\$\{(KAPMAN_\w+_IMAGE):-[\w./-]+:\d[\w.-]+\}", image)
        assert named, image
        assert named[1] in documented
