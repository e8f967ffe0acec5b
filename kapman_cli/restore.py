"""`kapman restore`: a backup in the place of the database, or beside it."""

import re
import sys
from functools import partial
from pathlib import Path

import click
import psycopg

from kapman_resources import backups
from kapman_resources.backups import Backup, BackupStore
from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Database
from kapman_resources.errors import Refused
from kapman_resources.settings import settings


@click.command()
@click.argument("file")
@click.option(
    "--into", metavar="NAME", help="Restore into a database of this name on the same server instead."
)
@click.option("--keep", is_flag=True, help="Leave the former database there, as NAME_before_restore.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def restore(file: str, into: str | None, keep: bool, yes: bool) -> None:
    """Put a backup in the place of the database. DESTRUCTIVE: what the database holds is gone afterwards.

    FILE is the path or URL of a dump, its bare name (full_20261121_1830), or `latest`. The backup is checked
    first, restored into a database beside the old one and compared with its manifest; only then the two change
    names. Whatever fails before that leaves the database as it was. The role must be a superuser
    (KAPMAN_RESTORE_URL, else DATABASE_URL).
    """
    store, name = _located(file)
    database = backups.restoring_database(settings(), "kapman restore", into)
    chosen = store.backup(name)
    _ask(database, chosen, store, yes)
    restored = backups.restore(database, store, name, keep=keep, tell=partial(click.echo, err=True))
    click.echo(
        f"Database {restored.database!r} is what {name} was: {chosen.rows:,} rows, every content hash equal, "
        f"restored in {restored.seconds:.1f} s."
    )
    if restored.kept:
        click.echo(f"The former database is {restored.kept!r}; drop it when you don't need it any more.")
    if not into:
        click.echo(
            f"It ends with {chosen.as_of}. What has come since: dagster asset materialize -m kapman_assets --select "
            "schema (pending migrations), then dagster job execute -m kapman_assets -j refresh."
        )


def _located(file: str) -> tuple[BackupStore, str]:
    """The store, and the name of the backup in it, that somebody means by `file`."""
    folder, _, last = file.rpartition("/")
    name = re.sub(r"\.(dump|json)$", "", last)
    if file.startswith(("s3://", "file://")):
        return BackupStore.from_settings(settings(), folder), name
    if folder or Path(file).is_file():
        return BackupStore.from_settings(settings(), Path(file).absolute().parent.as_uri()), name
    store = BackupStore.from_settings(settings())
    return store, store.newest().name if name == "latest" else name


def _ask(database: Database, chosen: Backup, store: BackupStore, yes: bool) -> None:
    """Show what is replaced with what, and let nobody replace it by accident.

    Raises:
        Refused: nobody is there to be asked.
    """
    with database.connect(autocommit=True, database="postgres") as server:
        place = f"{database.name!r} on {server.info.host}:{server.info.port}"
    click.echo(f"Backup    {store.location(chosen.name)}")
    click.echo(f"          database {chosen.database!r} as of {chosen.as_of}: {chosen.rows:,} rows, taken "
               f"{chosen.taken_at:%Y-%m-%d %H:%M} UTC by {chosen.taken_by}")  # fmt: skip
    click.echo(f"replaces  database {place}: {_held(database)}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("Nobody is there to confirm the restore.", fix="Add --yes if that is what you want.")
    click.confirm("What that database holds will be gone. Restore?", abort=True)


def _held(database: Database) -> str:
    """What the database holds, as far as it can be told."""
    if not database.exists():
        return "it doesn't exist yet"
    try:
        with database.connect() as connection:
            connection.execute("SET LOCAL statement_timeout = '60s'")
            rows = sum(rows for _, _, rows in database_hashes(connection))
            newest = connection.execute("SELECT max(date) FROM public.ohlcv").fetchone()
    except psycopg.errors.UndefinedTable:
        return "it has no tables of KapMan's"
    except psycopg.Error as error:
        return f"what it holds can't be told ({str(error).partition(chr(10))[0]})"
    return f"{rows:,} rows, bars until {newest[0] if newest and newest[0] else 'none'}"
