"""The promise: half days, changes of the clock and unexpected closures need nobody's attention: sessions end
when the exchange closes, a partition is there when its session is over, and a day without one has none."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg import sql

from kapman_assets.partitions import SESSIONS as PARTITIONS
from kapman_assets.partitions import session_partitions
from kapman_resources.sessions import (
    is_session,
    last_completed_session,
    retained_sessions,
    session_close,
    sessions_between,
)
from kapman_simulator import MarketOptions, Simulator
from tests.conftest import PROJECT
from tests.faults.conftest import WATCHLIST
from tests.integration.conftest import TODAY, platform_on


@pytest.mark.parametrize(
    ("today", "closes"),
    [
        # Thanksgiving is no session, the day after it ends at 13:00 in New York.
        pytest.param("2026-11-27", ["11-24 21:00", "11-25 21:00", "11-27 18:00"], id="half day"),
        # The clock goes forward on Sunday, 8 March: the close comes an hour earlier in UTC.
        pytest.param("2026-03-10", ["03-06 21:00", "03-09 20:00", "03-10 20:00"], id="daylight saving begins"),
    ],
)  # fmt: skip
def test_a_repave_over_an_edge_of_the_clock(
    server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, today: str, closes: list[str]
) -> None:
    """The command that users type, on that day: every snapshot is at its session's close, every check passes."""
    day = dt.date.fromisoformat(today)
    first = sessions_between(day - dt.timedelta(days=10), day)[-3]
    market = MarketOptions(symbols=60, sessions=3, underlyings=1, contracts=40, today=day)
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    shutil.copy(PROJECT / "dagster_home" / "dagster.yaml", dagster_home)
    tags = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": today,
    }
    with (
        Simulator(market) as vendor,
        platform_on(server_url, vendor.environment, tmp_path, {"test": WATCHLIST}) as platform,
    ):
        command = ["-m", "dagster", "job", "execute", "-m", "kapman_assets", "-j", "repave"]
        run = subprocess.run(
            [sys.executable, *command, "--tags", json.dumps(tags)],
            cwd=PROJECT,
            env={**os.environ, "KAPMAN_AS_OF": today, "DAGSTER_HOME": str(dagster_home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-3000:]
        with platform.connect() as connection:
            found = {
                table: [
                    f"{time:%m-%d %H:%M}"
                    for (time,) in connection.execute(
                        sql.SQL("SELECT DISTINCT time FROM {} ORDER BY 1").format(sql.Identifier(table))
                    )
                ]
                for table in ("daily_snapshots", "options_chains")
            }
            bars = connection.execute("SELECT array_agg(DISTINCT date ORDER BY date) FROM ohlcv").fetchone()
    assert found == {"daily_snapshots": closes, "options_chains": closes[-1:]}
    assert bars == (sessions_between(first, day),)


def test_the_exchange_closed_unexpectedly() -> None:
    """Case `exchange closed unexpectedly`: 9 January 2025 has no partition, and no check misses its bars."""
    mourning = dt.date(2025, 1, 9)
    assert not is_session(mourning)
    assert not PARTITIONS.has_partition_key(mourning.isoformat())
    assert mourning not in retained_sessions(TODAY)
    assert {"2025-01-08", "2025-01-10"} <= set(PARTITIONS.get_partition_keys())


@pytest.mark.parametrize(
    ("session", "before"),
    [
        ("2026-11-20", "2026-11-19"),  # winter: 16:00 in New York, the close itself
        ("2026-07-06", "2026-07-02"),  # summer: 17:00, an hour after it; the 3rd is a holiday
        ("2026-11-27", "2026-11-25"),  # a half day waits as long as any other
        ("2026-03-09", "2026-03-06"),  # the first session of summer time
        ("2026-11-02", "2026-10-30"),  # the first session of winter time
    ],
)
def test_a_session_is_over_at_21_utc(session: str, before: str) -> None:
    """Case `21:00 UTC`: never before the close; the clock and Dagster's partitions change at the same second."""
    day = dt.date.fromisoformat(session)
    over = dt.datetime.combine(day, dt.time(21), dt.UTC)
    partitions = session_partitions(day, pinned=False)
    for moment, last in ((over - dt.timedelta(seconds=1), before), (over, session)):
        assert last_completed_session(moment).isoformat() == last
        assert partitions.get_partition_keys(current_time=moment)[-1] == last
    assert session_close(day) <= over
