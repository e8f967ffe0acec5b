"""Whoever types what docs/add-an-asset.md says gets what it says: the files are taken from the page, loaded beside
the platform, and run on a small market in the order and out of it."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from kapman_resources.structure import migrate, roll_back
from kapman_resources.structure.migrations import MIGRATIONS
from kapman_simulator import Simulator
from tests.conftest import PROJECT
from tests.integration.command_line import FIRST, MARKET, WATCHLISTS, load_bars
from tests.integration.conftest import TODAY, Platform, platform_on

PAGE = (PROJECT / "docs" / "add-an-asset.md").read_text()
FILES = dict(re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```', PAGE, flags=re.MULTILINE | re.DOTALL))


@dataclass
class Desk:
    """A platform with the page's files in it."""

    platform: Platform
    schema: Path
    defs: dg.Definitions

    def run(self, *, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        """`gap_leaders` of every session of the market, its checks after it."""
        return self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.platform.instance,
            asset_selection=[dg.AssetKey("gap_leaders")],
            tags={
                "dagster/asset_partition_range_start": FIRST.isoformat(),
                "dagster/asset_partition_range_end": TODAY.isoformat(),
            },
            raise_on_error=raise_on_error,
        )


@pytest.fixture(scope="module")
def desk(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """The page's files where the page puts them; structure, tickers and watchlists, no bars yet."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(MIGRATIONS, folder / "schema")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with (
        Simulator(MARKET) as vendor,
        platform_on(server_url, vendor.environment, folder / "home", WATCHLISTS) as platform,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.syspath_prepend(str(folder))
        patched.delitem(sys.modules, "desk", raising=False)
        platform.materialize("schema", "tickers", "watchlists")
        assert migrate(platform.database, folder / "schema") == ["desk-0001.gap_leaders"]
        yield Desk(platform, folder / "schema", import_module("desk").defs)


def test_out_of_order_it_refuses_and_names_the_step(desk: Desk) -> None:
    """Before the bars are there; nothing is published."""
    result = desk.run(raise_on_error=False)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    said = failure.step_failure_data.user_failure_data
    assert said and said.description
    assert "'ohlcv', on which it stands, has not passed" in said.description
    assert "--select ohlcv" in said.description
    assert desk.platform.value("SELECT count(*) FROM desk.gap_leaders") == 0


def test_in_order_it_publishes_and_its_check_passes(desk: Desk) -> None:
    """Every session with a bar before it; ranks without a hole; run again it writes nothing."""
    load_bars(desk.platform)
    result = desk.run()
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert evaluations["gaps_are_those_of_the_bars"].passed
    with desk.platform.connect() as connection:
        rows = connection.execute(
            "SELECT session, array_agg(rank ORDER BY rank) FROM desk.gap_leaders GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert len(rows) == MARKET.sessions - 1
    assert all(ranks == list(range(1, len(WATCHLISTS["test"].split()) + 1)) for _, ranks in rows)
    written = "SELECT max(created_at) FROM desk.gap_leaders"
    before = desk.platform.value(written)
    assert desk.run().success
    assert desk.platform.value(written) == before
    (query,) = re.findall(r"^```sql\n(SELECT.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    with desk.platform.connect() as connection:
        assert connection.execute(query).fetchall()


def test_a_wrong_row_is_found(desk: Desk) -> None:
    """The check is not decoration: one gap changed by hand, and it names the row."""
    with desk.platform.connect() as connection:
        connection.execute(
            "UPDATE desk.gap_leaders SET gap_pct = gap_pct + 1 WHERE session = %s AND rank = 1", (TODAY,)
        )
    checks = desk.defs.resolve_job_def("validate")
    result = checks.execute_in_process(
        instance=desk.platform.instance,
        asset_selection=None,
        op_selection=["gap_leaders_checks"],
        raise_on_error=False,
    )
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.metadata["violations"].value == 1
    assert desk.run().success, "and the next run puts it right"


def test_the_largest_gap_comes_first(desk: Desk) -> None:
    """Up or down; ten of each session at most; a first bar has no gap."""
    bars = pl.DataFrame(
        {
            "ticker_id": [name for n in range(12) for name in [f"{n:02}"] * 2],
            "date": ["2026-11-19", "2026-11-20"] * 12,
            "open": [1.0 + (-1) ** n * n / 100 for n in range(12) for _ in range(2)],
            "close": [1.0] * 24,
        }
    )
    found = import_module("desk.gap_leaders").largest_gaps(bars)
    assert found["session"].unique().to_list() == ["2026-11-20"]
    assert found["ticker_id"].to_list() == [f"{n:02}" for n in range(11, 1, -1)]
    assert found["gap_pct"][0] == pytest.approx(-11)


def test_the_commands_name_what_the_definitions_have(desk: Desk) -> None:
    """Jobs and assets of the page's `-m desk`; job `repave` rebuilds the asset with the rest."""
    commands = [
        shlex.split(line, comments=True)
        for line in re.findall(r"^dagster .*-m desk.*$", PAGE, flags=re.MULTILINE)
    ]
    jobs = {words[words.index("-j") + 1] for words in commands if "-j" in words}
    assets = {words[words.index("--select") + 1] for words in commands if "--select" in words}
    assert (jobs, assets) == ({"validate"}, {"schema", "gap_leaders"})
    repave = desk.defs.resolve_job_def("repave").asset_layer.executable_asset_keys
    assert dg.AssetKey("gap_leaders") in repave


def test_the_migration_can_be_taken_back(desk: Desk) -> None:
    """The rollback of the page removes all that the migration made."""
    assert roll_back(desk.platform.database, desk.schema)[0] == "desk-0001.gap_leaders"
    assert desk.platform.value("SELECT to_regnamespace('desk')") is None
