"""`schema`: the structure of the database (A6 creates it, A5 verifies it), and no data."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
from psycopg import sql
from pydantic import Field

from kapman_assets.audits import Audit, audit_checks, run_audit
from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.partitions import ONE_RUN
from kapman_assets.plan import DRY_RUN_TAG, REPAVE_JOB, plan_repave
from kapman_assets.resources import DatabaseResource, VendorResource
from kapman_resources import manifest, structure
from kapman_resources.backups import BackupStore, take, verify
from kapman_resources.errors import KapmanError, Refused, StructureError
from kapman_resources.settings import settings
from kapman_resources.structure import Consent
from kapman_resources.structure_facts import STRUCTURE_AUDITS
from kapman_resources.tables import TABLES

NO_RELATION = sql.SQL("")

TABLES_HOLD_ONLY_LOADED_ROWS = Audit(
    "tables_are_empty_until_loaded",
    "A pave creates structure and no data: a table without a recorded load is empty.",
    violations="""
        SELECT 'tickers' AS table_name WHERE EXISTS (SELECT FROM public.tickers)
            AND NOT EXISTS (SELECT FROM kapman_meta.load_manifest WHERE asset = 'tickers')
        UNION ALL
        SELECT 'watchlists' AS table_name WHERE EXISTS (SELECT FROM public.watchlists)
            AND NOT EXISTS (SELECT FROM kapman_meta.load_manifest WHERE asset = 'watchlists')
        UNION ALL
        SELECT 'ohlcv' AS table_name WHERE EXISTS (SELECT FROM public.ohlcv)
            AND NOT EXISTS (SELECT FROM kapman_meta.load_manifest WHERE asset = 'ohlcv')
        UNION ALL
        SELECT 'options_chains' AS table_name WHERE EXISTS (SELECT FROM public.options_chains)
            AND NOT EXISTS (SELECT FROM kapman_meta.load_manifest WHERE asset = 'options_chains')
        UNION ALL
        SELECT 'daily_snapshots' AS table_name WHERE EXISTS (SELECT FROM public.daily_snapshots)
            AND NOT EXISTS (SELECT FROM kapman_meta.load_manifest WHERE asset = 'daily_snapshots')
    """,
    facts="""
        SELECT count(*) FILTER (WHERE asset <> 'schema') AS recorded_loads,
               EXISTS (SELECT FROM public.tickers) AS tickers_filled,
               EXISTS (SELECT FROM public.watchlists) AS watchlists_filled,
               EXISTS (SELECT FROM public.ohlcv) AS ohlcv_filled,
               EXISTS (SELECT FROM public.options_chains) AS options_chains_filled,
               EXISTS (SELECT FROM public.daily_snapshots) AS daily_snapshots_filled
        FROM kapman_meta.load_manifest
    """,
)

AUDITS = (
    *(
        Audit(
            audit.name,
            audit.description,
            violations=audit.violations,
            facts=audit.facts,
            severity=dg.AssetCheckSeverity[audit.severity],
            blocking=audit.blocking,
            parameters=audit.parameters,
        )
        for audit in STRUCTURE_AUDITS
    ),
    TABLES_HOLD_ONLY_LOADED_ROWS,
)


class SchemaConfig(dg.Config):
    """What is to become of the database, and what somebody says for it."""

    pave: bool = Field(False, description="Drop and recreate the database; job `repave` always does.")
    confirm_database: str = Field(
        "",
        description="The database's name, without which a pave refuses in production and on other machines.",
    )
    dry_run: bool = Field(
        False, description="Tell in the log what would be done; nothing is, neither here nor in later steps."
    )


@dg.asset(
    group_name="1_structure",
    kinds={"timescaledb", "sql"},
    owners=["team:a6-structure"],
    tags={"contract": "A6"},
    backfill_policy=ONE_RUN,
    pool="database",
    output_required=False,
    description=(
        "Structure of the database: extensions, tables, hypertables, keys, lifecycle policies; no data. Part A6 of the"
        " contract creates it, A5 verifies it.\n\n"
        "In job `repave` (or with `pave: true`) the database is **dropped and recreated** first;"
        " materialized alone, pending migrations are applied and nothing is destroyed."
    ),
)
def schema(
    context: dg.AssetExecutionContext,
    config: SchemaConfig,
    database: DatabaseResource,
    vendor: VendorResource,
) -> Iterator[dg.MaterializeResult]:
    """Structure the database, or tell what that would do: without a result the steps after this one are skipped."""
    if config.dry_run:
        tell_plan(context, config, database, vendor)
    else:
        yield structured(context, config, database)


def is_pave(context: dg.AssetExecutionContext, config: SchemaConfig, database: DatabaseResource) -> bool:
    """Whether the database is to be made anew, or for the first time.

    The job's name decides, not its config: `dagster job execute` ignores a job's default config.
    """
    return config.pave or context.run.job_name == REPAVE_JOB or not database.owner.exists()


@fails_in_a_sentence
def tell_plan(
    context: dg.AssetExecutionContext,
    config: SchemaConfig,
    database: DatabaseResource,
    vendor: VendorResource,
) -> None:
    """Log what the run would do; it is marked, so that nobody takes it for a repave."""
    context.instance.add_run_tags(context.run.run_id, {DRY_RUN_TAG: "true"})
    if is_pave(context, config, database):
        plan = plan_repave(context.instance, database, vendor, config.confirm_database)
        context.log.info("\n".join(plan.lines()))
        return
    with database.owner.connect() as connection:
        pending = structure.pending(connection)
    context.log.info(
        f"Migrations that would be applied: {', '.join(pending) or 'none'}. Nothing has been changed."
    )


@fails_in_a_sentence
def structured(
    context: dg.AssetExecutionContext, config: SchemaConfig, database: DatabaseResource
) -> dg.MaterializeResult:
    """Pave or migrate, verify the structure, record that it passed."""
    database.hold(exclusive=True)
    pave, backup = is_pave(context, config, database), None
    if pave:
        backup = backed_up(context, config, database)
        context.log.info(f"Paving database {database.owner.name!r}: recreated from nothing.")
        structure.pave(database.owner, Consent(config.confirm_database, backup))
    else:
        applied = structure.migrate(database.owner)
        context.log.info(f"Migrations applied: {', '.join(applied) or 'none was pending'}.")
    with database.owner.connect() as connection:
        for audit in AUDITS:
            verdict = run_audit(connection, audit, NO_RELATION, database.audit_parameters())
            if audit.blocking and not verdict.passed:
                raise StructureError(
                    f"The structure breaks {audit.name!r}: {verdict.examples}.",
                    fix="Rebuild it: dagster job execute -m kapman_assets -j repave.",
                )
        fingerprint = structure.structure_fingerprint(connection)
        manifest.record(
            connection,
            manifest.Load(
                "schema", manifest.WHOLE, [], rows_read=0, rows_written=0,
                content_hash=fingerprint, run_id=context.run.run_id,
            ),
        )  # fmt: skip
        lifecycle = structure.apply_lifecycle(connection)
    return dg.MaterializeResult(
        metadata={
            "paved": pave,
            **({"backup": backup or "none was taken"} if pave else {}),
            "tables": len(TABLES),
            "structure_fingerprint": fingerprint,
            "retention_enforcer": lifecycle.enforcer,
            "columnstore": lifecycle.columnstore,
        },
        data_version=dg.DataVersion(fingerprint),
    )


def backed_up(
    context: dg.AssetExecutionContext, config: SchemaConfig, database: DatabaseResource
) -> str | None:
    """Name of the verified backup that a pave in production rests on; None where there is nothing to lose.

    Asks the other guards first: a pave that is refused anyway needs no backup.

    Raises:
        Refused: a guard objects, or the backup can't be taken or doesn't verify; nothing was destroyed.
    """
    for objection in structure.objections(database.owner, Consent(config.confirm_database)):
        raise objection
    if settings().environment != "prod":
        return None
    if not structure.would_lose_rows(database.owner):
        context.log.info(
            f"No backup is taken: database {database.owner.name!r} doesn't exist or holds no rows."
        )
        return None
    by, now = f"{context.run.job_name} run {context.run.run_id[:8]}", dt.datetime.now(dt.UTC)
    try:
        store = BackupStore.from_settings(settings())
        taken = take(database.owner, store, taken_by=by, at=now, locked=True, tell=context.log.info)
        verify(store, taken.name)
    except KapmanError as error:
        raise Refused(
            f"The pave of {database.owner.name!r} is refused, because its backup failed: {error.what}",
            fix=error.fix,
        ) from error
    context.log.info(f"Backed up and verified: {store.location(taken.name)}.")
    return taken.name


CHECKS = audit_checks("schema", AUDITS, NO_RELATION)
