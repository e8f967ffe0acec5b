"""Production can't be destroyed by a click, a request or a command: with KAPMAN_ENV=prod every launch of a pave ends
in the refusal that names the database and the confirmation, and not a value has changed."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect
from psycopg import sql

from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Database
from kapman_resources.structure import pave
from kapman_resources.tables import TICKER_NAMESPACE
from tests.conftest import PROJECT, url_of
from tests.e2e.conftest import PATIENCE_MS, web_interface
from tests.e2e.test_ui import choose_partitions, launch, newest_run, watch

pytestmark = pytest.mark.e2e

LAUNCH = """
mutation Launch($parameters: ExecutionParams!) {
  launchPipelineExecution(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
RUN = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
LOGS = """
query Logs($id: ID!) {
  logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } }
}
"""
RANGE = {
    "dagster/asset_partition_range_start": "2026-11-16",
    "dagster/asset_partition_range_end": "2026-11-20",
}


@dataclass
class Production:
    """`kapman ui` with KAPMAN_ENV=prod over a database that holds rows."""

    url: str
    database: Database
    environment: dict[str, str]

    @property
    def refusal(self) -> str:
        return f"This is production: a pave of '{self.database.name}' must name it"

    def content(self) -> Any:
        """Identity and content of the database."""
        with self.database.connect() as connection:
            oid = connection.execute(
                "SELECT oid FROM pg_database WHERE datname = current_database()"
            ).fetchone()
            return oid, database_hashes(connection)

    def ask(self, query: str, **variables: Any) -> Any:
        """The answer of the API that the web interface itself uses."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60)
        assert "errors" not in answer.json(), answer.text
        return answer.json()["data"]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name(words[0]), *words[1:]],
            env={**os.environ, **self.environment}, cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def production(
    browser: Browser, server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Production]:
    """Structure and a few rows are enough for what must not happen to them."""
    home = tmp_path_factory.mktemp("production")
    (home / "dagster").mkdir()
    shutil.copy(PROJECT / "dagster_home" / "dagster.yaml", home / "dagster")
    database = Database(url_of(server_url, f"kapman_test_{secrets.token_hex(4)}"), "tests")
    environment = {
        "DATABASE_URL": database.url,
        "DAGSTER_HOME": str(home / "dagster"),
        "KAPMAN_HOME": str(home),
        "KAPMAN_AS_OF": "2026-11-20",
        "KAPMAN_ENV": "prod",
    }
    try:
        pave(database)
        with database.connect() as connection:
            for symbol in ("AAPL", "MSFT"):
                connection.execute(
                    "INSERT INTO tickers (id, symbol, active) VALUES (%s, %s, true)",
                    (uuid.uuid5(TICKER_NAMESPACE, symbol), symbol),
                )
        with web_interface(environment, "production.log") as url:
            yield Production(url, database, environment)
        assert not list(home.glob("backups/*")), "nothing is backed up for a pave that is refused"
    finally:
        with psycopg.connect(server_url, autocommit=True, dbname="postgres") as admin:
            name = sql.Identifier(database.name)
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def test_a_click_on_the_repave_is_refused(production: Production, page: Page) -> None:
    """The run is red, and its page shows the sentence with the run config that would confirm."""
    before = production.content()
    page.goto(f"{production.url}/locations/kapman_assets/jobs/repave")
    page.get_by_role("button", name="Materialize all").click()
    choose_partitions(page, "[2026-11-16...2026-11-20]", "5 partitions")
    assert launch(page, "Launch backfill").startswith("/runs/b/")
    assert watch(page, production, newest_run(page, production, "repave")) == "RUN_FAILURE"
    expect(page.get_by_text(production.refusal).first).to_be_visible(timeout=PATIENCE_MS)
    assert production.content() == before


def test_a_request_to_the_api_is_refused(production: Production) -> None:
    """What the launchpad sends, here with the name of another database."""
    before = production.content()
    selector = {
        "repositoryLocationName": "kapman_assets", "repositoryName": "__repository__", "jobName": "repave",
    }  # fmt: skip
    parameters = {
        "selector": selector,
        "runConfigData": {"ops": {"schema": {"config": {"confirm_database": "kapman"}}}},
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in RANGE.items()]},
    }
    launched = production.ask(LAUNCH, parameters=parameters)["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = launched["run"]["runId"]
    deadline = time.monotonic() + 120
    while (status := production.ask(RUN, id=run)["runOrError"]["status"]) not in {"SUCCESS", "FAILURE"}:
        assert time.monotonic() < deadline, status
        time.sleep(0.2)
    assert status == "FAILURE"
    events = production.ask(LOGS, id=run)["logsForRun"]["events"]
    assert any(production.refusal in event.get("message", "") for event in events)
    assert production.content() == before


def test_a_command_is_refused(production: Production) -> None:
    """The command of the runbook, typed in a production shell."""
    before = production.content()
    done = production.command(
        "dagster", "job", "execute", "-m", "kapman_assets", "-j", "repave", "--tags", json.dumps(RANGE)
    )
    assert done.returncode == 1
    assert production.refusal in done.stdout + done.stderr
    assert production.content() == before
