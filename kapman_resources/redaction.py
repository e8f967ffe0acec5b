"""Secrets blotted out of texts that others wrote: a vendor's words, a library's error, a log line.

Our own texts never hold one; this is for what comes back. A secret is found as it is, and as URLs, JSON and
base64 write it.
"""

import base64
import functools
import json
import logging
import os
from urllib.parse import quote, quote_plus

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from kapman_resources.errors import KapmanError
from kapman_resources.settings import Settings, settings

BLOT = "***"
# A shorter secret protects nothing, and may be a part of any word of a text, or of any value in data.
_SHORTEST_IN_TEXT = 4
_SHORTEST_IN_DATA = 8
# They show URLs at INFO and the headers of answers at DEBUG, whatever the server has put there.
_TALKATIVE = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")


class Redaction:
    """Blots these secrets out; None and those of less than four characters count as none."""

    def __init__(self, *secrets: SecretStr | str | None) -> None:
        plain = {one.get_secret_value() if isinstance(one, SecretStr) else one for one in secrets if one}
        forms = {form for one in plain if len(one) >= _SHORTEST_IN_TEXT for form in _forms(one)}
        # The longest first: it may hold others.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._bytes = [form.encode() for form in self._forms if len(form) >= _SHORTEST_IN_DATA]

    def __repr__(self) -> str:
        return f"Redaction({len(self._forms)} forms)"

    def text(self, text: str) -> str:
        """The text with `***` in place of every secret."""
        for form in self._forms:
            text = text.replace(form, BLOT)
        return text

    def data(self, data: bytes) -> bytes:
        """Data with `***` in place of every secret of at least eight characters; nearly always the very same."""
        for form in self._bytes:
            if form in data:
                data = data.replace(form, BLOT.encode())
        return data


def known_secrets() -> Redaction:
    """The redaction of everything secret in the settings and in libpq's variables; of nothing if those can't be read."""
    try:
        return _of(settings(), os.environ.get("PGPASSWORD"))
    except KapmanError:
        return Redaction(os.environ.get("PGPASSWORD"))


@functools.lru_cache(maxsize=1)
def _of(configured: Settings, *more: str | None) -> Redaction:
    values = [getattr(configured, name) for name in type(configured).model_fields]
    secrets = [value for value in values if isinstance(value, SecretStr)]
    return Redaction(*secrets, *map(_password, secrets), *more)


def _password(secret: SecretStr) -> str | None:
    """The password in a secret that is the URL of a database."""
    try:
        return str(conninfo_to_dict(secret.get_secret_value()).get("password") or "") or None
    except psycopg.ProgrammingError:
        return None


def _forms(secret: str) -> set[str]:
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", r"\/"),
        repr(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
    }


def _blot(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    shown = known_secrets().text(said)
    if shown != said:
        record.msg, record.args = shown, ()
    return True


def quieten_libraries() -> None:
    """Let no HTTP library log a secret that a server has echoed; costs nothing where they don't log."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_blot)  # twice is once
