"""The promise: a file arrives whole and in one known version, or one sentence says what to mend.

Buckets are moto's server, the simulator (it checks signatures), and a scripted server for what healthy
servers don't do.
"""

import dataclasses
import datetime as dt
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kapman_resources.errors import SourceError
from kapman_resources.flat_files import FlatFiles, ObjectInfo, key_of
from kapman_resources.settings import Settings
from kapman_simulator import MarketOptions, Simulator
from tests.integration.bucket import SECRET, Bucket, bucket_on_loopback

DAYS = [dt.date(2025, 12, 31), dt.date(2026, 1, 2), dt.date(2026, 1, 5), dt.date(2026, 2, 2)]


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with bucket_on_loopback() as made:
        for day in DAYS:
            made.put(key_of(day), f"bars of {day}".encode())
        yield made


def test_sessions_are_listed_by_their_keys_within_the_range(bucket: Bucket) -> None:
    bucket.put("us_stocks_sip/day_aggs_v1/2026/01/notes.txt", b"")
    bucket.put("us_stocks_sip/day_aggs_v1/2026/02/2026-01-06.csv.gz", b"in another month's folder")
    bucket.put("us_options_opra/day_aggs_v1/2026/01/2026-01-06.csv.gz", b"of another market")
    found = bucket.files.list_sessions(DAYS[1], DAYS[2])
    assert list(found) == DAYS[1:3]
    assert found[DAYS[1]].key == "us_stocks_sip/day_aggs_v1/2026/01/2026-01-02.csv.gz"
    assert found[DAYS[1]].size == len("bars of 2026-01-02")
    assert list(bucket.files.list_sessions(DAYS[0], DAYS[-1])) == DAYS
    assert bucket.files.list_sessions(dt.date(2024, 1, 1), dt.date(2024, 12, 31)) == {}


def test_files_come_in_the_order_asked_for(bucket: Bucket) -> None:
    infos = list(bucket.files.list_sessions(DAYS[0], DAYS[-1]).values())[::-1]
    for concurrency in (1, 2, 32):
        bodies = [body for _, body in bucket.files.read_many(infos, concurrency)]
        assert bodies == [f"bars of {day}".encode() for day in DAYS[::-1]]


def test_a_republished_file_is_never_taken_for_the_listed_one(bucket: Bucket) -> None:
    listed = bucket.files.list_sessions(DAYS[1], DAYS[1])[DAYS[1]]
    assert bucket.files.read(listed) == b"bars of 2026-01-02"
    bucket.put(listed.key, b"corrected")
    with pytest.raises(SourceError, match=r"was republished .* Start the load again"):
        bucket.files.read(listed)
    ((newest, body),) = bucket.files.read_many([listed])
    assert body == b"corrected"
    assert newest == bucket.files.list_sessions(DAYS[1], DAYS[1])[DAYS[1]]
    assert newest.etag != listed.etag


def test_what_cannot_be_had_is_said_in_one_sentence_with_its_fix(bucket: Bucket) -> None:
    listed = bucket.files.list_sessions(DAYS[1], DAYS[1])[DAYS[1]]
    bucket.delete(listed.key)
    nowhere = FlatFiles("http://127.0.0.1:9", "flatfiles", "key", SECRET)
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: bucket.files.read(listed), r"2026-01-02\.csv\.gz.*no such object"),
        (
            lambda: FlatFiles(bucket.endpoint, "typo", "key", SECRET).list_sessions(*DAYS[:2]),
            "KAPMAN_S3_BUCKET",
        ),
        (lambda: nowhere.list_sessions(*DAYS[:2]), r"Connection refused.*KAPMAN_S3_ENDPOINT"),
        (lambda: FlatFiles("files.massive.com", "flatfiles", "key", SECRET), "KAPMAN_S3_ENDPOINT"),
        (
            lambda: FlatFiles.from_settings(
                Settings.model_construct(s3_access_key_id=None, s3_secret_access_key=None)
            ),
            "kapman simulator",
        ),
    ]
    for action, found in cases:
        with pytest.raises(SourceError, match=found) as error:
            action()
        assert SECRET not in str(error.value)
        assert "\n" not in str(error.value)
    assert SECRET not in repr(bucket.files)


def test_the_simulator_tells_a_wrong_secret_from_a_wrong_key() -> None:
    today = dt.date(2026, 11, 20)
    with Simulator(MarketOptions(symbols=30, sessions=3, underlyings=1, contracts=20, today=today)) as vendor:
        right = {
            "endpoint": vendor.environment["KAPMAN_S3_ENDPOINT"],
            "bucket": vendor.environment["KAPMAN_S3_BUCKET"],
            "access_key_id": vendor.environment["KAPMAN_S3_ACCESS_KEY_ID"],
            "secret_access_key": vendor.environment["KAPMAN_S3_SECRET_ACCESS_KEY"],
        }
        assert FlatFiles(**right).list_sessions(today, today)[today].size > 0
        for wrong, fix in (
            ({"secret_access_key": SECRET}, "Correct KAPMAN_S3_SECRET_ACCESS_KEY"),
            ({"access_key_id": "someone"}, "Correct KAPMAN_S3_ACCESS_KEY_ID and KAPMAN_S3_SECRET_ACCESS_KEY"),
        ):
            with pytest.raises(SourceError, match=fix) as error:
                FlatFiles(**(right | wrong)).list_sessions(today, today)
            assert SECRET not in str(error.value)


def test_another_buckets_variables_do_not_divert_requests(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many machines carry AWS_… variables for something else, which S3 clients obey unasked."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_BUCKET", "elsewhere")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token of somebody else")
    files = FlatFiles(bucket.endpoint, "flatfiles", "key", SECRET)
    assert list(files.list_sessions(DAYS[0], DAYS[-1])) == DAYS


class Scripted:
    """An HTTP server that answers GET requests by a function of the request's number; counts those in flight."""

    def __init__(self, answer: Callable[[http.server.BaseHTTPRequestHandler, int], None]) -> None:
        self.requests = self.in_flight = self.most_in_flight = 0
        self.release = threading.Event()
        lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with lock:
                    outer.requests += 1
                    outer.in_flight += 1
                    outer.most_in_flight = max(outer.most_in_flight, outer.in_flight)
                    number = outer.requests
                try:
                    answer(self, number)
                finally:
                    with lock:
                        outer.in_flight -= 1

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.files = FlatFiles(f"http://127.0.0.1:{self._server.server_port}", "flatfiles", "key", SECRET)

    def __enter__(self) -> "Scripted":
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


BODY = b"0123456789"
INFO = ObjectInfo(key_of(DAYS[1]), '"e1"', len(BODY), dt.datetime(2026, 1, 3, tzinfo=dt.UTC))


def send(
    handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None
) -> None:
    handler.send_response(status)
    handler.send_header("ETag", INFO.etag)
    handler.send_header("Last-Modified", "Sat, 03 Jan 2026 00:00:00 GMT")
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_server_that_stumbles_is_asked_again_but_not_forever() -> None:
    with Scripted(lambda handler, n: send(handler, 500 if n < 3 else 200, BODY)) as server:
        assert server.files.read(INFO) == BODY
        assert server.requests == 3
    with (
        Scripted(lambda handler, _: send(handler, 503, b"")) as server,
        pytest.raises(SourceError, match=r"answered 503.*also when asked again.*later"),
    ):
        server.files.read(INFO)
    assert 3 <= server.requests <= 6


def test_a_body_that_breaks_off_is_never_taken_for_the_file() -> None:
    def cut(handler: http.server.BaseHTTPRequestHandler, _: int) -> None:
        send(handler, 200, BODY[:4], length=len(BODY))
        handler.close_connection = True

    with Scripted(cut) as server, pytest.raises(SourceError, match=r"2026-01-02\.csv\.gz"):
        server.files.read(INFO)


def test_closing_the_iterator_ends_requests_that_nobody_answers() -> None:
    silent = dataclasses.replace(INFO, key=key_of(DAYS[2]))

    def hang(handler: http.server.BaseHTTPRequestHandler, _: int) -> None:
        if handler.path.endswith(silent.key):
            server.release.wait(30)
        send(handler, 200, BODY)

    with Scripted(hang) as server:
        files = server.files.read_many([INFO, silent, silent], concurrency=2)
        assert next(files)[1] == BODY
        start = time.monotonic()
        files.close()
        assert time.monotonic() - start < 5


def test_no_more_requests_are_under_way_than_asked_for() -> None:
    with Scripted(lambda handler, _: send(handler, 200, BODY)) as server:
        assert len(list(server.files.read_many([INFO] * 40, concurrency=3))) == 40
        assert server.most_in_flight <= 3
