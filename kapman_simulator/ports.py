"""Ports to listen on."""

import socket

from kapman_simulator.market import Unservable


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that accepts connections on `host`; port 0 takes a free one. Unservable if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise Unservable(
            f"Can't listen on {host} port {port}: {error.strerror}. Port 0 takes a free one."
        ) from error
