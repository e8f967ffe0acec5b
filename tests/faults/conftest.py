"""A small platform that every fault is injected into, and what must hold of it whatever happens."""

import datetime as dt
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from kapman_assets import daily_snapshots, dealer_metrics, defs, resources, volatility_metrics
from kapman_resources import flat_files, manifest
from kapman_resources.content_hash import content_hash, database_hashes
from kapman_resources.database import Connection, Database
from kapman_resources.publish import relation
from kapman_resources.sessions import session_close, sessions_between
from kapman_resources.structure import structure_fingerprint
from kapman_resources.tables import OHLCV, OPTIONS_CHAINS, TABLES
from kapman_resources.vendor_api import Patience, VendorApi
from kapman_simulator import MarketOptions, Simulator
from tests.integration.conftest import TODAY, Platform, platform_on

# Two chains, one symbol without a chain, six sessions in one chunk: the least that has a whole and a part.
MARKET = MarketOptions(symbols=60, sessions=6, underlyings=2, contracts=40, today=TODAY)
WATCHLIST = "AAPL\nMSFT\nAMZN\n"
SESSIONS = sessions_between(TODAY - dt.timedelta(days=14), TODAY)[-MARKET.sessions :]
METRICS = {"dealer_metrics": dealer_metrics.STEP, "volatility_metrics": volatility_metrics.STEP}
"""Steps with a column in the rows of `daily_snapshots`."""
# Each asset's table, and the columns of it that are the asset's own.
PARTITIONED = {
    "options_chains": OPTIONS_CHAINS,
    "daily_snapshots": daily_snapshots.OWN_PART,
    **{asset: step.own_part for asset, step in METRICS.items()},
}

Hashes = list[tuple[str, str, int]]


def error_of(result: dg.ExecuteInProcessResult, step: str) -> str:
    """The platform's own sentence for a failed step, else the innermost error."""
    failure = result.failure_data_for_node(step)
    assert failure is not None and failure.error is not None
    error = failure.error
    while error.cause and not error.message.startswith("kapman_resources."):
        error = error.cause
    return error.message


def range_tags(first: dt.date = SESSIONS[0], last: dt.date = SESSIONS[-1]) -> dict[str, str]:
    """The tags by which a run covers these sessions."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def hashes(platform: Platform) -> Hashes:
    """(table, hash, rows) of every table of the contract."""
    with platform.connect() as connection:
        return database_hashes(connection)


def materialize(
    platform: Platform, asset: str, *, refetch: bool = False, raise_on_error: bool = False
) -> dg.ExecuteInProcessResult:
    """One asset with its checks, over all of the market's sessions if it is `ohlcv` or `daily_snapshots`."""
    config = {"ops": {"options_chains": {"config": {"refetch": True}}}} if refetch else None
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=platform.instance,
        asset_selection=[dg.AssetKey(asset)],
        tags={} if asset in {"schema", "tickers", "watchlists"} else range_tags(),
        run_config=config,
        raise_on_error=raise_on_error,
    )


def sharing_rows(asset: str) -> tuple[str, ...]:
    """The assets that lose what they have when this one is withdrawn."""
    return tuple(METRICS) if asset == "daily_snapshots" else ()


def withdraw(platform: Platform, asset: str) -> None:
    """Take the platform back to before this asset was ever loaded; its archive goes too.

    Tickers stay, because bars stand on them, but every one of them is wrong.
    """
    assets = [asset, *sharing_rows(asset)]
    with platform.connect() as connection:
        if asset == "tickers":
            connection.execute("UPDATE tickers SET name = 'wrong'")
            return
        if asset in METRICS:
            connection.execute(
                sql.SQL("UPDATE daily_snapshots SET {} = NULL").format(sql.Identifier(METRICS[asset].column))
            )
        else:
            connection.execute(sql.SQL("DELETE FROM {}").format(relation(TABLES[asset])))
        connection.execute("DELETE FROM kapman_meta.load_manifest WHERE asset = ANY (%s)", (assets,))
        connection.execute("DELETE FROM kapman_meta.quarantine WHERE asset = ANY (%s)", (assets,))
    if asset == "options_chains":
        for folder in (platform.home / "vault").glob("*/options"):
            shutil.rmtree(folder)


def assert_nothing_partial(platform: Platform, structure: str) -> None:
    """Every published partition is whole and is what the manifest says; nothing else is in the tables."""
    with platform.connect() as connection:
        assert structure_fingerprint(connection) == structure
        for asset in ("tickers", "watchlists"):
            for load in manifest.published(connection, asset).values():
                assert content_hash(connection, TABLES[asset]).hash == load.content_hash, asset
        _assert_bars(connection)
        for asset, table in PARTITIONED.items():
            loads = manifest.published(connection, asset)
            for session in manifest.sessions(loads):
                close = session_close(session)
                found = content_hash(connection, table, close, close)
                assert found.hash == loads[session.isoformat()].content_hash, (asset, session)
            times = connection.execute(
                sql.SQL("SELECT DISTINCT time FROM {}").format(relation(table))
            ).fetchall()
            recorded = {session_close(session) for session in manifest.sessions(loads)}
            # Metrics of chains may stand for symbols that have no snapshot of their own, never the other way round.
            if asset not in METRICS:
                assert {time for (time,) in times} <= recorded, asset
        unbalanced = connection.execute(
            """
            SELECT asset, partition_key FROM kapman_meta.load_manifest m
            WHERE rows_read <> rows_written + rows_quarantined
                  + (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(rows_ignored))
               OR rows_quarantined <> (SELECT count(*) FROM kapman_meta.quarantine q
                                       WHERE q.asset = m.asset AND q.partition_key = m.partition_key)
            """
        ).fetchall()
        assert unbalanced == []


def _assert_bars(connection: Connection) -> None:
    """Each session of `ohlcv` has exactly the rows, byte for byte, whose hash its manifest holds."""
    loads = manifest.published(connection, "ohlcv")
    dates = connection.execute("SELECT DISTINCT date FROM ohlcv").fetchall()
    assert {date.isoformat() for (date,) in dates} <= set(loads)
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in OHLCV.recorded)
    for key, load in loads.items():
        query = sql.SQL(
            "COPY (SELECT {} FROM public.ohlcv WHERE date = {} ORDER BY ticker_id) TO STDOUT (FORMAT binary)"
        ).format(columns, sql.Literal(key))
        with connection.cursor().copy(query) as copy:
            rows = b"".join(bytes(block) for block in copy)
        assert hashlib.sha256(rows[19:-2]).hexdigest() == load.content_hash, key


@dataclass
class Scene:
    """A platform with everything loaded, its vendor, and what it holds as long as nothing disturbs it."""

    platform: Platform
    vendor: Simulator
    undisturbed: Hashes
    structure: str

    def repave(self) -> dg.ExecuteInProcessResult:
        """Job `repave` over the market's sessions."""
        return self.platform.run("repave", first=SESSIONS[0], last=SESSIONS[-1], raise_on_error=False)

    def assert_whole(self) -> None:
        """See `assert_nothing_partial`."""
        assert_nothing_partial(self.platform, self.structure)

    def assert_undisturbed(self) -> None:
        """The content is that of a platform that never saw a fault."""
        self.assert_whole()
        assert hashes(self.platform) == self.undisturbed


@pytest.fixture(scope="session")
def market() -> Iterator[Simulator]:
    """The vendor, in good health until a test says otherwise."""
    with Simulator(MARKET) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def loaded(server_url: str, market: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The platform of a module's tests, repaved once."""
    home: Path = tmp_path_factory.mktemp("platform")
    with platform_on(server_url, market.environment, home, {"test": WATCHLIST}) as platform:
        yield repaved_scene(platform, market)


def repaved_scene(platform: Platform, vendor: Simulator) -> Scene:
    """The scene of a platform that is repaved now, without any fault."""
    vendor.set_faults([])
    assert platform.run("repave", first=SESSIONS[0], last=SESSIONS[-1]).success
    with platform.connect() as connection:
        structure = structure_fingerprint(connection)
    return Scene(platform, vendor, hashes(platform), structure)


@pytest.fixture
def scene(loaded: Scene) -> Iterator[Scene]:
    """The loaded platform; a test that fails and leaves it disturbed doesn't take the next one with it."""
    if hashes(loaded.platform) != loaded.undisturbed:
        shutil.rmtree(loaded.platform.home / "vault")
        assert repaved_scene(loaded.platform, loaded.vendor).undisturbed == loaded.undisturbed
    yield loaded
    loaded.vendor.set_faults([])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same attempts as ever, with a second instead of a minute for each."""
    quick = Patience(backoff=0.02, timeout=1.0)
    monkeypatch.setattr(resources, "VendorApi", functools.partial(VendorApi, patience=quick))
    monkeypatch.setitem(flat_files._TIMEOUTS, "read_timeout", "1s")
    monkeypatch.setitem(
        flat_files._RETRIES,
        "backoff",
        {"init_backoff": dt.timedelta(milliseconds=20), "max_backoff": dt.timedelta(milliseconds=200)},
    )


@pytest.fixture
def small_disk() -> Iterator[Callable[[str], Path]]:
    """Makes file systems of a size, or skips where that isn't allowed."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        # Not under pytest's own folder, which the server's account can't enter.
        folder = Path(tempfile.mkdtemp(prefix="kapman-small-"))
        folder.chmod(0o755)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(folder)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            folder.rmdir()
            pytest.skip(f"a small file system can't be mounted here (that takes root): {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@contextmanager
def tablespace(database: Database, disk: Path) -> Iterator[None]:
    """Tablespace `tiny` on that disk, owned by the server's account."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        owner = Path(row[0]).stat()
        folder = disk / "tiny"
        folder.mkdir(mode=0o700)
        os.chown(folder, owner.st_uid, owner.st_gid)
        connection.execute(sql.SQL("CREATE TABLESPACE tiny LOCATION {}").format(sql.Literal(str(folder))))
        try:
            yield
        finally:
            connection.execute("DROP TABLESPACE tiny")
