"""Jobs and schedules: the repave, the day's load, the evening's option snapshot, refresh, validation, retention."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from kapman_assets.daily_snapshots import daily_snapshots
from kapman_assets.dealer_metrics import dealer_metrics
from kapman_assets.freshness import NEW_YORK
from kapman_assets.ohlcv import ohlcv
from kapman_assets.options_chains import options_chains
from kapman_assets.partitions import SESSIONS
from kapman_assets.resources import DatabaseResource
from kapman_assets.schema import REPAVE_JOB
from kapman_assets.tickers import tickers
from kapman_assets.volatility_metrics import volatility_metrics
from kapman_assets.watchlists import watchlists
from kapman_resources import structure
from kapman_resources.clock import as_of
from kapman_resources.sessions import is_session
from kapman_resources.settings import settings

_span = SESSIONS.get_partition_keys()

# The command line applies a job's tags, but not its config. The span is that of the process that
# loads this code: the command line loads it afresh, and the UI asks for a range.
_WHOLE_SPAN = {
    "dagster/asset_partition_range_start": _span[0],
    "dagster/asset_partition_range_end": _span[-1],
}

repave = dg.define_asset_job(
    REPAVE_JOB,
    selection=dg.AssetSelection.all(),
    description=(
        "**Destroys and rebuilds the database**: drops and recreates it, then loads and computes the whole chain"
        " over the retained window, in order, in one run. From the command line:"
        " `dagster job execute -m kapman_assets -j repave`.\n\n"
        "From here: *Materialize all*, then **Show all partitions** and *All*: the dialog offers the last 90 days at first."
    ),
    run_tags=_WHOLE_SPAN,
    tags={"kapman/operation": "destructive"},
)

daily = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.assets(
        tickers, watchlists, ohlcv, daily_snapshots, dealer_metrics, volatility_metrics
    ),
    description=(
        "One session: reference, watchlists, its bars, snapshots, dealer and volatility metrics. Safe to repeat."
    ),
    tags={"kapman/operation": "safe"},
)

daily_options = dg.define_asset_job(
    "daily_options",
    selection=dg.AssetSelection.assets(options_chains),
    description="Archives and loads the option chains at the close of the session: now or never. Safe to repeat.",
    # The queue must not be held for hours by a fetch that hangs: the snapshot can be tried again until the open.
    tags={"kapman/operation": "safe", "dagster/max_runtime": "3600"},
)

refresh = dg.define_asset_job(
    "refresh",
    # `watchlists` also spares a run over the window 9,000 records: where every asset has partitions, Dagster
    # plans each check once for each of them.
    selection=dg.AssetSelection.assets(
        watchlists, ohlcv, daily_snapshots, dealer_metrics, volatility_metrics
    ),
    description=(
        "Applies edited watchlists, loads republished and late files, and recomputes what depends on them: over the"
        " whole window unless a range is given. Sessions that are current are left alone. Safe to repeat."
    ),
    run_tags=_WHOLE_SPAN,
    tags={"kapman/operation": "safe"},
)

validate = dg.define_asset_job(
    "validate",
    selection=dg.AssetSelection.all_asset_checks(),
    description="Runs every asset check and changes nothing.",
    tags={"kapman/operation": "safe", "dagster/max_runtime": "3600"},
)


@dg.op
def drop_expired_chunks(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Drop whole chunks older than 730 days where the edition has no retention policy of its own."""
    database.hold()
    dropped = structure.drop_expired_chunks(database.owner, as_of())
    context.log.info(f"{len(dropped)} chunks dropped: {', '.join(dropped) or 'none had expired'}.")


@dg.job(
    description=(
        "Retention of 730 days where no policy is on duty (the Apache edition, or a today pinned by"
        " `KAPMAN_AS_OF`): drops whole expired chunks, as the Community edition's policy does by itself."
    ),
    tags={"kapman/operation": "destructive", "dagster/max_runtime": "1800"},
)
def enforce_retention() -> None:
    """See the description."""
    drop_expired_chunks()


ON_DUTY = settings().has_vendor and settings().as_of is None
"""A real vendor's snapshot is lost if nobody takes it, so its schedules and sensors run from the start; the
demo's wait to be switched on."""
STATUS = dg.DefaultScheduleStatus.RUNNING if ON_DUTY else dg.DefaultScheduleStatus.STOPPED
DAILY_LOAD = dt.time(11, 30)
"""New York, on the day after a session: its flat file appears about 11:00."""


def session_request(session: dt.date, what: str) -> dg.RunRequest | dg.SkipReason:
    """A run of the session's partition, or why there is none."""
    if not is_session(session):
        return dg.SkipReason(f"{session} is no trading session: no {what}.")
    if not SESSIONS.has_partition_key(session.isoformat()):
        return dg.SkipReason(
            f"{session} is outside of the partitions ({_span[0]} to {_span[-1]} when loaded)."
        )
    return dg.RunRequest(run_key=f"{what} {session}", partition_key=session.isoformat())


@dg.schedule(
    job=daily,
    cron_schedule=f"{DAILY_LOAD.minute} {DAILY_LOAD.hour} * * *",
    execution_timezone=NEW_YORK,
    default_status=STATUS,
    description="11:30 New York on the day after a session, when its flat file is there.",
)
def daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Yesterday's session."""
    today = context.scheduled_execution_time.astimezone(ZoneInfo(NEW_YORK)).date()
    return session_request(today - dt.timedelta(days=1), "flat file")


@dg.schedule(
    job=daily_options,
    cron_schedule="15 17 * * *",
    execution_timezone=NEW_YORK,
    default_status=STATUS,
    description="17:15 New York on the session itself, after the close and after delayed quotes have settled.",
)
def daily_options_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Today's session."""
    today = context.scheduled_execution_time.astimezone(ZoneInfo(NEW_YORK)).date()
    return session_request(today, "option snapshot")


@dg.schedule(
    job=enforce_retention,
    cron_schedule="0 3 * * *",
    execution_timezone=NEW_YORK,
    default_status=STATUS,
    description="Every night at 03:00 New York.",
)
def retention_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run a night."""
    return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}")


JOBS: list[Any] = [repave, daily, daily_options, refresh, validate, enforce_retention]
SCHEDULES = [daily_schedule, daily_options_schedule, retention_schedule]
