"""The vendor in one process: both servers over one market, and the settings that point the platform at them."""

import socket
import zlib
from collections.abc import Iterable

from kapman_simulator.api_server import ApiServer
from kapman_simulator.faults import plant
from kapman_simulator.market import Market
from kapman_simulator.objects import BUCKET
from kapman_simulator.s3_server import BucketServer

# Not secrets: they open nothing but a server on loopback that anyone can start.
API_KEY = "demo-api-key"
S3_ACCESS_KEY_ID = "demo-access-key"
S3_SECRET_ACCESS_KEY = "demo-secret-key"  # noqa: S105


class Vendor:
    """Both servers; they accept connections from `start` to `stop`."""

    def __init__(
        self, market: Market, api_socket: socket.socket, s3_socket: socket.socket, faults: Iterable[str] = ()
    ) -> None:
        self.market = market
        # What a faulty vendor said must not be taken for the healthy one's later: its archives have a name
        # of their own.
        quirks = ",".join(sorted(faults))
        self._name = f"{market.name}-faulty-{zlib.crc32(quirks.encode()):08x}" if quirks else market.name
        self._host = str(api_socket.getsockname()[0])
        self._api = ApiServer(api_socket, API_KEY)
        self._bucket = BucketServer(s3_socket, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY)
        self._served: dict[str, bytes] = {}
        self.set_faults(faults)

    def set_faults(self, faults: Iterable[str]) -> None:
        """Serve the market with these faults and no others; `Unservable` names one that doesn't exist."""
        stage = plant(faults, self.market, self._put)
        for key in self._served.keys() - stage.market.files.keys():
            self._bucket.delete(key)
            del self._served[key]
        for key, body in stage.market.files.items():
            if self._served.get(key) != body:
                self._put(key, body)
        self._bucket.faults = stage.object_faults
        self._api.serve(stage.market, stage.page_faults, stage.answer_faults)

    def _put(self, key: str, body: bytes) -> None:
        self._served[key] = body
        self._bucket.put(key, body)

    def start(self) -> None:
        self._bucket.start()
        self._api.start()

    def stop(self) -> None:
        self._api.stop()
        self._bucket.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The platform's settings that lead here."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return {
            "KAPMAN_API_URL": f"http://{host}:{self._api.port}",
            "KAPMAN_S3_ENDPOINT": f"http://{host}:{self._bucket.port}",
            "KAPMAN_S3_BUCKET": BUCKET,
            "KAPMAN_S3_ACCESS_KEY_ID": S3_ACCESS_KEY_ID,
            "KAPMAN_S3_SECRET_ACCESS_KEY": S3_SECRET_ACCESS_KEY,
            "MASSIVE_API_KEY": API_KEY,
            "KAPMAN_VENDOR": self._name,
            "KAPMAN_AS_OF": self.market.today.isoformat(),
            # The generated vendor takes any number of requests a second.
            "KAPMAN_RATE_LIMIT": "0",
        }
