"""The vendor's flat files: daily aggregates of the whole market in an S3 bucket.

obstore is the client because an object costs it 0.1-0.2 ms of CPU, a tenth of boto3
(design: performance.md), and because its requests can be cancelled while they wait.
"""

import asyncio
import datetime as dt
import re
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store

from kapman_resources.errors import SourceError
from kapman_resources.hosts import TRUST, UNTRUSTED
from kapman_resources.settings import Settings

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Credential

PREFIX = "us_stocks_sip/day_aggs_v1"

# obstore retries 5xx, timeouts and dropped connections by itself, with growing pauses and jitter.
_RETRIES: "RetryConfig" = {
    "max_retries": 4,
    "backoff": {"init_backoff": dt.timedelta(milliseconds=200), "max_backoff": dt.timedelta(seconds=5)},
    "retry_timeout": dt.timedelta(seconds=60),
}
_TIMEOUTS: "ClientConfig" = {"connect_timeout": "5s", "read_timeout": "15s", "timeout": "60s"}

_KEY_PAIR = "KAPMAN_S3_ACCESS_KEY_ID and KAPMAN_S3_SECRET_ACCESS_KEY"


@dataclass(frozen=True)
class ObjectInfo:
    """One version of an object in the bucket: its key, ETag (as sent, quotes included) and size in bytes."""

    key: str
    etag: str
    size: int
    last_modified: dt.datetime


def key_of(session: dt.date) -> str:
    """Key of the session's file, e.g. `us_stocks_sip/day_aggs_v1/2026/08/2026-08-21.csv.gz`."""
    return f"{PREFIX}/{session:%Y/%m}/{session}.csv.gz"


class FlatFiles:
    """Reads the bucket of daily aggregates; never writes.

    endpoint: URL of the S3 API (path-style addressing), with a certificate that this machine trusts; the
    settings say who may be spoken to by `http://`. An instance may be shared by threads.
    """

    def __init__(self, endpoint: str, bucket: str, access_key_id: str, secret_access_key: str) -> None:
        if urlsplit(endpoint).scheme not in {"http", "https"} or not urlsplit(endpoint).hostname:
            raise SourceError(
                f"The S3 endpoint {endpoint!r} is not a URL.",
                fix="Set KAPMAN_S3_ENDPOINT to an address that starts with https:// (or http://).",
            )
        self.endpoint = endpoint
        self.bucket = bucket

        def key_pair() -> "S3Credential":
            return {
                "access_key_id": access_key_id,
                "secret_access_key": secret_access_key,
                "token": None,
                "expires_at": None,
            }

        # obstore fills what isn't said from AWS_... variables, which on many machines belong to somebody
        # else's bucket: everything that would divert our requests is said here.
        self._store = S3Store(
            bucket,
            aws_endpoint_url_s3=endpoint,
            credential_provider=key_pair,
            region="us-east-1",  # part of the signature; S3-compatible servers expect this one
            virtual_hosted_style_request=False,
            skip_signature=False,
            client_options={"allow_http": endpoint.startswith("http://"), **_TIMEOUTS},
            retry_config=_RETRIES,
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> "FlatFiles":
        """The bucket that the settings name.

        Raises:
            SourceError: a half of the key pair is missing.
        """
        if settings.s3_access_key_id is None or settings.s3_secret_access_key is None:
            raise SourceError(
                "No S3 key pair for the flat files is set.",
                fix=f"Set {_KEY_PAIR} in the environment or in .env, or start `kapman simulator`.",
            )
        return cls(
            settings.s3_endpoint,
            settings.s3_bucket,
            settings.s3_access_key_id.get_secret_value(),
            settings.s3_secret_access_key.get_secret_value(),
        )

    def __repr__(self) -> str:
        return f"FlatFiles({self.endpoint!r}, {self.bucket!r})"

    def list_sessions(self, first: dt.date, last: dt.date) -> dict[dt.date, ObjectInfo]:
        """The files that are there for the days from first to last, both included, by session ascending.

        One listing request per thousand files, starting after the key of the day before `first`.

        Raises:
            SourceError: the bucket can't be listed.
        """
        found: dict[dt.date, ObjectInfo] = {}
        with self._explained(f"list bucket {self.bucket!r}"):
            after = key_of(first - dt.timedelta(days=1))
            for batch in obstore.list(self._store, PREFIX, offset=after, chunk_size=1000):
                for meta in batch:
                    session = _session_of(meta["path"])
                    if session is not None and first <= session <= last:
                        found[session] = _info(meta)
        return dict(sorted(found.items()))

    def read(self, info: ObjectInfo) -> bytes:
        """Exactly the version that `info` names (If-Match on its ETag).

        Raises:
            SourceError: the object is gone, was republished since, or can't be read after the retries.
        """
        ((current, body),) = self.read_many([info])
        if current.etag != info.etag:
            raise SourceError(
                f"{info.key} was republished (ETag {info.etag} became {current.etag}).",
                fix="Start the load again: it lists the bucket afresh.",
                may_pass=True,
            )
        return body

    def read_many(
        self, infos: Iterable[ObjectInfo], concurrency: int = 32
    ) -> Generator[tuple[ObjectInfo, bytes], None, None]:
        """The objects with their bytes, in the order of `infos`, `concurrency` requests ahead at most.

        A file that was republished after its listing comes in its newest version, with the `ObjectInfo`
        of that version. At most `concurrency` bodies are in memory. Closing the iterator (or an exception
        in the loop over it) cancels the requests under way.

        Raises:
            SourceError: an object can't be read.
        """
        ahead: deque[Future[tuple[ObjectInfo, bytes]]] = deque()
        with _event_loop() as loop:
            try:
                for info in infos:
                    if len(ahead) >= concurrency:
                        yield ahead.popleft().result()
                    ahead.append(asyncio.run_coroutine_threadsafe(self._read(info), loop))
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    async def _read(self, info: ObjectInfo) -> tuple[ObjectInfo, bytes]:
        with self._explained(f"read {info.key}"):
            try:
                current, body = await self._whole(info.key, {"if_match": info.etag})
            except BaseError as error:
                if not _was_replaced(error):
                    raise
                current, body = await self._whole(info.key, {})
        if len(body) != current.size:
            raise SourceError(
                f"{info.key} came with {len(body)} of {current.size} bytes.",
                fix="Start the load again; if it stays so, the vendor's file is damaged.",
            )
        return current, body

    async def _whole(self, key: str, condition: "GetOptions") -> tuple[ObjectInfo, bytes]:
        """One version of an object, never parts of two: a read that breaks off is resumed with If-Match."""
        result = await obstore.get_async(self._store, key, options=condition)
        return _info(result.meta), bytes(await result.bytes_async())

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise self._sentence(action, error) from None

    def _sentence(self, action: str, error: BaseException) -> SourceError:
        """The one sentence for what the server said; never its headers, never the key pair."""
        text = str(error)
        code = _group(r"<Code>\s*(\w+)\s*</Code>", text)
        status = _group(r"status code: (\d{3})", text)
        known = code if code in _SENTENCES else "AccessDenied" if status in {"401", "403"} else None
        if known:
            what, fix = _SENTENCES[known]
            what = what.format(bucket=self.bucket, endpoint=self.endpoint)
            return SourceError(f"Can't {action}: {what} ({code or status}).", fix=fix)
        if status == "404" or isinstance(error, FileNotFoundError):
            return SourceError(
                f"Can't {action}: {self.endpoint} has no such object or bucket.",
                fix="Check KAPMAN_S3_BUCKET and KAPMAN_S3_ENDPOINT, then start again: the load lists afresh.",
            )
        if status is not None:
            return SourceError(
                f"Can't {action}: {self.endpoint} answered {status}{f' ({code})' if code else ''}"
                f"{', also when asked again' if status >= '500' else ''}.",
                fix="Nothing was written; start the load again later.",
                may_pass=status >= "500" or status in {"408", "429"},
            )
        if "InvalidCertificate" in text:
            return SourceError(f"Can't {action}: {self.endpoint} can't be trusted: {UNTRUSTED}.", fix=TRUST)
        return SourceError(
            f"Can't {action}: {self.endpoint} can't be reached or does not answer in time ({_reason(text)}).",
            fix="Check KAPMAN_S3_ENDPOINT and the network (does `kapman simulator` run?), then start again.",
            may_pass=True,
        )


_SENTENCES = {
    "SignatureDoesNotMatch": (
        "{endpoint} does not accept the S3 secret",
        "Correct KAPMAN_S3_SECRET_ACCESS_KEY (it belongs to KAPMAN_S3_ACCESS_KEY_ID).",
    ),
    "InvalidAccessKeyId": (
        "{endpoint} does not know the S3 access key",
        f"Correct {_KEY_PAIR}.",
    ),
    "AccessDenied": (
        "{endpoint} gives this key pair no access to bucket {bucket!r}",
        f"Check {_KEY_PAIR}, and that the vendor's plan includes flat files of these dates.",
    ),
    "NoSuchBucket": (
        "{endpoint} has no bucket {bucket!r}",
        "Correct KAPMAN_S3_BUCKET or KAPMAN_S3_ENDPOINT.",
    ),
    "RequestTimeTooSkewed": (
        "{endpoint} refuses the signature's time",
        "Set this machine's clock.",
    ),
}


def _session_of(key: str) -> dt.date | None:
    """The session whose key this is; None for anything else that lies under the prefix."""
    try:
        session = dt.date.fromisoformat(key.rpartition("/")[2].removesuffix(".csv.gz"))
    except ValueError:
        return None
    return session if key == key_of(session) else None


def _was_replaced(error: BaseError) -> bool:
    """Whether the object has another ETag by now; in the middle of a body obstore says so in its text only."""
    return isinstance(error, PreconditionError) or "status code: 412" in str(error)


def _info(meta: "ObjectMeta") -> ObjectInfo:
    return ObjectInfo(meta["path"], meta["e_tag"] or "", meta["size"], meta["last_modified"])


def _group(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None


def _reason(text: str) -> str:
    """The innermost cause that obstore's debug text names."""
    message = _group(r'message: "([^"]+)"', text) or _group(r"kind: (Timeout|Connect|Decode)", text)
    if "TimedOut" in text or message == "Timeout":
        return "timed out"
    return message or _group(r" - ([^\n]+)", text) or text.partition("\n")[0]


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, so that requests go on while the caller computes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="flat files", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_cancel_all(loop))
        loop.close()


async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
