"""Every audit of the chain, asked of the database outside Dagster: the same objects, the same queries."""

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
import psycopg
from psycopg import sql

from kapman_assets import (
    backups,
    daily_snapshots,
    dealer_metrics,
    flat_file_changes,
    ohlcv,
    options_chains,
    schema,
    tickers,
    volatility_metrics,
    watchlists,
)
from kapman_assets.audits import Audit, facts_sentence, run_audit
from kapman_assets.order import CHAIN
from kapman_assets.resources import DatabaseResource
from kapman_resources.database import Connection, Database
from kapman_resources.errors import KapmanError, ScopeError, StructureError
from kapman_resources.flat_files import FlatFiles
from kapman_resources.settings import settings

AUDITS: dict[str, tuple[Sequence[Audit], sql.Composable]] = {
    "schema": (schema.AUDITS, schema.NO_RELATION),
    "tickers": (tickers.AUDITS, tickers.RELATION),
    "watchlists": (watchlists.AUDITS, watchlists.RELATION),
    "ohlcv": (ohlcv.AUDITS, ohlcv.RELATION),
    "options_chains": (options_chains.AUDITS, options_chains.RELATION),
    "daily_snapshots": (daily_snapshots.AUDITS, daily_snapshots.RELATION),
    "dealer_metrics": (dealer_metrics.AUDITS, dealer_metrics.RELATION),
    "volatility_metrics": (volatility_metrics.AUDITS, volatility_metrics.RELATION),
}
"""The audits of each asset, in the order of the chain, and the relation that they are asked of."""

EXAMPLES = 3

Status = Literal["ok", "warn", "failed", "not asked"]


@dataclass(frozen=True)
class Answer:
    """What one check found.

    found: a sentence with the numbers; examples: up to three offending rows, as text values.
    fix: where to read on and what to run; empty when the check passed.
    """

    asset: str
    check: str
    status: Status
    found: str
    violations: int = 0
    examples: tuple[dict[str, str], ...] = ()
    fix: str = ""
    seconds: float = 0.0


def verify(database: Database, asset: str | None = None) -> Iterator[Answer]:
    """Ask every audit, or those of one asset; one answer each, in the order of the chain. Changes nothing.

    Raises:
        ScopeError: there is no asset of that name.
        StructureError: the database doesn't exist, or has never been paved.
        DatabaseError: the server can't be reached.
    """
    if asset is not None and asset not in AUDITS:
        raise ScopeError(f"There is no asset {asset!r}.", fix=f"Name one of: {', '.join(AUDITS)}.")
    _require_paved(database)
    with database.connect(autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = on")
        parameters = DatabaseResource().audit_parameters()
        for name, (audits, relation) in AUDITS.items():
            if asset not in (None, name):
                continue
            for audit in audits:
                yield _ask(connection, name, audit, relation, parameters)
            # Two checks ask the world outside of the database.
            if name == "schema":
                yield _ask_backups()
            if name == "ohlcv":
                yield _ask_flat_files(database)


def _require_paved(database: Database) -> None:
    fix = "Build it: `make repave`, or dagster job execute -m kapman_assets -j repave."
    if not database.exists():
        raise StructureError(
            f"Database {database.name!r} doesn't exist yet: there is nothing to verify.", fix=fix
        )
    with database.connect() as connection:
        found = connection.execute("SELECT to_regclass('kapman_meta.load_manifest') IS NOT NULL").fetchone()
    if found != (True,):
        raise StructureError(
            f"Database {database.name!r} has not been paved yet: there is nothing to verify.", fix=fix
        )


def _ask(
    connection: Connection, asset: str, audit: Audit, relation: sql.Composable, parameters: dict[str, Any]
) -> Answer:
    start = time.monotonic()
    try:
        verdict = run_audit(connection, audit, relation, parameters)
    except psycopg.OperationalError:
        raise  # the server went away: no other audit would get an answer
    except psycopg.Error as error:
        # A relation that is gone, for one: the audit's own answer, and the next one is asked all the same.
        said = error.diag.message_primary or type(error).__name__
        return Answer(asset, audit.name, "failed", f"can't be asked: {said}", fix=_fix(asset))
    seconds = time.monotonic() - start
    found = facts_sentence(verdict.facts)
    if verdict.passed:
        return Answer(asset, audit.name, "ok", found, seconds=seconds)
    warns = audit.severity is dg.AssetCheckSeverity.WARN
    return Answer(
        asset,
        audit.name,
        "warn" if warns else "failed",
        f"{verdict.count:,} violations{f'; {found}' if found else ''}",
        violations=verdict.count,
        examples=tuple(
            {name: str(value) for name, value in row.items()} for row in verdict.examples[:EXAMPLES]
        ),
        fix=_fix(asset),
        seconds=seconds,
    )


def _ask_backups() -> Answer:
    start = time.monotonic()
    found = backups.backup_standing(dt.datetime.now(dt.UTC))
    status: Status = "ok" if not found.problems else "failed" if found.urgent else "warn"
    return Answer(
        "schema",
        backups.CHECK,
        status,
        found.sentence.rstrip("."),
        violations=len(found.problems),
        fix=_fix("schema") if found.problems else "",
        seconds=time.monotonic() - start,
    )


def _ask_flat_files(database: Database) -> Answer:
    """The check that compares with the vendor's bucket; in the demo nobody republishes, and none is started."""
    check, start = flat_file_changes.CHECK, time.monotonic()
    if not settings().has_vendor:
        return Answer("ohlcv", check, "not asked", "no vendor is configured, the demo's files don't change")
    try:
        changes = flat_file_changes.changed_files(database, FlatFiles.from_settings(settings()))
    except KapmanError as error:
        return Answer("ohlcv", check, "warn", f"not known: {error.what}", fix=error.fix)
    seconds = time.monotonic() - start
    if not changes:
        return Answer("ohlcv", check, "ok", "0 files republished, 0 late", seconds=seconds)
    return Answer(
        "ohlcv",
        check,
        "warn",
        flat_file_changes.verdict(changes)["description"].rstrip("."),
        violations=len(changes),
        examples=tuple({"session": str(c.session), "file": c.kind} for c in changes[:EXAMPLES]),
        fix="dagster job execute -m kapman_assets -j refresh",
        seconds=seconds,
    )


def _fix(asset: str) -> str:
    return f"docs/runbook.md, step {CHAIN.index(asset) + 1} ({asset}), has what to do."
