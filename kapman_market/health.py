"""The checks of the data-health tab: the very audits that Dagster's checks and the order of steps ask.

Asking all of them takes seconds, more on a large market, so one thread asks them one after the other in the
background, and the page shows what is known so far. Answers are kept until something else is published.
"""

import datetime as dt
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dagster as dg
import polars as pl
import psycopg

from kapman_assets.audits import Audit, Verdict, facts_sentence, run_audit
from kapman_assets.resources import DatabaseResource
from kapman_assets.verification import AUDITS
from kapman_market.connections import HEALTH_SECONDS, ReadOnlyDatabase
from kapman_resources.database import Connection
from kapman_resources.errors import KapmanError

Status = Literal["passed", "warns", "failed", "not asked", "waiting"]

CHECKS = {
    "asset": pl.String,
    "check": pl.String,
    "description": pl.String,
    "status": pl.String,
    "violations": pl.Int64,
    "numbers": pl.String,
    "seconds": pl.Float64,
    "query": pl.String,
}


@dataclass(frozen=True)
class Check:
    """An audit and what it found.

    numbers: the audit's facts as people read them, or why it couldn't be asked.
    examples: up to ten of the rows that violate it. query: what selects them.
    """

    asset: str
    audit: Audit
    status: Status = "waiting"
    violations: int | None = None
    numbers: str = ""
    examples: Sequence[Mapping[str, Any]] = ()
    query: str = ""
    seconds: float | None = None

    @property
    def kind(self) -> str:
        """What a violation does: it stops the next step, turns the check red, or only warns."""
        if self.audit.severity is dg.AssetCheckSeverity.WARN:
            return "warning"
        return "blocking" if self.audit.blocking else "error"


@dataclass
class Board:
    """All checks in the order of the chain, as far as they have been asked of one state of the database."""

    content: str
    begun: dt.datetime
    checks: list[Check]
    running: bool = True
    trouble: KapmanError | None = None
    database: str = field(default="", repr=False)

    def frame(self) -> pl.DataFrame:
        """A row for each check (columns of CHECKS)."""
        rows = [
            (
                check.asset, check.audit.name, check.audit.description, check.status, check.violations,
                check.numbers, check.seconds, check.query,
            )
            for check in self.checks
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=CHECKS, orient="row")


class HealthChecks:
    """Asks the audits in the background, once for each state of the database."""

    def __init__(self, database: ReadOnlyDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._board: Board | None = None

    def board(self, content: str, *, again: bool = False) -> Board:
        """What is known of the database whose published content has this digest; begins to ask if nothing is.

        again: forget what is known, unless it is being asked right now.
        """
        with self._lock:
            known = self._board
            if known and known.content == content and (known.running or not again):
                return known
            checks = [Check(asset, audit) for asset, (audits, _) in AUDITS.items() for audit in audits]
            self._board = Board(content, dt.datetime.now(dt.UTC), checks)
            threading.Thread(target=self._ask, args=(self._board,), name="health", daemon=True).start()
            return self._board

    def _ask(self, board: Board) -> None:
        try:
            parameters = DatabaseResource().audit_parameters()
            with self._database.snapshot(HEALTH_SECONDS) as connection:
                for place, check in enumerate(board.checks):
                    board.checks[place] = _asked(connection, check, parameters)
        except KapmanError as error:
            board.trouble = error
        finally:
            board.running = False


def _asked(connection: Connection, check: Check, parameters: Mapping[str, Any]) -> Check:
    """The check with its answer; an audit that can't be asked says why, and leaves the transaction usable."""
    _, relation = AUDITS[check.asset]
    began = time.monotonic()
    try:
        with connection.transaction():
            verdict = run_audit(connection, check.audit, relation, parameters)
    except psycopg.OperationalError:
        if connection.broken:
            raise
        return Check(check.asset, check.audit, "not asked", numbers=f"given up after {HEALTH_SECONDS} s")
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        return Check(check.asset, check.audit, "not asked", numbers=f"can't be asked: {said}")
    return Check(
        check.asset,
        check.audit,
        _status(verdict),
        verdict.count,
        facts_sentence(verdict.facts),
        verdict.examples,
        verdict.query,
        time.monotonic() - began,
    )


def _status(verdict: Verdict) -> Status:
    if verdict.passed:
        return "passed"
    return "warns" if verdict.audit.severity is dg.AssetCheckSeverity.WARN else "failed"
