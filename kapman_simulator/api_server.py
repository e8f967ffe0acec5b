"""The vendor's REST API: reference tickers, option chain snapshots and splits, page by page."""

import asyncio
import base64
import itertools
import socket
import threading
from collections.abc import AsyncIterator, Callable
from datetime import date
from hashlib import md5
from urllib.parse import parse_qsl, quote

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from kapman_simulator.answers import Answer, AnswerFault, Page, PageFault, PageRequest
from kapman_simulator.market import Market, Ticker

TICKER_LIMIT, TICKER_LIMIT_MAX = 100, 1000
CONTRACT_LIMIT, CONTRACT_LIMIT_MAX = 10, 250
SPLIT_LIMIT, SPLIT_LIMIT_MAX = 100, 5000


class BadParameter(ValueError):
    """A query parameter that the vendor refuses with 400."""


class ApiServer:
    """The API on a listening socket, in a thread."""

    def __init__(self, bound: socket.socket, key: str) -> None:
        self._key = key
        self._numbers = itertools.count(1)
        self._socket = bound
        self.port = int(self._socket.getsockname()[1])
        app = Starlette(
            routes=[
                Route("/v3/reference/tickers", self._tickers),
                Route("/v3/snapshot/options/{underlying:path}", self._chain),
                Route("/at/{session}/v3/snapshot/options/{underlying:path}", self._chain_at),
                Route("/stocks/v1/splits", self._splits),
            ],
            exception_handlers={404: self._not_found, BadParameter: self._bad_parameter},
        )
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def serve(self, market: Market, page_faults: list[PageFault], answer_faults: list[AnswerFault]) -> None:
        """From now on answer from this market, with these faults."""
        self._market, self._page_faults, self._answer_faults = market, page_faults, answer_faults

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=3)

    async def _tickers(self, request: Request) -> Response:
        def select(parameters: dict[str, str]) -> list[bytes]:
            return [row.json for row in self._market.tickers if _matches(row, parameters)]

        return await self._page(request, "reference", "reference", select, TICKER_LIMIT, TICKER_LIMIT_MAX)

    async def _chain(self, request: Request) -> Response:
        underlying = request.path_params["underlying"]

        # date= and as_of= are accepted and change nothing, as with the vendor.
        def select(_: dict[str, str]) -> list[bytes]:
            return self._market.chains.get(underlying, [])

        return await self._page(request, "options", underlying, select, CONTRACT_LIMIT, CONTRACT_LIMIT_MAX)

    async def _chain_at(self, request: Request) -> Response:
        """The same at the close of an earlier session, which no vendor offers."""
        underlying, session = request.path_params["underlying"], _session(request.path_params["session"])
        if session == self._market.today:
            return await self._chain(request)
        rows = self._market.past_chain(underlying, session)
        if rows is None:
            raise HTTPException(404)
        return await self._page(
            request, "options", underlying, lambda _: rows, CONTRACT_LIMIT, CONTRACT_LIMIT_MAX
        )

    async def _splits(self, request: Request) -> Response:
        def select(parameters: dict[str, str]) -> list[bytes]:
            return [
                row.json
                for row in self._market.splits
                if row.symbol == parameters.get("ticker", row.symbol)
                and row.execution_date == parameters.get("execution_date", row.execution_date)
                and row.execution_date >= parameters.get("execution_date.gte", "")
                and row.execution_date <= parameters.get("execution_date.lte", "9999")
            ]

        return await self._page(request, "splits", "splits", select, SPLIT_LIMIT, SPLIT_LIMIT_MAX)

    async def _page(
        self,
        request: Request,
        endpoint: str,
        subject: str,
        select: Callable[[dict[str, str]], list[bytes]],
        default_limit: int,
        max_limit: int,
    ) -> Response:
        if request.headers.get("authorization") != f"Bearer {self._key}":
            return _json(
                401, {"status": "ERROR", "request_id": self._request_id(), "error": "Unknown API Key"}
            )
        query = dict(request.query_params)
        parameters = _from_cursor(query["cursor"]) if "cursor" in query else {**query, "offset": "0"}
        offset = int(parameters.pop("offset"))
        limit = _limit(parameters, default_limit, max_limit)
        rows = select(parameters)

        def url_at(position: int) -> str:
            cursor = _cursor({**parameters, "limit": str(limit), "offset": str(position)})
            return f"{request.base_url}{quote(request.url.path.lstrip('/'))}?cursor={cursor}"

        page = Page(
            results=rows[offset : offset + limit],
            next_url=url_at(offset + limit) if offset + limit < len(rows) else None,
            first=rows[:limit],
            after_url=url_at(offset + limit),
        )
        asked = PageRequest(endpoint, subject, url_at(offset), offset)
        for change in self._page_faults:
            change(asked, page)
        answer = Answer(200, self._body(page), {"content-type": "application/json"})
        for fault in self._answer_faults:
            answer = fault(asked, answer)
        return await _response(answer)

    def _body(self, page: Page) -> bytes:
        fields: dict[str, str | int] = {"status": "OK", "request_id": self._request_id()}
        if page.results is not None:
            fields["count"] = len(page.results)
        if page.next_url:
            fields["next_url"] = page.next_url
        tail = msgspec.json.encode(fields)
        return tail if page.results is None else b'{"results":[' + b",".join(page.results) + b"]," + tail[1:]

    def _request_id(self) -> str:
        # Like the vendor's, different for every request: nothing may stand on it.
        return md5(str(next(self._numbers)).encode(), usedforsecurity=False).hexdigest()

    async def _not_found(self, _: Request, __: Exception) -> Response:
        return _json(
            404, {"status": "NOT_FOUND", "request_id": self._request_id(), "message": "Data not found."}
        )

    async def _bad_parameter(self, _: Request, error: Exception) -> Response:
        return _json(400, {"status": "ERROR", "request_id": self._request_id(), "error": str(error)})


def _matches(row: Ticker, parameters: dict[str, str]) -> bool:
    return (
        row.market == parameters.get("market", row.market)
        and row.active == (parameters.get("active", "true").lower() == "true")
        and row.symbol == parameters.get("ticker", row.symbol)
        and row.type == parameters.get("type", row.type)
    )


def _session(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadParameter(f"{text!r} is no date.") from error


def _limit(parameters: dict[str, str], default: int, largest: int) -> int:
    text = parameters.get("limit", str(default))
    if not text.isdigit() or not 1 <= int(text) <= largest:
        raise BadParameter(f"limit must be a number from 1 to {largest}, not {text!r}.")
    return int(text)


def _cursor(parameters: dict[str, str]) -> str:
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in sorted(parameters.items()))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _from_cursor(cursor: str) -> dict[str, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        parameters = dict(parse_qsl(text, strict_parsing=True))
        int(parameters["offset"])
    except (KeyError, ValueError) as error:
        raise BadParameter("cursor is not one of ours.") from error
    return parameters


def _json(status: int, fields: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(fields), status, media_type="application/json")


async def _response(answer: Answer) -> Response:
    await asyncio.sleep(answer.delay)
    if not answer.seconds and answer.cut_at is None:
        return Response(answer.body, answer.status, answer.headers)
    length = {"content-length": str(len(answer.body))}
    return StreamingResponse(_pieces(answer), answer.status, {**answer.headers, **length})


async def _pieces(answer: Answer, count: int = 10) -> AsyncIterator[bytes]:
    body = answer.body if answer.cut_at is None else answer.body[: answer.cut_at]
    size = len(body) // count + 1
    for start in range(0, len(body), size):
        await asyncio.sleep(answer.seconds / count)
        yield body[start : start + size]
    if answer.cut_at is not None:
        raise ConnectionAbortedError("The fault breaks this connection in the middle of the body.")
