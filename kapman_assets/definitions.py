"""The code location: assets in the order of the contract, their checks, jobs, schedules, resources."""

import dagster as dg

from kapman_assets import (
    daily_snapshots,
    dealer_metrics,
    ohlcv,
    options_chains,
    schema,
    tickers,
    watchlists,
)
from kapman_assets.jobs import JOBS, SCHEDULES
from kapman_assets.resources import DatabaseResource, VendorResource

defs = dg.Definitions(
    assets=[
        schema.schema,
        tickers.tickers,
        watchlists.watchlists,
        ohlcv.ohlcv,
        options_chains.options_chains,
        daily_snapshots.daily_snapshots,
        dealer_metrics.dealer_metrics,
    ],
    asset_checks=[
        schema.CHECKS,
        tickers.CHECKS,
        watchlists.CHECKS,
        ohlcv.CHECKS,
        options_chains.CHECKS,
        daily_snapshots.CHECKS,
        dealer_metrics.CHECKS,
    ],
    jobs=JOBS,
    schedules=SCHEDULES,
    resources={"database": DatabaseResource(), "vendor": VendorResource()},
    # The chain is linear: one process loses nothing on one machine and saves a start-up per step.
    executor=dg.in_process_executor,
)
