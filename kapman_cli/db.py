"""`kapman db`: the platform's database server from the command line."""

import os
import shutil
from functools import partial

import click
import psycopg
from psycopg.conninfo import make_conninfo

from kapman_resources.connection_errors import explain, parse, require_timescaledb
from kapman_resources.database import MAINTENANCE_DATABASE, Database
from kapman_resources.embedded import EmbeddedServer, database_url, default_home
from kapman_resources.errors import DatabaseError
from kapman_resources.hosts import verified
from kapman_resources.settings import settings
from kapman_resources.structure import grant_access, make_roles
from kapman_resources.structure.roles import ROLES, script

NOTHING_DONE = (
    "DATABASE_URL names a server of your own, so there is nothing to {verb} here and nothing was done."
)


@click.group()
def db() -> None:
    """The database server; DATABASE_URL, if set, names it, else the project brings up its own."""


@db.command()
def start() -> None:
    """Start the embedded server; the first time, fetch and create it. Safe."""
    if _external():
        click.echo(NOTHING_DONE.format(verb="start"))
        return
    server = _embedded()
    server.ensure()
    click.echo(f"The embedded TimescaleDB server accepts connections on port {server.status().port}.")


@db.command()
def stop() -> None:
    """Stop the embedded server, ending its sessions. Safe: the data stay."""
    if _external():
        click.echo(NOTHING_DONE.format(verb="stop"))
        return
    _embedded().stop()
    click.echo("The embedded TimescaleDB server is stopped.")


@db.command()
def status() -> None:
    """Tell which server is used, and in which state and version it is. Safe."""
    facts = _external_facts(url) if (url := _external()) else _embedded_facts()
    for name, value in facts.items():
        if value is not None:
            click.echo(f"{name:<12} {value}")


@db.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the platform's database; ARGUMENTS go to psql, such as -f FILE or -c SQL. As safe as these."""
    embedded = _embedded()
    url = _external() or embedded.ensure()
    try:
        program = str(embedded.psql_path())
    except DatabaseError:
        if (found := shutil.which("psql")) is None:
            raise
        program = found
    # Everybody on the machine can read the arguments of a program, so the password goes another way. A key's
    # has none; psql asks for it.
    target = parse(verified(url))
    environment = dict(os.environ)
    if password := target.pop("password", None):
        environment["PGPASSWORD"] = password
    target.pop("sslpassword", None)
    os.execve(program, [program, "--dbname", make_conninfo("", **target), *arguments], environment)  # noqa: S606


@db.command()
@click.option(
    "--apply", is_flag=True, help="Make the missing roles and grant the rights, as DATABASE_URL's role."
)
def roles(apply: bool) -> None:
    """Print the SQL of the roles with least privilege: owner, loader, reader. Safe: existing roles stay as they are."""
    database = Database(database_url(settings()), "kapman db roles")
    if not apply:
        click.echo(
            "-- For psql as an administrator, connected to this database. A pave grants the rights below by itself,"
            "\n-- so on a database that isn't paved yet those that fail are none to worry about."
        )
        click.echo(script(database.name))
        return
    with database.connect(autocommit=True, database=MAINTENANCE_DATABASE) as server:
        made = make_roles(server)
    if database.exists():
        with database.connect(autocommit=True) as connection:
            grant_access(connection)
    for role in ROLES:
        if role in made:
            click.echo(
                f"{role}: made, without a password; give it one: kapman db psql -c '\\password {role}'"
            )
        else:
            click.echo(f"{role}: was there and is left as it was; its rights are granted.")


@db.command("url")
def print_url() -> None:
    """Print the connection URL, password included, and nothing else; for a session of psql, `kapman db psql`. Safe."""
    click.echo(_external() or _embedded().url())


def _embedded() -> EmbeddedServer:
    return EmbeddedServer(default_home(), tell=partial(click.echo, err=True))


def _external() -> str | None:
    configured = settings().database_url
    return configured.get_secret_value() if configured else None


def _external_facts(url: str) -> dict[str, object]:
    parse(url)
    try:
        with psycopg.connect(verified(url), connect_timeout=10) as conn:
            facts = require_timescaledb(conn)
            return {
                "server": f"{conn.info.host}:{conn.info.port} (DATABASE_URL)",
                "database": conn.info.dbname,
                "role": f"{conn.info.user}{' (superuser)' if facts.is_superuser else ''}",
                "PostgreSQL": facts.version,
                "TimescaleDB": facts.timescaledb_version,
                "edition": facts.edition,
            }
    except psycopg.OperationalError as error:
        raise explain(error, url) from error


def _embedded_facts() -> dict[str, object]:
    found = _embedded().status()
    return {
        "server": f"embedded, {found.state}",
        "process": found.pid,
        "port": found.port,
        "uptime": found.uptime,
        "PostgreSQL": found.version,
        "TimescaleDB": found.timescaledb_version,
        "edition": found.edition,
        "data": found.data,
        "log": found.log,
    }
