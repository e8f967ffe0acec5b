"""`kapman backup`: take, list and verify backups of the database."""

import datetime as dt
import json
from functools import partial

import click
import msgspec

from kapman_resources import backups
from kapman_resources.backups import Backup, BackupStore
from kapman_resources.database import Database
from kapman_resources.embedded import database_url
from kapman_resources.settings import settings

_told = partial(click.echo, err=True)


@click.command()
@click.option("--list", "listed", is_flag=True, help="Show the backups that are there, newest last.")
@click.option(
    "--verify",
    "verified",
    is_flag=False,
    flag_value="latest",
    metavar="[NAME]",
    help="Read a backup (the newest if none is named) and compare size, checksum and contents.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead, for programs.")  # fmt: skip
def backup(listed: bool, verified: str | None, as_json: bool) -> None:
    """Take a full backup of the database, verify it, and publish it. Safe: overwrites nothing.

    The last line is the path or URL of the dump. Its manifest, with the content hash of every table, lies beside
    it. Older backups beyond KAPMAN_BACKUP_KEEP are deleted once the new one has been verified.
    """
    if listed and verified:
        raise click.UsageError("--list and --verify are two commands.")
    store = BackupStore.from_settings(settings())
    if listed:
        _list(store, as_json)
    elif verified:
        name = store.newest().name if verified == "latest" else _bare(verified)
        found = backups.verify(store, name)
        click.echo(_document(store, found) if as_json else f"{name} is sound: {_described(found)}.")
    else:
        _take(store, as_json)


def _take(store: BackupStore, as_json: bool) -> None:
    now = dt.datetime.now(dt.UTC)
    database = Database(database_url(settings()), "kapman backup")
    taken = backups.take(database, store, taken_by=database.holder, at=now, tell=_told)
    backups.verify(store, taken.name)
    backups.keep_newest(store, taken, settings().backup_keep, by=database.holder, at=now, tell=_told)
    if as_json:
        click.echo(_document(store, taken))
        return
    click.echo(f"Backup {taken.name} of database {taken.database!r}: {_described(taken)}; verified.")
    click.echo(store.location(taken.name))


def _list(store: BackupStore, as_json: bool) -> None:
    found, remains = store.backups(), backups.remains(store)
    if as_json:
        listing = {
            "backups": [json.loads(_document(store, one)) for one in found],
            "incomplete": [{"name": one.name, "what": one.what, "fix": one.fix} for one in remains],
        }
        click.echo(json.dumps(listing, indent=1))
        return
    click.echo(f"Backups {store.url}\n" if found else f"There is no backup at {store.url}.")
    drills = {drill.backup: drill for drill in reversed(list(store.drills()))}
    if found:
        click.echo(f"  {'name':<22}{'database':<16}{'rows':>12}{'bytes':>16}  {'as of':<12}last drill")
    for one in found:
        drill = drills.get(one.name)
        outcome = (
            "" if drill is None else f"{drill.started_at:%Y-%m-%d} {'passed' if drill.passed else 'FAILED'}"
        )
        click.echo(
            f"  {one.name:<22}{one.database:<16}{one.rows:>12,}{one.dump_bytes:>16,}  {one.as_of!s:<12}{outcome}".rstrip()
        )
    for rest in remains:
        click.secho(f"{rest.what} {rest.fix}", fg="yellow", err=True)


def _described(one: Backup) -> str:
    return (
        f"{one.rows:,} rows, {one.dump_bytes:,} bytes, as of {one.as_of}, PostgreSQL {one.postgresql}, "
        f"TimescaleDB {one.timescaledb}"
    )


def _document(store: BackupStore, one: Backup) -> str:
    """The manifest, with where the dump is."""
    document = {"location": store.location(one.name), **json.loads(msgspec.json.encode(one))}
    return json.dumps(document, indent=1)


def _bare(name: str) -> str:
    return name.removesuffix(".dump").removesuffix(".json")
