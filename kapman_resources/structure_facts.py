"""What must hold of the structure (A5), each statement with the query of what breaks it and its numbers."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, LiteralString

from kapman_resources.structure.lifecycle import (
    COLUMNSTORE_AFTER,
    COLUMNSTORE_TABLE,
    HYPERTABLES,
    ORDER_BY,
    RETENTION,
    SEGMENT_BY,
)
from kapman_resources.structure.migrations import column_comment
from kapman_resources.tables import TABLES


@dataclass(frozen=True)
class StructureAudit:
    """A statement about the structure.

    name: the statement; description: the same for people.
    facts: query of one row of named numbers. violations: query of what breaks the statement, none if it
        holds. Both take the named psycopg parameters of `parameters`.
    """

    name: str
    description: str
    facts: LiteralString
    violations: LiteralString
    severity: Literal["ERROR", "WARN"] = "ERROR"
    blocking: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)


EXTENSIONS = ("timescaledb", "uuid-ossp")
CHUNK_INTERVALS = {"ohlcv": dt.timedelta(days=30), "options_chains": dt.timedelta(days=7)}
FOREIGN_KEYS = (
    ("ohlcv", "ticker_id", "tickers"),
    ("options_chains", "ticker_id", "tickers"),
    ("daily_snapshots", "ticker_id", "tickers"),
    ("recommendations", "ticker_id", "tickers"),
    ("recommendations", "snapshot_time,ticker_id", "daily_snapshots"),
    ("recommendation_outcomes", "recommendation_id", "recommendations"),
)
CHECK_CONSTRAINTS = (
    "tickers_id_check",
    "tickers_symbol_check",
    "watchlists_watchlist_id_check",
    "watchlists_symbol_check",
    "ohlcv_prices_check",
    "ohlcv_volume_check",
    "ohlcv_transactions_check",
    "options_chains_option_type_check",
    "options_chains_strike_price_check",
    "options_chains_quotes_check",
    "options_chains_counts_check",
    "options_chains_implied_volatility_check",
    "options_chains_greeks_check",
    "options_chains_shares_per_contract_check",
    "daily_snapshots_objects_check",
    "recommendations_direction_check",
    "recommendations_action_check",
    "recommendations_confidence_check",
    "recommendations_option_type_check",
    "recommendations_option_strategy_check",
    "recommendations_status_check",
    "recommendation_outcomes_days_held_check",
    "recommendation_outcomes_predicted_confidence_check",
    "recommendation_outcomes_directional_brier_check",
    "recommendation_outcomes_outcome_status_check",
)
ANALYTICS_VIEWS = (
    "technical_indicators",
    "candlestick_patterns",
    "candlestick_signals",
    "price_metrics",
    "dealer_metrics",
    "dealer_walls",
    "gex_profile",
    "volatility_metrics",
    "watchlist",
    "loads",
    "asset_health",
    "quarantined",
)

_CATALOG_NAMES = {"timestamptz": "timestamp with time zone"}
_CONTRACT = [table.name for table in TABLES.values()]
_COLUMNS = [
    (
        table.name,
        position,
        column.name,
        _CATALOG_NAMES.get(column.type, column.type),
        column.nullable,
        column_comment(column),
    )
    for table in TABLES.values()
    for position, column in enumerate(table.columns, start=1)
]

EXTENSIONS_ARE_INSTALLED = StructureAudit(
    "extensions_are_installed",
    "TimescaleDB and uuid-ossp are installed.",
    facts="""
        SELECT max(extversion) FILTER (WHERE extname = 'timescaledb') AS timescaledb,
               max(extversion) FILTER (WHERE extname = 'uuid-ossp') AS uuid_ossp,
               current_setting('timescaledb.license', true) AS edition,
               current_setting('server_version') AS postgresql
        FROM pg_extension
    """,
    violations="""
        SELECT wanted.name AS missing_extension FROM unnest(%(extensions)s::text[]) AS wanted (name)
        WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = wanted.name)
    """,
    parameters={"extensions": list(EXTENSIONS)},
)

CONTRACT_TABLES_EXIST = StructureAudit(
    "contract_tables_exist",
    "Every table of the contract is in schema public.",
    facts="""
        SELECT cardinality(%(contract)s::text[]) AS declared, count(*) AS found
        FROM pg_tables WHERE schemaname = 'public' AND tablename = ANY (%(contract)s)
    """,
    violations="""
        SELECT declared.name AS missing_table FROM unnest(%(contract)s::text[]) AS declared (name)
        WHERE NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public' AND tablename = declared.name)
    """,
    parameters={"contract": _CONTRACT},
)

PUBLIC_HOLDS_NOTHING_ELSE = StructureAudit(
    "public_holds_nothing_else",
    "Schema public holds the contract's tables and no other table, view, materialized view or foreign table.",
    facts="""
        SELECT count(*) FILTER (WHERE relkind IN ('r', 'p')) AS tables,
               count(*) FILTER (WHERE relkind IN ('v', 'm')) AS views,
               count(*) FILTER (WHERE relkind = 'f') AS foreign_tables
        FROM pg_class c
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
          AND NOT EXISTS (SELECT FROM pg_depend d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    """,
    violations="""
        SELECT relname::text AS extra_relation, relkind::text AS kind
        FROM pg_class c
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
          AND NOT EXISTS (SELECT FROM pg_depend d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
          AND (relname <> ALL (%(contract)s) OR relkind NOT IN ('r', 'p'))
        ORDER BY 1
    """,
    parameters={"contract": _CONTRACT},
)

NO_OHLCV_DAILY_EXISTS = StructureAudit(
    "no_ohlcv_daily_exists",
    "There is one canonical public.ohlcv: no schema holds an ohlcv_daily, not even as a view.",
    facts="""
        SELECT count(*) FILTER (WHERE relname = 'ohlcv') AS relations_named_ohlcv,
               count(*) FILTER (WHERE relname = 'ohlcv_daily') AS relations_named_ohlcv_daily
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
    """,
    violations="""
        SELECT relnamespace::regnamespace::text AS schema, relname::text AS forbidden, relkind::text AS kind
        FROM pg_class WHERE relname = 'ohlcv_daily' AND relkind IN ('r', 'p', 'v', 'm', 'f')
        ORDER BY 1
    """,
)

NO_CONTRACT_TABLE_EXISTS = StructureAudit(
    "no_contract_table_exists",
    "No relation in public is named %contract%: contracts are implicit in the snapshots.",
    facts="""
        SELECT count(*) FILTER (WHERE relname ILIKE '%%contract%%') AS relations_named_contract,
               count(*) AS relations
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
    """,
    violations="""
        SELECT relname::text AS forbidden, relkind::text AS kind
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
          AND relname ILIKE '%%contract%%'
        ORDER BY 1
    """,
)

HYPERTABLES_ARE_REGISTERED = StructureAudit(
    "hypertables_are_registered",
    "ohlcv is a hypertable on date in chunks of 30 days, options_chains on time in chunks of 7; no others.",
    facts="""
        SELECT count(*) AS hypertables,
               string_agg(hypertable_name || ' on ' || column_name || ' by ' || time_interval, ', '
                          ORDER BY hypertable_name) AS dimensions
        FROM timescaledb_information.dimensions WHERE hypertable_schema = 'public'
    """,
    violations="""
        SELECT coalesce(declared.name, found.hypertable_name::text) AS hypertable,
               declared.dimension AS declared_dimension, found.column_name::text AS dimension,
               declared.chunks AS declared_chunks, found.time_interval AS chunks
        FROM unnest(%(hypertables)s::text[], %(dimensions)s::text[], %(intervals)s::interval[])
                 AS declared (name, dimension, chunks)
             FULL JOIN (SELECT * FROM timescaledb_information.dimensions WHERE hypertable_schema = 'public') found
             ON found.hypertable_name = declared.name
        WHERE (declared.dimension, declared.chunks) IS DISTINCT FROM (found.column_name::text, found.time_interval)
    """,
    parameters={
        "hypertables": list(HYPERTABLES),
        "dimensions": [TABLES[name].time_column for name in HYPERTABLES],
        "intervals": [CHUNK_INTERVALS[name] for name in HYPERTABLES],
    },
)

COLUMNS_EQUAL_DECLARATIONS = StructureAudit(
    "columns_equal_declarations",
    "Columns, their order, types, nullability and comments are those of the declarations.",
    facts="""
        SELECT cardinality(%(column_names)s::text[]) AS declared, count(*) AS found
        FROM pg_attribute
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
                           AND relname = ANY (%(contract)s) AND relkind IN ('r', 'p'))
          AND attnum > 0 AND NOT attisdropped
    """,
    violations="""
        WITH declared AS (
            SELECT * FROM unnest(%(column_tables)s::text[], %(column_positions)s::bigint[],
                                 %(column_names)s::text[], %(column_types)s::text[],
                                 %(column_nullables)s::boolean[], %(column_comments)s::text[])
                          AS d (table_name, position, column_name, type, nullable, comment)
        ), found AS (
            SELECT c.relname::text AS table_name,
                   row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum) AS position,
                   a.attname::text AS column_name, format_type(a.atttypid, a.atttypmod) AS type,
                   NOT a.attnotnull AS nullable, col_description(c.oid, a.attnum) AS comment
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
              AND c.relname = ANY (%(contract)s) AND a.attnum > 0 AND NOT a.attisdropped
        )
        SELECT table_name, column_name, declared.position AS declared_position, found.position,
               declared.type AS declared_type, found.type, declared.nullable AS declared_nullable,
               found.nullable, declared.comment AS declared_comment, found.comment
        FROM declared FULL JOIN found USING (table_name, column_name)
        WHERE (declared.position, declared.type, declared.nullable, declared.comment)
              IS DISTINCT FROM (found.position, found.type, found.nullable, found.comment)
        ORDER BY 1, 2
    """,
    parameters={
        "contract": _CONTRACT,
        "column_tables": [column[0] for column in _COLUMNS],
        "column_positions": [column[1] for column in _COLUMNS],
        "column_names": [column[2] for column in _COLUMNS],
        "column_types": [column[3] for column in _COLUMNS],
        "column_nullables": [column[4] for column in _COLUMNS],
        "column_comments": [column[5] for column in _COLUMNS],
    },
)

KEYS_EQUAL_DECLARATIONS = StructureAudit(
    "keys_equal_declarations",
    "Every table is unique by its declared key.",
    facts="""
        SELECT cardinality(%(contract)s::text[]) AS declared, count(*) AS unique_constraints
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u')
    """,
    violations="""
        SELECT declared.table_name, declared.columns AS missing_key
        FROM unnest(%(contract)s::text[], %(keys)s::text[]) AS declared (table_name, columns)
        WHERE NOT EXISTS (
            SELECT FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
            WHERE k.connamespace = 'public'::regnamespace AND k.contype IN ('p', 'u')
              AND c.relname = declared.table_name
              AND declared.columns = (
                  SELECT string_agg(a.attname, ',' ORDER BY key.position)
                  FROM unnest(k.conkey) WITH ORDINALITY AS key (attnum, position)
                       JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.attnum))
        ORDER BY 1
    """,
    parameters={"contract": _CONTRACT, "keys": [",".join(table.key) for table in TABLES.values()]},
)

FOREIGN_KEYS_ARE_VALID = StructureAudit(
    "foreign_keys_are_valid",
    "Every foreign key of the contract is in place and validated.",
    facts="""
        SELECT cardinality(%(referring_tables)s::text[]) AS declared,
               count(*) FILTER (WHERE convalidated) AS validated, count(*) AS found
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = 'f'
    """,
    violations="""
        SELECT declared.table_name, declared.columns, declared.referenced AS not_referenced
        FROM unnest(%(referring_tables)s::text[], %(referring_columns)s::text[], %(referenced_tables)s::text[])
                 AS declared (table_name, columns, referenced)
        WHERE NOT EXISTS (
            SELECT FROM pg_constraint k
            WHERE k.connamespace = 'public'::regnamespace AND k.contype = 'f' AND k.convalidated
              AND k.conrelid = to_regclass('public.' || declared.table_name)
              AND k.confrelid = to_regclass('public.' || declared.referenced)
              AND declared.columns = (
                  SELECT string_agg(a.attname, ',' ORDER BY key.position)
                  FROM unnest(k.conkey) WITH ORDINALITY AS key (attnum, position)
                       JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.attnum))
        ORDER BY 1, 2
    """,
    parameters={
        "referring_tables": [key[0] for key in FOREIGN_KEYS],
        "referring_columns": [key[1] for key in FOREIGN_KEYS],
        "referenced_tables": [key[2] for key in FOREIGN_KEYS],
    },
)

CHECK_CONSTRAINTS_ARE_VALID = StructureAudit(
    "check_constraints_are_valid",
    "Every CHECK of the contract (sane prices, finite numbers, sets of words) is in place and validated.",
    facts="""
        SELECT cardinality(%(check_constraints)s::text[]) AS declared,
               count(*) FILTER (WHERE convalidated) AS validated, count(*) AS found
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = 'c'
    """,
    violations="""
        SELECT declared.name AS missing_check
        FROM unnest(%(check_constraints)s::text[]) AS declared (name)
        WHERE NOT EXISTS (SELECT FROM pg_constraint k
                          WHERE k.connamespace = 'public'::regnamespace AND k.contype = 'c'
                            AND k.convalidated AND k.conname = declared.name)
        ORDER BY 1
    """,
    parameters={"check_constraints": list(CHECK_CONSTRAINTS)},
)

# A policy that is scheduled may still fail every night, and the Apache edition has none: so the effect is
# looked for too, by the only today that is in the database (the newest chunk has begun), with a week of grace.
RETENTION_IS_ENFORCED = StructureAudit(
    "retention_is_730_days",
    "Both hypertables keep 730 days and hold no expired chunk: by policy (Community), or by the platform's "
    "nightly job (Apache; Community with KAPMAN_AS_OF, where the policies are paused).",
    facts="""
        SELECT CASE WHEN count(*) FILTER (WHERE j.scheduled) = cardinality(%(hypertables)s::text[]) THEN 'policy'
                    ELSE 'platform job' END AS enforcer,
               count(*) AS policies, count(*) FILTER (WHERE j.scheduled) AS scheduled_policies,
               count(*) FILTER (WHERE s.last_run_status = 'Failed') AS policies_that_failed_last,
               extract(day FROM %(retention)s::interval)::integer AS days,
               (SELECT min(range_start)::date FROM timescaledb_information.chunks
                WHERE hypertable_schema = 'public') AS oldest_chunk
        FROM timescaledb_information.jobs j LEFT JOIN timescaledb_information.job_stats s USING (job_id)
        WHERE j.proc_name = 'policy_retention' AND j.hypertable_schema = 'public'
    """,
    violations="""
        SELECT wanted.name AS hypertable, 'has no retention policy of 730 days' AS problem
        FROM unnest(%(hypertables)s::text[]) AS wanted (name)
        WHERE current_setting('timescaledb.license') = 'timescale'
          AND NOT EXISTS (
              SELECT FROM timescaledb_information.jobs
              WHERE proc_name = 'policy_retention'
                AND hypertable_schema = 'public' AND hypertable_name = wanted.name
                AND (config ->> 'drop_after')::interval = %(retention)s::interval)
        UNION ALL
        SELECT hypertable_name::text, 'has an expired chunk that ends on ' || range_end::date
        FROM (SELECT *, max(range_start) OVER (PARTITION BY hypertable_name) AS newest
              FROM timescaledb_information.chunks WHERE hypertable_schema = 'public') AS chunk
        WHERE range_end < newest - %(retention)s::interval - interval '7 days'
        ORDER BY 1, 2
    """,
    parameters={"hypertables": list(HYPERTABLES), "retention": RETENTION},
)

COLUMNSTORE_IS_SCHEDULED = StructureAudit(
    "columnstore_after_120_days",
    "On the Community edition options_chains moves to the columnstore after 120 days, segmented by ticker, "
    "newest first.",
    facts="""
        SELECT current_setting('timescaledb.license') AS edition,
               (SELECT compression_enabled FROM timescaledb_information.hypertables
                WHERE hypertable_schema = 'public' AND hypertable_name = %(columnstore_table)s)
                   AS columnstore_enabled,
               (SELECT count(*) FROM timescaledb_information.jobs
                WHERE proc_name = 'policy_compression' AND hypertable_schema = 'public') AS policies,
               extract(day FROM %(columnstore_after)s::interval)::integer AS days
    """,
    violations="""
        SELECT %(columnstore_table)s::text AS hypertable,
               'has no scheduled columnstore policy of 120 days with these settings' AS problem,
               %(segment_by)s::text AS segment_by, %(order_by)s::text AS order_by
        WHERE current_setting('timescaledb.license') = 'timescale'
          AND NOT (
              EXISTS (SELECT FROM timescaledb_information.jobs
                      WHERE proc_name = 'policy_compression' AND scheduled
                        AND hypertable_schema = 'public' AND hypertable_name = %(columnstore_table)s
                        AND (config ->> 'compress_after')::interval = %(columnstore_after)s::interval)
              AND EXISTS (SELECT FROM timescaledb_information.hypertable_columnstore_settings
                          WHERE hypertable = to_regclass('public.' || %(columnstore_table)s)
                            AND segmentby = %(segment_by)s
                            AND replace(orderby, '"', '') = %(order_by)s))
    """,
    parameters={
        "columnstore_table": COLUMNSTORE_TABLE,
        "columnstore_after": COLUMNSTORE_AFTER,
        "segment_by": SEGMENT_BY,
        "order_by": ORDER_BY,
    },
)

COLUMNSTORE_IS_AVAILABLE = StructureAudit(
    "columnstore_is_available",
    "This edition of TimescaleDB has a columnstore; the Apache edition has none, and option chains then take "
    "three times the room.",
    facts="SELECT current_setting('timescaledb.license') AS edition",
    violations="""
        SELECT 'not available in this edition' AS columnstore
        WHERE current_setting('timescaledb.license') <> 'timescale'
    """,
    severity="WARN",
    blocking=False,
)

# Not blocking: nothing is computed from a view, and an option snapshot is now or never.
ANALYTICS_VIEWS_EXIST = StructureAudit(
    "analytics_views_exist",
    "Every view of the platform is in schema analytics (docs/analytics.md).",
    facts="""
        SELECT cardinality(%(analytics_views)s::text[]) AS declared,
               count(*) FILTER (WHERE viewname = ANY (%(analytics_views)s)) AS found, count(*) AS views
        FROM pg_views WHERE schemaname = 'analytics'
    """,
    violations="""
        SELECT declared.name AS missing_view FROM unnest(%(analytics_views)s::text[]) AS declared (name)
        WHERE NOT EXISTS (SELECT FROM pg_views WHERE schemaname = 'analytics' AND viewname = declared.name)
    """,
    blocking=False,
    parameters={"analytics_views": list(ANALYTICS_VIEWS)},
)

STRUCTURE_AUDITS: tuple[StructureAudit, ...] = (
    EXTENSIONS_ARE_INSTALLED,
    CONTRACT_TABLES_EXIST,
    PUBLIC_HOLDS_NOTHING_ELSE,
    NO_OHLCV_DAILY_EXISTS,
    NO_CONTRACT_TABLE_EXISTS,
    COLUMNS_EQUAL_DECLARATIONS,
    KEYS_EQUAL_DECLARATIONS,
    FOREIGN_KEYS_ARE_VALID,
    CHECK_CONSTRAINTS_ARE_VALID,
    HYPERTABLES_ARE_REGISTERED,
    RETENTION_IS_ENFORCED,
    COLUMNSTORE_IS_SCHEDULED,
    COLUMNSTORE_IS_AVAILABLE,
    ANALYTICS_VIEWS_EXIST,
)

STRUCTURE_PARAMETERS: Mapping[str, Any] = {
    name: value for audit in STRUCTURE_AUDITS for name, value in audit.parameters.items()
}
"""The parameters of all of them: a name means the same in every audit."""
