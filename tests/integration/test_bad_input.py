"""Bad input ends in a clear error or a named warning, with nothing half-written and no secret shown."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from kapman_resources.settings import settings
from kapman_simulator import Simulator
from tests.integration.conftest import SMALL_MARKET, TODAY, Platform, platform_on


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    """The innermost message of a failed step."""
    error = result.failure_data_for_node(step).error
    while error.cause:
        error = error.cause
    return error.message


@pytest.fixture
def faulty(
    request: pytest.FixtureRequest, server_url: str, tmp_path: Path
) -> Iterator[tuple[Platform, Simulator]]:
    """A platform whose vendor has the fault that the test names."""
    with (
        Simulator(SMALL_MARKET, faults=[request.param]) as vendor,
        platform_on(server_url, vendor.environment, tmp_path) as platform,
    ):
        yield platform, vendor


@pytest.mark.parametrize("faulty", ["forbidden=options"], indirect=True)
def test_a_plan_without_option_snapshots(faulty: tuple[Platform, Simulator]) -> None:
    """403: the sentence names the entitlement; what was loaded before stays, options stay empty."""
    platform, _ = faulty
    result = platform.run("repave", raise_on_error=False)
    sentence = failure(result, "options_chains")
    assert "403" in sentence
    assert "MASSIVE_API_KEY" in sentence
    assert platform.value("SELECT count(*) FROM options_chains") == 0
    assert platform.value("SELECT count(*) FROM ohlcv") > 0


@pytest.mark.parametrize("faulty", ["truncated_gzip=2026-11-18"], indirect=True)
def test_a_truncated_file_publishes_nothing_of_the_base_load(faulty: tuple[Platform, Simulator]) -> None:
    """The sentence names the object; when the vendor has mended it the rerun converges."""
    platform, vendor = faulty
    result = platform.run("repave", raise_on_error=False)
    assert "2026-11-18" in failure(result, "ohlcv")
    assert platform.value("SELECT count(*) FROM ohlcv") == 0
    assert platform.value("SELECT count(*) FROM kapman_meta.load_manifest WHERE asset = 'ohlcv'") == 0
    vendor.set_faults([])
    assert platform.run("repave").success
    assert platform.value("SELECT count(DISTINCT date) FROM ohlcv") == 30


@pytest.mark.parametrize("faulty", ["missing_file=2026-11-18"], indirect=True)
def test_a_missing_file_leaves_a_visible_hole(faulty: tuple[Platform, Simulator]) -> None:
    """The range goes on; the coverage check is red and names the session; alone it fails."""
    platform, _ = faulty
    result = platform.run("repave")
    (coverage,) = (
        e for e in result.get_asset_check_evaluations() if e.check_name == "ohlcv_covers_every_session"
    )
    assert not coverage.passed
    assert "2026-11-18" in coverage.metadata["examples"].value
    assert "2026-11-18" not in platform.instance.get_materialized_partitions(dg.AssetKey("ohlcv"))
    alone = platform.materialize("ohlcv", partition="2026-11-18", raise_on_error=False)
    assert "no flat file for 2026-11-18" in failure(alone, "ohlcv")


@pytest.mark.parametrize("faulty", ["garbage_tickers"], indirect=True)
def test_garbage_rows_are_quarantined_and_counted(faulty: tuple[Platform, Simulator]) -> None:
    """Rows that are no rows never reach the table and are never lost."""
    platform, _ = faulty
    assert platform.run("repave").success
    kept = platform.value("SELECT sum(rows_quarantined) FROM kapman_meta.load_manifest WHERE asset = 'ohlcv'")
    assert kept == platform.value("SELECT count(*) FROM kapman_meta.quarantine WHERE asset = 'ohlcv'")
    unknown = platform.value(
        "SELECT sum((rows_ignored->>'unknown symbol')::int) FROM kapman_meta.load_manifest WHERE asset = 'ohlcv'"
    )
    assert kept + unknown > 0


@pytest.mark.parametrize("faulty", ["republished_file"], indirect=True)
def test_a_republished_file_replaces_exactly_its_session(faulty: tuple[Platform, Simulator]) -> None:
    """Another ETag: the next run reloads that session, says what changed, and leaves the others alone."""
    platform, _ = faulty
    platform.run("repave")
    before = dict(hashes_by_session(platform))
    result = platform.run("daily", first=TODAY)
    assert result.success
    after = dict(hashes_by_session(platform))
    assert {day for day in before if before[day] != after[day]} <= {str(TODAY)}


def hashes_by_session(platform: Platform) -> list[tuple[str, str]]:
    with platform.connect() as connection:
        return connection.execute(
            "SELECT partition_key, content_hash FROM kapman_meta.load_manifest WHERE asset = 'ohlcv' ORDER BY 1"
        ).fetchall()


@pytest.mark.parametrize(
    ("variable", "value", "step", "expected"),
    [
        ("KAPMAN_S3_SECRET_ACCESS_KEY", "MARKER-wrong-secret", "ohlcv", "KAPMAN_S3_SECRET_ACCESS_KEY"),
        ("MASSIVE_API_KEY", "MARKER-wrong-key", "tickers", "MASSIVE_API_KEY"),
        ("KAPMAN_API_URL", "http://127.0.0.1:9", "tickers", "doesn't answer"),
        ("KAPMAN_S3_BUCKET", "no-such-bucket", "ohlcv", "no-such-bucket"),
    ],
)
def test_wrong_credentials_and_addresses(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    variable: str, value: str, step: str, expected: str,
) -> None:  # fmt: skip
    """One sentence that names the variable to mend, never its secret value."""
    monkeypatch.setenv(variable, value)
    settings.cache_clear()
    result = platform.run("repave", raise_on_error=False)
    sentence = failure(result, step)
    assert expected in sentence
    run_log = "\n".join(str(event) for event in platform.instance.all_logs(result.run_id))
    captured = capfd.readouterr()
    assert "MARKER" not in sentence + run_log + captured.out + captured.err


def test_an_unknown_symbol_in_the_run_config(repaved: Platform) -> None:
    """Named, with what to do; nothing is loaded for the others either."""
    config = {"ops": {"options_chains": {"config": {"symbols": ["AAPL", "aapl", "ZZZZZ"]}}}}
    result = repaved.materialize("options_chains", partition=TODAY, config=config, raise_on_error=False)
    sentence = failure(result, "options_chains")
    assert "'aapl', 'ZZZZZ'" in sentence
    assert "data/watchlists" in sentence


def test_a_smoke_test_with_symbols_touches_only_them(repaved: Platform) -> None:
    """`symbols` and `concurrency` in the run config: those chains, the others untouched."""
    with repaved.connect() as connection:
        connection.execute("DELETE FROM options_chains")
    config = {"ops": {"options_chains": {"config": {"symbols": ["MSFT"], "concurrency": 1}}}}
    repaved.materialize("options_chains", partition=TODAY, config=config)
    found = (
        "SELECT string_agg(DISTINCT symbol, ',') FROM options_chains o JOIN tickers t ON t.id = o.ticker_id"
    )
    assert repaved.value(found) == "MSFT"
    repaved.materialize("options_chains", partition=TODAY)
    assert repaved.value(found) == "AAPL,MSFT,NVDA"


@pytest.mark.parametrize("session", ["2026-11-26", "2026-11-28", "2026-11-23", "2027-01-04"])
def test_a_holiday_or_a_future_session_has_no_partition(session: str) -> None:
    """Thanksgiving, a Saturday, and two sessions after today."""
    from kapman_assets.partitions import SESSIONS

    assert not SESSIONS.has_partition_key(session)
    assert SESSIONS.has_partition_key("2026-11-20")
