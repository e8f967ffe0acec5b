"""`kapman quarantine`: the source rows that could not be used, and loading their partitions again."""

import base64
import datetime as dt
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from kapman_resources import quarantine as store
from kapman_resources.database import Database
from kapman_resources.embedded import database_url
from kapman_resources.errors import KapmanError
from kapman_resources.manifest import WHOLE, Quarantined
from kapman_resources.quarantine import Filter, Group, Row
from kapman_resources.settings import settings

_WIDTH = 110

_asset = click.option("--asset", metavar="NAME", help=f"Only this asset: {', '.join(store.ASSETS)}.")
_partition = click.option("--partition", type=click.DateTime(["%Y-%m-%d"]), help="Only this session.")
_limit = click.option("--limit", default=20, show_default=True, type=click.IntRange(0), help="Rows to show.")


@click.group()
def quarantine() -> None:
    """The source rows that could not be used, as they came, and why.

    Exit code: 0 when done, whether rows are in quarantine or not; 1 when it could not be done, with a
    sentence that says why.
    """


@quarantine.command("list")
@_asset
@_partition
@click.option("--reason", help="Only rows refused for this reason, as it is listed.")
@_limit
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def list_rows(
    asset: str | None, partition: dt.datetime | None, reason: str | None, limit: int, as_json: bool
) -> None:
    """Count the rows, then show them. Safe.

    Counts are by asset, partition and reason; the rows of the newest partition come first. What a terminal would obey is escaped, and long rows are cut; `kapman quarantine show` has every byte.
    """
    which = _filter(asset, partition, reason)
    with _database().connect() as connection:
        groups, rows = store.groups(connection, which), store.rows(connection, which, limit)
    if as_json:
        document = {"groups": [vars(group) for group in groups], "rows": [_described(row) for row in rows]}
        click.echo(json.dumps(document, indent=1, default=str))
    elif groups:
        _print_groups(groups)
        _print_rows(rows, sum(group.rows for group in groups))
    else:
        click.echo(_nothing(which))


@quarantine.command()
@click.argument("row_id", metavar="ID", type=int)
def show(row_id: int) -> None:
    """Write the raw bytes of row ID to standard output. Safe.

    All of them and nothing else; they may hold anything: pipe them, for example into `xxd`.
    """
    with _database().connect() as connection:
        raw = store.row(connection, row_id).raw
    click.echo(raw, nl=False)


@quarantine.command()
@_asset
@_partition
@_limit
@click.option("--dry-run", is_flag=True, help="Change nothing: read the sources and tell what would happen.")
def replay(asset: str | None, partition: dt.datetime | None, limit: int, dry_run: bool) -> None:
    """Load the rows' partitions again. Safe to repeat.

    Content is a function of the sources, so no quarantined text is ever put into a table: the partitions are
    read anew from their sources (flat files, vault, watchlist files, reference API), in one run of Dagster
    for each asset, over these sessions alone. Rows leave when the source was mended, or when the rules or
    the tickers of today accept them.

    Exit code 1 when a partition can't be loaded; rows that stay are no failure.
    """
    which, database = _filter(asset, partition), _database()
    with database.connect() as connection:
        refused = store.rows(connection, which)
    if not refused:
        click.echo(_nothing(which))
        return
    # Imported late, as Dagster comes with them.
    from kapman_cli.rehearsal import rehearse  # noqa: PLC0415
    from kapman_cli.runs import is_partition, load_again  # noqa: PLC0415

    fates: list[tuple[str, str, Quarantined]] = []
    failed = False
    for name in store.ASSETS:
        before = _by_partition(row for row in refused if row.asset == name)
        for key in [key for key in before if key != WHOLE and not is_partition(dt.date.fromisoformat(key))]:
            click.secho(f"{name} {key}: left the retained window, can't be loaded any more.", fg="yellow")
            del before[key]
        if not before:
            continue
        after: Mapping[str, Sequence[Quarantined] | KapmanError]
        if dry_run:
            after = rehearse(database, name, list(before))
        else:
            load_again(name, [dt.date.fromisoformat(key) for key in before if key != WHOLE])
            with database.connect() as connection:
                after = _by_partition(store.rows(connection, Filter(name)))
        for key, rows in before.items():
            failed |= _print_change(f"{name} {key}".strip(), rows, after.get(key, ()), fates)
    _print_fates(fates, limit)
    sys.exit(1 if failed else 0)


def _database() -> Database:
    return Database(database_url(settings()), "kapman quarantine")


def _filter(asset: str | None, partition: dt.datetime | None, reason: str | None = None) -> Filter:
    return Filter(asset, f"{partition:%Y-%m-%d}" if partition else None, reason)


def _nothing(which: Filter) -> str:
    asked = [f"{name} {value!r}" for name, value in vars(which).items() if value is not None]
    return f"Nothing is in quarantine{' for ' if asked else ''}{', '.join(asked)}."


def _by_partition(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by partition, ascending."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.partition, []).append(row)
    return dict(sorted(found.items()))


def _print_groups(groups: list[Group]) -> None:
    click.echo(f"  {'asset':<16}{'partition':<12}{'rows':>9}  reason")
    for group in groups:
        click.echo(f"  {group.asset:<16}{group.partition or '-':<12}{group.rows:>9,}  {_safe(group.reason)}")


def _print_rows(rows: list[Row], total: int) -> None:
    if rows:
        click.echo(f"\n{len(rows):,} of {total:,} rows:")
    for row in rows:
        click.echo(f"  {row.id}  {row.asset} {_place(row)}: {_safe(row.reason)}\n      {_cut(row.raw)}")
    if len(rows) < total:
        click.echo("More with --limit; a row in full with `kapman quarantine show ID`.")


def _print_change(
    name: str,
    before: Sequence[Row],
    after: Sequence[Quarantined] | KapmanError,
    fates: list[tuple[str, str, Quarantined]],
) -> bool:
    """Print what becomes of a partition's rows, and enter each into `fates`; whether it can't be loaded."""
    if isinstance(after, KapmanError):
        click.secho(f"{name}: {after}", fg="red", err=True)
        return True
    change = store.compare(before, after)
    stay = ", ".join(f"{count:,} {_safe(reason)}" for reason, count in change.reasons.items())
    click.echo(
        f"{name}: {len(change.left):,} leave, {len(change.stayed):,} stay{f' ({stay})' if stay else ''}"
        f"{f', {len(change.came):,} come' if change.came else ''}."
    )
    fates += [("leaves", name, row) for row in change.left]
    fates += [(f"stays: {row.reason}", name, row) for row in change.stayed]
    fates += [(f"comes: {row.reason}", name, row) for row in change.came]
    return False


def _print_fates(fates: list[tuple[str, str, Quarantined]], limit: int) -> None:
    """The rows, those first that a person has not seen before: they stay last."""
    shown = sorted(fates, key=lambda entry: entry[0].startswith("stays"))[:limit]
    if shown:
        click.echo(f"\n{len(shown):,} of {len(fates):,} rows:")
    for fate, name, row in shown:
        click.echo(f"  {_safe(fate)}  {name.partition(' ')[0]} {_place(row)}\n      {_cut(row.raw)}")


def _place(row: Quarantined) -> str:
    return _safe(row.source) + (f":{row.line}" if row.line else "")


def _cut(raw: bytes) -> str:
    # A character has at most four bytes, so that more than the width remains of what is longer than it.
    text = _safe(raw[: 4 * (_WIDTH + 1)].decode(errors="backslashreplace"))
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}… ({len(raw):,} bytes)"


def _safe(text: str) -> str:
    """The text with everything escaped that a terminal would obey or not show."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _described(row: Row) -> dict[str, Any]:
    """A row as JSON can hold it; bytes that are no UTF-8 are escaped in `raw`, and exact in `raw_base64`."""
    exact = base64.b64encode(row.raw).decode()
    return {**vars(row), "raw": row.raw.decode(errors="backslashreplace"), "raw_base64": exact}
