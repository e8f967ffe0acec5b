"""Dagster's event log on SQLite, at a fraction of the cost for runs over many partitions.

A repave of two years plans and records thousands of partition events. Dagster's own storage opens a
new engine, a new connection and a new transaction for each: compiling its statements anew, and, by closing
the last connection, checkpointing SQLite's write-ahead log every time. This one keeps the connections
open and stores a batch of events in one transaction. What is durable stays durable: every commit is
still synced to disk before the event counts as stored (`PRAGMA synchronous` is left at FULL).

Configured in dagster_home/dagster.yaml; figures: benchmarks/event_log.py.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

_INDEX = "index"
_BUSY_SECONDS = 60
_OPEN_SHARDS = 8  # one per recent run and the index; a server that lives for weeks closes the others


class PartitionedRunEventLog(SqliteEventLogStorage):
    """Dagster's SQLite event log with open connections and batched writes; files and schema are Dagster's."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._batch = threading.local()
        # Dagster batches the events of a range only when asked to, by this variable.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
        super().__init__(base_dir, inst_data)
        self._db_lock = threading.RLock()  # type: ignore[assignment]  # a batch holds two shards at once

    @classmethod
    def config_type(cls) -> Any:
        """`base_dir`: folder of the databases, by default `history/runs` in DAGSTER_HOME, as Dagster has it."""
        return {"base_dir": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PartitionedRunEventLog":
        """As configured in dagster.yaml."""
        base_dir = config_value.get("base_dir") or str(Path(os.environ["DAGSTER_HOME"]) / "history" / "runs")
        return cls(base_dir, inst_data)

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store one event, and tell those who watch its run unless it is part of a batch."""
        super().store_event(event)
        if not getattr(self._batch, "held", {}):
            self._announce(event.run_id)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store the events of one run in one transaction a database: all of them or none."""
        if not events:
            return
        shards = (events[0].run_id, _INDEX)
        with self._connect(shards[0]) as run, self._connect(shards[1]) as index:
            self._batch.held = dict(zip(shards, (run, index), strict=True))
            try:
                for event in events:
                    self.store_event(event)
            finally:
                del self._batch.held
        self._announce(shards[0])

    def _announce(self, run_id: str) -> None:
        """Wake the live log of a run's page, which watches the database's file.

        While connections stay open a commit changes the write-ahead log alone, never that file.
        """
        os.utime(self.path_for_shard(run_id))

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        held = getattr(self._batch, "held", {})
        if shard in held:
            yield held[shard]
            return
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        """The open engine of a shard; called with the lock held."""
        engine = self._engines.get(shard)
        # A run's file may have been deleted (a wiped run, `make clean`): its open connection would write
        # into the void.
        if engine is None or not Path(self.path_for_shard(shard)).exists():
            engine = sqlalchemy.create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                max_overflow=1,
                connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
            )
            self._initdb(engine)
            self._engines[shard] = engine
        self._engines.move_to_end(shard)
        while len(self._engines) > _OPEN_SHARDS:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def dispose(self) -> None:
        """Close the connections."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()
