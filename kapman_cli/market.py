"""`kapman market`: the market page, a read-only web app for traders, until interrupted."""

import click

from kapman_resources.database import Database
from kapman_resources.embedded import EmbeddedServer, database_url, default_home
from kapman_resources.settings import settings


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; the page has no login."
)
@click.option("--port", default=8050, show_default=True, help="Port to listen on; 0 takes a free one.")
def market(host: str, port: int) -> None:
    """Serve the market page: prices, gamma, volatility, data health. Safe: every session is read-only."""
    # Imported late: Dash and Dagster come with it, and `kapman market --help` needs neither.
    from kapman_market.serving import serve  # noqa: PLC0415

    configured = settings()
    if not configured.reader_url:
        database_url(configured)  # brings the embedded server up if the settings leave the database to us
    serve(_database, host, port, ready=lambda url: click.echo(f"Market page: {url}  (Ctrl-C ends it)"))


def _database() -> str:
    """Where to read: the reader's URL, else the platform's; an embedded server that was stopped stays so."""
    configured = settings()
    for url in (configured.reader_url, configured.database_url):
        if url:
            return Database(url.get_secret_value()).url
    return EmbeddedServer(default_home()).url()
