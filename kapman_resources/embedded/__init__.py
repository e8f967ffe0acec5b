"""A private TimescaleDB server that the project brings up itself, for when no other is configured."""

import sys
from pathlib import Path

from kapman_resources.embedded.server import EmbeddedServer, ServerStatus
from kapman_resources.settings import Settings, settings

__all__ = ["EmbeddedServer", "ServerStatus", "database_url", "default_home"]


def default_home() -> Path:
    """The folder of the platform's own embedded server, under `KAPMAN_HOME`."""
    return settings().home / "postgres"


def database_url(configured: Settings) -> str:
    """`DATABASE_URL` when it is set, else the embedded server's, which is brought up if it is down.

    The slow steps of a first start are told on standard error: standard output may be somebody's input.
    """
    if configured.database_url:
        return configured.database_url.get_secret_value()
    server = EmbeddedServer(
        configured.home / "postgres",
        tell=lambda sentence: print(sentence, file=sys.stderr),  # noqa: T201
    )
    return server.ensure()
