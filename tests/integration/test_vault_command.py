"""`kapman vault`: an engineer sees what is archived and whether it is sound, saves tonight's snapshot while the
database is down, and gets past chains back into the table from the archive alone; on a disk and on S3."""

import datetime as dt
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import dagster as dg
import obstore
import pytest

from kapman_resources.content_hash import content_hash
from kapman_resources.settings import settings
from kapman_resources.tables import OPTIONS_CHAINS
from kapman_resources.vault import Vault
from kapman_resources.vendor_pages import RawPage
from kapman_simulator import Simulator
from tests.integration.command_line import MARKET, WATCHLISTS, dagster_home, kapman, load_sources
from tests.integration.conftest import TODAY, Platform, platform_on

YESTERDAY = dt.date(2026, 11, 19)
FETCHED = dt.datetime(2026, 11, 20, 21, 15, 2, tzinfo=dt.UTC)
SECRET = "vault-marker-secret"
NOBODY_THERE = "postgresql://kapman@127.0.0.1:9/kapman"


@pytest.fixture(scope="module")
def market() -> Iterator[Simulator]:
    """A vendor of this module's own, whose chains may be withheld."""
    with Simulator(MARKET) as vendor:
        yield vendor


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of a fresh vault, on a disk and on S3."""
    if request.param == "file":
        return {"KAPMAN_VAULT_URL": (tmp_path / "vault").as_uri()}
    endpoint, bucket = request.getfixturevalue("s3_endpoint"), f"vault-{secrets.token_hex(4)}"
    keys = {"aws_access_key_id": "someone", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=bucket)
    return {
        "KAPMAN_VAULT_URL": f"s3://{bucket}/archive",
        "KAPMAN_VAULT_S3_ENDPOINT": endpoint,
        "KAPMAN_VAULT_S3_ACCESS_KEY_ID": "someone",
        "KAPMAN_VAULT_S3_SECRET_ACCESS_KEY": SECRET,
    }


@pytest.fixture
def vault(store: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Vault]:
    """The vault of a platform that has no database: nothing here may ask for one."""
    own = {**store, "MASSIVE_API_KEY": "key", "KAPMAN_VENDOR": "massive", "DATABASE_URL": NOBODY_THERE}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield Vault.from_settings(settings())
    settings.cache_clear()


def put(vault: Vault, subject: str, *bodies: bytes, session: dt.date = TODAY, **options: bool) -> str:
    """Archive these pages; returns the hash."""
    pages = [
        RawPage(number, f"https://vendor.example/v3/x?cursor={number}", FETCHED, body)
        for number, body in enumerate(bodies, start=1)
    ]
    done = vault.archive(kind="options", session=session, subject=subject, pages=pages, **options)
    return done.manifest.current.sha256


def spoil(vault: Vault, sha256: str) -> None:
    obstore.put(vault._store, f"massive/objects/{sha256[:2]}/{sha256}.jsonl.gz", b"\x1f\x8bnonsense")


def test_list_shows_sessions_and_their_subjects(vault: Vault) -> None:
    """Counts, bytes and times as they were archived; for programs, too."""
    assert "holds nothing of vendor 'massive'" in kapman("vault", "list").text
    first = put(vault, "AAPL", b"12345", b"678")
    second = put(vault, "AAPL", b"new", overwrite=True)
    put(vault, "I:SPX", b"x")
    put(vault, "MSFT", b"1", session=YESTERDAY)
    listed = kapman("vault", "list")
    lines = [line.split() for line in listed.stdout.decode().splitlines() if line.startswith("  2026")]
    fetched = ["2026-11-20", "21:15:02Z"]
    assert lines == [
        ["2026-11-19", "options", "1", "1", "2", *fetched, *fetched],
        ["2026-11-20", "options", "2", "2", "6", *fetched, *fetched],
    ]
    one = kapman("vault", "list", TODAY.isoformat())
    assert (listed.code, one.code) == (0, 0)
    (line,) = (line for line in one.text.splitlines() if "AAPL" in line)
    assert line.split() == ["AAPL", second[:16], "1", "4", *fetched, first[:16]]
    assert "I:SPX" in one.text
    (session,) = json.loads(kapman("vault", "list", TODAY.isoformat(), "--json").stdout)
    assert [archive["subject"] for archive in session["archives"]] == ["AAPL", "I:SPX"]
    assert session["archives"][0]["superseded"][0] == {
        "sha256": first, "pages": 2, "bytes": 10, "fetched_at": FETCHED.isoformat()
    }  # fmt: skip
    assert [one["session"] for one in json.loads(kapman("vault", "list", "--json").stdout)] == [
        YESTERDAY.isoformat(), TODAY.isoformat()
    ]  # fmt: skip
    absent = kapman("vault", "list", "2026-11-18")
    assert absent.code == 1
    assert "has nothing of 2026-11-18" in absent.text


def test_verify_names_what_is_damaged_and_what_to_do(vault: Vault) -> None:
    """Exit code 1 on damage, in a superseded version as well; 0 when all is sound."""
    first = put(vault, "AAPL", b"old")
    second = put(vault, "AAPL", b"new", overwrite=True)
    put(vault, "MSFT", b"1", session=YESTERDAY)
    sound = kapman("vault", "verify")
    assert sound.code == 0
    assert "is sound" in sound.text
    for sha256 in (first, second):
        spoil(vault, sha256)
        found = kapman("vault", "verify")
        assert found.code == 1
        assert f"AAPL: The vault's object massive/objects/{sha256[:2]}/{sha256}" in found.text
        assert "Restore that object from a backup" in found.text
        assert SECRET not in found.text
        assert kapman("vault", "verify", YESTERDAY.isoformat()).code == 0
        only = json.loads(kapman("vault", "verify", TODAY.isoformat(), "--json").stdout)
        assert [damage["subject"] for report in only for damage in report["damaged"]] == ["AAPL"]
        assert kapman("vault", "list").code == 0, "the manifests are sound"
        put(vault, "AAPL", b"old" if sha256 == first else b"new", overwrite=True)
        put(vault, "AAPL", b"new", overwrite=True)
    obstore.put(vault._store, f"massive/options/{TODAY}/AAPL.json", b"{")
    assert "1 DAMAGED" in kapman("vault", "list").text
    assert kapman("vault", "verify", TODAY.isoformat()).code == 1
    assert kapman("vault", "verify", "2026-11-18").code == 1, "verifying nothing is not green"


def test_looking_into_the_vault_does_not_wait_for_dagster(vault: Vault) -> None:
    """A look at 3 a.m. takes a second."""
    put(vault, "AAPL", b"1")
    asked = """
import sys
from kapman_cli.main import kapman
try:
    kapman(["vault", "list"])
except SystemExit as end:
    assert end.code == 0
late = {"dagster", "kapman_assets", "exchange_calendars"} & set(sys.modules)
assert not late, late
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2026-11-20" in done.stdout


@pytest.fixture
def evening(
    store: Mapping[str, str], market: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Vault]:
    """A vendor in good health, watchlist files, and a database that is down."""
    lists = tmp_path / "watchlists"
    lists.mkdir()
    (lists / "test.txt").write_text("MSFT\nAAPL\n")
    own = {**market.environment, **store, "KAPMAN_WATCHLISTS": str(lists), "DATABASE_URL": NOBODY_THERE}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield Vault.from_settings(settings())
    market.set_faults([])
    settings.cache_clear()


def test_a_broken_database_costs_no_snapshot(evening: Vault, market: Simulator) -> None:
    """The watchlist files say what to fetch; what is archived is not fetched again; nothing was loaded."""
    done = kapman("vault", "archive")
    assert done.code == 0, done.text
    assert "database can't tell the active symbols" in done.text
    assert "2 chains of 2026-11-20 fetched and archived" in done.text
    assert evening.subjects("options", TODAY) == ["AAPL", "MSFT"]
    market.set_faults(["forbidden=options"])
    again = kapman("vault", "archive", TODAY.isoformat())
    assert again.code == 0, again.text
    assert "nothing to fetch" in again.text
    refused = kapman("vault", "archive", "--refetch")
    assert refused.code == 1
    assert "403" in refused.text
    assert "MASSIVE_API_KEY" in refused.text
    assert kapman("vault", "verify").code == 0


def test_symbols_are_archived_without_asking_anybody(evening: Vault) -> None:
    """`--symbols` needs neither database nor files; a symbol without a chain is archived as having none."""
    done = kapman("vault", "archive", "--symbols", "AAPL, AMZN")
    assert "database" not in done.text
    assert evening.subjects("options", TODAY)[0] == "AAPL"


def test_a_session_that_is_over_is_refused(evening: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor has no history: asking for it would archive today's chain under yesterday's name."""
    refused = kapman("vault", "archive", YESTERDAY.isoformat())
    assert refused.code == 1
    assert "the live session is 2026-11-20" in refused.text
    assert evening.sessions("options") == []
    monkeypatch.setattr("kapman_resources.clock.live_session", lambda: None)
    trading = kapman("vault", "archive")
    assert trading.code == 1
    assert "No session is live" in trading.text


@pytest.fixture
def loaded(
    server_url: str,
    store: Mapping[str, str],
    market: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Platform]:
    """A loaded platform with its records in a folder of their own."""
    monkeypatch.setenv("DAGSTER_HOME", dagster_home(tmp_path))
    environment = {**market.environment, **store}
    with platform_on(server_url, environment, tmp_path, WATCHLISTS) as platform:
        load_sources(platform)
        yield platform
    market.set_faults([])


def test_past_chains_come_back_from_the_vault_alone(loaded: Platform, market: Simulator) -> None:
    """Two sessions, the vendor refusing: the same content as before, recorded by Dagster."""
    vault = Vault.from_settings(settings())
    for symbol in ("AAPL", "MSFT"):
        pages = vault.read("options", TODAY, symbol)
        vault.archive(kind="options", session=YESTERDAY, subject=symbol, pages=pages)
    loaded.materialize("options_chains", partition=YESTERDAY)
    with loaded.connect() as connection:
        before = content_hash(connection, OPTIONS_CHAINS)
        connection.execute("DELETE FROM options_chains WHERE option_type = 'C'")
    market.set_faults(["forbidden=options", "forbidden=reference"])

    done = kapman("vault", "replay", YESTERDAY.isoformat(), TODAY.isoformat())
    assert done.code == 0, done.text
    for session in (YESTERDAY, TODAY):
        (line,) = (line for line in done.text.splitlines() if line.startswith(f"options_chains {session}:"))
        assert "content unchanged" in line
        assert " 0 changed, 0 removed" in line
        assert " 0 added" not in line
    with loaded.connect() as connection:
        assert content_hash(connection, OPTIONS_CHAINS) == before
    with dg.DagsterInstance.get() as instance:
        recorded = instance.get_materialized_partitions(dg.AssetKey("options_chains"))
    assert recorded == {YESTERDAY.isoformat(), TODAY.isoformat()}

    absent = kapman("vault", "replay", "2026-11-18")
    assert absent.code == 1
    assert "has no option chains of 2026-11-18" in absent.text
    with loaded.connect() as connection:
        connection.execute("DELETE FROM kapman_meta.load_manifest WHERE asset = 'ohlcv'")
    refused = kapman("vault", "replay", TODAY.isoformat())
    assert refused.code == 1
    assert "'ohlcv', on which it stands, has not passed" in refused.text


def test_an_archive_outside_of_the_window_is_named(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays in the vault, and the sentence says which sessions can be loaded."""
    put(vault, "AAPL", b"1", session=dt.date(2023, 1, 4))
    refused = kapman("vault", "replay", "2023-01-04")
    assert refused.code == 1
    assert "2023-01-04 can't be loaded" in refused.text
    assert os.environ["KAPMAN_AS_OF"] in refused.text
