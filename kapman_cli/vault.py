"""`kapman vault`: what is archived, whether it is sound, archiving without a database, loading from it again."""

import datetime as dt
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from kapman_resources.demo import archive_settings
from kapman_resources.errors import KapmanError, Refused, SourceError
from kapman_resources.settings import settings
from kapman_resources.vault import KINDS, Contents, Kind, Manifest, Vault, VaultReport, Version

_DIGITS_SHOWN = 16

_session = click.argument("session", type=click.DateTime(["%Y-%m-%d"]), required=False)
_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")


@click.group()
def vault() -> None:
    """The archive of the vendor's raw pages, the only source of past option chains.

    Exit code: 0 when done; 1 when something is damaged, missing or refused, with a sentence that says what.
    """


@vault.command("list")
@_session
@_as_json
def list_archives(session: dt.datetime | None, as_json: bool) -> None:
    """Show what is archived. Safe.

    One line a session, or of SESSION one line a subject. Bytes are counted before compression.
    """
    archive = Vault.from_settings(archive_settings())
    found = (archive.contents(kind, day) for kind, day in _archived(archive, session))
    if as_json:
        click.echo(json.dumps([_described(one, subjects=session is not None) for one in found], indent=1))
    elif session is None:
        _print_sessions(archive, found)
    else:
        for one in found:
            _print_subjects(one)


@vault.command()
@_session
@_as_json
def verify(session: dt.datetime | None, as_json: bool) -> None:
    """Prove that archives can be read. Safe.

    Reads every page, superseded ones too, or those of SESSION, and compares hashes. Exit code 1 when anything is damaged, or SESSION is not archived.
    """
    archive = Vault.from_settings(archive_settings())
    reports: list[tuple[Kind, dt.date, VaultReport]] = []
    for kind, day in _archived(archive, session):
        reports.append((kind, day, archive.verify(kind, day)))
        if not as_json:
            _print_report(*reports[-1])
    damaged = sum(len(report.damaged) for _, _, report in reports)
    if as_json:
        found = [{"kind": kind, "session": day, **asdict(report)} for kind, day, report in reports]
        click.echo(json.dumps(found, indent=1, default=str))
    elif damaged:
        click.secho(f"Damaged archives: {damaged}.", fg="red", err=True)
    else:
        click.echo(f"Everything archived in {archive.url} is sound." if reports else _empty(archive))
    sys.exit(1 if damaged else 0)


@vault.command()
@_session
@click.option("--symbols", help="These symbols, such as AAPL,MSFT; the database is not asked.")
@click.option(
    "--concurrency", default=8, show_default=True, type=click.IntRange(1, 64), help="Chains at once."
)
@click.option("--refetch", is_flag=True, help="Also what is archived: the new pages supersede the old ones.")
def archive(session: dt.datetime | None, symbols: str | None, concurrency: int, refetch: bool) -> None:
    """Archive the live chains without loading them. Safe to repeat.

    A snapshot is now or never, and this takes it without a working database: the symbols are the active
    ones, or those of the watchlist files when the database can't tell. Load them later with `kapman vault
    replay`. SESSION only makes sure that it is the live one.
    """
    # Imported late, as Dagster comes with it.
    from kapman_assets.options_chains import archive_live  # noqa: PLC0415
    from kapman_assets.resources import VendorResource  # noqa: PLC0415

    live = _require_live(session.date() if session else None)
    wanted = [name.strip() for name in symbols.split(",") if name.strip()] if symbols else _active_symbols()
    vendor = VendorResource()
    failed = archive_live(
        _told(), vendor, vendor.vault(), live, wanted, concurrency=concurrency, refetch=refetch
    )
    sys.exit(1 if failed else 0)


@vault.command()
@click.argument("session", type=click.DateTime(["%Y-%m-%d"]))
@click.argument("last", metavar="[SESSION2]", type=click.DateTime(["%Y-%m-%d"]), required=False)
def replay(session: dt.datetime, last: dt.datetime | None) -> None:
    """Load sessions from the vault alone. Safe to repeat.

    SESSION, or SESSION to SESSION2, whether changed or not; nothing is fetched. Materializes `options_chains` as Dagster does: in the contract's order, with its checks, on its records.
    """
    from kapman_cli.runs import load_again  # noqa: PLC0415  (imported late, as Dagster comes with it)

    store, first, until = Vault.from_settings(archive_settings()), session.date(), (last or session).date()
    covered = [day for day in store.sessions("options") if first <= day <= until]
    if not covered:
        span = f"{first}" if first == until else f"{first} to {until}"
        raise SourceError(f"The vault at {store.url} has no option chains of {span}.", fix=_LIST)
    load_again("options_chains", covered)


_LIST = "`kapman vault list` shows the sessions that it has; KAPMAN_VAULT_URL and KAPMAN_VENDOR say where it looks."


def _archived(archive: Vault, session: dt.datetime | None) -> Iterator[tuple[Kind, dt.date]]:
    """Everything archived, by session, or what is there of that session.

    Raises:
        SourceError: nothing of that session is archived.
    """
    found = sorted((day, kind) for kind in KINDS for day in archive.sessions(kind))
    if session is not None:
        found = [(day, kind) for day, kind in found if day == session.date()]
        if not found:
            raise SourceError(f"The vault at {archive.url} has nothing of {session:%Y-%m-%d}.", fix=_LIST)
    return ((kind, day) for day, kind in found)


def _empty(archive: Vault) -> str:
    return f"The vault at {archive.url} holds nothing of vendor {archive.vendor!r}."


def _print_sessions(archive: Vault, found: Iterator[Contents]) -> None:
    damaged = sessions = 0
    for one in found:
        if not sessions:
            click.echo(f"Vault {archive.url}, vendor {archive.vendor}\n")
            click.echo(
                f"  {'session':<12}{'kind':<9}{'subjects':>8}{'pages':>9}{'bytes':>16}"
                f"  {'first fetched':<22}last fetched"
            )
        sessions += 1
        damaged += len(one.damaged)
        total = _described(one, subjects=False)
        click.echo(
            f"  {one.session!s:<12}{one.kind:<9}{total['subjects']:>8,}{total['pages']:>9,}{total['bytes']:>16,}"
            f"  {_time(total['first_fetched']):<22}{_time(total['last_fetched'])}"
            + (f"  {len(one.damaged)} DAMAGED" if one.damaged else "")
        )
    if not sessions:
        click.echo(_empty(archive))
    if damaged:
        click.secho("\n`kapman vault verify` says what is damaged, and what to do.", fg="red", err=True)


def _print_subjects(one: Contents) -> None:
    width = max([len("subject"), *(len(manifest.subject) for manifest in one.manifests)]) + 2
    click.echo(f"{one.kind} of {one.session}\n")
    click.echo(
        f"  {'subject':<{width}}{'hash':<18}{'pages':>6}{'bytes':>14}  {'fetched':<22}superseded versions"
    )
    for manifest in one.manifests:
        now = manifest.current
        older = ", ".join(version.sha256[:_DIGITS_SHOWN] for version in manifest.superseded)
        click.echo(
            f"  {manifest.subject:<{width}}{now.sha256[:_DIGITS_SHOWN]:<18}{len(now.pages):>6,}{now.bytes:>14,}"
            f"  {_time(_fetched(now)):<22}{older}".rstrip()
        )
    for damage in one.damaged:
        click.secho(f"  {damage.subject}: {damage.reason} {damage.fix}", fg="red")
    click.echo()


def _print_report(kind: Kind, day: dt.date, report: VaultReport) -> None:
    state = f"{len(report.damaged)} DAMAGED" if report.damaged else "sound"
    click.echo(f"{day} {kind:<8} {report.subjects:>6,} subjects {report.pages:>8,} pages  {state}")
    for damage in report.damaged:
        click.secho(f"  {damage.subject}: {damage.reason} {damage.fix}", fg="red", err=True)


def _described(one: Contents, *, subjects: bool) -> dict[str, Any]:
    """A session's archives as JSON can hold them: totals, and the single ones if `subjects`."""
    pages = [page for manifest in one.manifests for page in manifest.current.pages]
    times = sorted(page.fetched_at for page in pages)
    described: dict[str, Any] = {
        "kind": one.kind,
        "session": one.session.isoformat(),
        "subjects": len(one.manifests),
        "pages": len(pages),
        "bytes": sum(manifest.current.bytes for manifest in one.manifests),
        "first_fetched": times[0].isoformat() if times else None,
        "last_fetched": times[-1].isoformat() if times else None,
        "damaged": [{"subject": d.subject, "reason": d.reason, "fix": d.fix} for d in one.damaged],
    }
    return described | ({"archives": [_archive(manifest) for manifest in one.manifests]} if subjects else {})


def _archive(manifest: Manifest) -> dict[str, Any]:
    return {
        "subject": manifest.subject,
        **_version(manifest.current),
        "superseded": [_version(version) for version in manifest.superseded],
    }


def _version(version: Version) -> dict[str, Any]:
    return {
        "sha256": version.sha256,
        "pages": len(version.pages),
        "bytes": version.bytes,
        "fetched_at": _fetched(version),
    }


def _fetched(version: Version) -> str:
    return max(page.fetched_at for page in version.pages).isoformat()


def _time(text: str | None) -> str:
    return f"{dt.datetime.fromisoformat(text):%Y-%m-%d %H:%M:%SZ}" if text else "-"


def _require_live(session: dt.date | None) -> dt.date:
    """The live session.

    Raises:
        Refused: there is none, or `session` is another one.
    """
    from kapman_resources.clock import live_session  # noqa: PLC0415  (imported late: start-up time)

    live = live_session()
    if live is None:
        raise Refused(
            "No session is live: the market trades, and the vendor shows chains of an unfinished day.",
            fix="Archive after 21:00 UTC, until the next open.",
        )
    if session not in (None, live):
        raise Refused(
            f"The option chains of {session} can't be had from the vendor: the live session is {live}.",
            fix=f"Archive that one (`kapman vault archive {live}`); what is archived can be replayed: {_LIST}",
        )
    return live


def _active_symbols() -> list[str]:
    """The active symbols, of the watchlist files if the database can't tell them."""
    import psycopg  # noqa: PLC0415  (imported late: `list` and `verify` know no database)

    from kapman_assets.scope import active_symbols  # noqa: PLC0415
    from kapman_resources.database import Database  # noqa: PLC0415
    from kapman_resources.embedded import database_url  # noqa: PLC0415
    from kapman_resources.watchlist_files import read_watchlists  # noqa: PLC0415

    try:
        with Database(database_url(settings()), "kapman vault archive").connect() as connection:
            # A database that hangs is as broken as one that doesn't answer.
            connection.execute("SET LOCAL statement_timeout = '10s'")
            if symbols := list(active_symbols(connection)):
                return symbols
        reason = "It has none."
    except KapmanError as error:
        reason = error.what
    except psycopg.Error as error:
        reason = f"{error}".partition("\n")[0]
    folder = settings().watchlists
    click.secho(
        f"The database can't tell the active symbols, so they are those of {folder}. {reason}",
        fg="yellow",
        err=True,
    )
    return read_watchlists(folder).frame["symbol"].unique().sort().to_list()


def _told() -> logging.Logger:
    """A log that a person reads at once."""
    log = logging.getLogger("kapman.vault")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [logging.StreamHandler(sys.stdout)]
    return log
