"""A chain arrives complete or not at all, whatever the vendor's API does; and the key never leaks.

Against a real HTTP server on loopback that misbehaves as the vendor is known to: throttles with and without
`Retry-After`, answers 200 with rubbish, loops, repeats pages, breaks off or drips bodies, points elsewhere.
"""

import asyncio
import datetime as dt
import gzip
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
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
    authorization: str | None = field(repr=False)


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


def page(results: Sequence[object] | None, **fields: object) -> Response:
    body = {"status": "OK", "results": results} | fields
    kept = {name: value for name, value in body.items() if value is not None}
    return Response(json.dumps(kept), media_type="application/json")


def refusal(status: int, message: str = "no", **headers: str) -> Response:
    return Response(json.dumps({"status": "ERROR", "error": message}), status, headers)


@pytest.fixture
def start() -> Iterator[Callable[[], Vendor]]:
    """Start servers, each on a free port of its own."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start_one() -> Vendor:
        listener = socket.create_server(("127.0.0.1", 0))
        vendor = Vendor(f"http://127.0.0.1:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            vendor, log_level="critical", access_log=False, lifespan="off", date_header=False
        )
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


def api(
    vendor: Vendor, patience: Patience = QUICK, rate_limit: float = 0, concurrency: int = 16
) -> VendorApi:
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
    assert vendor.asked[0].path == "/v3/snapshot/options/I:SPX"
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
    "not a page: `results` is no list": lambda: Response(b'{"status":"OK","results":{"a":1}}'),
    "not a page: Expected `object`": lambda: Response(b"[]"),
    "status text 'ERROR'": lambda: page([], status="ERROR"),
    "fewer results": lambda: page([1], count=2),
    "repeats page 1": lambda: page([1, 2]),
    "Response payload is not completed": lambda: StreamingResponse(_broken_off()),
    "no complete answer": lambda: StreamingResponse(_dripping()),
    "damaged compression": lambda: Response(b"not gzip", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_trouble_once_is_asked_for_again(vendor: Vendor, name: str) -> None:
    """The chain is the same as of an undisturbed run, and the traffic tells what happened."""
    proper = vendor.pages_of([1, 2], [3], [4])
    vendor.answer = lambda request, n: TRANSIENT[name]() if n == 2 else proper(request, n)
    client = api(vendor)
    assert results_of(one_chain(client)) == [[1, 2], [3], [4]]
    assert (client.traffic.requests, client.traffic.retries) == (4, 1)
    ((reason, times),) = client.traffic.trouble.items()
    assert times == 1
    assert name.partition(",")[0].partition(" (")[0] in reason or "repeats page 1" in reason


@pytest.mark.parametrize("name", TRANSIENT)
def test_trouble_that_stays_fails_the_chain_with_a_sentence(vendor: Vendor, name: str) -> None:
    proper = vendor.pages_of([1, 2], [3], [4])
    vendor.answer = lambda request, n: TRANSIENT[name]() if n >= 2 else proper(request, n)
    arrived: list[str] = []
    fetched = api(vendor).chains(["BRK.B"], on_chain=lambda one, _: arrived.append(one))
    text = str(fetched.failed["BRK.B"])
    assert (arrived, fetched.fetched) == ([], {})
    assert "/v3/snapshot/options/BRK.B" in text
    assert "3 attempts" in text
    assert name.partition(",")[0].partition(" (")[0].removeprefix("status ") in text
    assert len(vendor.asked) == 4


@pytest.mark.parametrize(
    ("next_url", "reason"),
    [
        ("{url}/v3/snapshot/options/AAPL?limit=250", "leads back to an earlier page"),
        ("{url}/other?cursor=1", "leads back to an earlier page"),
        ("http://[::1", "next_url is not a URL"),
        ("file:///etc/passwd", "another origin, file://"),
    ],
)
def test_a_next_url_that_loops_or_is_none_fails_without_another_attempt(
    vendor: Vendor, next_url: str, reason: str
) -> None:
    vendor.answer = lambda _, n: page([n], next_url=next_url.format(url=vendor.url))
    with pytest.raises(VendorError, match=reason):
        one_chain(api(vendor))
    assert len(vendor.asked) <= 2


def test_the_key_is_never_sent_to_another_host(vendor: Vendor, start: Callable[[], Vendor]) -> None:
    stranger = start()
    vendor.answer = lambda *_: page([1], next_url=f"{stranger.url}/v3/snapshot/options/AAPL?cursor=1")
    with pytest.raises(VendorError, match="another origin"):
        one_chain(api(vendor))
    vendor.answer = lambda *_: Response(status_code=302, headers={"Location": f"{stranger.url}/"})
    with pytest.raises(VendorError, match="status 302"):
        one_chain(api(vendor))
    assert stranger.asked == []


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (401, "doesn't accept the API key for option chain snapshot"),
        (403, "plan doesn't include option chain"),
    ],
)
def test_a_missing_entitlement_ends_everything_at_once(vendor: Vendor, status: int, names: str) -> None:
    vendor.answer = lambda *_: refusal(status, f"Unknown key {KEY}")
    with pytest.raises(EntitlementError, match=names) as error:
        api(vendor, concurrency=2).chains([f"U{n}" for n in range(50)], on_chain=lambda *_: None)
    assert len(vendor.asked) <= 2, "neither retried nor asked for the other underlyings"
    assert "MASSIVE_API_KEY" in str(error.value)
    assert KEY not in str(error.value)


@pytest.mark.parametrize("key", [None, "", "two words", "line\nfeed", "ключ"])
def test_an_impossible_key_is_refused_before_anything_is_sent(vendor: Vendor, key: str | None) -> None:
    with pytest.raises(EntitlementError, match="MASSIVE_API_KEY"):
        VendorApi(vendor.url, key).reference_tickers()
    assert vendor.asked == []


def test_one_bad_underlying_does_not_cost_the_others(vendor: Vendor) -> None:
    good = vendor.pages_of([1], [2])
    bad = {"/v3/snapshot/options/GONE": 404, "/v3/snapshot/options/SICK": 500}

    def answer(request: Request, n: int) -> Response:
        status = bad.get(request.url.path)
        return refusal(status, "not today") if status else good(request, n)

    vendor.answer = answer
    progress: list[tuple[int, int]] = []
    arrived: dict[str, int] = {}
    fetched = api(vendor).chains(
        ["AAPL", "GONE", "MSFT", "SICK", "AAPL", "NVDA"],
        on_chain=lambda one, pages: arrived.update({one: len(pages)}),
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert list(fetched.fetched.items()) == [("AAPL", 2), ("MSFT", 2), ("NVDA", 2)]
    assert arrived == dict.fromkeys(fetched.fetched, 2)
    assert list(fetched.failed) == ["GONE", "SICK"]
    assert "status 404: not today" in str(fetched.failed["GONE"])
    assert (fetched.pages, fetched.traffic.requests) == (6, 6 + 1 + 3)
    assert progress == [(n, 5) for n in range(1, 6)]


def test_a_vendor_that_never_answers_ends_the_run_not_each_underlying(vendor: Vendor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    nobody = VendorApi(f"http://127.0.0.1:{port}", KEY, patience=QUICK, concurrency=2)
    with pytest.raises(VendorError, match=r"127\.0\.0\.1 doesn't answer .*3 attempts.*KAPMAN_API_URL"):
        nobody.chains([f"U{n}" for n in range(50)], on_chain=lambda *_: None)
    assert nobody.traffic.requests <= 2 * 3


def test_retry_after_is_honoured_and_an_absurd_one_fails_at_once(vendor: Vendor) -> None:
    proper = vendor.pages_of([1])
    vendor.answer = lambda r, n: refusal(429, **{"Retry-After": "1"}) if n == 1 else proper(r, n)
    one_chain(api(vendor))
    assert vendor.asked[1].at - vendor.asked[0].at >= 1

    date, later = "Fri, 20 Nov 2026 21:00:00 GMT", "Fri, 20 Nov 2026 22:00:00 GMT"
    vendor.answer = lambda *_: refusal(429, Date=date, **{"Retry-After": later})
    with pytest.raises(VendorError, match=r"one attempt, .* asks to wait 3600 s.*KAPMAN_RATE_LIMIT"):
        one_chain(api(vendor))


def test_a_throttled_key_holds_every_request_not_only_the_throttled_one(vendor: Vendor) -> None:
    proper = vendor.pages_of([1])
    vendor.answer = lambda r, n: refusal(429, **{"Retry-After": "1"}) if n == 1 else proper(r, n)
    underlyings = [f"U{n}" for n in range(6)]
    api(vendor, concurrency=1).chains(underlyings, on_chain=lambda *_: None)
    assert min(ask.at for ask in vendor.asked[1:]) - vendor.asked[0].at >= 1


def test_the_rate_limit_is_shared_by_all_requests_of_a_run(vendor: Vendor) -> None:
    """Tickers and chains are fetched by clients of their own, and the vendor counts them together."""
    vendor.answer = vendor.pages_of([1])
    api(vendor, rate_limit=40).reference_tickers()
    api(vendor, rate_limit=40).chains([f"U{n}" for n in range(29)], on_chain=lambda *_: None)
    # 30 requests at 40/s with at most a tenth of a second's worth (4) at once.
    assert vendor.asked[-1].at - vendor.asked[0].at >= (30 - 1 - 4) / 40 * 0.98
    for first, fifth in zip(vendor.asked, vendor.asked[20:], strict=False):
        assert fifth.at - first.at >= (20 - 4 - 1) / 40 * 0.9


def test_chains_arrive_one_at_a_time_while_others_are_fetched(vendor: Vendor) -> None:
    """`on_chain` may use a connection or a file without locks, and a slow one doesn't stop the network."""
    vendor.answer = vendor.pages_of([1], [2])
    inside, most = [0], [0]
    seen: list[int] = []

    def on_chain(_: str, pages: list[RawPage]) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        deadline = time.monotonic() + 5
        if not seen:  # the first one waits until the others' requests have come in meanwhile
            while len(vendor.asked) < 8 and time.monotonic() < deadline:
                time.sleep(0.01)
        seen.append(len(vendor.asked))
        inside[0] -= 1

    api(vendor, concurrency=4).chains([f"U{n}" for n in range(4)], on_chain=on_chain)
    assert most == [1]
    assert seen[0] == 8


def test_an_error_of_the_callers_ends_the_fetch(vendor: Vendor) -> None:
    vendor.answer = vendor.pages_of([1])

    def disk_full(*_: object) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        api(vendor, concurrency=1).chains(["A", "B", "C", "D"], on_chain=disk_full)
    assert len(vendor.asked) <= 2, "at most the chain after the one that couldn't be kept"


def test_it_works_where_an_event_loop_is_running(vendor: Vendor) -> None:
    vendor.answer = vendor.pages_of([1], [2])

    async def inside_a_loop() -> int:
        return len(one_chain(api(vendor)))

    assert asyncio.run(inside_a_loop()) == 2


def test_the_key_never_shows(vendor: Vendor, caplog: pytest.LogCaptureFixture) -> None:
    """In no log at any level, no error, no traceback with its locals, no repr."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    for answer in (
        vendor.pages_of([1], [2]),
        lambda *_: refusal(403, f"key {KEY}"),
        lambda *_: refusal(500, KEY),
        lambda *_: page([], status=KEY),
        lambda *_: page([1], next_url="http://elsewhere.example/"),
        lambda *_: StreamingResponse(_dripping()),
    ):
        vendor.answer = answer
        client = api(vendor)
        try:
            one_chain(client)
        except VendorError as error:
            texts += traceback.TracebackException.from_exception(error, capture_locals=True).format()
            texts.append(repr(error))
        texts += [repr(client), repr(client.traffic)]
    texts += [record.getMessage() for record in caplog.records]
    assert len(texts) > 20
    assert [text for text in texts if KEY in text] == []


def test_a_page_that_came_as_gzip_is_kept_as_it_came(vendor: Vendor) -> None:
    """Unless there is more in it than the page: a time, a name, a comment, or a key that had to be taken out."""
    body = page([1, 2]).body
    plain = gzip.compress(body, 9, mtime=0)
    with_time, with_name = plain[:4] + b"time" + plain[8:], bytearray(plain)
    with_name[3] = 8  # FNAME: a name follows the ten bytes of the header
    named = bytes(with_name[:10]) + KEY.encode() + b"\0" + bytes(with_name[10:])
    echo = gzip.compress(page([KEY]).body, mtime=0)
    padded = plain + bytes(8)
    for sent, kept in {plain: plain, with_time: plain, named: None, padded: None, echo: None}.items():
        vendor.answer = lambda _, __, sent=sent: Response(sent, headers={"Content-Encoding": "gzip"})
        (one,) = one_chain(api(vendor))
        assert one.packed == kept
        assert KEY.encode() not in one.body


def test_no_cookie_is_taken(vendor: Vendor) -> None:
    """What is answered must not depend on what was answered before."""
    proper, cookies = vendor.pages_of([1], [2], [3]), list[str | None]()

    def answer(request: Request, n: int) -> Response:
        cookies.append(request.headers.get("cookie"))
        answered = proper(request, n)
        answered.set_cookie("seen", str(n))
        return answered

    vendor.answer, vendor.url = (
        answer,
        vendor.url.replace("127.0.0.1", "localhost"),
    )  # an address takes none anyway
    assert results_of(one_chain(api(vendor))) == [[1], [2], [3]]
    assert cookies == [None, None, None]


@pytest.fixture
def wire() -> Iterator[Callable[[bytes], tuple[str, list[bytes]]]]:
    """A server that sends these bytes to whoever connects: its address, and the heads of the requests."""
    listeners: list[socket.socket] = []

    def serve(sent: bytes) -> tuple[str, list[bytes]]:
        listener, heads = socket.create_server(("127.0.0.1", 0)), list[bytes]()
        listeners.append(listener)

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        heads.append(connection.recv(65_536))
                        connection.sendall(sent)

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}", heads

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    "sent",
    [b"220 ready\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b""],
    ids=["not HTTP", "endless header", "nothing"],
)
def test_what_is_no_answer_is_asked_for_again_and_then_fails_with_a_sentence(
    wire: Callable[[bytes], tuple[str, list[bytes]]], sent: bytes
) -> None:
    url, heads = wire(sent)
    with pytest.raises(VendorError, match=r"doesn't answer .*: 3 attempts, the last: \w+: ."):
        one_chain(VendorApi(url, KEY, patience=QUICK))
    assert len(heads) >= 3


def test_the_way_leads_over_the_environments_proxy_but_not_to_this_machine(
    wire: Callable[[bytes], tuple[str, list[bytes]]], vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = page([7]).body
    url, heads = wire(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, url.removeprefix("http://"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "direct.test")
    assert results_of(one_chain(VendorApi("http://vendor.test", KEY, patience=QUICK))) == [[7]]
    assert heads[0].startswith(b"GET http://vendor.test/v3/snapshot/options/AAPL?limit=250 HTTP/1.1\r\n")
    assert results_of(one_chain(api(vendor))) == [[]]
    assert len(heads) == 1
    with pytest.raises(VendorError, match="doesn't answer"):
        one_chain(VendorApi("http://direct.test", KEY, patience=QUICK))
    assert len(heads) == 1


def test_the_simulated_market_arrives_whole() -> None:
    """The same code against the demo's vendor: reference pages and a chain with its odd contracts."""
    options = MarketOptions(symbols=60, sessions=30, underlyings=3, contracts=80, today=TODAY)
    with Simulator(options) as simulator:
        environment = simulator.environment
        key = environment.get("MASSIVE_API_KEY") or environment["POLYGON_API_KEY"]
        client = VendorApi(environment["KAPMAN_API_URL"], key)
        listed = decode_tickers(one.body for one in client.reference_tickers())
        chains: dict[str, list[RawPage]] = {}
        fetched = client.chains(["AAPL", "MSFT"], on_chain=lambda one, pages: chains.update({one: pages}))
    assert {"AAPL", "MSFT"} <= set(listed.frame["symbol"])
    assert listed.rejected == []
    for underlying, pages in chains.items():
        decoded = decode_chain((one.body for one in pages), underlying=underlying, session=TODAY)
        assert len(pages) == fetched.fetched[underlying]
        assert decoded.contracts_read == decoded.frame.height + sum(decoded.ignored.values())
        assert decoded.frame.height > 50
