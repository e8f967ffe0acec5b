"""Dagster's part of the diagnosis: its records, its daemon, its runs, and who starts them."""

import datetime as dt
import os
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from psycopg.conninfo import conninfo_to_dict

from kapman_assets import defs
from kapman_assets.backups import ON_DUTY as BACKUPS_ON_DUTY
from kapman_assets.backups import backup_standing, standing
from kapman_assets.jobs import ON_DUTY
from kapman_resources.diagnosis import Finding, Probe, collected
from kapman_resources.object_store import local_folder
from kapman_resources.settings import Settings

QUEUED_TOO_LONG = dt.timedelta(hours=1)
_MAX_RUNTIME = ("dagster/max_runtime", "dagster/max_runtime_seconds")  # tags of a run; Dagster knows both
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_ON = "RUNNING"
_NO_DAEMON = "Start it: make ui (or docker compose up -d)."


def probes(settings: Settings) -> Mapping[str, Probe]:
    """Dagster's is one probe: a new instance's SQLite files are made by who comes first, and two would collide."""
    return {"Dagster": partial(dagster, settings), "backups": partial(newest_backup, settings)}


def dagster(settings: Settings) -> Iterator[Finding]:
    """Everything about Dagster; one finding if its records can't be opened."""
    home = Path(os.environ["DAGSTER_HOME"])
    if not (home / "dagster.yaml").is_file():
        yield Finding(
            "Dagster",
            "fail",
            f"DAGSTER_HOME is {home}, which has no dagster.yaml",
            "Unset it, or: make repave.",
        )
        return
    with dg.DagsterInstance.get() as instance:
        questions = {
            "Dagster": partial(records, instance, settings),
            "daemon": partial(daemon, instance),
            "runs": partial(runs, instance),
            "schedules and sensors": partial(automation, instance),
        }
        for name, ask in questions.items():
            yield from collected(name, ask)


def records(instance: dg.DagsterInstance, settings: Settings) -> Iterator[Finding]:
    """Whether Dagster's records live outside of the market database, and how many runs they hold."""
    storage = instance.event_log_storage
    url = getattr(storage, "postgres_url", None)
    if url and settings.database_url and _same_database(url, settings.database_url.get_secret_value()):
        yield Finding(
            "Dagster",
            "fail",
            "its records are in the market database, which a repave drops",
            "Give Dagster a database of its own (docker/dagster.yaml).",
        )
    else:
        count, kind = instance.get_runs_count(), type(storage).__name__
        yield Finding("Dagster", "ok", f"{count:,} runs on record in {kind}, {os.environ['DAGSTER_HOME']}")


def _same_database(one: str, other: str) -> bool:
    def place(url: str) -> tuple[Any, ...]:
        # SQLAlchemy's URLs name the driver too.
        parts = conninfo_to_dict("postgresql" + url[url.index("://") :] if "://" in url else url)
        return parts.get("host", "localhost"), str(parts.get("port") or 5432), parts.get("dbname")

    return place(one) == place(other)


def daemon(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Whether the daemon lives: without it no schedule fires, no queued run starts, no dead run is noticed."""
    statuses = {name: status for name, status in instance.get_daemon_statuses().items() if status.required}
    beats = [s.last_heartbeat.timestamp for s in statuses.values() if s.last_heartbeat]
    if not beats:
        yield Finding("daemon", "fail" if ON_DUTY else "warn", "has never run here", _NO_DAEMON)
        return
    dead = sorted(name for name, status in statuses.items() if not status.healthy)
    age = time.time() - max(beats)
    if len(dead) == len(statuses):
        yield Finding(
            "daemon",
            "fail" if ON_DUTY else "warn",
            f"last heartbeat {_age(age)} ago: it doesn't run",
            _NO_DAEMON,
        )
    elif dead:
        yield Finding(
            "daemon",
            "fail",
            f"not healthy: {', '.join(map(str.lower, dead))}",
            "Restart it; its log says why.",
        )
    else:
        yield Finding("daemon", "ok", f"last heartbeat {_age(age)} ago")


def runs(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Runs that have been under way, or in the queue, for too long."""
    longest = float(instance.run_monitoring_max_runtime_seconds)
    unfinished = instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED), limit=100)
    now, stuck = time.time(), 0
    for record in unfinished:
        run = record.dagster_run
        since = record.start_time or record.create_timestamp.timestamp()
        limit = next((float(run.tags[tag]) for tag in _MAX_RUNTIME if tag in run.tags), longest)
        waiting = record.start_time is None
        if now - since <= (QUEUED_TOO_LONG.total_seconds() if waiting else limit or float("inf")):
            continue
        stuck += 1
        yield Finding(
            "stuck run",
            "fail",
            f"{run.job_name} {run.run_id[:8]} has been {run.status.value.lower()} for {_age(now - since)}",
            "Runs page: terminate it (the daemon's run monitoring does, where one runs), then run it again.",
        )
    if not stuck:
        yield Finding("runs", "ok", f"{len(unfinished)} under way or queued, none for too long")


def automation(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Schedules and sensors that are off although a real vendor's sessions depend on them."""
    states = {state.name: state.status.value for state in instance.all_instigator_state()}
    declared = declarations()
    on = {name for name, _, default in declared if _is_on(states.get(name), default)}
    wanted = {name for name, _, default in declared if default == _ON}
    for name, kind, _ in declared:
        if name in wanted - on:
            yield Finding(
                f"{kind} {name}", "fail", "is switched off", f"dagster {kind} start -m kapman_assets {name}"
            )
    if wanted <= on:
        asked = f"{len(wanted)} have to be" if wanted else "none has to be in the demo, or with KAPMAN_AS_OF"
        yield Finding("schedules and sensors", "ok", f"{len(on)} of {len(declared)} on; {asked}")


def declarations() -> list[tuple[str, str, str]]:
    """Name, kind and status by default of every schedule and sensor; a real vendor's are on by default."""
    found = [(one.name, "schedule", one.default_status.value) for one in defs.schedules or []]
    return found + [(one.name, "sensor", one.default_status.value) for one in defs.sensors or []]


def newest_backup(settings: Settings) -> Iterator[Finding]:
    """Whether the backups are as young, and as well proved, as check `backup_is_restorable` wants them."""
    folder, now = local_folder(settings.backups), dt.datetime.now(dt.UTC)
    # To look into a store is to make its folder.
    absent = folder is not None and not folder.exists()
    found = standing([], [], now, on_duty=BACKUPS_ON_DUTY) if absent else backup_standing(now)
    if not found.problems:
        yield Finding("backups", "ok", found.sentence.rstrip("."))
    for problem in found.problems:
        yield Finding(
            "backups",
            "fail" if found.urgent else "warn",
            problem,
            "kapman backup; dagster job execute -m kapman_assets -j restore_drill",
        )


def _is_on(stored: str | None, default: str) -> bool:
    """Whether it fires: somebody's switch counts, else what the code says."""
    return (default if stored in (None, "DECLARED_IN_CODE") else stored) == _ON


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
