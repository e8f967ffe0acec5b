"""The order contract, asked of the database itself.

Dagster gates blocking checks inside one run only: single clicks, a launchpad run and the second run of
a multi-select backfill start whatever happened before. So every step asks the database, before it
touches anything, whether its predecessors have been published there and still pass their blocking
audits.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from kapman_assets.audits import Audit, find_violations
from kapman_resources import manifest
from kapman_resources.database import Connection
from kapman_resources.errors import OrderViolation

CHAIN = (
    "schema",
    "tickers",
    "watchlists",
    "ohlcv",
    "options_chains",
    "daily_snapshots",
    "dealer_metrics",
    "volatility_metrics",
)


def _fix(step: str) -> str:
    return (
        f"Materialize {step!r} first: dagster asset materialize -m kapman_assets --select {step}"
        " (add --partition for a partitioned asset), or rebuild the whole chain:"
        " dagster job execute -m kapman_assets -j repave."
    )


def require_passed(
    connection: Connection,
    step: str,
    predecessors: Mapping[str, tuple[Sequence[Audit], sql.Composable]],
    parameters: Mapping[str, Any],
) -> None:
    """Refuse `step` unless each predecessor is published and its blocking audits pass now.

    Raises:
        OrderViolation: names the missing or failing step, what is wrong, and the command that runs it.
    """
    for name, (audits, relation) in predecessors.items():
        if not manifest.published(connection, name):
            raise OrderViolation(
                f"{step!r} can't be materialized: {name!r}, on which it stands, has not passed in this database.",
                fix=_fix(name),
            )
        for audit in audits:
            if not audit.blocking:
                continue
            count, examples = find_violations(connection, audit, relation, parameters)
            if count:
                raise OrderViolation(
                    f"{step!r} can't be materialized: {name!r} fails its check {audit.name!r}"
                    f" ({count} violations, for example {examples[0]}).",
                    fix=_fix(name),
                )


def published_sessions(
    connection: Connection, step: str, predecessor: str, wanted: Sequence[dt.date]
) -> list[dt.date]:
    """Those of the wanted sessions whose partition the predecessor has published, ascending.

    A range goes on without the others; a session asked for alone, or a range with none, is refused.

    Raises:
        OrderViolation: names the session, the predecessor, and the command that runs it.
    """
    done = manifest.sessions(manifest.published(connection, predecessor))
    found = sorted(session for session in wanted if session in done)
    if not found:
        span = f"{wanted[0]}" if len(wanted) == 1 else f"{wanted[0]} to {wanted[-1]}"
        partition = (
            f"--partition {wanted[0]}"
            if len(wanted) == 1
            else f"--partition-range {wanted[0]}...{wanted[-1]}"
        )
        raise OrderViolation(
            f"{step!r} of {span} can't be materialized: {predecessor!r} of {span} has not been published.",
            fix=f"Materialize it first: dagster asset materialize -m kapman_assets --select {predecessor} {partition}."
            + (
                " Chains load only if they were archived at the session's close."
                if predecessor == "options_chains"
                else ""
            ),
        )
    return found


def unpublished(wanted: Sequence[dt.date], found: Sequence[dt.date]) -> list[dt.date]:
    """The wanted sessions that were not found."""
    return sorted(set(wanted) - set(found))
