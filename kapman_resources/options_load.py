"""Publishing option snapshots into `public.options_chains`: a session's contracts become visible all at once.

A session that holds no rows yet, the usual case, is copied straight into the table, chain by chain as they
arrive from the vendor, and audited there before the transaction ends. Otherwise the contracts are staged,
audited, and the session is made equal to the stage. Both ways nobody sees anything before the commit, and
duplicates and orphans are refused.
"""

import datetime as dt
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from threading import Event
from typing import Protocol

import polars as pl
from psycopg import sql

from kapman_resources.binary_copy import copy_blocks, encode
from kapman_resources.content_hash import content_hash
from kapman_resources.database import Connection, Database
from kapman_resources.errors import SourceError
from kapman_resources.manifest import Quarantined
from kapman_resources.publish import (
    RowDiff,
    hold_tickers,
    lift_decompression_limit,
    lock_publishing,
    make_equal,
    may_rest,
    refusals_explained,
    relation,
    stage,
    triggers_at_rest,
)
from kapman_resources.sessions import session_close
from kapman_resources.tables import OPTIONS_CHAINS
from kapman_resources.vault import Vault
from kapman_resources.vendor_api import RawPage
from kapman_resources.vendor_pages import DecodedChain, decode_chain

RELATION = relation(OPTIONS_CHAINS)
COLUMNS = [column.name for column in OPTIONS_CHAINS.recorded]

# Reading an archived chain waits for the store and inflates without the GIL; decoding holds it.
_READERS = 4

# Publishing keeps a transaction open, and retention, the columnstore's policies and other loaders waiting, for
# at most about this many seconds of a fetch; under a rate limit one may take hours.
_LONGEST_OPEN = 20.0

_CHAINS_AT_ONCE = 8


class Audit(Protocol):
    """Refuses rows by raising AuditError; `in_place`: they have passed the table's own constraints."""

    def __call__(self, connection: Connection, rows: sql.Composable, *, in_place: bool) -> None: ...


@dataclass(frozen=True)
class ArchivedChain:
    """A chain of one session, decoded from the archived pages of that SHA-256."""

    sha256: str
    chain: DecodedChain


@dataclass(frozen=True)
class Snapshot:
    """The chains of one session as the vault holds them, by symbol, and which symbols have no contracts.

    sources: `symbol` and `sha256` of the archived pages, of every symbol that has any.
    """

    chains: dict[str, DecodedChain]
    sources: list[dict[str, object]]
    absent: list[str]

    @classmethod
    def of(cls, symbols: Sequence[str], archived: Mapping[str, ArchivedChain]) -> "Snapshot":
        """The snapshot of these symbols, in their order; those without an archive are absent."""
        found = {symbol: archived[symbol] for symbol in symbols if symbol in archived}
        return cls(
            {symbol: one.chain for symbol, one in found.items()},
            [{"symbol": symbol, "sha256": one.sha256} for symbol, one in found.items()],
            [s for s in symbols if s not in found or found[s].chain.frame.is_empty()],
        )

    @property
    def rows_read(self) -> int:
        """Contracts on the pages: rows, ignored and rejected ones."""
        return sum(chain.contracts_read for chain in self.chains.values())

    @property
    def ignored(self) -> dict[str, int]:
        """Contracts left out on purpose, by reason."""
        return _totals(chain.ignored for chain in self.chains.values())

    @property
    def details(self) -> dict[str, object]:
        """Numbers and names that people ask for."""
        chains = self.chains.items()
        prices = {symbol: chain.underlying_price for symbol, chain in chains}
        return {
            "symbols": len(chains),
            "symbols_without_contracts": self.absent,
            "fields_made_null": _totals(chain.nulled for _, chain in chains),
            "stale_volumes": sum(chain.stale_volumes for _, chain in chains),
            "underlying_prices": {symbol: price for symbol, price in prices.items() if price is not None},
        }

    def rejected(self, session: dt.date) -> list[Quarantined]:
        """The contracts that are none, for the quarantine."""
        return [
            Quarantined(f"options/{session}/{symbol}", None, raw, why)
            for symbol, chain in self.chains.items()
            for raw, why in chain.rejected
        ]


class FreshChains:
    """Chains of the live session, archived and decoded as they arrive, and handed over to another thread.

    Whoever fetches is inside of `with`, and passes on what the fetch says: `VendorApi.chains(…,
    on_chain=fresh.archive, on_progress=fresh.progress)`. Whoever loads iterates.
    """

    def __init__(self, vault: Vault, session: dt.date, *, overwrite: bool) -> None:
        self._vault, self._session, self._overwrite = vault, session, overwrite
        self._arrived: SimpleQueue[tuple[str, ArchivedChain] | None] = SimpleQueue()
        self._started = time.monotonic()
        self._nearly_done = Event()
        self._failed = False

    def archive(self, symbol: str, pages: list[RawPage]) -> None:
        """Archive a chain, then decode the same bytes; if another archive was there, that one decides."""
        archived = self._vault.archive(
            kind="options", session=self._session, subject=symbol, pages=pages, overwrite=self._overwrite
        )
        if archived.outcome != "kept":
            chain = decode_chain((page.body for page in pages), underlying=symbol, session=self._session)
            self._arrived.put((symbol, ArchivedChain(archived.manifest.current.sha256, chain)))

    def progress(self, done: int, total: int) -> None:
        """Note how far the fetch is."""
        if (time.monotonic() - self._started) / done * (total - done) <= _LONGEST_OPEN:
            self._nearly_done.set()

    def __enter__(self) -> "FreshChains":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._failed = error is not None
        self._arrived.put(None)
        self._nearly_done.set()

    def wait(self) -> None:
        """Return when the rest will have arrived in a few seconds: a transaction may be opened for it."""
        self._nearly_done.wait()

    def __iter__(self) -> Iterator[tuple[str, ArchivedChain]]:
        """The chains by symbol, in the order of arrival, each once, until the fetch has ended.

        Raises:
            SourceError: it has ended by an error, which whoever fetches gets to see.
        """
        while (item := self._arrived.get()) is not None:
            yield item
        self._arrived.put(None)  # who iterates again finds the end, too
        if self._failed:
            raise SourceError("The fetch was given up.", fix="See the error of the fetch.")


def archived_sources(vault: Vault, session: dt.date, symbols: Sequence[str]) -> list[dict[str, object]]:
    """`symbol` and `sha256` of the archived pages, of every symbol that has any, in the symbols' order.

    Raises:
        SourceError: a manifest is damaged.
    """
    held = set(vault.subjects("options", session))
    return [
        {"symbol": symbol, "sha256": vault.manifest("options", session, symbol).current.sha256}
        for symbol in symbols
        if symbol in held
    ]


def read_chains(
    vault: Vault, session: dt.date, symbols: Sequence[str]
) -> Iterator[tuple[str, ArchivedChain]]:
    """The archived chains of a session, decoded, in the symbols' order; those without an archive are left out.

    Raises:
        SourceError: an archive is damaged.
    """

    def chain_of(source: Mapping[str, object]) -> tuple[str, ArchivedChain]:
        symbol, sha256 = str(source["symbol"]), str(source["sha256"])
        pages = vault.read("options", session, symbol)
        chain = decode_chain((page.body for page in pages), underlying=symbol, session=session)
        return symbol, ArchivedChain(sha256, chain)

    with ThreadPoolExecutor(_READERS, "chains") as readers:
        yield from readers.map(chain_of, archived_sources(vault, session, symbols))


def fresh_and_archived(
    fresh: FreshChains, vault: Vault, session: dt.date, symbols: Sequence[str]
) -> Iterator[tuple[str, ArchivedChain]]:
    """The chains that arrive now, and when all have arrived those that were archived before.

    Called again after a transaction that came to nothing, it gives the same chains: those that had arrived are
    archived by now.
    """
    taken = set()
    for symbol, chain in fresh:
        taken.add(symbol)
        yield symbol, chain
    yield from read_chains(vault, session, [symbol for symbol in symbols if symbol not in taken])


def read_snapshot(vault: Vault, session: dt.date, symbols: Sequence[str]) -> Snapshot:
    """The snapshot of a session as it is archived.

    Raises:
        SourceError: an archive is damaged.
    """
    return Snapshot.of(symbols, dict(read_chains(vault, session, symbols)))


@dataclass(frozen=True)
class PublishedSession:
    """What a session holds after publishing, and what that did to its rows.

    content_hash: of all its rows in the table, see kapman_resources/content_hash.py.
    """

    content_hash: str
    diff: RowDiff

    @property
    def rows_written(self) -> int:
        """Rows of the snapshot, all of which the table holds now."""
        return self.diff.added + self.diff.changed + self.diff.unchanged


def publish_session(
    database: Database,
    session: dt.date,
    tickers: Sequence[str],
    chains: Iterable[tuple[str, pl.DataFrame]],
    *,
    partial: bool = False,
    audit: Audit,
    record: Callable[[Connection, PublishedSession], None],
) -> PublishedSession:
    """Make the session's rows in the table equal to these chains, in one transaction.

    tickers: ids (text) of the tickers that the snapshot covers, those without a chain too.
    chains: ticker id and contracts (`DecodedChain.frame`), each ticker once; taken one after the other,
        inside the transaction.
    partial: rows of tickers that are not covered are left alone.
    audit: given the relation with the rows to be published.
    record: called inside the publishing transaction, after all chains have been taken.

    Raises:
        AuditError: rows break a rule of the audit or of the database.
        DatabaseError: the server went away, or its disk is full.
    """
    ids = [uuid.UUID(one) for one in tickers]
    scope = _scope(session, ids if partial else None)
    frames = _rows(session, set(ids), chains)
    with refusals_explained(OPTIONS_CHAINS), database.connect() as connection:
        lock_publishing(connection, OPTIONS_CHAINS)
        hold_tickers(connection, OPTIONS_CHAINS, ids)
        if _is_empty(connection, scope):
            diff = _fill(connection, frames, scope, audit)
        else:
            contracts = pl.concat([pl.DataFrame(schema=COLUMNS), *frames], how="vertical_relaxed")
            staged = stage(connection, OPTIONS_CHAINS, contracts)
            audit(connection, staged, in_place=False)
            diff = make_equal(connection, OPTIONS_CHAINS, staged, scope)
        close = session_close(session)
        content = content_hash(connection, OPTIONS_CHAINS, close, close)
        published = PublishedSession(content.hash, diff)
        record(connection, published)
    return published


def _rows(
    session: dt.date, tickers: set[uuid.UUID], chains: Iterable[tuple[str, pl.DataFrame]]
) -> Iterator[pl.DataFrame]:
    """COLUMNS of each chain, `ticker_id` as 16 bytes."""
    close = session_close(session)
    for ticker, contracts in chains:
        one = uuid.UUID(ticker)
        if one not in tickers:
            raise ValueError(f"a chain of {ticker}, which the snapshot doesn't cover")
        yield contracts.with_columns(time=pl.lit(close), ticker_id=pl.lit(one.bytes)).select(COLUMNS)


def _scope(session: dt.date, only: Sequence[uuid.UUID] | None) -> sql.Composed:
    """The condition on rows `o` of the table that are ours to replace; constants, so that one chunk is touched."""
    at_close = sql.SQL("o.time = {}").format(sql.Literal(session_close(session)))
    if only is None:
        return at_close
    return sql.SQL("{} AND o.ticker_id = ANY ({}::uuid[])").format(at_close, sql.Literal(list(only)))


def _is_empty(connection: Connection, scope: sql.Composable) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} o WHERE {})").format(RELATION, scope)
    found = connection.execute(query).fetchone()
    return found is not None and not found[0]


def _fill(
    connection: Connection,
    frames: Iterator[pl.DataFrame],
    scope: sql.Composable,
    audit: Audit,
) -> RowDiff:
    """COPY into the table, where nobody sees the rows yet, and audit them there: half of a stage's price."""
    lift_decompression_limit(connection)
    with triggers_at_rest(connection) if may_rest(connection, OPTIONS_CHAINS) else nullcontext():
        rows = copy_blocks(connection, RELATION, COLUMNS, _encoded(frames))
    copied = sql.Identifier("pg_temp", f"copied_{OPTIONS_CHAINS.name}")
    connection.execute(
        sql.SQL("CREATE TEMP VIEW {} AS SELECT * FROM {} o WHERE {}").format(
            sql.Identifier(f"copied_{OPTIONS_CHAINS.name}"), RELATION, scope
        )
    )
    audit(connection, copied, in_place=True)
    connection.execute(sql.SQL("DROP VIEW {}").format(copied))
    return RowDiff(rows, 0, 0, 0)


def _encoded(frames: Iterator[pl.DataFrame]) -> Iterator[memoryview]:
    """COPY data of the frames, some at a time: encoding the rows of one chain alone costs twice as much a row.

    In the order of the key, which spares the server a sixth of its time: neighbours go to the same index page.
    """
    while some := list(islice(frames, _CHAINS_AT_ONCE)):
        yield from encode(OPTIONS_CHAINS, pl.concat(some).sort(OPTIONS_CHAINS.key[1:]))


def _totals(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason, added up, in the order of the reasons."""
    added: Counter[str] = Counter()
    for one in counts:
        added.update(one)
    return dict(sorted(added.items()))
