"""`kapman verify` answers, without Dagster, what its checks would: every one of them, with numbers, an exit code for
cron and CI, and nothing changed. A database that has nothing to verify is said to have nothing.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from kapman_assets import defs
from kapman_resources.content_hash import database_hashes
from tests.integration.command_line import kapman
from tests.integration.conftest import Platform

# What the test market was made to lack, and what the Apache edition does.
WARNED = {"active_symbols_resolve_to_tickers", "option_chains_cover_active_symbols"}
EDITION = {"columnstore_is_available"}


def verified(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `kapman verify --json ARGUMENTS`."""
    ended = kapman("verify", "--json", *arguments)
    return ended.code, json.loads(ended.stdout)


@contextmanager
def changed(platform: Platform, statement: LiteralString, back: LiteralString) -> Iterator[None]:
    """A hand that changes the database, and takes it back."""
    with platform.connect() as connection:
        connection.execute(statement)
    try:
        yield
    finally:
        with platform.connect() as connection:
            connection.execute(back)


def test_every_check_of_dagster_is_asked_and_nothing_changes(repaved: Platform) -> None:
    """One answer a check, the flat files' too; warnings don't fail it, unless they are told to."""
    with repaved.connect() as connection:
        before = database_hashes(connection)
    code, found = verified()
    assert {(c["asset"], c["check"]) for c in found["checks"]} == {
        (key.asset_key.to_user_string(), key.name) for key in defs.resolve_asset_graph().asset_check_keys
    }
    warned = {check["check"] for check in found["checks"] if check["status"] == "warn"}
    assert (code, found["passed"], found["failed"]) == (0, True, 0), found["checks"]
    assert warned - EDITION == WARNED
    assert verified("--strict")[0] == 1
    with repaved.connect() as connection:
        assert database_hashes(connection) == before


def test_people_read_a_line_a_check(repaved: Platform) -> None:
    """The word, the check, its numbers; of what is wrong an example and where to read on."""
    ended = kapman("verify", "--asset", "watchlists")
    lines = ended.stdout.decode().splitlines()
    assert ended.code == 0
    assert any(line.startswith("ok        watchlists.watchlists_are_not_empty: ") for line in lines)
    (warning,) = (n for n, line in enumerate(lines) if line.startswith("warn      "))
    assert "1 violations; active symbols 5" in lines[warning]
    assert "NOSUCH" in lines[warning + 1]
    assert "docs/runbook.md, step 3 (watchlists)" in lines[warning + 2]
    assert lines[-1].endswith("0 failed, 1 warn.")


def test_a_failed_check_is_exit_code_1_with_its_evidence(repaved: Platform) -> None:
    """Numbers that don't add up: FAILED, the count, up to three rows."""
    with changed(
        repaved,
        "UPDATE kapman_meta.load_manifest SET rows_read = rows_read + 7 WHERE asset = 'ohlcv'",
        "UPDATE kapman_meta.load_manifest SET rows_read = rows_read - 7 WHERE asset = 'ohlcv'",
    ):
        code, found = verified("--asset", "ohlcv")
        text = kapman("verify", "--asset", "ohlcv").text
    (failed,) = (check for check in found["checks"] if check["status"] == "failed")
    assert (code, found["passed"]) == (1, False)
    assert (failed["check"], failed["violations"], len(failed["examples"])) == (
        "ohlcv_rows_are_accounted_for",
        30,
        3,
    )
    assert "FAILED    ohlcv.ohlcv_rows_are_accounted_for: 30 violations" in text


def test_a_table_that_is_gone_fails_its_checks_and_no_others(repaved: Platform) -> None:
    """What can't be asked is an answer too."""
    with changed(
        repaved,
        "ALTER TABLE public.watchlists RENAME TO elsewhere",
        "ALTER TABLE public.elsewhere RENAME TO watchlists",
    ):
        code, found = verified()
    assert code == 1
    answers = {check["check"]: check for check in found["checks"]}
    assert answers["watchlists_are_not_empty"]["found"].startswith("can't be asked: relation")
    assert answers["contract_tables_exist"]["status"] == "failed"
    assert answers["ohlcv_has_no_orphans"]["status"] == "ok"


def test_a_republished_file_is_a_warning(repaved: Platform) -> None:
    """The bucket is asked as well."""
    with changed(
        repaved,
        """UPDATE kapman_meta.load_manifest
           SET sources = jsonb_set(sources, '{0,etag}', to_jsonb('other' || (sources #>> '{0,etag}')))
           WHERE asset = 'ohlcv' AND partition_key = '2026-11-18'""",
        """UPDATE kapman_meta.load_manifest
           SET sources = jsonb_set(sources, '{0,etag}', to_jsonb(substr(sources #>> '{0,etag}', 6)))
           WHERE asset = 'ohlcv' AND partition_key = '2026-11-18'""",
    ):
        code, found = verified("--asset", "ohlcv")
    (warning,) = (check for check in found["checks"] if check["check"] == "ohlcv_files_are_current")
    assert code == 0
    assert warning["examples"] == [{"session": "2026-11-18", "file": "republished"}]


def test_nothing_to_verify_is_said(platform: Platform) -> None:
    """No database yet, then an empty one: a sentence with the command, exit code 1."""
    absent = kapman("verify")
    assert (absent.code, absent.stdout) == (1, b"")
    assert "doesn't exist yet" in absent.text
    assert "make repave" in absent.text
    with psycopg.connect(platform.database.url, dbname="postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(platform.database.name)))
    unpaved = kapman("verify", "--json")
    assert unpaved.code == 1
    assert "has not been paved yet" in unpaved.text


@pytest.mark.usefixtures("platform")
def test_an_asset_that_does_not_exist_is_named() -> None:
    """With those that do."""
    ended = kapman("verify", "--asset", "bars")
    assert ended.code == 1
    assert "There is no asset 'bars'. Name one of: schema, tickers," in ended.text
