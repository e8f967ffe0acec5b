"""A whole small platform for integration tests: a simulated vendor, a database, a Dagster instance."""

import datetime as dt
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from kapman_assets import defs
from kapman_assets.partitions import SESSIONS
from kapman_resources.database import Connection, Database
from kapman_resources.settings import settings
from kapman_simulator import MarketOptions, Simulator
from tests.conftest import TODAY, url_of
from tests.integration.bucket import s3_on_loopback

SMALL_MARKET = MarketOptions(symbols=60, sessions=30, underlyings=3, contracts=80, today=TODAY)
WHOLE = "the whole window"
WATCHLIST = "AAPL\nMSFT\nNVDA\nAMZN\nNOSUCH  # no ticker: a named warning\n"


@dataclass
class Platform:
    """One platform: run its jobs, look into its database."""

    database: Database
    instance: dg.DagsterInstance
    home: Path

    def run(
        self,
        job: str = "repave",
        *,
        first: dt.date | str | None = None,
        last: dt.date | str | None = None,
        config: Mapping[str, Any] | None = None,
        raise_on_error: bool = True,
    ) -> dg.ExecuteInProcessResult:
        """Run a job over a range of sessions: by default those of the small market, `first=WHOLE` the window.

        Where a vendor has thirty sessions, planning the other 470 takes Dagster longer than the run.
        """
        keys = SESSIONS.get_partition_keys()
        if first == WHOLE:
            first, last = keys[0], keys[-1]
        tags = {
            "dagster/asset_partition_range_start": str(first or keys[-SMALL_MARKET.sessions]),
            "dagster/asset_partition_range_end": str(last or first or keys[-1]),
        }
        return defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, run_config=config, raise_on_error=raise_on_error
        )

    def materialize(
        self,
        *assets: str,
        partition: dt.date | str | None = None,
        config: Mapping[str, Any] | None = None,
        raise_on_error: bool = True,
    ) -> dg.ExecuteInProcessResult:
        """What a click on Materialize does: the assets alone, one partition if they have any."""
        selection = [dg.AssetKey(name) for name in assets]
        job = defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=selection,
            partition_key=str(partition) if partition else None,
            run_config=config,
            raise_on_error=raise_on_error,
        )

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection to the platform's database."""
        with self.database.connect() as connection:
            yield connection

    def value(self, query: Any, *parameters: Any) -> Any:
        """The single value of a query."""
        with self.connect() as connection:
            row = connection.execute(query, parameters).fetchone()
            assert row is not None
            return row[0]


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A real S3 API on loopback."""
    with s3_on_loopback() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def vendor() -> Iterator[Simulator]:
    """A small simulated market, shared by all tests (those that want faults start their own)."""
    with Simulator(SMALL_MARKET) as simulator:
        yield simulator


@contextmanager
def platform_on(
    server_url: str, environment: Mapping[str, str], home: Path, watchlists: Mapping[str, str] | None = None
) -> Iterator[Platform]:
    """A platform with a database of its own, pointed at a vendor by its public settings."""
    name = f"kapman_test_{secrets.token_hex(4)}"
    lists = home / "watchlists"
    lists.mkdir(parents=True, exist_ok=True)
    for file, text in (watchlists or {"test": WATCHLIST}).items():
        (lists / f"{file}.txt").write_text(text)
    url = url_of(server_url, name)
    own = {
        **environment,
        "DATABASE_URL": url,
        "KAPMAN_HOME": str(home),
        "KAPMAN_WATCHLISTS": str(lists),
        "KAPMAN_AS_OF": TODAY.isoformat(),
        "KAPMAN_ENV": "test",
    }
    before = {variable: os.environ.get(variable) for variable in own}
    os.environ.update(own)
    settings.cache_clear()
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            yield Platform(Database(url, "tests"), instance, home)
    finally:
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        settings.cache_clear()
        with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def platform(server_url: str, vendor: Simulator, tmp_path: Path) -> Iterator[Platform]:
    """A platform whose database does not exist yet."""
    with platform_on(server_url, vendor.environment, tmp_path) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def repaved(
    server_url: str, vendor: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A repaved platform, shared by a module's tests; they change nothing that they don't roll back."""
    with platform_on(server_url, vendor.environment, tmp_path_factory.mktemp("platform")) as fresh:
        assert fresh.run("repave").success
        yield fresh
