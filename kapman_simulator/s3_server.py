"""The vendor's bucket: moto's S3 behind a check of every request's signature, and faults in between."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote
from wsgiref.types import StartResponse

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import S3Backend, s3_backends
from moto.server import MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from kapman_simulator.answers import Answer, ObjectFault, ObjectRequest, s3_error
from kapman_simulator.objects import BUCKET
from kapman_simulator.signature import SignatureRefused, verify

REGION = "us-east-1"
VAULT_BUCKET = "kapman-vault"
_PIECE = 65536
_REASONS = {403: "Forbidden", 404: "Not Found", 500: "Internal Server Error", 503: "Slow Down"}


class _KeepAliveHandler(MotoRequestHandler):
    """HTTP/1.1, so that clients keep their connections as they do with the real endpoint."""

    protocol_version = "HTTP/1.1"


class BucketServer:
    """S3 on a listening socket, in threads. moto keeps its buckets per process: one server in a process."""

    def __init__(self, bound: socket.socket, access_key_id: str, secret: str) -> None:
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self.faults: list[ObjectFault] = []
        self._key_pair = (access_key_id, secret)
        self._moto = create_backend_app("s3")
        for bucket in (BUCKET, VAULT_BUCKET):
            self._backend.create_bucket(bucket, REGION)
        with bound:
            host, port = bound.getsockname()[:2]
            self.port = int(port)
            self._server = make_server(
                host, port, self._app, threaded=True, request_handler=_KeepAliveHandler, fd=bound.fileno()
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def _backend(self) -> S3Backend:
        return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, key: str, body: bytes) -> None:
        """Write one object of the flat files' bucket."""
        self._backend.put_object(BUCKET, key, body)

    def delete(self, key: str) -> None:
        """Remove one object of the flat files' bucket."""
        self._backend.delete_object(BUCKET, key)

    def _app(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        target = str(environ["REQUEST_URI"])
        try:
            verify(environ["REQUEST_METHOD"], target, _headers(environ), *self._key_pair)
        except SignatureRefused as refusal:
            return _send(s3_error(403, refusal.code, refusal.message), start_response)
        bucket, _, key = unquote(target.split("?", maxsplit=1)[0]).lstrip("/").partition("/")
        request = ObjectRequest(environ["REQUEST_METHOD"], bucket, key)
        if not self.faults or bucket != BUCKET or not key or request.method != "GET":
            return self._moto(environ, start_response)
        answer = self._collect(environ)
        for fault in self.faults:
            answer = fault(request, answer)
        return _send(answer, start_response)

    def _collect(self, environ: dict[str, Any]) -> Answer:
        """moto's own answer, in one piece."""
        head: list[tuple[str, list[tuple[str, str]]]] = []

        def note(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], None]:
            head.append((status, headers))
            return lambda _: None

        body = b"".join(self._moto(environ, note))
        status, headers = head[0]
        return Answer(int(status.split()[0]), body, dict(headers))


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    return headers


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
    headers["Content-Length"] = str(len(answer.body))
    start_response(f"{answer.status} {_REASONS.get(answer.status, 'OK')}", list(headers.items()))
    return _pieces(answer)


def _pieces(answer: Answer) -> Iterator[bytes]:
    body = answer.body if answer.cut_at is None else answer.body[: answer.cut_at]
    parts = max(len(range(0, len(body), _PIECE)), 1)
    # Nothing is on the wire before the first piece, not even the status.
    time.sleep(answer.delay)
    for start in range(0, max(len(body), 1), _PIECE):
        if answer.seconds:
            time.sleep(answer.seconds / parts)
        yield body[start : start + _PIECE]
    if answer.cut_at is not None:
        raise ConnectionAbortedError("The fault breaks this connection in the middle of the body.")
