"""Where messages for people go: a log, a webhook, a mailbox; one setting decides (`KAPMAN_ALERTS`).

    log:                                            the log alone
    https://host/path                               a POST of JSON: title, text, severity, link
    smtp://user@host:587?from=a@b&to=c@d,e@f        mail; STARTTLS before anything secret is said
    smtps://user@host:465?from=a@b&to=c@d           mail over TLS from the first byte

`KAPMAN_ALERTS_SECRET` is the password of `user`, or the webhook's bearer token. Every message is logged too,
whatever the sink: a sink that is down doesn't make it disappear.
"""

import logging
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from pydantic import SecretStr

from kapman_resources.errors import KapmanError
from kapman_resources.hosts import is_loopback
from kapman_resources.redaction import known_secrets, quieten_libraries
from kapman_resources.settings import Settings

ATTEMPTS = 3
BACKOFF = 0.5  # seconds, doubling
TIMEOUT = 10.0
SHOWN_LINES = 100

log = logging.getLogger("kapman.alerts")


@dataclass(frozen=True)
class Message:
    """What a person is told: a line for the subject, the text, and where to look (an address, or empty)."""

    title: str
    text: str
    severity: Literal["error", "info"] = "error"
    link: str = ""

    def redacted(self) -> "Message":
        """Without anything that the settings call secret: errors repeat what others wrote."""
        hidden = known_secrets()
        return Message(hidden.text(self.title), hidden.text(self.text), self.severity, self.link)

    @property
    def body(self) -> str:
        """The text as it is sent: at most a hundred lines, then the link."""
        lines = self.text.splitlines()
        shown = lines[:SHOWN_LINES]
        shown += [f"... and {len(lines) - SHOWN_LINES} more lines"] if len(lines) > SHOWN_LINES else []
        return "\n".join([*shown, *([self.link] if self.link else [])])


class DeliveryError(KapmanError):
    """The sink doesn't take messages just now, or not at all."""


class Sink(Protocol):
    """Somewhere a message goes."""

    @property
    def name(self) -> str:
        """Where, without secrets."""

    def send(self, message: Message) -> None:
        """Deliver it once.

        Raises:
            DeliveryError: it was not taken.
        """


@dataclass(frozen=True)
class Log:
    """Nowhere but the log, to which every message goes anyway."""

    @property
    def name(self) -> str:
        """The log."""
        return "the log"

    def send(self, message: Message) -> None:
        """Nothing more to do."""


@dataclass(frozen=True)
class Webhook:
    """A POST of JSON; `text` is what chat services show."""

    url: SecretStr
    secret: SecretStr | None

    @property
    def name(self) -> str:
        """Its host: the path of such an address is often a secret itself."""
        return f"the webhook at {urlsplit(self.url.get_secret_value()).hostname}"

    def send(self, message: Message) -> None:
        """POST it; only an answer of 2xx counts as taken."""
        quieten_libraries()
        url = self.url.get_secret_value()
        headers = {"Authorization": f"Bearer {self.secret.get_secret_value()}"} if self.secret else {}
        try:
            answer = httpx.post(
                url,
                json={
                    "title": message.title,
                    "text": f"{message.title}\n{message.body}",
                    "severity": message.severity,
                    "link": message.link,
                },
                headers=headers,
                timeout=TIMEOUT,
                trust_env=not is_loopback(urlsplit(url).hostname or ""),
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _refused(self.name, type(error).__name__) from None
        if not answer.is_success:
            raise _refused(self.name, f"status {answer.status_code}")


@dataclass(frozen=True)
class Mail:
    """A mail by SMTP; without TLS nothing secret is said, and to another machine nothing at all."""

    host: str
    port: int
    tls: bool
    sender: str
    recipients: tuple[str, ...]
    user: str = ""
    secret: SecretStr | None = None

    @property
    def name(self) -> str:
        """The server."""
        return f"the mail server {self.host}:{self.port}"

    def send(self, message: Message) -> None:
        """Hand it to the server; every recipient must be accepted."""
        mail = EmailMessage()
        mail["Subject"] = " ".join(f"KapMan: {message.title}".split())[:200]
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        mail.set_content(message.body)
        try:
            with self._connection() as server:
                self._introduce(server)
                refused = server.send_message(mail)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise _refused(self.name, type(error).__name__) from None
        if refused:
            raise _refused(self.name, f"{len(refused)} of {len(self.recipients)} recipients refused")

    def _connection(self) -> smtplib.SMTP:
        if self.tls:
            return smtplib.SMTP_SSL(
                self.host, self.port, timeout=TIMEOUT, context=ssl.create_default_context()
            )
        return smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)

    def _introduce(self, server: smtplib.SMTP) -> None:
        """TLS first where it isn't there yet, then the password."""
        server.ehlo_or_helo_if_needed()
        if not self.tls and server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
        elif not self.tls and (self.secret or not is_loopback(self.host)):
            raise DeliveryError(
                f"{self.name} offers no TLS, so it was told nothing.",
                fix="Use smtps:// in KAPMAN_ALERTS, or a server with STARTTLS.",
            )
        if self.secret:
            server.login(self.user, self.secret.get_secret_value())


def sink(settings: Settings) -> Sink:
    """The sink that `KAPMAN_ALERTS` names.

    Raises:
        DeliveryError: it can't be read as one, or would send secrets in the clear; says what is wrong with it
            without repeating it.
    """
    if settings.alerts is None:
        return Log()
    url, secret = settings.alerts.get_secret_value(), settings.alerts_secret
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise _unreadable("it is no URL") from None
    if parts.password:
        raise _unreadable("it holds a password; KAPMAN_ALERTS_SECRET is the place for it")
    if not host:
        raise _unreadable("it names no host")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return Webhook(settings.alerts, secret)
    if parts.scheme in ("smtp", "smtps"):
        query = parse_qs(parts.query)
        recipients = tuple(one for many in query.get("to", []) for one in many.split(",") if one)
        if not recipients or not query.get("from"):
            raise _unreadable("mail needs from=... and to=... after the ?")
        if bool(parts.username) != bool(secret):
            raise _unreadable("a user and KAPMAN_ALERTS_SECRET belong together")
        tls = parts.scheme == "smtps"
        return Mail(
            host, port or (465 if tls else 587), tls, query["from"][0], recipients,
            unquote(parts.username or ""), secret,
        )  # fmt: skip
    raise _unreadable("it begins with none of log:, https://, smtp:// and smtps://")


def deliver(message: Message, settings: Settings, *, note: Callable[[str], None] | None = None) -> None:
    """Log a message and hand it to the sink, which gets three chances.

    note: also given the text, for a log that people look at (a tick's, a run's).

    Raises:
        DeliveryError: the sink didn't take it; it has been logged all the same.
    """
    shown = message.redacted()
    text = f"{shown.title}\n{shown.body}"
    log.log(logging.ERROR if shown.severity == "error" else logging.INFO, text)
    if note is not None:
        note(text)
    chosen = sink(settings)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            chosen.send(shown)
        except DeliveryError as error:
            if attempt == ATTEMPTS:
                log.error(str(error))  # noqa: TRY400  (the sentence, without the trace)
                raise
            time.sleep(BACKOFF * 2 ** (attempt - 1))
        else:
            return


def _refused(name: str, reason: str) -> DeliveryError:
    return DeliveryError(
        f"The message was not taken by {name} ({reason}).",
        fix="It is in the log and will be tried again; check KAPMAN_ALERTS and KAPMAN_ALERTS_SECRET.",
    )


def _unreadable(why: str) -> DeliveryError:
    return DeliveryError(
        f"KAPMAN_ALERTS can't be used: {why}.",
        fix="Set it to log:, https://host/path or smtp://user@host:587?from=...&to=... (docs/configuration.md).",
    )
