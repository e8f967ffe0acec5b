"""The vendor's REST API: strict paging, a rate limit that the whole run shares, bounded retries.

The key travels in the `Authorization` header and nowhere else: never in a URL (HTTP clients log those), never
to another origin than the configured one, never in an error's text, and never on in what the vendor echoes.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import itertools
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from isal import igzip, isal_zlib
from isal.igzip_lib import IsalError
from pydantic import SecretStr

from kapman_resources.errors import EntitlementError, VendorError
from kapman_resources.hosts import TRUST, UNTRUSTED
from kapman_resources.redaction import BLOT, Redaction, quieten_libraries
from kapman_resources.vendor_pages import RawPage

MAX_PAGES = 5_000
"""Per query: forty times the largest chain known; a `next_url` that never ends stops here."""

_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524})
_GOOD_STATUS_TEXTS = frozenset({"OK", "DELAYED"})  # DELAYED: plans with 15-minute-old data
_GZIP = 16  # zlib's flag: the stream is a gzip member
_PLAIN_MEMBER = b"\x1f\x8b\x08\x00"  # of gzip: deflated, without a name, a comment or other fields (RFC 1952)
_KEY_PARAMETERS = frozenset({"apikey", "api_key"})  # in any case

OnChain = Callable[[str, list[RawPage]], None]
OnProgress = Callable[[int, int], None]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """When a request counts as failed.

    attempts: how often it is sent; between them `backoff` seconds, doubling, or the vendor's `Retry-After`.
    timeout: seconds for a whole answer, from the request to the last byte.
    longest_wait: a `Retry-After` of more seconds fails the request instead of holding up the run.
    """

    attempts: int = 5
    backoff: float = 0.5
    timeout: float = 60.0
    longest_wait: float = 120.0


@dataclass
class Traffic:
    """What the requests of this client have cost so far."""

    requests: int = 0
    answers: int = 0
    retries: int = 0
    bytes: int = 0
    trouble: Counter[str] = field(default_factory=Counter)
    """Answers that had to be asked for again, by reason (`status 429`, `not JSON`, ...)."""


@dataclass(frozen=True)
class ChainFetch:
    """Result of fetching many chains.

    fetched: pages by underlying, of those that arrived completely, in the order asked for.
    failed: the error by underlying, of the others.
    """

    fetched: dict[str, int]
    failed: dict[str, VendorError]
    pages: int
    seconds: float
    traffic: Traffic


class RateLimit:
    """A token bucket: `rate` requests a second, at most a tenth of a second's worth at once (at least one).

    Shared by all tasks, threads, event loops and clients that speak to one address; 0 means unlimited.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate if rate > 0 else 0.0
        self._burst = max(0.0, 0.1 - self._interval)
        self._free_at = 0.0
        self._lock = threading.Lock()

    async def turn(self) -> None:
        """Wait until the next request may go out."""
        with self._lock:
            start = max(self._free_at, time.monotonic() - self._burst)
            self._free_at = start + self._interval
        wait = start - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    def hold(self, seconds: float) -> None:
        """Let nobody go out for that long: the vendor said that we are too fast."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() + seconds)


@functools.cache
def _rate_limit(address: str, rate: float) -> RateLimit:
    """The process's one bucket for an address: the vendor counts a key's requests, whoever sends them."""
    return RateLimit(rate)


class _Envelope(msgspec.Struct, gc=False):
    """What every list page must have; `results` stay raw and are decoded after they have been archived."""

    results: msgspec.Raw
    status: str
    next_url: str | None = None
    count: int | None = None


class _Refusal(msgspec.Struct, gc=False):
    message: str | None = None
    error: str | None = None


_envelope = msgspec.json.Decoder(_Envelope).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_refusal = msgspec.json.Decoder(_Refusal).decode


class _Trouble(Exception):
    """An attempt that didn't work out; `wait` is what the vendor's `Retry-After` says, in seconds."""

    def __init__(self, reason: str, *, status: int = 200, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.status, self.wait = reason, status, wait


class _NoAnswer(_Trouble):
    """The vendor didn't answer, or not to the end."""


class _UnansweredError(VendorError):
    """The last attempt got no answer, or nobody who can be trusted would give one."""


@dataclass(frozen=True)
class _Answer:
    """An answer as it came; its body may hold anything, the key too, so no traceback shows it."""

    response: httpx.Response
    received: bytes = field(repr=False)

    def unpacked(self) -> tuple[bytes, bytes | None]:
        """The body without its compression, and in it, if that is one gzip member with nothing else in its header.

        Not even a time, which is zeroed. isal inflates in a fifth of the time that httpx's zlib takes.
        """
        encoding = self.response.headers.get("Content-Encoding", "identity")
        if encoding == "identity":
            return self.received, None
        if encoding != "gzip":
            raise _Trouble(f"Content-Encoding {encoding[:40]!r}, which was not asked for")
        try:
            member = isal_zlib.decompressobj(isal_zlib.MAX_WBITS | _GZIP)
            body = bytes(member.decompress(self.received))
            if not member.eof or member.unused_data:  # for the reader of files, which takes twice as long
                return igzip.decompress(self.received), None
        except (EOFError, OSError, IsalError):  # type: ignore[misc]  # its stub declares no class
            raise _Trouble("damaged compression") from None
        plain = self.received.startswith(_PLAIN_MEMBER)
        return body, _PLAIN_MEMBER + bytes(4) + self.received[8:] if plain else None


@dataclass(frozen=True)
class _Page:
    raw: RawPage
    results: msgspec.Raw
    next_url: httpx.URL | None


class VendorApi:
    """Client of the vendor's REST API.

    base_url: e.g. `https://api.massive.com`; a path prefix is kept.
    rate_limit: requests a second over all threads, calls and clients of this process; 0 = unlimited.
    concurrency: requests in flight at most.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr | str | None,
        rate_limit: float = 0.0,
        concurrency: int = 16,
        patience: Patience | None = None,
    ) -> None:
        self._base = httpx.URL(base_url.rstrip("/"))
        if self._base.scheme not in {"http", "https"} or not self._base.host or self._base.userinfo:
            raise VendorError(
                "KAPMAN_API_URL is not the address of an API.",
                fix="Set it to something like https://api.massive.com, without credentials.",
            )
        self._key = api_key if isinstance(api_key, SecretStr) else SecretStr(api_key or "")
        self._hidden = Redaction(self._key)
        quieten_libraries()
        self._limit = _rate_limit(str(self._base), rate_limit)
        self._concurrency, self._patience = concurrency, patience or Patience()
        self.traffic = Traffic()

    def __repr__(self) -> str:
        return f"VendorApi({str(self._base)!r})"

    def reference_tickers(self) -> list[RawPage]:
        """All pages of the active stock tickers.

        Raises:
            VendorError: the pages could not be had completely.
            EntitlementError: the key is missing or wrong, or the plan lacks reference data.
        """

        async def fetch() -> list[RawPage]:
            async with self._connection() as connection:
                query = self._query(connection, "reference tickers")
                filters = {"market": "stocks", "active": "true", "limit": "1000"}
                return [page.raw for page in await query.pages("/v3/reference/tickers", filters)]

        return _run(fetch)

    def chains(
        self,
        underlyings: Sequence[str],
        *,
        concurrency: int | None = None,
        on_chain: OnChain,
        on_progress: OnProgress | None = None,
    ) -> ChainFetch:
        """Fetch the option chain snapshots of the underlyings (`AAPL`, `BRK.B`, `I:SPX`).

        on_chain(underlying, pages) is called as soon as an underlying's last page has arrived, in a worker
        thread of this call, never twice at a time; other chains go on arriving meanwhile, but at most as many
        as `concurrency` wait for their turn.
        on_progress(done, total) follows in the same thread, for failed underlyings too.

        An underlying that can't be had ends up in `failed`; the others go on.

        Raises:
            EntitlementError: the key is missing or wrong, or the plan lacks the snapshots; at once.
            VendorError: the vendor has not answered anything at all.
            Exception: whatever `on_chain` or `on_progress` raises; the fetch is given up then.
        """

        async def fetch() -> ChainFetch:
            crew = _Crew(self, list(dict.fromkeys(underlyings)), on_chain, on_progress)
            return await crew.fetch(min(concurrency or self._concurrency, self._concurrency))

        return _run(fetch)

    def _connection(self) -> httpx.AsyncBaseTransport:
        if not self._key.get_secret_value():
            raise EntitlementError(
                "There is no API key for the vendor.",
                fix="Set MASSIVE_API_KEY in the environment or in .env.",
            )
        if not re.fullmatch(r"[\x21-\x7E]+", self._key.get_secret_value()):
            raise EntitlementError(
                "The vendor's API key has blanks or other characters in it that no key has.",
                fix="Correct MASSIVE_API_KEY in the environment or in .env.",
            )
        from kapman_resources.vendor_connection import VendorConnection  # noqa: PLC0415

        return VendorConnection(self._base, _ssl_context())

    def _query(self, connection: httpx.AsyncBaseTransport, what: str) -> "_Query":
        headers = httpx.Headers(
            {
                "Authorization": f"Bearer {self._key.get_secret_value()}",
                "User-Agent": "kapman",
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
            }
        )
        return _Query(
            connection, headers, self._base, self._hidden, self._limit, self._patience, self.traffic, what
        )


@dataclass(frozen=True)
class _Query:
    """The strict paging of one list; `what` names it for people. The key is in the headers: one origin sees them."""

    connection: httpx.AsyncBaseTransport
    headers: httpx.Headers = field(repr=False)
    base: httpx.URL
    hidden: Redaction
    limit: RateLimit
    patience: Patience
    traffic: Traffic
    what: str

    async def pages(self, path: str, filters: dict[str, str]) -> list[_Page]:
        """Follow `next_url` to the end; neither a cursor nor a page is accepted twice."""
        url: httpx.URL | None = httpx.URL(f"{self.base}{path}", params=filters)
        pages: list[_Page] = []
        asked: set[httpx.URL] = set()
        while url is not None:
            if url in asked:
                raise self._failure(url, f"next_url of page {len(pages)} leads back to an earlier page")
            if len(pages) == MAX_PAGES:
                raise self._failure(url, f"there is still a next_url after {MAX_PAGES} pages")
            asked.add(url)
            pages.append(await self._page(url, pages))
            url = pages[-1].next_url
        return pages

    async def _page(self, url: httpx.URL, before: Sequence[_Page]) -> _Page:
        for attempt in itertools.count(1):
            try:
                return self._checked(await self._answer(url), url, before)
            except _Trouble as trouble:
                wait = self.patience.backoff * 2 ** (attempt - 1) if trouble.wait is None else trouble.wait
                self.traffic.trouble[trouble.reason] += 1
                if attempt >= self.patience.attempts or wait > self.patience.longest_wait:
                    raise self._given_up(url, attempt, trouble) from None
                self.traffic.retries += 1
                if trouble.status == 429:
                    self.limit.hold(wait)  # it is the key that is too fast, not this query
                else:
                    await asyncio.sleep(wait)
        raise AssertionError  # for the type checker: the loop has no other end

    async def _answer(self, url: httpx.URL) -> _Answer:
        await self.limit.turn()
        self.traffic.requests += 1
        try:
            async with asyncio.timeout(
                self.patience.timeout
            ):  # of the whole answer; the transport's own are per read
                request = httpx.Request("GET", url, headers=self.headers)
                async with aclosing(await self.connection.handle_async_request(request)) as response:
                    answer = _Answer(response, b"".join([part async for part in response.aiter_raw()]))
        except TimeoutError:
            raise _NoAnswer(f"no complete answer within {self.patience.timeout:g} s") from None
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise _UnansweredError(
                    f"The vendor at {self.base.host} can't be trusted: {UNTRUSTED}.", fix=TRUST
                ) from None
            said = error.__cause__ or error  # aiohttp's own words
            raise _NoAnswer(self.hidden.text(f"{type(said).__name__}: {said}")) from None
        self.traffic.answers += 1
        self.traffic.bytes += len(answer.received)
        return answer

    def _checked(self, answer: _Answer, url: httpx.URL, before: Sequence[_Page]) -> _Page:
        """The page, if it is complete and new.

        Raises:
            _Trouble: it isn't, and another attempt may be better.
            VendorError: the vendor refuses, or points to where we won't go.
        """
        status = answer.response.status_code
        if status in _RETRIED_STATUS:
            raise _Trouble(f"status {status}", status=status, wait=_retry_after(answer.response))
        if status != 200:
            raise self._refusal(answer, url)
        # A key that the vendor has written into the page (older ones wrote it into next_url) ends here: the
        # page goes into the vault, and rows that can't be used into quarantine.
        unpacked, packed = answer.unpacked()
        body = self.hidden.data(unpacked)
        try:
            envelope = _envelope(body)
        except msgspec.ValidationError as error:
            raise _Trouble(f"not a page: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _Trouble("not JSON") from None
        if envelope.status not in _GOOD_STATUS_TEXTS:
            raise _Trouble(f"status text {self.hidden.text(envelope.status)[:40]!r}")
        if memoryview(envelope.results)[:1] != b"[":
            raise _Trouble("not a page: `results` is no list")
        if envelope.count is not None and envelope.count > len(_items(envelope.results)):
            raise _Trouble("fewer results than the page's count")
        for page in before:
            if page.results == envelope.results and _items(envelope.results):
                raise _Trouble(f"page {len(before) + 1} repeats page {page.raw.number}")
        kept = packed if body is unpacked else None
        raw = RawPage(len(before) + 1, str(url), dt.datetime.now(dt.UTC), body, kept)
        return _Page(raw, envelope.results, self._next(envelope.next_url, url))

    def _refusal(self, answer: _Answer, url: httpx.URL) -> VendorError:
        """The error for a status that another attempt won't change."""
        status, said = answer.response.status_code, self._said(answer)
        if status == 401:
            return EntitlementError(
                f"The vendor doesn't accept the API key for {self.what} (status 401{said}).",
                fix="Correct MASSIVE_API_KEY in the environment or in .env.",
            )
        if status == 403:
            return EntitlementError(
                f"The API key's plan doesn't include {self.what} (status 403 for {url.path}{said}).",
                fix="Choose a plan with that entitlement, or set MASSIVE_API_KEY to the key of one.",
            )
        return self._failure(url, f"status {status}{said}")

    def _next(self, text: str | None, url: httpx.URL) -> httpx.URL | None:
        if not text:
            return None
        try:
            found = httpx.URL(text)
            if not found.is_absolute_url:
                found = url.join(found)
        except httpx.InvalidURL:
            raise self._failure(url, "next_url is not a URL") from None
        if _origin(found) != _origin(self.base) or found.userinfo:
            raise self._failure(url, f"next_url leads to another origin, {found.scheme}://{found.host}")
        for parameter, value in found.params.multi_items():
            if parameter.lower() in _KEY_PARAMETERS or BLOT in value:
                found = found.copy_remove_param(parameter)
        return found.copy_with(fragment=None) if found.fragment else found

    def _said(self, answer: _Answer) -> str:
        """The vendor's own words about a refusal."""
        with contextlib.suppress(_Trouble, msgspec.DecodeError, UnicodeDecodeError):
            refusal = _refusal(answer.unpacked()[0])
            if text := refusal.message or refusal.error:
                return f": {self.hidden.text(text)[:200]}"
        return ""

    def _failure(self, url: httpx.URL, reason: str, *, may_pass: bool = False) -> VendorError:
        return VendorError(
            f"The vendor's {self.what} ({url.path}) can't be used: {reason}.",
            fix="Run it again later; if it stays, the vendor's API has changed or KAPMAN_API_URL is wrong.",
            may_pass=may_pass,
        )

    def _given_up(self, url: httpx.URL, attempts: int, trouble: _Trouble) -> VendorError:
        tried = f"{attempts} attempts" if attempts > 1 else "one attempt"
        if trouble.status == 429:
            asked = f", which asks to wait {trouble.wait:g} s" if trouble.wait else ""
            return VendorError(
                f"The vendor refuses {self.what} ({url.path}) as too many requests: {tried}, last status "
                f"429{asked}.",
                fix="Lower KAPMAN_RATE_LIMIT to your plan's requests per second (the free plan: 0.08).",
                may_pass=True,
            )
        if isinstance(trouble, _NoAnswer):
            return _UnansweredError(
                f"The vendor at {self.base.host} doesn't answer for {self.what} ({url.path}): {tried}, the "
                f"last: {trouble.reason}.",
                fix="Check the network and KAPMAN_API_URL, then run it again.",
                may_pass=True,
            )
        return self._failure(url, f"{tried}, the last: {trouble.reason}", may_pass=True)


class _Crew:
    """The tasks of one `VendorApi.chains` call: each takes the next underlying until none is left."""

    def __init__(
        self, api: VendorApi, underlyings: list[str], on_chain: OnChain, on_progress: OnProgress | None
    ) -> None:
        self._api, self._underlyings = api, underlyings
        self._on_chain, self._on_progress = on_chain, on_progress
        self._waiting = iter(underlyings)
        self._fetched: dict[str, int] = {}
        self._failed: dict[str, VendorError] = {}
        self._pages = self._done = 0

    async def fetch(self, concurrency: int) -> ChainFetch:
        started = time.monotonic()
        with ThreadPoolExecutor(1, "on-chain") as thread:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(concurrency, len(self._underlyings))):
                        group.create_task(self._work(group, thread))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return ChainFetch(
            {one: self._fetched[one] for one in self._underlyings if one in self._fetched},
            {one: self._failed[one] for one in self._underlyings if one in self._failed},
            self._pages,
            time.monotonic() - started,
            self._api.traffic,
        )

    async def _work(self, group: asyncio.TaskGroup, thread: ThreadPoolExecutor) -> None:
        delivery: asyncio.Task[None] | None = None
        async with self._api._connection() as connection:
            for underlying in self._waiting:
                pages = await self._chain(connection, underlying)
                if delivery is not None:
                    await delivery
                delivery = group.create_task(self._deliver(thread, underlying, pages))

    async def _deliver(self, thread: ThreadPoolExecutor, underlying: str, pages: list[_Page] | None) -> None:
        loop = asyncio.get_running_loop()
        if pages is not None:
            await loop.run_in_executor(thread, self._on_chain, underlying, [page.raw for page in pages])
            self._fetched[underlying] = len(pages)
            self._pages += len(pages)
        self._done += 1
        if self._on_progress is not None:
            await loop.run_in_executor(thread, self._on_progress, self._done, len(self._underlyings))

    async def _chain(self, connection: httpx.AsyncBaseTransport, underlying: str) -> list[_Page] | None:
        query = self._api._query(connection, f"option chain snapshot of {underlying}")
        try:
            path = f"/v3/snapshot/options/{quote(underlying, safe='')}"
            return await query.pages(path, {"limit": "250"})
        except EntitlementError:
            raise
        except VendorError as error:
            # A vendor that has never answered won't answer the other underlyings either.
            if isinstance(error, _UnansweredError) and not self._api.traffic.answers:
                raise
            self._failed[underlying] = error
            return None


def _run(job: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run a coroutine to its end, also from a thread whose event loop is busy with the caller."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job())
    with ThreadPoolExecutor(1, "vendor-api") as thread:
        return thread.submit(lambda: asyncio.run(job())).result()


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the vendor asks to wait: a number, or a date to compare with the answer's own."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        now = parsedate_to_datetime(response.headers["Date"])
        return max(0.0, (until - now).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """Shared by all clients: loading the certificates takes 20 ms each time."""
    return httpx.create_ssl_context()
