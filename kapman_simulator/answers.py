"""What the servers and the faults hand each other: requests, pages and answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

# Longer than any client waits: a request that is never answered.
FOREVER = 3600.0


@dataclass(frozen=True)
class ObjectRequest:
    """A request to the bucket: method, bucket and key, decoded."""

    method: str
    bucket: str
    key: str


@dataclass(frozen=True)
class PageRequest:
    """A request for a page. endpoint: "reference" or "options"; subject: the underlying, or "reference"."""

    endpoint: str
    subject: str
    url: str
    offset: int


@dataclass
class Page:
    """A page before it becomes JSON. results: None leaves the key out.

    first: the results of the first page. after_url: what next_url would be if there were another page.
    """

    results: list[bytes] | None
    next_url: str | None
    first: list[bytes]
    after_url: str


@dataclass
class Answer:
    """An HTTP answer, after `delay` seconds. seconds: how long its body takes. cut_at: bytes before the break."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    seconds: float = 0.0
    cut_at: int | None = None


PageFault = Callable[[PageRequest, Page], None]
AnswerFault = Callable[[PageRequest, Answer], Answer]
# Gets the object's answer as it would be, and gives it back changed, or another.
ObjectFault = Callable[[ObjectRequest, Answer], Answer]


def s3_error(status: int, code: str, message: str) -> Answer:
    """An error document of S3."""
    body = f"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})
