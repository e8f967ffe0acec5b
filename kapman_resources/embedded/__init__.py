"""A private TimescaleDB server that the project brings up itself, for when no other is configured."""

import shutil
import sys
from pathlib import Path

from kapman_resources.embedded.server import EmbeddedServer, ServerStatus
from kapman_resources.settings import Settings, settings

__all__ = ["EmbeddedServer", "ServerStatus", "database_url", "default_home", "remove_embedded"]


def default_home() -> Path:
    """The folder of the platform's own embedded server, under `KAPMAN_HOME`."""
    return settings().home / "postgres"


def remove_embedded(home: Path) -> None:
    """Delete the embedded server under `home`, its data and its unpacked packages, wherever they had to go."""
    EmbeddedServer(home / "postgres").remove()
    packages = home / "packages"
    if packages.is_symlink():  # a folder outside of `home`, because the server's user can't reach inside
        shutil.rmtree(packages.resolve(), ignore_errors=True)
        packages.unlink()
    else:
        shutil.rmtree(packages, ignore_errors=True)


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
