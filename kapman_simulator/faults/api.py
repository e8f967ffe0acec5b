"""Faults of the API while pages are read."""

import json
from collections.abc import Callable

import msgspec

from kapman_simulator.answers import FOREVER, Answer, Page, PageRequest
from kapman_simulator.faults.stage import Stage, Times, fault


def _concerns(request: PageRequest, pages: str) -> bool:
    return pages in {request.endpoint, request.subject}


def _error(code: int, status: str, **fields: str) -> Answer:
    body = msgspec.json.encode({"status": status, "request_id": "fault", **fields})
    return Answer(code, body, {"content-type": "application/json"})


def _refuse_first(stage: Stage, count: int, headers: dict[str, str]) -> None:
    requests = Times()

    def refuse(_: PageRequest, answer: Answer) -> Answer:
        if requests("any") >= count:
            return answer
        refusal = _error(429, "ERROR", error="You've exceeded the maximum requests per minute.")
        refusal.headers |= headers
        return refusal

    stage.answer_faults.append(refuse)


@fault("count", "3")
def rate_limit(stage: Stage, count: int) -> None:
    """The first requests, this many, are answered 429 with `Retry-After: 1`."""
    _refuse_first(stage, count, {"retry-after": "1"})


@fault("count", "3")
def rate_limit_without_header(stage: Stage, count: int) -> None:
    """The first requests, this many, are answered 429 without `Retry-After`."""
    _refuse_first(stage, count, {})


@fault("pages", "options")
def forbidden(stage: Stage, pages: str) -> None:
    """Answered 403: the plan lacks the entitlement."""
    message = "You are not entitled to this data. Please upgrade your plan."
    refusal = _error(403, "NOT_AUTHORIZED", message=message)
    stage.answer_faults.append(lambda request, answer: refusal if _concerns(request, pages) else answer)


@fault("pages", "options")
def unauthorized(stage: Stage, pages: str) -> None:
    """Answered 401: the key is not known."""
    refusal = _error(401, "ERROR", error="Unknown API Key")
    stage.answer_faults.append(lambda request, answer: refusal if _concerns(request, pages) else answer)


@fault("count", "1")
def server_error(stage: Stage, count: int) -> None:
    """The first requests for every page, this many, are answered 500."""
    requests = Times()
    failure = _error(500, "ERROR", error="Internal server error")
    stage.answer_faults.append(lambda request, answer: failure if requests(request.url) < count else answer)


@fault("seconds", "2")
def slow_body(stage: Stage, seconds: float) -> None:
    """Every page's body takes this long."""

    def drip(_: PageRequest, answer: Answer) -> Answer:
        answer.seconds = seconds
        return answer

    stage.answer_faults.append(drip)


@fault("pages")
def api_timeout(stage: Stage, pages: str) -> None:
    """The first request for every page is never answered."""
    requests = Times()

    def wait(request: PageRequest, answer: Answer) -> Answer:
        if _concerns(request, pages) and requests(request.url) == 0:
            answer.delay = FOREVER
        return answer

    stage.answer_faults.append(wait)


@fault("pages")
def cut_body(stage: Stage, pages: str) -> None:
    """The first answer for every page breaks off in the middle of the body."""
    requests = Times()

    def cut(request: PageRequest, answer: Answer) -> Answer:
        if _concerns(request, pages) and requests(request.url) == 0:
            answer.cut_at = len(answer.body) // 2
        return answer

    stage.answer_faults.append(cut)


@fault("pages")
def truncated_page(stage: Stage, pages: str) -> None:
    """A 200 whose JSON ends in the middle, with a Content-Length that fits."""
    _change_body(stage, pages, lambda body: body[: len(body) // 2])


@fault("pages")
def bad_json(stage: Stage, pages: str) -> None:
    """A 200 with a gateway's HTML page for a body."""
    _change_body(stage, pages, lambda _: b"<html><body><h1>502 Bad Gateway</h1></body></html>")


@fault("pages")
def error_in_200(stage: Stage, pages: str) -> None:
    """A 200 whose body says `"status": "ERROR"` and has no results."""
    _change_body(
        stage, pages, lambda _: b'{"status":"ERROR","request_id":"fault","error":"Something went wrong."}'
    )


def _change_body(stage: Stage, pages: str, change: Callable[[bytes], bytes]) -> None:
    def spoil(request: PageRequest, answer: Answer) -> Answer:
        if _concerns(request, pages):
            answer.body = change(answer.body)
        return answer

    stage.answer_faults.append(spoil)


@fault("pages")
def missing_results(stage: Stage, pages: str) -> None:
    """Pages have no key `results`."""

    def leave_out(request: PageRequest, page: Page) -> None:
        if _concerns(request, pages):
            page.results = None

    stage.page_faults.append(leave_out)


@fault("pages")
def looping_next_url(stage: Stage, pages: str) -> None:
    """Every page's next_url leads to the page itself."""

    def loop(request: PageRequest, page: Page) -> None:
        if _concerns(request, pages):
            page.next_url = request.url

    stage.page_faults.append(loop)


@fault("pages")
def duplicate_page(stage: Stage, pages: str) -> None:
    """The page after the last is there, and is the first once more."""

    def repeat(request: PageRequest, page: Page) -> None:
        if not _concerns(request, pages):
            return
        if request.offset > 0 and not page.results:
            page.results = page.first
        elif page.next_url is None and page.results:
            page.next_url = page.after_url

    stage.page_faults.append(repeat)


@fault("pages", "options")
def changing_open_interest(stage: Stage, pages: str) -> None:
    """The open interest of every contract is one higher each time its page is read."""
    requests = Times()

    def raise_interest(request: PageRequest, page: Page) -> None:
        if not _concerns(request, pages) or page.results is None:
            return
        before = requests(request.url)
        contracts = [json.loads(row) for row in page.results]
        for contract in contracts:
            contract["open_interest"] = (contract.get("open_interest") or 0) + before
        page.results = [msgspec.json.encode(contract) for contract in contracts]

    stage.page_faults.append(raise_interest)
