"""The demo market's past: the option chains of the sessions before today, archived as if the platform had run then.

A vendor shows the chains of now and of no other day. The simulator alone also answers as it did at the close of an
earlier session, under `/at/<session>`, and its chains are a function of the session. So each session's chains are
fetched there by the client that talks to real vendors, and go where the evening's job would have put them. Content
and fetch times don't tell when that was done.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from kapman_resources.errors import Refused
from kapman_resources.sessions import retained_sessions, session_close
from kapman_resources.settings import Settings
from kapman_resources.vault import Vault
from kapman_resources.vendor_api import VendorApi
from kapman_resources.vendor_pages import RawPage

SESSIONS = 25
"""How many the demo market has lived through, today among them: an IV rank wants twenty before its own."""

# While one session's archives wait for the disk, another's pages arrive.
_SESSIONS_AT_ONCE = 2
_CHAINS_AT_ONCE = 8
_SIMULATED = "simulated-"


def first_session(today: dt.date) -> dt.date:
    """The oldest session that the demo market has lived through by the session `today`."""
    return retained_sessions(today)[-SESSIONS]


def live_through(
    vendor: Settings, today: dt.date, symbols: Sequence[str], tell: Callable[[str], None]
) -> list[dt.date]:
    """Archive the symbols' chains of the sessions before `today`, wherever the vault has none yet.

    Today's own are left to whoever archives the live session. Returns the sessions of which something was missing.
    After a kill the next call does the rest.

    tell: gets one sentence, before anything is fetched.

    Raises:
        Refused: the vendor is no generated market of the simulator.
        VendorError: chains can't be had.
        VaultError: the vault can't be read or written.
    """
    if not vendor.vendor.startswith(_SIMULATED):
        raise Refused(
            f"Vendor {vendor.vendor!r} is not the simulator's generated market: only that has a past that can be fetched.",
            fix="Leave MASSIVE_API_KEY and the KAPMAN_S3_ variables unset for the demo.",
        )
    vault = Vault.from_settings(vendor)
    sessions = retained_sessions(today)[-SESSIONS:-1]
    with ThreadPoolExecutor(_SESSIONS_AT_ONCE, "past") as threads:
        held = threads.map(partial(vault.subjects, "options"), sessions)
        missing = {
            session: lacking
            for session, subjects in zip(sessions, held, strict=True)
            if (lacking := sorted(set(symbols).difference(subjects)))
        }
        if missing:
            chains = sum(map(len, missing.values()))
            tell(
                f"The demo market lives through {len(missing)} sessions, {min(missing)} to {max(missing)}:"
                f" {chains:,} option chains go into the vault."
            )
        for _ in threads.map(partial(_archive, vendor, vault), missing, missing.values()):
            pass
    return list(missing)


def _archive(vendor: Settings, vault: Vault, session: dt.date, symbols: Sequence[str]) -> None:
    """Fetch and archive chains as they were at the close of a past session."""
    close = session_close(session)

    def archive(symbol: str, pages: list[RawPage]) -> None:
        as_of_then = [replace(page, fetched_at=close) for page in pages]
        vault.archive(kind="options", session=session, subject=symbol, pages=as_of_then)

    api = VendorApi(
        f"{vendor.api_url}/at/{session}",
        vendor.api_key,
        rate_limit=vendor.rate_limit,
        concurrency=_CHAINS_AT_ONCE,
    )
    for error in api.chains(symbols, on_chain=archive).failed.values():
        raise error
