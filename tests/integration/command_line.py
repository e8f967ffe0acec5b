"""The `kapman` command as people type it, in this process, and a platform loaded as far as it looks."""

import datetime as dt
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from kapman_assets import defs
from kapman_cli.main import main
from kapman_resources.settings import PROJECT, settings
from kapman_simulator import MarketOptions
from tests.integration.conftest import TODAY, Platform

FIRST = dt.date(2026, 11, 13)
MARKET = MarketOptions(symbols=60, sessions=6, underlyings=3, contracts=40, today=TODAY)
"""Sessions FIRST to TODAY; chains of AAPL, MSFT and one more."""
WATCHLISTS = {"test": "AAPL\nMSFT\n"}


@dataclass(frozen=True)
class Ended:
    """How a command ended: 0 or 1, and all bytes of its two streams."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output and standard error."""
        return f"{self.stdout.decode()}{self.stderr.decode()}"


def kapman(*arguments: str) -> Ended:
    """Run `kapman ARGUMENTS` with the environment's settings."""
    settings.cache_clear()
    code = 0
    with CliRunner().isolation() as (stdout, stderr, _), pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["kapman", *arguments])
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
    return Ended(code, stdout.getvalue(), stderr.getvalue())


def dagster_home(folder: Path) -> str:
    """A DAGSTER_HOME of a test's own in `folder`, configured as the project's."""
    home = folder / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "dagster_home" / "dagster.yaml", home)
    return str(home)


def load_sources(platform: Platform) -> None:
    """Everything that is read from a source; from the second time on, what has changed."""
    platform.materialize("schema", "tickers", "watchlists")
    load_bars(platform)
    platform.materialize("options_chains", partition=TODAY)


def load_bars(platform: Platform) -> None:
    """All of the market's sessions in one run."""
    defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=platform.instance,
        asset_selection=[dg.AssetKey("ohlcv")],
        tags={
            "dagster/asset_partition_range_start": FIRST.isoformat(),
            "dagster/asset_partition_range_end": TODAY.isoformat(),
        },
    )
