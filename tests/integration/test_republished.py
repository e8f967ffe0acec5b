"""The promise: what the vendor republishes, or brings late, is noticed, loaded once, and carried through.

A simulated vendor's bucket is written to as the vendor would; the sensor is evaluated as the daemon does.
"""

import datetime as dt
import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import boto3  # type: ignore[import-untyped]
import dagster as dg
import polars as pl
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from kapman_assets import defs
from kapman_assets.flat_file_changes import CHECK, FileChange
from kapman_assets.sensors import is_left_to_daily_load, republished_files
from kapman_resources.content_hash import database_hashes
from kapman_resources.flat_files import key_of
from kapman_resources.settings import settings
from kapman_simulator import Simulator
from tests.integration.conftest import SMALL_MARKET, TODAY, Platform, platform_on

FIRST = dt.date(2026, 10, 12)
CHANGED = dt.date(2026, 11, 11)
LATE = dt.date(2026, 11, 16)
UNCHANGED, RELOADED = dt.date(2026, 11, 4), dt.date(2026, 11, 5)
DERIVED = {"daily_snapshots_are_current", "dealer_metrics_are_current"}


class Bucket:
    """The simulated vendor's bucket, to be written to."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._client = boto3.client(
            "s3",
            endpoint_url=environment["KAPMAN_S3_ENDPOINT"],
            region_name="us-east-1",
            aws_access_key_id=environment["KAPMAN_S3_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["KAPMAN_S3_SECRET_ACCESS_KEY"],
            config=Config(request_checksum_calculation="when_required"),
        )
        self.name = environment["KAPMAN_S3_BUCKET"]

    def rows(self, session: dt.date) -> pl.DataFrame:
        """The session's file as text."""
        body = self._client.get_object(Bucket=self.name, Key=key_of(session))["Body"].read()
        return pl.read_csv(io.BytesIO(gzip.decompress(body)), infer_schema=False)

    def put(self, session: dt.date, rows: pl.DataFrame) -> None:
        """Publish the session's file, or publish it again."""
        body = gzip.compress(rows.write_csv().encode(), mtime=0)
        self._client.put_object(Bucket=self.name, Key=key_of(session), Body=body)

    def delete(self, session: dt.date) -> None:
        """As if the file had not appeared yet."""
        self._client.delete_object(Bucket=self.name, Key=key_of(session))


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """The bucket of a vendor of this module's own."""
    with Simulator(SMALL_MARKET) as simulator:
        yield Bucket(simulator.environment)


@pytest.fixture(scope="module")
def loaded(server_url: str, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A repaved platform: `CHANGED` was first published without NVDA, `LATE` not at all.

    Shared: each test republishes sessions of its own and leaves everything current.
    """
    bucket.put(CHANGED, bucket.rows(CHANGED).filter(pl.col("ticker") != "NVDA"))
    bucket.delete(LATE)
    with platform_on(server_url, bucket.environment, tmp_path_factory.mktemp("platform")) as fresh:
        assert fresh.run("repave").success
        yield fresh


def without_and_raised(rows: pl.DataFrame, gone: str, raised: str) -> pl.DataFrame:
    """The file without one symbol, and with another close (the day's low) for another."""
    close = pl.when(ticker=raised).then(pl.col("low")).otherwise("close")
    return rows.filter(pl.col("ticker") != gone).with_columns(close=close)


def tick(platform: Platform, cursor: str | None = None) -> Any:
    """One evaluation of the sensor; its events are stored as the daemon stores them."""
    with dg.build_sensor_context(
        instance=platform.instance, cursor=cursor, definitions=defs, resources=dict(defs.resources or {})
    ) as context:
        data = republished_files.evaluate_tick(context)
    for event in data.asset_events:
        platform.instance.report_runless_asset_event(event)
    return data


def asked_for(data: Any) -> tuple[str, str]:
    """First and last session of the one run that a tick asks for."""
    (request,) = data.run_requests
    return tuple(request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))


def hashes(platform: Platform) -> list[tuple[str, str, int]]:
    with platform.connect() as connection:
        return database_hashes(connection)


def loads(platform: Platform, asset: str = "ohlcv") -> dict[str, tuple[Any, ...]]:
    """Content hash and time of every published session."""
    with platform.connect() as connection:
        rows = connection.execute(
            "SELECT partition_key, content_hash, loaded_at FROM kapman_meta.load_manifest"
            " WHERE asset = %s AND partition_key <> ''",
            (asset,),
        ).fetchall()
    return {key: rest for key, *rest in rows}  # type: ignore[misc]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def last_event(platform: Platform, asset: str, session: dt.date) -> dict[str, Any]:
    """Metadata of the session's newest materialization."""
    found = platform.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[str(session)]), limit=1
    )
    materialization = found.records[0].asset_materialization
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}


def staleness(platform: Platform) -> Callable[[str, dt.date | None], str]:
    """What Dagster's interface would say of an asset's partition."""
    resolver = CachingStaleStatusResolver(
        platform.instance,
        defs.resolve_asset_graph(),
        loading_context=LoadingContextForTest(platform.instance),
    )
    return lambda asset, session: (
        resolver.get_status(dg.AssetKey(asset), str(session) if session else None).value
    )


def test_changed_files_are_noticed_loaded_once_and_carried_through(loaded: Platform, bucket: Bucket) -> None:
    """One row changed, one added, one removed, and a file that fills a hole: one run, these partitions alone,
    and in the end the content of a repave from the same files."""
    quiet = tick(loaded)
    assert (quiet.run_requests, quiet.asset_events) == ([], [])
    assert "made from the files that the vendor offers" in quiet.skip_message
    before = loads(loaded)

    nvda = moved(bucket.rows(TODAY), CHANGED).filter(ticker="NVDA")
    changed = without_and_raised(bucket.rows(CHANGED), gone="AMZN", raised="AAPL")
    bucket.put(CHANGED, pl.concat([changed, nvda]))
    bucket.put(LATE, moved(bucket.rows(TODAY), LATE))
    noticed = tick(loaded, quiet.cursor)
    assert asked_for(noticed) == (str(CHANGED), str(TODAY))
    (red,) = noticed.asset_events
    assert (red.check_name, red.passed, red.severity.value) == (CHECK, False, "WARN")
    assert red.description == "1 files republished, 1 late."
    assert f"| {CHANGED} | republished |" in red.metadata["examples"].value
    again = tick(loaded, noticed.cursor)
    assert (again.run_requests, again.asset_events) == ([], [])
    assert f"asked for already: {CHANGED}, {LATE}" in again.skip_message

    result = loaded.run("refresh", first=CHANGED, last=TODAY)
    after = loads(loaded)
    assert {s for s in after if after[s] != before.get(s)} == {str(CHANGED), str(LATE)}
    diff = {"rows_added": 1, "rows_changed": 1, "rows_removed": 1}
    details = loaded.value(
        "SELECT details FROM kapman_meta.load_manifest WHERE asset = 'ohlcv' AND partition_key = %s",
        str(CHANGED),
    )
    assert details.items() >= diff.items()
    assert last_event(loaded, "ohlcv", CHANGED).items() >= diff.items()
    assert all(checks(result)[name].passed for name in (CHECK, *DERIVED))

    done = tick(loaded, again.cursor)
    assert (done.run_requests, [event.passed for event in done.asset_events]) == ([], [True])
    refreshed = hashes(loaded)
    loaded.run("repave")
    assert hashes(loaded) == refreshed


def moved(rows: pl.DataFrame, session: dt.date) -> pl.DataFrame:
    """The rows of `TODAY`'s file as those of another session (of the same winter time)."""
    midnight = int(rows["window_start"][0]) - (TODAY - session).days * 86_400 * 10**9
    return rows.with_columns(window_start=pl.lit(str(midnight)))


def test_downstream_is_stale_until_it_is_recomputed(loaded: Platform, bucket: Bucket) -> None:
    """After the bars alone were reloaded: the checks name every session that looks back on them, and so does
    Dagster for the session itself; what was loaded again without a change makes nothing stale."""
    stale = staleness(loaded)
    assert {
        stale(asset, TODAY) for asset in ("ohlcv", "options_chains", "daily_snapshots", "dealer_metrics")
    } == {"FRESH"}
    for session in (RELOADED, TODAY):
        bucket.put(session, without_and_raised(bucket.rows(session), gone="AMZN", raised="AAPL"))
        loaded.materialize("ohlcv", partition=session)
    loaded.materialize("ohlcv", partition=str(UNCHANGED))  # unchanged
    stale = staleness(loaded)
    assert last_event(loaded, "ohlcv", UNCHANGED)["unchanged"] is True
    assert stale("daily_snapshots", UNCHANGED) == "FRESH"
    assert stale("daily_snapshots", RELOADED) == stale("dealer_metrics", TODAY) == "STALE"
    assert stale("options_chains", TODAY) == "FRESH"  # its place in the order comes after the bars, no more

    found = checks(loaded.run("validate"))
    since = {s for s in loads(loaded, "daily_snapshots") if s >= str(RELOADED)}
    snapshots, dealer = (found[name] for name in sorted(DERIVED))
    assert (snapshots.passed, dealer.passed) == (False, False)
    assert snapshots.metadata["violations"].value == len(since)
    assert f"| {RELOADED} | ohlcv of {RELOADED} |" in snapshots.metadata["examples"].value
    assert f"| {TODAY} | ohlcv of {TODAY} |" in dealer.metadata["examples"].value

    found = checks(loaded.run("refresh", first=FIRST, last=TODAY))
    stale = staleness(loaded)
    assert stale("daily_snapshots", RELOADED) == stale("dealer_metrics", TODAY) == "FRESH"
    assert all(found[name].passed for name in DERIVED)


def test_a_refresh_of_what_is_current_writes_nothing(loaded: Platform, bucket: Bucket) -> None:
    """Nothing is computed again for the sake of it; rows that one step made don't confuse the other."""
    # Without its bar MSFT has a row of `dealer_metrics` alone.
    bucket.put(TODAY, without_and_raised(bucket.rows(TODAY), gone="MSFT", raised="AAPL"))
    loaded.run("refresh", first=FIRST, last=TODAY)
    before = {asset: loads(loaded, asset) for asset in ("ohlcv", "daily_snapshots", "dealer_metrics")}
    for config in (None, {"ops": {"daily_snapshots": {"config": {"symbols": ["AAPL"]}}}}):
        loaded.run("refresh", first=FIRST, last=TODAY, config=config)
        assert {asset: loads(loaded, asset) for asset in before} == before
    assert last_event(loaded, "daily_snapshots", TODAY)["unchanged"] is True

    (loaded.home / "watchlists" / "test.txt").write_text("AAPL\nMSFT\nAMZN\n")
    loaded.materialize("watchlists")
    found = checks(loaded.run("validate"))["daily_snapshots_are_current"]
    assert found.metadata["violations"].value == len(before["daily_snapshots"])
    assert f"| {FIRST} | watchlists |" in found.metadata["examples"].value
    refreshed = loaded.run("refresh", first=FIRST, last=TODAY)
    assert checks(refreshed)["daily_snapshots_are_current"].passed
    assert loads(loaded) == before["ohlcv"]


def test_the_newest_file_is_left_to_the_daily_load_for_an_hour() -> None:
    """Friday's file appears on Saturday about 11:00 New York: the schedule of 11:30 takes it, tickers first."""
    friday = FileChange(dt.date(2026, 11, 20), "etag")
    republished = replace(friday, loaded_etag="other")
    for clock, left in (("11:05", True), ("12:29", True), ("12:30", False)):
        now = dt.datetime.fromisoformat(f"2026-11-21T{clock}:00-05:00")
        assert is_left_to_daily_load(friday, now) is left, clock
        assert not is_left_to_daily_load(republished, now)
        assert not is_left_to_daily_load(replace(friday, session=LATE), now)


def test_the_sensor_says_why_it_asks_for_nothing(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """No database, no bars, no vendor: a sentence in the tick, never a traceback; the check warns and goes on."""
    assert "has no database" in tick(platform).skip_message
    platform.materialize("schema")
    assert "has no bars yet" in tick(platform).skip_message
    platform.run("repave", first=TODAY)
    assert tick(platform).cursor == "{}"
    monkeypatch.setenv("KAPMAN_S3_ENDPOINT", "http://127.0.0.1:9")
    settings.cache_clear()
    unreachable = tick(platform, '{"2026-11-11": "kept"}')
    assert "can't be reached" in unreachable.skip_message
    assert unreachable.cursor == '{"2026-11-11": "kept"}'
    result = platform.run("validate")
    assert result.success
    assert "can't be reached" in (checks(result)[CHECK].description or "")
