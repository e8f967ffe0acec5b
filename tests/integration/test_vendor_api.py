"""A chain arrives complete or not at all, whatever the vendor's API does; and the key never leaks.

Against a real HTTP server on loopback that misbehaves as the vendor is known to: throttles with and without
`Retry-After`, answers 200 with rubbish, loops, repeats pages, breaks off or drips bodies, points elsewhere.
"""

import asyncio
import datetime as dt
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kapman_resources.errors import EntitlementError, VendorError
from kapman_resources.vendor_api import Patience, VendorApi
from kapman_resources.vendor_pages import RawPage, decode_chain, decode_tickers
from kapman_simulator import MarketOptions, Simulator

KEY = "marker-key-7f3a"
QUICK = Patience(attempts=3, backoff=0.01, timeout=0.5)
TODAY = dt.date(2026, 11, 20)


@dataclass
class Asked:
    """A request as the server saw it."""

    at: float
    path: str
    query: dict[str, str]
    authorization: str | None


@dataclass
class Vendor:
    """A server whose answers a test writes: `answer(request, n)` gets the number of the request, from 1."""

    url: str
    answer: Callable[[Request, int], Response] = lambda request, n: page([])
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        request = Request(scope, receive)
        path = scope["raw_path"].decode()
        query = dict(request.query_params)
        self.asked.append(Asked(time.monotonic(), path, query, request.headers.get("authorization")))
        await self.answer(request, len(self.asked))(scope, receive, send)

    def pages_of(self, *pages: Sequence[object], seen: str = "cursor") -> Callable[[Request, int], Response]:
        """Serve a list properly: page k under `?cursor=k`, all but the last with a next_url."""

        def answer(request: Request, n: int) -> Response:
            at = int(request.query_params.get(seen, "0"))
            more = f"{self.url}{request.url.path}?{seen}={at + 1}" if at + 1 < len(pages) else None
            return page(pages[at], next_url=more)

        return answer


def page(results: Sequence[object] | None, status: int = 200, **fields: object) -> Response:
    body = {"status": "OK", "results": results} | fields
    kept = {name: value for name, value in body.items() if value is not None}
    return Response(json.dumps(kept), status, media_type="application/json")


def refusal(status: int, message: str = "no", **headers: str) -> Response:
    return Response(json.dumps({"status": "ERROR", "error": message}), status, headers)


@pytest.fixture
def start() -> Iterator[Callable[[], Vendor]]:
    """Start servers, each on a free port of its own."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start_one() -> Vendor:
        listener = socket.create_server(("127.0.0.1", 0))
        vendor = Vendor(f"http://127.0.0.1:{listener.getsockname()[1]}")
        config = uvicorn.Config(vendor, log_level="critical", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread))
        return vendor

    yield start_one
    for server, thread in running:
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture
def vendor(start: Callable[[], Vendor]) -> Vendor:
    return start()


def api(vendor: Vendor, patience: Patience = QUICK, rate_limit: float = 0, concurrency: int = 16) -> VendorApi:
    return VendorApi(vendor.url, KEY, rate_limit, concurrency, patience)


def one_chain(client: VendorApi, underlying: str = "AAPL") -> list[RawPage]:
    """The pages of one chain; raises what went wrong with it."""
    got: list[RawPage] = []
    fetched = client.chains([underlying], on_chain=lambda _, pages: got.extend(pages))
    for error in fetched.failed.values():
        raise error
    return got


def results_of(pages: Sequence[RawPage]) -> list[list[object]]:
    return [json.loads(one.body)["results"] for one in pages]


def test_pages_are_followed_to_the_end_with_the_key_in_the_header_only(vendor: Vendor) -> None:
    vendor.answer = vendor.pages_of([1, 2], [3, 4], [5])
    pages = one_chain(api(vendor), "I:SPX")
    assert results_of(pages) == [[1, 2], [3, 4], [5]]
    assert [one.number for one in pages] == [1, 2, 3]
    assert all(one.fetched_at.utcoffset() == dt.timedelta(0) for one in pages)
    assert [ask.path for ask in vendor.asked] == ["/v3/snapshot/options/I%3ASPX"] * 3
    assert [ask.query for ask in vendor.asked] == [{"limit": "250"}, {"cursor": "1"}, {"cursor": "2"}]
    assert {ask.authorization for ask in vendor.asked} == {f"Bearer {KEY}"}
    assert KEY not in repr(pages)


def test_tickers_ask_for_active_stocks_and_may_have_an_empty_last_page(vendor: Vendor) -> None:
    vendor.answer = vendor.pages_of([1], [])
    assert results_of(api(vendor).reference_tickers()) == [[1], []]
    assert vendor.asked[0].path == "/v3/reference/tickers"
    assert vendor.asked[0].query == {"market": "stocks", "active": "true", "limit": "1000"}


def test_a_key_that_the_vendor_puts_into_next_url_is_taken_out(vendor: Vendor) -> None:
    def answer(request: Request, n: int) -> Response:
        return page([n], next_url=f"{vendor.url}/v3/next?cursor=a&apiKey={KEY}" if n == 1 else None)

    vendor.answer = answer
    assert [one.url.partition("?")[2] for one in one_chain(api(vendor))] == ["limit=250", "cursor=a"]


async def _broken_off() -> AsyncIterator[bytes]:
    yield b'{"status":"OK","resu'
    raise ConnectionError


async def _dripping() -> AsyncIterator[bytes]:
    while True:
        yield b" "
        await asyncio.sleep(0.05)


TRANSIENT: dict[str, Callable[[], Response]] = {
    "status 429": lambda: refusal(429),
    "status 429, Retry-After": lambda: refusal(429, **{"Retry-After": "0"}),
    "status 500": lambda: refusal(500),
    "status 503, Retry-After": lambda: refusal(503, **{"Retry-After": "0"}),
    "not JSON": lambda: Response(b'{"status":"OK","results":[{"a":1},'),
    "not JSON (HTML)": lambda: Response(b"<html>Bad gateway</html>"),
    "not JSON (NaN)": lambda: Response(b'{"status":"OK","results":[NaN]}'),
    "not a page: Object missing required field `results`": lambda: page(None),
    "not a page: Object missing required field `status`": lambda: Response(b'{"results":[]}'),
    "not a page: Expected `array`": lambda: Response(b'{"status":"OK","results":{"a":1}}'),
    "not a page: Expected `object`": lambda: Response(b"[]"),
    "status text 'ERROR'": lambda: page([], status_text=1) if False else page([], **{"status": "ERROR"}),
    "fewer results": lambda: page([1], count=2),
    "repeats page 1": lambda: page([1, 2]),
    "RemoteProtocolError": lambda: StreamingResponse(_broken_off()),
    "no complete answer": lambda: StreamingResponse(_dripping()),
    "damaged compression": lambda: Response(b"not gzip", headers={"Content-Encoding": "gzip"}),
}
