"""Audits: a statement that should hold, and the query that selects what violates it.

One object serves twice: before publishing, an asset runs its audits on the staged rows; afterwards the
asset check of the same name runs the same query on the published table and shows the evidence.
"""

import datetime as dt
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

import dagster as dg
from psycopg import sql
from psycopg.rows import dict_row

from kapman_assets.resources import DatabaseResource
from kapman_resources.database import Connection
from kapman_resources.errors import AuditError

EXAMPLES = 10
_LINE = 96
_KEYWORDS = re.compile(r" (?=(?:FROM|WHERE|AND|OR|JOIN|LEFT JOIN|GROUP BY|HAVING|ORDER BY) )")


@dataclass(frozen=True)
class Audit:
    """A question about one asset's table, answered by SQL.

    name: a statement that should hold, e.g. `ohlcv_has_no_orphans`.
    violations: query of the rows that break it; no rows, no violation. `{relation}` stands for the
        table or its stage; named parameters come from the caller.
    facts: query of one row with the numbers that a person wants to see beside the verdict.
    severity: ERROR, or WARN for what people should look at but may accept.
    blocking: whether the next step of the same run waits for it.
    staged: whether it also guards the stage before publishing.
    enforced: whether constraints of the table refuse the same rows: rows that have just passed them, because
        they were copied into the table itself, need not be asked again before they are published.
    parameters: its own query parameters, beside the caller's.
    thresholds: the numbers that the query compares with, by name, for people to see.
    """

    name: str
    description: str
    violations: LiteralString
    facts: LiteralString
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    blocking: bool = True
    staged: bool = False
    enforced: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What an audit found: how many violations, up to ten of them, and the facts."""

    audit: Audit
    count: int
    examples: list[dict[str, Any]]
    facts: dict[str, Any]
    query: str

    @property
    def passed(self) -> bool:
        """Whether nothing violates the statement."""
        return self.count == 0


def run_audit(
    connection: Connection, audit: Audit, relation: sql.Composable, parameters: Mapping[str, Any]
) -> Verdict:
    """Run one audit on a relation (the table, or a stage with the same columns)."""
    count, examples = find_violations(connection, audit, relation, parameters)
    with connection.cursor(row_factory=dict_row) as cursor:
        facts = sql.SQL(audit.facts).format(relation=relation)
        evidence = cursor.execute(facts, {**parameters, **audit.parameters}).fetchone() or {}
    return Verdict(audit, count, examples, evidence, _query(audit, relation))


def find_violations(
    connection: Connection, audit: Audit, relation: sql.Composable, parameters: Mapping[str, Any]
) -> tuple[int, list[dict[str, Any]]]:
    """How many rows break the statement, and the first of them."""
    violations = sql.SQL(audit.violations).format(relation=relation)
    counted = sql.SQL("SELECT count(*) OVER () AS violations, v.* FROM ({}) v LIMIT {}").format(
        violations, sql.Literal(EXAMPLES)
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(counted, {**parameters, **audit.parameters}).fetchall()
    examples = [{k: v for k, v in row.items() if k != "violations"} for row in rows]
    return rows[0]["violations"] if rows else 0, examples


def _query(audit: Audit, relation: sql.Composable) -> str:
    """The query as a person can paste it into psql, but for its parameters."""
    text = inspect.cleandoc(sql.SQL(audit.violations).format(relation=relation).as_string())
    return "\n".join(part for line in text.splitlines() for part in _broken(line))


def _broken(line: str) -> Iterator[str]:
    """A line of SQL in parts that fit the page of a check, broken before a keyword."""
    while len(line) > _LINE and (breaks := [m.start() for m in _KEYWORDS.finditer(line, 16)]):
        at = max((position for position in breaks if position <= _LINE), default=breaks[0])
        yield line[:at]
        line = " " * min(12, len(line) - len(line.lstrip()) + 4) + line[at + 1 :]
    yield line


def audit_stage(
    connection: Connection,
    audits: Iterable[Audit],
    relation: sql.Composable,
    parameters: Mapping[str, Any],
    *,
    in_place: bool = False,
) -> None:
    """Refuse to publish staged rows that an audit finds wrong.

    in_place: `relation` is the table itself, and the transaction that filled it hasn't ended.

    Raises:
        AuditError: names the audit, the count and an example; the caller's transaction rolls back.
    """
    for audit in audits:
        if not audit.staged or audit.severity is not dg.AssetCheckSeverity.ERROR:
            continue
        if in_place and audit.enforced:
            continue
        count, examples = find_violations(connection, audit, relation, parameters)
        if count:
            raise AuditError(
                f"{count} staged rows break {audit.name!r}, for example {examples[0]}.",
                fix="Nothing was published; look at the source named in the log, then materialize again.",
            )


def audit_checks(asset: str, audits: Sequence[Audit], relation: sql.Composable) -> dg.AssetChecksDefinition:
    """The asset checks of an asset's audits: one step, one connection, a result for each audit."""
    by_name = {audit.name: audit for audit in audits}
    specs = [
        dg.AssetCheckSpec(
            audit.name,
            asset=asset,
            description=(
                f"{audit.description}\n\n{_consequence(audit)}\n\n"
                f"Violations:\n```sql\n{_query(audit, relation)}\n```"
            ),
            blocking=audit.blocking,
            metadata={"severity": audit.severity.value, **_thresholds(audit)},
        )
        for audit in audits
    ]

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs, can_subset=True)
    def checks(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource
    ) -> Iterator[dg.AssetCheckResult]:
        with database.connect() as connection:
            parameters = database.audit_parameters()
            for key in sorted(context.selected_asset_check_keys, key=lambda k: list(by_name).index(k.name)):
                verdict = run_audit(connection, by_name[key.name], relation, parameters)
                yield dg.AssetCheckResult(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=verdict.passed,
                    severity=verdict.audit.severity,
                    description=_sentence(verdict),
                    metadata=_evidence(verdict),
                )

    return checks


def _consequence(audit: Audit) -> str:
    """When it passes, and what follows when it doesn't."""
    numbers = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in audit.thresholds.items())
    if audit.severity is dg.AssetCheckSeverity.WARN:
        otherwise = "is a warning and stops nothing"
    else:
        otherwise = "stops the next step of the run" if audit.blocking else "is an error and stops nothing"
    thresholds = f" Thresholds: {numbers}." if numbers else ""
    return f"Passes with 0 violations.{thresholds} A failure {otherwise}."


def _thresholds(audit: Audit) -> dict[str, int | float]:
    """As metadata: what the numbers beside a verdict are to be compared with."""
    return {
        "threshold_violations": 0,
        **{f"threshold_{name}": value for name, value in audit.thresholds.items()},
    }


def facts_sentence(facts: Mapping[str, Any]) -> str:
    """The numbers beside a verdict as people read them: `bars 5,213, tickers 60`."""
    return ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in facts.items())


def _sentence(verdict: Verdict) -> str:
    numbers = facts_sentence(verdict.facts)
    return f"{verdict.count} violations; {numbers}" if numbers else f"{verdict.count} violations"


def _evidence(verdict: Verdict) -> dict[str, dg.MetadataValue[Any] | int | float | str]:
    evidence: dict[str, Any] = {name: _metadata(value) for name, value in verdict.facts.items()}
    evidence["violations"] = verdict.count
    evidence |= _thresholds(verdict.audit)
    evidence["query"] = dg.MetadataValue.md(f"```sql\n{verdict.query}\n```")
    if verdict.examples:
        evidence["examples"] = dg.MetadataValue.md(_table(verdict.examples))
    return evidence


def _metadata(value: Any) -> int | float | str | dg.MetadataValue[Any]:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | dict):
        return dg.MetadataValue.json(value)
    return _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M}Z"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(one)}" for name, one in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table; values are shown as text, pipes escaped."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_shown(row[n]).replace("|", "\\|") for n in names) + " |" for row in rows]
    return "\n".join(lines)
