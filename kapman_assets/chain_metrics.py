"""What `dealer_metrics` and `volatility_metrics` share: a column of the snapshots' rows, made from option chains.

Each of them says how a session is computed (`Computation`); which sessions, from what, whether they are
current already, how they are audited and published is the same for both and stands here.
"""

import datetime as dt
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import dagster as dg
import polars as pl
from psycopg import sql
from pydantic import Field

from kapman_assets.audits import Audit, audit_stage
from kapman_assets.lineage import DEALER_SOURCES, Sources, currency_audit, held_sources, only_symbols
from kapman_assets.materializations import materialized_sessions, named_sessions
from kapman_assets.order import published_sessions, unpublished
from kapman_assets.partitions import selected_sessions
from kapman_assets.progress import ProgressLog
from kapman_assets.resources import DatabaseResource
from kapman_assets.scope import active_symbols
from kapman_metrics.chain import Carry, OptionSnapshot, read_snapshot
from kapman_resources import manifest
from kapman_resources.bars import read_closes, read_contracts
from kapman_resources.content_hash import content_hash
from kapman_resources.database import Connection, Database
from kapman_resources.publish import relation, stage, upsert_staged
from kapman_resources.sessions import expiry_closes, session_close
from kapman_resources.tables import DAILY_SNAPSHOTS, Table


class ChainMetricsConfig(dg.Config):
    """What every metric of option chains may be told."""

    symbols: list[str] = Field([], description="Only these active symbols (smoke tests); empty: all of them.")
    rate: float = Field(Carry.rate, description="Risk-free rate, continuous, a year.")
    dividend_yield: float = Field(Carry.dividend_yield, description="Continuous, a year.")


@dataclass(frozen=True)
class Computation:
    """How a session is computed once its chains are read, and what it rests on beside chains and closes.

    compute: of a snapshot, one row per underlying with `ticker_id`, `status` and the step's column.
    """

    compute: Callable[[OptionSnapshot], pl.DataFrame]
    sources: Sources = field(default_factory=list)


Prepare = Callable[[Connection, dt.date, Sequence[str]], Computation]
"""How to compute a session, given the ticker ids of all active symbols; called before its chains are read."""


@dataclass(frozen=True)
class ChainMetrics:
    """A step that fills one column of the snapshots' rows; it may share rows with other steps, or make its own.

    asset: its name; the column is `<asset>_json`.
    audits: they see the rows that have the column, as `time, ticker_id, metrics`.
    """

    asset: str
    model_version: str
    audits: tuple[Audit, ...]

    @property
    def column(self) -> str:
        """The column that is the step's own."""
        return f"{self.asset}_json"

    @property
    def own_part(self) -> Table:
        """The table as far as this step fills it."""
        return DAILY_SNAPSHOTS.only("time", "ticker_id", self.column)

    @property
    def relation(self) -> sql.Composable:
        """What the audits see of the table."""
        return self._rows_of(relation(DAILY_SNAPSHOTS))

    def _rows_of(self, table: sql.Composable) -> sql.Composable:
        column = sql.Identifier(self.column)
        return sql.SQL("(SELECT time, ticker_id, {0} AS metrics FROM {1} WHERE {0} IS NOT NULL)").format(
            column, table
        )

    def covered_sessions(
        self, context: dg.AssetExecutionContext, connection: Connection, predecessors: Sequence[str]
    ) -> list[dt.date]:
        """The wanted sessions that each predecessor has published, ascending.

        A range, also of one, may have none, because chains exist only where they were archived, and says so.

        Raises:
            OrderViolation: a session asked for alone is missing.
        """
        wanted = selected_sessions(context)
        first = manifest.sessions(manifest.published(connection, predecessors[0]))
        sessions = wanted if context.has_partition_key or first & set(wanted) else []
        for predecessor in predecessors if sessions else ():
            sessions = published_sessions(connection, self.asset, predecessor, sessions)
        missing = unpublished(wanted, sessions)
        if missing:
            context.log.warning(
                f"{self.asset} covers {len(sessions)} of {len(wanted)} sessions;"
                f" no {' or '.join(predecessors)} of {named_sessions(missing)}."
            )
        return sessions

    def materialize(
        self,
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        sessions: Sequence[dt.date],
        symbols: Sequence[str],
        settings: Carry,
        inputs: Mapping[str, str],
        prepare: Prepare,
    ) -> dg.MaterializeResult:
        """Compute and publish each session, oldest first, unless it is current.

        symbols: only these; empty: all active symbols.
        inputs: `inputs_as_read` of before the step read anything.
        """
        with database.connect() as connection:
            held = held_sources(connection, DEALER_SOURCES)
            everyone, asked = active_symbols(connection), active_symbols(connection, symbols)
            chains = manifest.published(connection, "options_chains")
            done = manifest.published(connection, self.asset)
        loads: list[manifest.Load] = []
        kept: list[manifest.Load] = []
        progress, rows = ProgressLog(context.log, self.asset, len(sessions)), 0
        for session in sessions:
            key = session.isoformat()
            with database.connect() as connection:
                computation = prepare(connection, session, list(everyone.values()))
                whole = [*held[key], *computation.sources]
                sources = only_symbols(whole, list(symbols)) if symbols else whole
                # Where only some symbols are asked for, a whole session that is current has them.
                if self.is_current(connection, session, done.get(key), [whole, sources], settings):
                    kept.append(done[key])
                    continue
                prices: dict[str, float] = chains[key].details["underlying_prices"]
                carry = Carry(settings.rate, settings.dividend_yield)
                snapshot = SNAPSHOTS.get(
                    context.run.run_id,
                    (database.database, session, repr((held[key], asked, prices, carry))),
                    partial(read_valued, database.database, session, asked, prices, carry),
                )
                frame = computation.compute(snapshot)
                details = {"contracts": len(snapshot.chain), "settings": asdict(settings)}
                details |= {"only": list(symbols)} if symbols else {}
                load = self._publish(context, database, connection, session, frame, sources, details)
            loads.append(load)
            rows += load.rows_written
            progress(len(loads) + len(kept), rows)
        context.log.info(f"{len(loads)} sessions computed, {len(kept)} unchanged.")
        return materialized_sessions(
            context, loads, inputs, unchanged=kept, progress=progress, database=database
        )

    def is_current(
        self,
        connection: Connection,
        session: dt.date,
        load: manifest.Load | None,
        sources: Sequence[Sources],
        settings: Carry,
    ) -> bool:
        """Whether the session was made from one of these with these settings, and the table still holds it."""
        return (
            load is not None
            and load.code_version == self.model_version
            and load.sources in sources
            and load.details.get("settings") == asdict(settings)
            and load.content_hash == self.own_hash(connection, session)
        )

    def own_hash(self, connection: Connection, session: dt.date) -> str:
        """Content hash of what this step has written of the session."""
        close = session_close(session)
        return content_hash(connection, self.own_part, close, close, present=[self.column]).hash

    def _publish(
        self,
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        connection: Connection,
        session: dt.date,
        frame: pl.DataFrame,
        sources: Sources,
        details: dict[str, Any],
    ) -> manifest.Load:
        """Make the session's column equal to the frame, in the connection's transaction, and record it."""
        close = session_close(session)
        rows = frame.select(
            "ticker_id", self.column, time=pl.lit(close), model_version=pl.lit(self.model_version)
        )
        staged = stage(connection, DAILY_SNAPSHOTS, rows)
        audit_stage(connection, self.audits, self._rows_of(staged), database.audit_parameters())
        # A row that an earlier step made keeps that step's model version.
        upsert_staged(connection, DAILY_SNAPSHOTS, staged, [self.column], inserted=["model_version"])
        if "only" not in details:
            self._clear_others(connection, close)
        statuses = dict(frame["status"].value_counts(sort=True).iter_rows())
        load = manifest.Load(
            self.asset, session.isoformat(),
            sources,
            rows_read=len(frame), rows_written=len(frame),
            details={"statuses": statuses, **details},
            content_hash=self.own_hash(connection, session),
            code_version=self.model_version, run_id=context.run.run_id,
        )  # fmt: skip
        manifest.record(connection, load)
        return load

    def _clear_others(self, connection: Connection, close: dt.datetime) -> None:
        """Metrics of symbols that are no longer active don't outlive a recomputation of the session."""
        connection.execute(
            sql.SQL(
                """
                UPDATE public.daily_snapshots d SET {0} = NULL WHERE d.time = %s AND d.{0} IS NOT NULL
                  AND NOT EXISTS (SELECT 1 FROM pg_temp.stage_daily_snapshots s WHERE s.ticker_id = d.ticker_id)
                """
            ).format(sql.Identifier(self.column)),
            (close,),
        )


class SnapshotCache:
    """Snapshots that a run has read and valued: every step that asks for the same session shares one.

    Holds those of one run and, beside the newest, at most `contracts` contracts (some 200 bytes each).
    """

    def __init__(self, contracts: int) -> None:
        self._contracts = contracts
        self._run = ""
        self._held: OrderedDict[Hashable, OptionSnapshot] = OrderedDict()

    def get(self, run: str, key: Hashable, read: Callable[[], OptionSnapshot]) -> OptionSnapshot:
        """The run's snapshot under that key, read if it isn't held; the longest unused ones make room."""
        if run != self._run:
            self._held.clear()
            self._run = run
        if key not in self._held:
            self._held[key] = read()
        self._held.move_to_end(key)
        while len(self._held) > 1 and sum(len(one.chain) for one in self._held.values()) > self._contracts:
            self._held.popitem(last=False)
        return self._held[key]


SNAPSHOTS = SnapshotCache(contracts=600_000)


def read_valued(
    database: Database,
    session: dt.date,
    symbols: Mapping[str, str],
    vendor_prices: Mapping[str, float],
    carry: Carry,
) -> OptionSnapshot:
    """The session's contracts of these symbols (with their ticker ids), valued at its spots."""
    close, ids = session_close(session), list(symbols.values())
    with database.connect() as connection:
        contracts = read_contracts(connection, ids, close)
        closes = read_closes(connection, ids, session)
    expiries = expiry_closes(contracts["expiration_date"].unique())
    return read_snapshot(
        contracts.join(expiries, on="expiration_date", how="left", maintain_order="left"),
        spots(symbols, closes, vendor_prices),
        snapshot_time=close,
        session=session,
        carry=carry,
    )


def spots(
    symbols: Mapping[str, str], closes: Mapping[str, float], vendor_prices: Mapping[str, float]
) -> pl.DataFrame:
    """Spot of each symbol: the session's close, else the vendor's underlying price in the archived snapshot."""
    rows = [
        (ticker_id, symbol, closes[ticker_id], "ohlcv")
        if ticker_id in closes
        else (
            ticker_id,
            symbol,
            vendor_prices.get(symbol),
            "vendor_underlying_price" if symbol in vendor_prices else None,
        )
        for symbol, ticker_id in symbols.items()
    ]
    return pl.DataFrame(
        rows,
        schema={"ticker_id": pl.String, "symbol": pl.String, "spot": pl.Float64, "spot_source": pl.String},
        orient="row",
    )


def common_audits(asset: str, model_version: str) -> tuple[Audit, Audit, Audit]:
    """That the sessions are loaded, that the newest covers the active symbols, and that all are current."""
    named = asset.replace("_", " ")
    return (
        Audit(
            f"{asset}_are_loaded",
            f"Every session whose {named} are published still has them.",
            violations="""
                SELECT m.partition_key AS session FROM kapman_meta.load_manifest m
                WHERE m.asset = %(asset)s AND m.partition_key <> '' AND m.rows_written > 0
                  AND NOT EXISTS (SELECT 1 FROM {relation} s
                                  WHERE (s.time AT TIME ZONE 'America/New_York')::date::text = m.partition_key)
            """,
            facts="""
                SELECT count(*) AS rows, count(DISTINCT time) AS sessions,
                       count(*) FILTER (WHERE metrics->>'status' = 'FULL') AS full,
                       count(*) FILTER (WHERE metrics->>'status' = 'LIMITED') AS limited,
                       count(*) FILTER (WHERE metrics->>'status' = 'INVALID') AS invalid
                FROM {relation} s
            """,
            parameters={"asset": asset},
        ),
        Audit(
            f"{asset}_cover_active_symbols",
            "In the newest session every active symbol has a row, valid or not, and at least one is FULL.",
            violations="""
                WITH newest AS (SELECT time, ticker_id, metrics FROM {relation} s
                                WHERE time = (SELECT max(time) FROM {relation} n))
                SELECT DISTINCT w.symbol, 'no row' AS problem
                FROM public.watchlists w JOIN public.tickers t USING (symbol)
                WHERE w.active AND EXISTS (SELECT 1 FROM newest)
                  AND NOT EXISTS (SELECT 1 FROM newest WHERE ticker_id = t.id)
                UNION ALL
                SELECT NULL, 'no row is FULL' FROM newest
                HAVING count(*) > 0 AND count(*) FILTER (WHERE metrics->>'status' = 'FULL') = 0
            """,
            facts="""
                SELECT max(time) AS newest,
                       count(*) FILTER (WHERE metrics->>'status' = 'FULL') AS full,
                       count(*) FILTER (WHERE metrics->>'status' = 'LIMITED') AS limited,
                       count(*) FILTER (WHERE metrics->>'status' = 'INVALID') AS invalid
                FROM {relation} s WHERE time = (SELECT max(time) FROM {relation} n)
            """,
            severity=dg.AssetCheckSeverity.WARN,
            blocking=False,
        ),
        currency_audit(
            f"{asset}_are_current",
            asset,
            DEALER_SOURCES,
            model_version,
            f"{named.capitalize()} were computed from the option chains and closes that the database holds now,"
            " for the symbols that are active now.",
        ),
    )
