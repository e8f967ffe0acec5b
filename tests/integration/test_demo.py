"""The promise: the demo's market has lived through 25 sessions, and nobody can tell from the content when that was.

Its past is archived by the client that asks real vendors; a real vendor's archive never holds anything invented.
"""

import datetime as dt
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kapman_resources.clock import as_of
from kapman_resources.demo import demo_settings, stop_demo, vendor_settings
from kapman_resources.demo_history import SESSIONS, first_session, live_through
from kapman_resources.errors import Refused
from kapman_resources.sessions import retained_sessions, session_close
from kapman_resources.settings import Settings, settings
from kapman_resources.vault import Vault
from kapman_resources.vendor_api import VendorApi
from kapman_simulator import MarketOptions, Simulator
from tests.integration.command_line import kapman
from tests.integration.conftest import TODAY, platform_on

SYMBOLS = ["AAPL", "MSFT", "NOSUCH"]
MARKET = MarketOptions(symbols=60, sessions=40, underlyings=2, contracts=60, today=TODAY)
PAST = retained_sessions(TODAY)[-SESSIONS:-1]

Contents = dict[tuple[dt.date, str], tuple[dt.datetime, list[object]]]


@pytest.fixture(scope="module")
def market() -> Iterator[Simulator]:
    with Simulator(MARKET) as vendor:
        yield vendor


def of(vendor: Simulator, home: Path, **changes: str) -> Settings:
    """A platform's settings that lead to this vendor, with a vault of its own."""
    return Settings.model_validate(
        {
            **vendor.environment,
            "KAPMAN_HOME": str(home),
            "KAPMAN_VAULT_URL": (home / "vault").as_uri(),
            **changes,
        }
    )


def live(vendor: Settings, today: dt.date = TODAY) -> tuple[list[dt.date], list[str]]:
    """Live through what is missing: those sessions, and what was told."""
    told: list[str] = []
    return live_through(vendor, today, SYMBOLS, told.append), told


def contents(vendor: Settings) -> Contents:
    """What is archived: when each chain was fetched, and its contracts."""
    vault = Vault.from_settings(vendor)
    found: Contents = {}
    for session in vault.sessions("options"):
        for subject in vault.subjects("options", session):
            pages = vault.read("options", session, subject)
            rows = [row for page in pages for row in json.loads(page.body)["results"]]
            found[session, subject] = (max(page.fetched_at for page in pages), rows)
    return found


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(market: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """What the vault holds when nothing goes wrong."""
    vendor = of(market, tmp_path_factory.mktemp("undisturbed"))
    sessions, told = live(vendor)
    assert sessions == PAST
    assert told == [
        f"The demo market lives through 24 sessions, {PAST[0]} to {PAST[-1]}: 72 option chains go into the vault."
    ]
    return contents(vendor)


def test_the_past_is_archived_as_of_its_days(undisturbed: Contents) -> None:
    """Every chain of every session, fetched at that session's close; a symbol without one is known to have none."""
    assert list(undisturbed) == [(session, symbol) for session in PAST for symbol in SYMBOLS]
    for (session, symbol), (fetched_at, rows) in undisturbed.items():
        assert fetched_at == session_close(session)
        assert bool(rows) == (symbol != "NOSUCH")
        assert all(row["details"]["expiration_date"] >= session.isoformat() for row in rows)


def test_lived_through_later_is_the_same(undisturbed: Contents) -> None:
    """What a vendor of that day shows live on that evening is what the past of a later day holds, contract by contract."""
    evening, shown = dt.date(2026, 11, 4), {}
    with Simulator(
        MarketOptions(symbols=60, sessions=10, underlyings=2, contracts=60, today=evening)
    ) as vendor:
        api = VendorApi(vendor.environment["KAPMAN_API_URL"], vendor.environment["MASSIVE_API_KEY"])
        api.chains(
            SYMBOLS,
            on_chain=lambda symbol, pages: shown.__setitem__(
                symbol, [row for page in pages for row in json.loads(page.body)["results"]]
            ),
        )
    assert shown == {symbol: undisturbed[evening, symbol][1] for symbol in SYMBOLS}


def test_once_is_enough_and_a_new_day_adds_one(
    market: Simulator, tmp_path: Path, undisturbed: Contents
) -> None:
    """Nothing is fetched twice; the window moves with the day, and what a day before it holds is out of sight."""
    vendor = of(market, tmp_path)
    assert len(live(vendor, dt.date(2026, 11, 19))[0]) == SESSIONS - 1
    before = files(tmp_path)
    assert live(vendor, dt.date(2026, 11, 19)) == ([], [])
    assert files(tmp_path) == before
    assert live(vendor)[0] == [dt.date(2026, 11, 19)]
    assert before.items() <= files(tmp_path).items()
    shown = of(market, tmp_path, KAPMAN_VAULT_SINCE=first_session(TODAY).isoformat())
    assert len(contents(vendor)) == len(contents(shown)) + len(SYMBOLS)
    assert contents(shown) == undisturbed


def test_gaps_are_filled(market: Simulator, tmp_path: Path, undisturbed: Contents) -> None:
    """Sessions and single chains that are gone come back; the others stay untouched."""
    vendor = of(market, tmp_path)
    live(vendor)
    folder = tmp_path / "vault" / vendor.vendor / "options"
    shutil.rmtree(folder / "2026-11-03")
    (folder / "2026-10-28" / "MSFT.json").unlink()
    before = files(tmp_path)
    assert live(vendor)[0] == [dt.date(2026, 10, 28), dt.date(2026, 11, 3)]
    assert before.items() <= files(tmp_path).items()
    assert contents(vendor) == undisturbed


_KILLED = """
import os, signal, sys
from kapman_resources import demo_history
from kapman_resources.settings import Settings
from kapman_resources.vault import Vault

class Killed(Vault):
    def _put(self, path, content, mode="overwrite"):
        if path.endswith("2026-11-02/MSFT.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        super()._put(path, content, mode)

demo_history.Vault = Killed
import datetime as dt
demo_history.live_through(Settings(), dt.date(2026, 11, 20), ["AAPL", "MSFT", "NOSUCH"], print)
"""


def test_a_kill_in_between_is_resumed(market: Simulator, tmp_path: Path, undisturbed: Contents) -> None:
    """Killed in mid-way, the next call does what is left."""
    vendor = of(market, tmp_path)
    environment = {**market.environment, "KAPMAN_VAULT_URL": vendor.vault}
    ended = subprocess.run([sys.executable, "-c", _KILLED], env=environment, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    done = contents(vendor)
    assert 0 < len(done) < len(undisturbed)
    assert all(undisturbed[key] == done[key] for key in done)
    sessions, _ = live(vendor)
    assert dt.date(2026, 11, 2) in sessions and PAST[0] not in sessions
    assert contents(vendor) == undisturbed


@pytest.mark.parametrize("name", ["massive", "dataset-market-2026"])
def test_no_other_vendor_has_an_invented_past(
    market: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Not even when its address is the simulator's; with credentials nobody starts a demo at all."""
    vendor = of(market, tmp_path, KAPMAN_VENDOR=name)
    with pytest.raises(Refused, match=name):
        live(vendor)
    assert not (tmp_path / "vault").exists()
    for variable, value in {
        **market.environment,
        "KAPMAN_VENDOR": name,
        "KAPMAN_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(variable, value)
    settings.cache_clear()
    assert vendor_settings().vendor == name
    settings.cache_clear()
    assert list(tmp_path.iterdir()) == []


def test_the_demo_comes_up_with_its_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials: the simulator with its history, told once; the vault is listed without a simulator."""
    lists = tmp_path / "watchlists"
    lists.mkdir()
    (lists / "test.txt").write_text("AAPL\nSPY\n")
    for variable, value in {"KAPMAN_HOME": tmp_path, "KAPMAN_WATCHLISTS": lists}.items():
        monkeypatch.setenv(variable, str(value))
    settings.cache_clear()
    told: list[str] = []
    try:
        demo = demo_settings(settings(), as_of(), told.append)
        again = demo_settings(settings(), as_of(), told.append)
        assert again == demo
        assert len(told) == 1 and f"through {SESSIONS - 1} sessions" in told[0]
        assert stop_demo(tmp_path)
        shown = kapman("vault", "list")
        assert shown.code == 0, shown.text
        assert [line.split()[:3] for line in shown.text.splitlines() if " options " in line] == [
            [f"{session}", "options", "2"] for session in PAST
        ]
        assert not (tmp_path / "simulator" / "pid").exists(), "nothing was started for a listing"
    finally:
        stop_demo(tmp_path)
        settings.cache_clear()


def test_a_repave_shows_a_history(server_url: str, market: Simulator, tmp_path: Path) -> None:
    """All 25 sessions have chains and metrics, and the newest five a plausible IV rank: twenty stand before them."""
    with platform_on(server_url, market.environment, tmp_path, {"test": "AAPL\nMSFT\n"}) as platform:
        live_through(settings(), TODAY, ["AAPL", "MSFT"], print)
        assert platform.run("repave", first=PAST[0], last=TODAY).success
        with platform.connect() as connection:
            rows = connection.execute(
                """
                SELECT (time AT TIME ZONE 'America/New_York')::date, volatility_metrics_json->>'iv_rank_status',
                       (volatility_metrics_json->>'iv_rank')::float8, dealer_metrics_json->>'status'
                FROM daily_snapshots WHERE volatility_metrics_json IS NOT NULL ORDER BY 1
                """
            ).fetchall()
            closes = connection.execute("SELECT DISTINCT time FROM options_chains ORDER BY 1").fetchall()
    assert [time for (time,) in closes] == [session_close(session) for session in (*PAST, TODAY)]
    assert {session: status for session, status, _, _ in rows} == dict.fromkeys(
        PAST[:20], "history_too_short"
    ) | dict.fromkeys((*PAST[20:], TODAY), "known")
    assert {status for *_, status in rows} <= {"FULL", "LIMITED"}
    ranks = [rank for _, _, rank, _ in rows if rank is not None]
    assert len(ranks) == 10 and any(0 < rank < 100 for rank in ranks)
