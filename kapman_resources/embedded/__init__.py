"""A private TimescaleDB server that the project brings up itself, for when no other is configured."""

from pathlib import Path

from kapman_resources.embedded.server import EmbeddedServer, ServerStatus
from kapman_resources.settings import Settings, settings

__all__ = ["EmbeddedServer", "ServerStatus", "database_url", "default_home"]


def default_home() -> Path:
    """The folder of the platform's own embedded server, under `KAPMAN_HOME`."""
    return settings().home / "postgres"


def database_url(configured: Settings) -> str:
    """`DATABASE_URL` when it is set, else the embedded server's, which is brought up if it is down."""
    if configured.database_url:
        return configured.database_url.get_secret_value()
    return EmbeddedServer(configured.home / "postgres").ensure()
