"""`kapman ready` and `kapman stop`: bring up, and down, what a run needs on this machine."""

import click

from kapman_resources.clock import as_of
from kapman_resources.demo import demo_settings, stop_demo
from kapman_resources.embedded import EmbeddedServer, database_url, default_home, remove_embedded
from kapman_resources.settings import settings


@click.command()
def ready() -> None:
    """Bring up what the settings leave to us: the embedded TimescaleDB, the demo's simulator. Safe."""
    configured = settings()
    if configured.has_vendor:
        click.echo(f"Vendor: {configured.api_url} and {configured.s3_endpoint}, as of {as_of()}.")
    else:
        click.echo(f"No vendor credentials: this is the demo market of KapMan's simulator, as of {as_of()}.")
        demo_settings(configured, as_of(), click.echo)
    database_url(configured)
    click.echo(
        "Database: "
        + ("the server of DATABASE_URL." if configured.database_url else "the embedded TimescaleDB.")
    )


@click.command()
@click.option("--remove", is_flag=True, help="Delete the embedded database too. Destructive.")
def stop(remove: bool) -> None:
    """Stop the demo's simulator and the embedded TimescaleDB. Safe without --remove."""
    if stop_demo(settings().home):
        click.echo("The simulator has stopped.")
    if remove:
        remove_embedded(settings().home)
        click.echo("The embedded TimescaleDB and its data are gone; the vault stays.")
    else:
        EmbeddedServer(default_home()).stop()
        click.echo("The embedded TimescaleDB has stopped.")
