"""The vendor and the vault: credentials that are there, what they open, and room to archive."""

import datetime as dt
import os
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import partial

import httpx
from pydantic import SecretStr

from kapman_resources.clock import as_of
from kapman_resources.diagnosis import Finding, Probe
from kapman_resources.diagnosis.database import skew
from kapman_resources.flat_files import FlatFiles
from kapman_resources.hosts import is_loopback
from kapman_resources.object_store import local_folder
from kapman_resources.redaction import quieten_libraries
from kapman_resources.settings import Settings
from kapman_resources.vault import Vault

SECONDS = 6.0
"""That a request may take."""

# One item each: what the platform asks for every day, at the price of a request.
FAMILIES = {
    "reference tickers": ("/v3/reference/tickers", {"market": "stocks", "active": "true", "limit": "1"}),
    "option snapshots": ("/v3/snapshot/options/SPY", {"limit": "1"}),
}


def probes(settings: Settings) -> Mapping[str, Probe]:
    """The probes of what is configured; in the demo the simulator stands in, and it is not started."""
    vault_probe = {"vault": partial(vault, settings)}
    if not settings.has_vendor:
        return {"vendor": demo, **vault_probe}
    entitlements: dict[str, Probe] = {}
    if settings.api_key:
        for family in FAMILIES:
            entitlements[f"entitlement: {family}"] = partial(
                entitlement, settings.api_url, settings.api_key, family
            )
    return {
        "credentials": partial(credentials, settings),
        **entitlements,
        "flat files": partial(flat_files, settings),
        **vault_probe,
    }


def demo() -> Iterator[Finding]:
    """No credentials at all: the demo."""
    yield Finding(
        "vendor", "ok", "no credentials: the simulator stands in (the demo); it starts when it is needed"
    )


def credentials(settings: Settings) -> Iterator[Finding]:
    """Which credentials are set; never what they are."""
    key_pair = (settings.s3_access_key_id, settings.s3_secret_access_key)
    if settings.api_key:
        yield Finding("credentials: API key", "ok", f"set, for {settings.api_url}")
    else:
        yield Finding("credentials: API key", "fail", "not set", "Set MASSIVE_API_KEY in .env.")
    if all(key_pair):
        yield Finding("credentials: S3 key pair", "ok", f"set, for {settings.s3_endpoint}")
    else:
        half = "only half of it is set" if any(key_pair) else "not set"
        yield Finding(
            "credentials: S3 key pair",
            "fail",
            half,
            "Set KAPMAN_S3_ACCESS_KEY_ID and KAPMAN_S3_SECRET_ACCESS_KEY in .env.",
        )


def entitlement(api_url: str, key: SecretStr, family: str) -> Iterator[Finding]:
    """Whether the key opens a family of endpoints, by one request for one item."""
    name = f"entitlement: {family}"
    path, query = FAMILIES[family]
    base = api_url.rstrip("/")
    quieten_libraries()
    try:
        before = time.time()
        answer = httpx.get(
            f"{base}{path}",
            params=query,
            headers={"Authorization": f"Bearer {key.get_secret_value()}"},
            timeout=SECONDS,
            trust_env=not is_loopback(httpx.URL(base).host),
        )
        after = time.time()
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
        yield Finding(
            name,
            "fail",
            f"{base} doesn't answer ({type(error).__name__})",
            "Check the network and KAPMAN_API_URL.",
        )
        return
    yield _judged(name, family, answer.status_code)
    sent = _date(answer)
    if family == "reference tickers" and sent is not None:
        # The header has whole seconds, cut off.
        yield skew("clock of the vendor", max(before - (sent + 1), sent - after, 0.0))


def _judged(name: str, family: str, status: int) -> Finding:
    if status == httpx.codes.OK:
        return Finding(name, "ok", "the key's plan includes them")
    if status == httpx.codes.UNAUTHORIZED:
        return Finding(name, "fail", "status 401: the key is not known", "Correct MASSIVE_API_KEY in .env.")
    if status == httpx.codes.FORBIDDEN:
        return Finding(
            name,
            "fail",
            f"status 403: the key is good, its plan doesn't include {family}",
            "Choose a plan that does, on the vendor's dashboard.",
        )
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Finding(name, "warn", "status 429: too many requests just now", "Lower KAPMAN_RATE_LIMIT.")
    return Finding(name, "warn", f"the vendor answered with status {status}", "Ask again later.")


def _date(answer: httpx.Response) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def flat_files(settings: Settings) -> Iterator[Finding]:
    """Whether the bucket can be listed, and how new its newest file is."""
    if settings.s3_access_key_id is None or settings.s3_secret_access_key is None:
        return  # `credentials` has said so
    today = as_of()
    found = FlatFiles.from_settings(settings).list_sessions(today - dt.timedelta(days=14), today)
    if found:
        yield Finding(
            "flat files", "ok", f"bucket {settings.s3_bucket!r} can be listed, newest file {max(found)}"
        )
    else:
        yield Finding(
            "flat files",
            "warn",
            f"bucket {settings.s3_bucket!r} can be listed, and has no file of the 14 days before {today}",
            "Check KAPMAN_S3_BUCKET, and that the plan includes flat files of recent dates.",
        )


def vault(settings: Settings) -> Iterator[Finding]:
    """Whether the vault takes an object and gives it back (it is deleted again)."""
    folder = local_folder(settings.vault)
    if folder is not None and not folder.exists():
        there = next(path for path in folder.parents if path.exists())
        if there.is_dir() and os.access(there, os.W_OK):
            yield Finding("vault", "ok", f"{settings.vault} is made with the first archive")
        else:
            yield Finding(
                "vault",
                "fail",
                f"{settings.vault} can't be made: {there} is not writable",
                "Set KAPMAN_VAULT_URL.",
            )
        return
    archive = Vault.from_settings(settings)
    archive.prove_writable()
    yield Finding("vault", "ok", f"{archive.url} can be written, read and cleared")
