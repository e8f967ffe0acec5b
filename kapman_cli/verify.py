"""`kapman verify`: every check of the chain, asked of the database outside Dagster."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kapman_resources.database import Database
from kapman_resources.embedded import database_url
from kapman_resources.settings import settings

if TYPE_CHECKING:
    from kapman_assets.verification import Answer

_COLORS = {"ok": "green", "warn": "yellow", "failed": "red", "not asked": "bright_black"}


@click.command()
@click.option("--asset", help="Only the checks of this asset.")
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def verify(asset: str | None, strict: bool, as_json: bool) -> None:
    """Ask every asset check of the database, without Dagster. Safe: reads only.

    One line a check: ok, warn or FAILED, with its numbers, up to three offending rows, and where to read on.
    Exit code 0 when nothing failed; 1 otherwise, also when the database isn't paved. Warnings fail with --strict.
    """
    # Imported late, as Dagster comes with it.
    from kapman_assets import verification  # noqa: PLC0415

    database = Database(database_url(settings()), "kapman verify")
    answers: list[Answer] = []
    for answer in verification.verify(database, asset):
        answers.append(answer)
        if not as_json:
            _print(answer)
    failed = sum(answer.status == "failed" for answer in answers)
    warned = sum(answer.status == "warn" for answer in answers)
    passed = not failed and not (strict and warned)
    if as_json:
        document = {
            "database": database.name,
            "passed": passed,
            "failed": failed,
            "warned": warned,
            "checks": [asdict(answer) for answer in answers],
        }
        click.echo(json.dumps(document, indent=1, default=str))
    else:
        click.secho(
            f"{len(answers)} checks of database {database.name!r}: {failed} failed, {warned} warn.",
            fg="green" if passed else "red",
        )
    sys.exit(0 if passed else 1)


def _print(answer: "Answer") -> None:
    word = "FAILED" if answer.status == "failed" else answer.status
    click.echo(
        f"{click.style(f'{word:<10}', fg=_COLORS[answer.status])}{answer.asset}.{answer.check}: {answer.found}"
    )
    for row in answer.examples:
        click.echo(f"            {', '.join(f'{name} {value}' for name, value in row.items())}")
    if answer.fix:
        click.echo(f"            -> {answer.fix}")
