"""`schema`: the structure of the database (A6 creates it, A5 verifies it), and no data."""

import dagster as dg
from psycopg import sql

from kapman_assets.audits import Audit, audit_checks, run_audit
from kapman_assets.failures import fails_in_a_sentence
from kapman_assets.partitions import ONE_RUN
from kapman_assets.resources import DatabaseResource
from kapman_resources import manifest, structure
from kapman_resources.errors import Refused, StructureError
from kapman_resources.settings import settings
from kapman_resources.structure_facts import STRUCTURE_AUDITS
from kapman_resources.tables import TABLES

REPAVE_JOB = "repave"
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
    """pave: drop and recreate the database. confirm_database: its name, demanded in production."""

    pave: bool = False
    confirm_database: str = ""


@dg.asset(
    group_name="market",
    kinds={"timescaledb", "sql"},
    owners=["team:a6-structure"],
    tags={"contract": "A6"},
    backfill_policy=ONE_RUN,
    description=(
        "Structure of the database: extensions, tables, hypertables, keys, lifecycle policies; no data.\n\n"
        "In job `repave` (or with `pave: true`) the database is **dropped and recreated** first;"
        " materialized alone, pending migrations are applied and nothing is destroyed."
    ),
)
@fails_in_a_sentence
def schema(
    context: dg.AssetExecutionContext, config: SchemaConfig, database: DatabaseResource
) -> dg.MaterializeResult:
    """Pave or migrate, verify the structure, record that it passed."""
    # The job's name decides, not its config: `dagster job execute` ignores a job's default config.
    pave = config.pave or context.run.job_name == REPAVE_JOB
    database.hold(exclusive=True)
    if not database.database.exists():
        pave = True  # there is nothing to destroy yet
    elif pave:
        refuse_unconfirmed_pave(database.database.name, config.confirm_database)
    if pave:
        context.log.info(f"Paving database {database.database.name!r}: recreated from nothing.")
        structure.pave(database.database)
    else:
        applied = structure.migrate(database.database)
        context.log.info(f"Migrations applied: {', '.join(applied) or 'none was pending'}.")
    with database.connect() as connection:
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
            "tables": len(TABLES),
            "structure_fingerprint": fingerprint,
            "retention_enforcer": lifecycle.enforcer,
            "columnstore": lifecycle.columnstore,
        },
        data_version=dg.DataVersion(fingerprint),
    )


def refuse_unconfirmed_pave(database: str, confirmed: str) -> None:
    """In production a pave must name the database that it destroys.

    Raises:
        Refused: KAPMAN_ENV is prod and the run config doesn't repeat the database's name.
    """
    if settings().environment == "prod" and confirmed != database:
        raise Refused(
            f"This is production: a pave of {database!r} must name it.",
            fix=f"Put `ops: {{schema: {{config: {{confirm_database: {database}}}}}}}` into the run config.",
        )


CHECKS = audit_checks("schema", AUDITS, NO_RELATION)
