"""`kapman hash`: the content hash of every table, the definition of "the same database"."""

import click

from kapman_resources.content_hash import database_hashes
from kapman_resources.database import Database
from kapman_resources.embedded import database_url
from kapman_resources.settings import settings


@click.command("hash")
def content_hashes() -> None:
    """Print `table hash rows` for every table of the contract.

    Two databases with equal lines hold the same content, whatever the hour and the order in which it
    was loaded. Safe: reads only.
    """
    with Database(database_url(settings()), "kapman hash").connect() as connection:
        for table, digest, rows in database_hashes(connection):
            click.echo(f"{table} {digest} {rows}")
