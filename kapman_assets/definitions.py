"""The code location: assets in the order of the contract, their checks, jobs, schedules, sensors, resources."""

import dagster as dg

from kapman_assets import (
    alerts,
    backups,
    daily_snapshots,
    dealer_metrics,
    flat_file_changes,
    ohlcv,
    operations,
    options_chains,
    schema,
    tickers,
    volatility_metrics,
    watchlists,
)
from kapman_assets.jobs import JOBS, SCHEDULES
from kapman_assets.presentation import presented
from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_assets.sensors import SENSORS

ASSETS = [
    schema.schema,
    tickers.tickers,
    watchlists.watchlists,
    ohlcv.ohlcv,
    options_chains.options_chains,
    daily_snapshots.daily_snapshots,
    dealer_metrics.dealer_metrics,
    volatility_metrics.volatility_metrics,
]
CHECKS = [
    schema.CHECKS,
    backups.backup_is_restorable,
    tickers.CHECKS,
    watchlists.CHECKS,
    ohlcv.CHECKS,
    flat_file_changes.ohlcv_files_are_current,
    options_chains.CHECKS,
    daily_snapshots.CHECKS,
    dealer_metrics.CHECKS,
    volatility_metrics.CHECKS,
]
ALL_JOBS = [*JOBS, backups.backup, backups.restore_drill, operations.daily_digest]

defs = dg.Definitions(
    assets=presented(ASSETS, CHECKS, ALL_JOBS),
    asset_checks=CHECKS,
    jobs=ALL_JOBS,
    schedules=[
        *SCHEDULES,
        backups.backup_schedule,
        backups.restore_drill_schedule,
        operations.digest_schedule,
    ],
    sensors=[*SENSORS, alerts.alerts],
    resources={"database": DatabaseResource(), "vendor": VendorResource()},
    # The chain is linear: one process loses nothing on one machine and saves a start-up per step.
    executor=dg.in_process_executor,
)
