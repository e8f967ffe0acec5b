"""Shared fixtures: a real TimescaleDB for every test that needs one.

`KAPMAN_TEST_DATABASE_URL` names a server of your own (superuser; PostgreSQL 15-18 with TimescaleDB of
either edition); without it a throw-away embedded server is started once per test session.
"""

import contextlib
import datetime as dt
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql

from kapman_resources.database import Database
from kapman_resources.embedded import EmbeddedServer
from kapman_resources.errors import DatabaseError
from kapman_resources.settings import settings

# kapman_assets reads both when it is imported, whichever test imports it first: every process of the tests
# lives on this day, and a vendor that is made to fail fails at once, without the minute between a step's tries.
TODAY = dt.date(2026, 11, 20)
os.environ["KAPMAN_AS_OF"] = TODAY.isoformat()
os.environ["KAPMAN_VENDOR_RETRIES"] = "0"

PROJECT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("KAPMAN_TEST_DATA", PROJECT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Superuser URL of a TimescaleDB server on which tests may make and drop databases."""
    configured = os.environ.get("KAPMAN_TEST_DATABASE_URL")
    if configured:
        with pytest.MonkeyPatch.context() as environment:
            # Whoever names the server for tests lets them pave on it, wherever it is.
            hosts = str(conninfo.conninfo_to_dict(configured).get("host", ""))
            environment.setenv("KAPMAN_PAVE_HOSTS", hosts)
            settings.cache_clear()
            yield configured
        return
    server = EmbeddedServer(
        tmp_path_factory.mktemp("server"), durable=False, packages=PROJECT / ".kapman" / "packages"
    )
    try:
        yield server.ensure()
    finally:
        server.remove()


def url_of(server_url: str, database: str) -> str:
    """The same server, another database, as a URL-safe conninfo."""
    return conninfo.make_conninfo(server_url, dbname=database)


@pytest.fixture(scope="session")
def client_programs(server_url: str) -> Iterator[None]:
    """pg_dump and pg_restore of the embedded server's version on PATH; a server of your own brings its own."""
    server = EmbeddedServer(PROJECT / ".kapman" / "postgres", packages=PROJECT / ".kapman" / "packages")
    with pytest.MonkeyPatch.context() as patched:
        with contextlib.suppress(DatabaseError):
            patched.setenv("PATH", str(server.bin_folder()), prepend=os.pathsep)
        yield


@pytest.fixture
def database(server_url: str) -> Iterator[Database]:
    """A fresh, empty database of this test's own, dropped at the end."""
    name = f"kapman_test_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield Database(url_of(server_url, name), holder="tests")
    with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def dataset(name: str) -> Path:
    """A folder of real market data, or skip with the reason."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"real market data {name!r} is not at {DATA}; set KAPMAN_TEST_DATA to its folder")
    return folder
