"""The page's web server."""

import signal
from collections.abc import Callable

from waitress.server import create_server

from kapman_market.app import make_app
from kapman_market.connections import ReadOnlyDatabase

_THREADS = 8


def serve(locate: Callable[[], str], host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve the market page of the database that `locate` finds, until SIGINT or SIGTERM.

    port: 0 takes a free one. ready: told the page's address as soon as it answers.

    Raises:
        OSError: the address can't be listened on.
    """
    database = ReadOnlyDatabase(locate)
    try:
        server = create_server(
            make_app(database).server, host=host, port=port, threads=_THREADS, ident="kapman"
        )
        # A shell's background job ignores SIGINT unless it is told otherwise.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end)
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{server.effective_port}")
        server.run()
    finally:
        database.close()


def _end(*_: object) -> None:
    raise SystemExit(0)  # the server's loop takes it for its end
