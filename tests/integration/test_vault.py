"""What is archived comes back byte for byte, or the vault says which object is damaged.

Snapshots can't be fetched twice, so the archive must survive a kill in the middle, never show half a
subject, keep the first answer until it is told otherwise, and do the same on a disk and on an S3 service.
"""

import dataclasses
import datetime as dt
import gzip
import secrets
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import obstore
import pytest
from pydantic import SecretStr

from kapman_resources.errors import SourceError
from kapman_resources.vault import Vault, VaultError
from kapman_resources.vendor_pages import RawPage

SESSION = dt.date(2026, 11, 20)
FETCHED = dt.datetime(2026, 11, 20, 21, 0, 7, 123456, tzinfo=dt.UTC)
SECRET = "vault-marker-secret"


@pytest.fixture(params=["file", "s3"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Vault:
    """A fresh vault, on a disk and on S3."""
    if request.param == "file":
        return Vault((tmp_path / "vault").as_uri(), "massive")
    endpoint, bucket = request.getfixturevalue("s3_endpoint"), f"vault-{secrets.token_hex(4)}"
    keys = {"aws_access_key_id": "someone", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=bucket)
    return Vault(f"s3://{bucket}/archive", "massive", endpoint, SecretStr("someone"), SecretStr(SECRET))


def pages(*bodies: bytes) -> list[RawPage]:
    return [
        RawPage(number, f"https://vendor.example/v3/x?cursor={number}", FETCHED, body)
        for number, body in enumerate(bodies, start=1)
    ]


def archive(
    vault: Vault, subject: str, *bodies: bytes, session: dt.date = SESSION, overwrite: bool = False
) -> str:
    done = vault.archive(
        kind="options", session=session, subject=subject, pages=pages(*bodies), overwrite=overwrite
    )
    return done.outcome


def objects(vault: Vault) -> list[str]:
    listed = [entry["path"] for batch in obstore.list(vault._store) for entry in batch]
    return sorted(path for path in listed if "/objects/" in path)


def test_pages_come_back_byte_for_byte(vault: Vault) -> None:
    """Line feeds inside a body, none at its end, empty bodies, bytes that aren't UTF-8, odd subjects."""
    bodies = (b'{"results": [\n1\n]}\n', b"", b'{"results":[]}', b"\xff\x00\r\n", b'{"a":1}')
    odd = ["AAPL", "BRK.B", "I:SPX", "TpC", "TPC", "..", "a/b", "X%3AY", "é", "=3A", "A B", "'; DROP TABLE x"]
    for subject in odd:
        assert archive(vault, subject, *bodies, subject.encode()) == "written"
    assert vault.subjects("options", SESSION) == sorted(odd)
    for subject in odd:
        assert vault.read("options", SESSION, subject) == pages(*bodies, subject.encode())
    assert vault.verify("options").damaged == ()


def test_sessions_and_kinds_are_told_apart(vault: Vault) -> None:
    earlier = dt.date(2026, 8, 21)
    archive(vault, "AAPL", b"1")
    archive(vault, "AAPL", b"2", session=earlier)
    vault.archive(kind="tickers", session=SESSION, subject="stocks", pages=pages(b"3"))
    assert vault.sessions("options") == [earlier, SESSION]
    assert vault.sessions("tickers") == [SESSION]
    assert vault.has("options", earlier, "AAPL")
    assert not vault.has("options", earlier, "MSFT")
    assert vault.subjects("options", dt.date(2026, 8, 20)) == []
    assert dataclasses.replace(vault, vendor="other").sessions("options") == []
    with pytest.raises(SourceError, match="no options of MSFT for 2026-08-21"):
        vault.read("options", earlier, "MSFT")


def test_the_first_archive_decides_until_it_is_replaced_on_purpose(vault: Vault) -> None:
    """Open interest differs between two calls on one day; a rerun must not change the past."""
    assert archive(vault, "AAPL", b'{"oi":1}') == "written"
    assert archive(vault, "AAPL", b'{"oi":1}') == "unchanged"
    assert archive(vault, "AAPL", b'{"oi":2}') == "kept"
    assert vault.read("options", SESSION, "AAPL")[0].body == b'{"oi":1}'
    assert archive(vault, "AAPL", b'{"oi":2}', overwrite=True) == "replaced"
    assert vault.read("options", SESSION, "AAPL")[0].body == b'{"oi":2}'
    manifest = vault.manifest("options", SESSION, "AAPL")
    assert [version.sha256 for version in manifest.superseded] != [manifest.current.sha256]
    assert len(objects(vault)) == 2, "the superseded object stays"


def test_two_runs_at_once_agree_on_one_answer(vault: Vault) -> None:
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda n: archive(vault, "AAPL", b'{"oi":%d}' % n), range(8)))
    assert sorted(outcomes) == ["kept"] * 7 + ["written"]
    winner = outcomes.index("written")
    assert vault.read("options", SESSION, "AAPL")[0].body == b'{"oi":%d}' % winner


def test_the_same_content_is_one_object_and_the_same_bytes(tmp_path: Path) -> None:
    """Deterministic compression: two archives of one market can be compared file by file."""
    vaults = [Vault((tmp_path / name).as_uri(), "massive") for name in "ab"]
    for vault in vaults:
        archive(vault, "AAPL", b'{"page":1}', b'{"page":2}')
    archive(vaults[0], "MSFT", b'{"page":1}', b'{"page":2}')
    (first,), (second,) = objects(vaults[0]), objects(vaults[1])
    assert first == second
    assert (tmp_path / "a" / first).read_bytes() == (tmp_path / "b" / second).read_bytes()
    assert gzip.decompress((tmp_path / "a" / first).read_bytes()) == b'{"page":1}\n{"page":2}\n'


def test_pages_that_came_as_gzip_are_members_of_the_file_as_they_came(vault: Vault) -> None:
    bodies = [b'{"page":1}' * 400, b'{"page":2}']
    packed = [gzip.compress(bodies[0], 9, mtime=0), None]
    now = dt.datetime(2026, 11, 20, 21, tzinfo=dt.UTC)
    pages = [RawPage(n, "u", now, *both) for n, both in enumerate(zip(bodies, packed, strict=True), 1)]
    vault.archive(kind="options", session=SESSION, subject="AAPL", pages=pages)
    (path,) = objects(vault)
    held = bytes(obstore.get(vault._store, path).bytes())
    assert held.startswith(packed[0])
    assert gzip.decompress(held) == b"".join(body + b"\n" for body in bodies)
    assert vault.read("options", SESSION, "AAPL") == pages
    assert not vault.verify("options").damaged


@pytest.mark.parametrize("damage", ["truncated", "other content", "flipped bit", "zero bytes", "gone"])
def test_damage_is_found_and_named_and_can_be_mended(vault: Vault, damage: str) -> None:
    content = b'{"results":[1,2,3]}' * 50
    archive(vault, "AAPL", content)
    archive(vault, "MSFT", b"sound")
    sha256 = vault.manifest("options", SESSION, "AAPL").current.sha256
    (path,) = (path for path in objects(vault) if sha256 in path)
    packed = bytes(obstore.get(vault._store, path).bytes())
    if damage == "gone":
        obstore.delete(vault._store, path)
    else:
        flipped = bytes([*packed[:-6], packed[-6] ^ 1, *packed[-5:]])
        spoilt = {
            "truncated": packed[:-9],
            "other content": gzip.compress(b"x"),
            "flipped bit": flipped,
            "zero bytes": b"",
        }
        obstore.put(vault._store, path, spoilt[damage])
    with pytest.raises(SourceError, match=f"{sha256}.*"):
        vault.read("options", SESSION, "AAPL")
    report = vault.verify("options", SESSION)
    assert [found.subject for found in report.damaged] == ["AAPL"]
    assert (report.subjects, report.pages) == (1, 1)
    assert archive(vault, "AAPL", content) == "unchanged"
    assert vault.verify("options").damaged == ()


def test_a_damaged_manifest_is_named_and_can_be_replaced(vault: Vault) -> None:
    archive(vault, "AAPL", b"1")
    obstore.put(vault._store, "massive/options/2026-11-20/AAPL.json", b'{"version":1,')
    with pytest.raises(SourceError, match=r"massive/options/2026-11-20/AAPL\.json is damaged"):
        vault.read("options", SESSION, "AAPL")
    with pytest.raises(SourceError, match="is damaged"):
        archive(vault, "AAPL", b"1")
    assert archive(vault, "AAPL", b"1", overwrite=True) == "written"
    assert vault.read("options", SESSION, "AAPL") == pages(b"1")


_KILLED_BEFORE_THE_MANIFEST = """
import os, signal, sys, datetime as dt
from kapman_resources.vault import Vault
from kapman_resources.vendor_pages import RawPage

class Killed(Vault):
    def _put(self, path, content, mode="overwrite"):
        if path.endswith(".json"):
            os.kill(os.getpid(), signal.SIGKILL)
        super()._put(path, content, mode)

page = RawPage(1, "https://vendor.example/", dt.datetime(2026, 11, 20, 21, tzinfo=dt.UTC), b'{"oi":1}')
Killed(sys.argv[1], "massive").archive(
    kind="options", session=dt.date(2026, 11, 20), subject="AAPL", pages=[page])
"""


def test_a_kill_between_pages_and_manifest_shows_nothing(tmp_path: Path) -> None:
    url = (tmp_path / "vault").as_uri()
    ended = subprocess.run([sys.executable, "-c", _KILLED_BEFORE_THE_MANIFEST, url], check=False)
    assert ended.returncode == -signal.SIGKILL
    vault = Vault(url, "massive")
    assert len(objects(vault)) == 1, "the pages had been written"
    # What a kill inside the manifest's own write leaves: the folder, and the file under its temporary name.
    folder = tmp_path / "vault" / "massive" / "options" / SESSION.isoformat()
    folder.mkdir(parents=True)
    (folder / "AAPL.json#1").write_bytes(b'{"ver')
    assert (vault.sessions("options"), vault.subjects("options", SESSION)) == ([], [])
    assert not vault.has("options", SESSION, "AAPL")
    assert archive(vault, "AAPL", b'{"oi":1}') == "written"
    assert vault.sessions("options") == [SESSION]


def test_an_unusable_store_is_one_sentence_without_secrets(tmp_path: Path, s3_endpoint: str) -> None:
    missing = Vault("s3://no-such-bucket", "massive", s3_endpoint, SecretStr("someone"), SecretStr(SECRET))
    with pytest.raises(VaultError, match="s3://no-such-bucket can't be written") as error:
        archive(missing, "AAPL", b"1")
    assert SECRET not in f"{error.value!r}{missing!r}"
    for url in ("s3://key:secret@bucket/x", "http://somewhere/x", "vault", "file://host/x"):
        with pytest.raises(VaultError, match="KAPMAN_VAULT_URL") as refused:
            Vault(url, "massive")
        assert "secret" not in str(refused.value)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VaultError, match="can't be opened"):
        Vault((tmp_path / "file" / "vault").as_uri(), "massive")


def test_a_store_that_can_not_be_written_shows_nothing(tmp_path: Path) -> None:
    vault = Vault((tmp_path / "vault").as_uri(), "massive")
    in_the_way = tmp_path / "vault" / "massive" / "objects"
    in_the_way.parent.mkdir()
    in_the_way.write_text("a file where the folder should be")
    with pytest.raises(VaultError, match="can't be written"):
        archive(vault, "AAPL", b"1")
    in_the_way.unlink()
    assert vault.sessions("options") == []
