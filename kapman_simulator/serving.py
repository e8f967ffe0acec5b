"""From what was asked for to a vendor that is ready to start."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kapman_simulator.dataset import read_dataset
from kapman_simulator.faults import require_known
from kapman_simulator.generated import generate
from kapman_simulator.market import Unservable
from kapman_simulator.options import MarketOptions
from kapman_simulator.vendor import Vendor


@dataclass(frozen=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str = "127.0.0.1"
    api_port: int = 0
    s3_port: int = 0


def open_vendor(
    options: MarketOptions,
    *,
    faults: Iterable[str] = (),
    dataset: Path | None = None,
    address: Address | None = None,
) -> Vendor:
    """Bind the ports, make or read the market, apply the faults; `Unservable` says what can't be."""
    at = address or Address()
    # What takes no time to refuse is refused before the market is made.
    require_known(faults)
    sockets = _listening(at.host, at.api_port), _listening(at.host, at.s3_port)
    market = read_dataset(dataset, options.today) if dataset else generate(options)
    return Vendor(market, *sockets, faults)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise Unservable(
            f"Can't listen on {host} port {port}: {error.strerror}. Port 0 takes a free one."
        ) from error
