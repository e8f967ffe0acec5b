"""`kapman quarantine`: no source row is lost; an engineer sees which were refused and why, and gets them in by
mending the source and replaying: exactly the sessions concerned, to the content that was never disturbed."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from kapman_resources.content_hash import database_hashes
from kapman_resources.manifest import Quarantined
from kapman_resources.quarantine import compare
from kapman_simulator import Simulator
from tests.integration.command_line import MARKET, WATCHLISTS, dagster_home, kapman, load_bars, load_sources
from tests.integration.conftest import TODAY, Platform, platform_on

ODD, SPOILT = dt.date(2026, 11, 13), dt.date(2026, 11, 18)
FAULTS = [f"garbage_tickers={ODD}", f"high_below_low={SPOILT}"]

Hashes = list[tuple[str, str, int]]


@dataclass
class Desk:
    """A loaded platform, its vendor, and the content of before anything was spoilt."""

    platform: Platform
    vendor: Simulator
    undisturbed: Hashes

    def hashes(self) -> Hashes:
        """(table, hash, rows) of every table."""
        with self.platform.connect() as connection:
            return database_hashes(connection)

    def rows(self) -> int:
        """How many rows are in quarantine."""
        return int(self.platform.value("SELECT count(*) FROM kapman_meta.quarantine"))

    def runs(self) -> dict[str, str]:
        """The run that published each session of `ohlcv`."""
        with self.platform.connect() as connection:
            found = connection.execute(
                "SELECT partition_key, run_id FROM kapman_meta.load_manifest WHERE asset = 'ohlcv'"
            )
            return dict(found.fetchall())


@pytest.fixture(scope="module")
def loaded(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    home: Path = tmp_path_factory.mktemp("platform")
    with (
        Simulator(MARKET) as vendor,
        platform_on(
            server_url,
            {**vendor.environment, "DAGSTER_HOME": dagster_home(home)},
            home,
            WATCHLISTS,
        ) as platform,
    ):
        load_sources(platform)
        desk = Desk(platform, vendor, [])
        desk.undisturbed = desk.hashes()
        assert desk.rows() == 0
        assert kapman("quarantine", "list").text == "Nothing is in quarantine.\n"
        yield desk


@pytest.fixture
def desk(loaded: Desk) -> Iterator[Desk]:
    """The platform after the vendor republished two files with rows that can't be used; mended at the end."""
    loaded.vendor.set_faults(FAULTS)
    load_bars(loaded.platform)
    yield loaded
    loaded.vendor.set_faults([])
    load_bars(loaded.platform)
    assert loaded.rows() == 0
    assert loaded.hashes() == loaded.undisturbed


def test_rows_are_counted_then_shown_safely(desk: Desk) -> None:
    """Counts equal the table's; nothing that a terminal would obey comes out; `show` has every byte."""
    listed = kapman("quarantine", "list", "--limit", "100")
    assert listed.code == 0
    with desk.platform.connect() as connection:
        groups = connection.execute(
            "SELECT asset, partition_key, reason, count(*) FROM kapman_meta.quarantine GROUP BY 1, 2, 3"
        ).fetchall()
        rows = connection.execute("SELECT id, raw FROM kapman_meta.quarantine").fetchall()
    assert {(asset, partition) for asset, partition, _, _ in groups} == {
        ("ohlcv", ODD.isoformat()), ("ohlcv", SPOILT.isoformat())
    }  # fmt: skip
    for asset, partition, reason, count in groups:
        assert f"  {asset:<16}{partition:<12}{count:>9}  {reason}\n" in listed.text
    assert f"{len(rows)} of {len(rows)} rows:" in listed.text
    assert listed.text.replace("\n", "").isprintable()
    assert "NU\\x00L," in listed.text
    assert max(map(len, listed.text.splitlines())) < 200
    for number, raw in rows:
        assert kapman("quarantine", "show", str(number)).stdout == raw

    document = json.loads(kapman("quarantine", "list", "--json", "--limit", "1000").stdout)
    assert sum(group["rows"] for group in document["groups"]) == len(document["rows"]) == len(rows)


def test_filters_and_limit(desk: Desk) -> None:
    """One session, one reason, a few rows; what matches nothing says what was asked for."""
    one = kapman("quarantine", "list", "--asset", "ohlcv", "--partition", str(SPOILT), "--limit", "1")
    assert str(ODD) not in one.text
    assert "1 of 3 rows:" in one.text
    reason = kapman("quarantine", "list", "--reason", "high is below low")
    assert str(ODD) not in reason.text
    assert "3 of 3 rows:" in reason.text
    nothing = kapman("quarantine", "list", "--partition", str(TODAY))
    assert (nothing.code, nothing.text) == (0, f"Nothing is in quarantine for partition '{TODAY}'.\n")


def test_a_dry_run_tells_and_changes_nothing(desk: Desk) -> None:
    """Of the sources as they are: all stay. Of the mended one: they leave. Nothing is loaded."""
    before = (desk.hashes(), desk.runs(), desk.rows())
    same = kapman("quarantine", "replay", "--dry-run")
    assert same.code == 0
    assert f"ohlcv {SPOILT}: 0 leave, 3 stay (3 high is below low).\n" in same.text
    desk.vendor.set_faults(FAULTS[:1])
    mended = kapman("quarantine", "replay", "--dry-run")
    assert f"ohlcv {SPOILT}: 3 leave, 0 stay.\n" in mended.text
    assert f"ohlcv {ODD}: 0 leave, " in mended.text
    desk.vendor.set_faults([*FAULTS[:1], f"truncated_gzip={SPOILT}"])
    cut_off = kapman("quarantine", "replay", "--dry-run")
    assert cut_off.code == 1
    assert f"ohlcv {SPOILT}: us_stocks_sip" in cut_off.text
    assert "is cut off" in cut_off.text
    desk.vendor.set_faults([*FAULTS[:1], f"missing_file={SPOILT}"])
    assert f"no flat file for {SPOILT}" in kapman("quarantine", "replay", "--dry-run").text
    assert (desk.hashes(), desk.runs(), desk.rows()) == before


def test_a_mended_file_and_a_replay_are_as_if_nothing_had_been(desk: Desk) -> None:
    """Only the sessions concerned are loaded, in one run that Dagster records; the content is undisturbed."""
    before = desk.runs()
    too_early = kapman("quarantine", "replay", "--partition", str(SPOILT))
    assert too_early.code == 0, too_early.text
    assert f"ohlcv {SPOILT}: 0 leave, 3 stay (3 high is below low).\n" in too_early.text
    assert {session for session, run in desk.runs().items() if run != before[session]} == {str(SPOILT)}
    desk.vendor.set_faults([])
    before = desk.runs()
    done = kapman("quarantine", "replay")
    assert done.code == 0, done.text
    assert f"ohlcv {SPOILT}: 3 leave, 0 stay.\n" in done.text
    assert desk.rows() == 0
    assert desk.hashes() == desk.undisturbed
    loaded_again = {session for session, run in desk.runs().items() if run != before[session]}
    assert loaded_again == {ODD.isoformat(), SPOILT.isoformat()}, "not the sessions between them"
    with dg.DagsterInstance.get() as instance:
        (record,) = instance.get_run_records(limit=1)
        assert record.dagster_run.run_id in desk.runs().values()
        assert instance.get_materialized_partitions(dg.AssetKey("ohlcv")) == loaded_again
    assert "Nothing is in quarantine" in kapman("quarantine", "replay").text


def test_a_replay_that_fails_leaves_everything_as_it_was(desk: Desk) -> None:
    """The sentence says what failed and exit code 1 says that it did; rows are not lost."""
    before = (desk.hashes(), desk.rows())
    desk.vendor.set_faults([*FAULTS[:1], f"truncated_gzip={SPOILT}"])
    failed = kapman("quarantine", "replay", "--partition", str(SPOILT))
    assert failed.code == 1
    assert f"ohlcv {SPOILT}: not published." in failed.text
    assert "is cut off" in failed.text
    assert (desk.hashes(), desk.rows()) == before


def test_chains_stay_refused_until_their_archive_is_another_one(loaded: Desk) -> None:
    """Their source is the vault: a healthy vendor alone changes nothing; a new snapshot does."""
    refetch = {"ops": {"options_chains": {"config": {"refetch": True}}}}
    loaded.vendor.set_faults(["garbage_contracts=MSFT"])
    loaded.platform.materialize("options_chains", partition=TODAY, config=refetch)
    kept = loaded.rows()
    assert kept > 0
    loaded.vendor.set_faults([])
    for arguments in (("--dry-run",), ()):
        done = kapman("quarantine", "replay", "--asset", "options_chains", *arguments)
        assert done.code == 0, done.text
        assert f"options_chains {TODAY}: 0 leave, {kept} stay (" in done.text
        assert "strike missing" in done.text
    loaded.platform.materialize("options_chains", partition=TODAY, config=refetch)
    assert loaded.rows() == 0
    assert loaded.hashes() == loaded.undisturbed


def test_watchlist_lines(loaded: Desk) -> None:
    """A line that is no symbol is shown as it stands in the file, and leaves with the mended file."""
    file = loaded.platform.home / "watchlists" / "test.txt"
    file.write_bytes(b"AAPL\nMS FT\x00 # a blank and worse\nMSFT\n")
    loaded.platform.materialize("watchlists")
    listed = kapman("quarantine", "list", "--asset", "watchlists")
    assert "test.txt:2: not a symbol\n      MS FT\\x00\n" in listed.text
    file.write_text("AAPL\nMSFT\n")
    for arguments in (("--dry-run",), ()):
        done = kapman("quarantine", "replay", *arguments)
        assert done.code == 0, done.text
        assert "watchlists: 1 leave, 0 stay.\n" in done.text
    assert loaded.rows() == 0
    assert loaded.hashes() == loaded.undisturbed


def test_what_can_not_be_done_is_a_sentence(platform: Platform) -> None:
    """Exit code 1, what is wrong, and what to do about it."""
    for arguments, sentence in [
        (("list",), "make repave"),  # no database
        (
            ("list", "--asset", "ohlc"),
            "Asset 'ohlc' has no quarantine. Those that have one: tickers, watchlists",
        ),
    ]:
        ended = kapman("quarantine", *arguments)
        assert ended.code == 1
        assert sentence in ended.text
        assert "Traceback" not in ended.text
    name = platform.database.name
    with platform.database.connect(autocommit=True, database="postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    for arguments in (("list",), ("show", "1"), ("replay",), ("replay", "--dry-run")):
        unpaved = kapman("quarantine", *arguments)
        assert unpaved.code == 1
        assert f"Database '{name}' has no quarantine: it is unpaved. Run `make repave`" in unpaved.text


def test_an_id_that_is_gone(loaded: Desk) -> None:
    """Ids change when a partition is loaded again, and the sentence says so."""
    ended = kapman("quarantine", "show", "99999999")
    assert ended.code == 1
    assert "Row 99999999 is not in quarantine" in ended.text
    assert ended.stdout == b""


refused = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([b"x", b"y"]), st.integers(1, 9)), max_size=8
)


@given(refused, refused)
def test_rows_are_told_apart_by_source_and_text(before: list, after: list) -> None:
    """Every row has exactly one fate, whatever is repeated or has moved."""
    old, new = (
        [Quarantined(source, line, raw, f"reason {line}") for source, raw, line in rows]
        for rows in (before, after)
    )
    change = compare(old, new)
    assert len(change.left) + len(change.stayed) == len(old)
    assert len(change.stayed) + len(change.came) == len(new)
    assert all(row in new for row in change.stayed + change.came)
    assert not {(row.source, row.raw) for row in change.left} & {(row.source, row.raw) for row in change.came}
    assert sum(change.reasons.values()) == len(change.stayed)
