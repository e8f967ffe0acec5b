"""What assets are given: the database, the vendor, the vault, each built from the public settings.

Dagster sets resources up more than once in a run, so setting one up costs nothing: servers are reached
(and the embedded one started) on first use.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from kapman_resources.clock import as_of
from kapman_resources.database import Connection, Database
from kapman_resources.demo import vendor_settings
from kapman_resources.embedded import database_url
from kapman_resources.flat_files import FlatFiles
from kapman_resources.sessions import RETENTION_DAYS, retained_sessions, session_close
from kapman_resources.settings import Settings, SettingsError, settings
from kapman_resources.vault import Vault
from kapman_resources.vendor_api import VendorApi


class DatabaseResource(dg.ConfigurableResource):
    """The one TimescaleDB database: `DATABASE_URL`, else the embedded server, started on first use.

    Its structure is the owner's (`owner`); rows are loaded and read by the role of `KAPMAN_LOADER_URL`, if that
    is given.
    """

    _held: ExitStack = PrivateAttr(default_factory=ExitStack)
    _exclusive: bool | None = PrivateAttr(default=None)
    _holder: str = PrivateAttr(default="kapman")
    _owner: Database | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember on whose behalf this process works, for the lock's sentence."""
        run = context.run
        self._holder = f"{run.job_name} run {run.run_id[:8]}" if run else "kapman"

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Give the lock back: at the end of the run in-process, of the step elsewhere."""
        self._held.close()
        self._exclusive = None

    @property
    def owner(self) -> Database:
        """Where the database is, as the role that owns it: for the structure and for whole chunks."""
        if self._owner is None:
            self._owner = Database(database_url(settings()), self._holder)
        return self._owner

    @property
    def database(self) -> Database:
        """Where the database is, as the role that loads it."""
        return loader_of(self.owner)

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection; one transaction unless `autocommit`."""
        with self.database.connect(autocommit=autocommit) as connection:
            yield connection

    def hold(self, *, exclusive: bool = False) -> None:
        """Hold the platform's lock until the run ends: exclusive for a repave, shared for a load."""
        if self._exclusive is None or (exclusive and not self._exclusive):
            self._held.close()
            self._held.enter_context(self.owner.lock(exclusive=exclusive))
            self._exclusive = exclusive

    def audit_parameters(self) -> dict[str, Any]:
        """The parameters that audits may name: the as-of session and the retained window."""
        today = as_of()
        retained = retained_sessions(today)
        return {
            "as_of": today,
            "sessions": retained,
            "closes": [session_close(session) for session in retained],
            "retention_days": RETENTION_DAYS,
        }


def loader_of(owner: Database) -> Database:
    """The same database as the role that loads rows: that of `KAPMAN_LOADER_URL`, else the owner itself.

    Raises:
        SettingsError: `KAPMAN_LOADER_URL` names another database.
    """
    url, password = settings().loader_url, settings().loader_password
    if url is None:
        return owner
    loader = Database(url.get_secret_value(), owner.holder)
    if loader.name != owner.name:
        raise SettingsError(
            f"KAPMAN_LOADER_URL names database {loader.name!r}, and DATABASE_URL names {owner.name!r}.",
            fix="Name the same database in both; they differ in the user alone.",
        )
    return loader.with_password(password.get_secret_value()) if password else loader


class VendorResource(dg.ConfigurableResource):
    """The vendor's flat files and REST API; without credentials the demo's simulator stands in."""

    @cached_property
    def _settings(self) -> Settings:
        return vendor_settings(dg.get_dagster_logger().info)

    @property
    def name(self) -> str:
        """The vendor's name, the namespace of its pages in the vault."""
        return self._settings.vendor

    def flat_files(self) -> FlatFiles:
        """The bucket of daily aggregates."""
        return FlatFiles.from_settings(self._settings)

    def api(self, concurrency: int = 16) -> VendorApi:
        """The REST API, with at most `concurrency` requests in flight."""
        s = self._settings
        return VendorApi(s.api_url, s.api_key, rate_limit=s.rate_limit, concurrency=concurrency)

    def vault(self) -> Vault:
        """The archive of this vendor's raw pages."""
        return Vault.from_settings(self._settings)
