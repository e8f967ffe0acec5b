-- Drift dashboard: is the database still what the last loads have made of it?
--
--   kapman db psql -v SESSIONS=20 -f dashboards/drift_dashboard.sql
--   inside psql:  \set SESSIONS 20   and   \i dashboards/drift_dashboard.sql
--
-- SESSIONS      newest sessions of each step whose rows are hashed again   (5)
-- SYMBOL_LIMIT  rows of each list                                          (5)
--
-- The hashes are those of kapman_resources (structure/fingerprint.py, content_hash.py, ohlcv_load.py), written out
-- in SQL; a test holds the two together. What the vendor offers now only the check ohlcv_files_are_current sees.
-- Safe: one read-only transaction, so that all panels show the same moment.
\if :{?SESSIONS} \else \set SESSIONS 5 \endif
\if :{?SYMBOL_LIMIT} \else \set SYMBOL_LIMIT 5 \endif
\set quiet_before :QUIET
\set QUIET on
\pset null '-'
\pset footer off
\pset pager off
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- The letters of "kapman" as a number: the seed of kapman_resources.content_hash.
\set SEED 118066242216302

-- The structure as text, one line for each thing of each section. Nothing of it may depend on the session.
SAVEPOINT settings;
SET LOCAL search_path = '';
SET LOCAL IntervalStyle = 'postgres';
WITH ours AS (
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                      AND d.classid = 'pg_namespace'::regclass AND d.objid = n.oid)
), relation AS (
    SELECT c.*, format('%I.%I', ours.nspname, c.relname) AS name
    FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                      AND d.classid = 'pg_class'::regclass AND d.objid = c.oid)
), line (section, text) AS (
    SELECT 1, format('%s %s in %s', e.extname, e.extversion, n.nspname)
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    UNION ALL
    SELECT 2, format('%s | %s', nspname, obj_description(oid, 'pg_namespace')) FROM ours
    UNION ALL
    SELECT 3, format('%s kind %s persistence %s options %s | %s', name, relkind, relpersistence,
                     coalesce(reloptions::text, '-'), obj_description(oid, 'pg_class'))
              || CASE WHEN relkind IN ('v', 'm') THEN E'\n' || pg_get_viewdef(oid) ELSE '' END
    FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 4, format('%s %s %s %s%s%s%s%s%s | %s', name, lpad(a.attnum::text, 3, '0'), a.attname,
                     format_type(a.atttypid, a.atttypmod),
                     CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
                     coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''),
                     coalesce(' identity ' || nullif(a.attidentity::text, ''), ''),
                     coalesce(' generated ' || nullif(a.attgenerated::text, ''), ''),
                     coalesce(' compression ' || nullif(a.attcompression::text, ''), ''),
                     col_description(a.attrelid, a.attnum))
    FROM relation JOIN pg_attribute a ON a.attrelid = relation.oid
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 5, format('%s %s %s%s', name, k.conname, pg_get_constraintdef(k.oid),
                     CASE WHEN k.convalidated THEN '' ELSE ' (not validated)' END)
    FROM relation JOIN pg_constraint k ON k.conrelid = relation.oid WHERE k.contype <> 'n'
    UNION ALL
    SELECT 6, format('%s%s', pg_get_indexdef(i.indexrelid), CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END)
    FROM relation JOIN pg_index i ON i.indrelid = relation.oid
    UNION ALL
    SELECT 7, pg_get_triggerdef(t.oid)
    FROM relation JOIN pg_trigger t ON t.tgrelid = relation.oid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 8, p.oid::regprocedure::text || E'\n' || pg_get_functiondef(p.oid)
    FROM pg_proc p JOIN ours ON ours.oid = p.pronamespace
    WHERE p.prokind IN ('f', 'p', 'w') AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = 'pg_proc'::regclass AND d.objid = p.oid)
    UNION ALL
    SELECT 8, format('type %s %s %s', t.oid::regtype, t.typtype,
                     (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
                      FROM pg_enum e WHERE e.enumtypid = t.oid))
    FROM pg_type t JOIN ours ON ours.oid = t.typnamespace
    WHERE t.typtype IN ('d', 'e', 'r') AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = 'pg_type'::regclass AND d.objid = t.oid)
    UNION ALL
    SELECT 9, format('%I.%I compression %s', hypertable_schema, hypertable_name, compression_enabled)
    FROM timescaledb_information.hypertables
    UNION ALL
    SELECT 10, format('%I.%I %s %s %s %s %s', hypertable_schema, hypertable_name, dimension_number, column_name,
                      column_type, dimension_type,
                      coalesce(time_interval::text, integer_interval::text, num_partitions::text))
    FROM timescaledb_information.dimensions
    UNION ALL
    SELECT 11, format('%s segment by %s order by %s', hypertable, segmentby, orderby)
    FROM timescaledb_information.hypertable_columnstore_settings
    UNION ALL
    SELECT 12, format('%I.%I %s every %s %s', hypertable_schema, hypertable_name, proc_name, schedule_interval,
                      config - 'hypertable_id')
    FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL
), section (number, text) AS (
    SELECT number, '# ' || heading || coalesce(E'\n' || string_agg(line.text, E'\n' ORDER BY line.text COLLATE "C"), '')
                   || E'\n'
    FROM unnest(ARRAY['extensions', 'schemas', 'relations', 'columns', 'constraints', 'indexes', 'triggers',
                      'functions and types', 'hypertables', 'dimensions', 'columnstore', 'policies'])
             WITH ORDINALITY AS h (heading, number)
    LEFT JOIN line ON line.section = h.number
    GROUP BY number, heading
)
SELECT encode(sha256(convert_to(string_agg(text, E'\n' ORDER BY number), 'UTF8')), 'hex') AS structure_now FROM section
\gset
ROLLBACK TO SAVEPOINT settings;

\echo
\echo '== 1. Structure: fingerprint as asset schema has recorded it, and now =='
SELECT recorded.content_hash IS NOT DISTINCT FROM :'structure_now' AS same, left(recorded.content_hash, 32) AS recorded,
       left(:'structure_now', 32) AS now,
       to_char(recorded.loaded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') AS recorded_at
FROM (SELECT) AS one LEFT JOIN kapman_meta.load_manifest recorded ON recorded.asset = 'schema';

\echo '== 2. Content: rows of the newest' :SESSIONS 'sessions hashed again, against the hash of their load =='
WITH loaded AS (
    SELECT asset, partition_key, content_hash,
           row_number() OVER (PARTITION BY asset ORDER BY partition_key DESC) AS place
    FROM kapman_meta.load_manifest
    WHERE content_hash IS NOT NULL AND asset <> 'schema' AND (partition_key <> '' OR asset IN ('tickers', 'watchlists'))
), asked AS (
    SELECT asset, partition_key, content_hash, min(partition_key) OVER (PARTITION BY asset) AS oldest
    FROM loaded WHERE place <= :'SESSIONS'::int
), hashed (asset, partition_key, hash) AS (
    SELECT 'tickers', '', hash_record_extended(ROW(id, symbol, name, type, primary_exchange, currency, cik,
               composite_figi, share_class_figi, active, last_updated_utc), :SEED)
    FROM public.tickers
    UNION ALL
    SELECT 'watchlists', '', hash_record_extended(ROW(watchlist_id, symbol, active, source, effective_date), :SEED)
    FROM public.watchlists
    UNION ALL
    SELECT 'options_chains', (time AT TIME ZONE 'America/New_York')::date::text,
           hash_record_extended(ROW(time, ticker_id, expiration_date, strike_price, option_type, bid, ask, last, volume,
               open_interest, implied_volatility, delta, gamma, theta, vega, shares_per_contract), :SEED)
    FROM public.options_chains
    WHERE time >= (SELECT min(partition_key)::date FROM asked WHERE asset = 'options_chains')
    UNION ALL
    SELECT part.asset, (s.time AT TIME ZONE 'America/New_York')::date::text, part.hash
    FROM public.daily_snapshots s
    CROSS JOIN LATERAL (VALUES
        ('daily_snapshots', num_nonnulls(s.technical_indicators_json, s.price_metrics_json),
         hash_record_extended(ROW(s.time, s.ticker_id, s.technical_indicators_json::text, s.price_metrics_json::text),
                              :SEED)),
        ('dealer_metrics', num_nonnulls(s.dealer_metrics_json),
         hash_record_extended(ROW(s.time, s.ticker_id, s.dealer_metrics_json::text), :SEED)),
        ('volatility_metrics', num_nonnulls(s.volatility_metrics_json),
         hash_record_extended(ROW(s.time, s.ticker_id, s.volatility_metrics_json::text), :SEED))
    ) AS part (asset, documents, hash)
    WHERE part.documents > 0
      AND s.time >= (SELECT min(partition_key)::date FROM asked
                     WHERE asset IN ('daily_snapshots', 'dealer_metrics', 'volatility_metrics'))
), summed AS (
    SELECT asset, partition_key,
           sum(hashtextextended(hash::text COLLATE "C", :SEED)::numeric) AS total
    FROM hashed GROUP BY asset, partition_key
), unsigned AS (
    SELECT asset, partition_key, mod(mod(total, 2::numeric ^ 64) + 2::numeric ^ 64, 2::numeric ^ 64) AS total
    FROM summed
), now (asset, partition_key, hash) AS (
    SELECT asset, partition_key, lpad(to_hex(div(total, 4294967296)::bigint), 8, '0')
                                 || lpad(to_hex(mod(total, 4294967296)::bigint), 8, '0')
    FROM unsigned
    UNION ALL
    -- A bar as a row of binary COPY: the number of columns, then each one's length and bytes.
    SELECT 'ohlcv', date::text, encode(sha256(string_agg(
               int2send(8::int2) || int4send(16) || uuid_send(ticker_id) || int4send(4) || date_send(date)
               || int4send(8) || float8send(open) || int4send(8) || float8send(high) || int4send(8) || float8send(low)
               || int4send(8) || float8send(close) || int4send(8) || float8send(volume)
               || coalesce(int4send(8) || int8send(transactions), int4send(-1)), '' ORDER BY ticker_id)), 'hex')
    FROM public.ohlcv
    WHERE date >= (SELECT min(partition_key)::date FROM asked WHERE asset = 'ohlcv')
    GROUP BY date
)
SELECT asked.asset, count(*) AS compared, count(*) FILTER (WHERE now.hash = asked.content_hash) AS same,
       count(*) FILTER (WHERE now.hash IS DISTINCT FROM asked.content_hash) AS changed,
       left(string_agg(coalesce(nullif(asked.partition_key, ''), 'all'), ' ' ORDER BY asked.partition_key DESC)
                FILTER (WHERE now.hash IS DISTINCT FROM asked.content_hash), 60) AS changed_by_hand
FROM asked LEFT JOIN now USING (asset, partition_key)
GROUP BY asked.asset
ORDER BY array_position(ARRAY['tickers', 'watchlists', 'ohlcv', 'options_chains', 'daily_snapshots',
                              'dealer_metrics', 'volatility_metrics'], asked.asset);

\echo '== 3. Sessions made from what is no longer loaded (none is good; job refresh mends them) =='
SELECT m.asset, source.asset AS changed_source, count(*) AS sessions, min(m.partition_key) AS oldest,
       max(m.partition_key) AS newest
FROM kapman_meta.load_manifest m
CROSS JOIN LATERAL (
    SELECT s->>'asset' AS asset, s->>'partition' AS partition_key, s->>'content_hash' AS content_hash
    FROM jsonb_array_elements(m.sources) AS s
    WHERE s ? 'content_hash'
) AS source
LEFT JOIN kapman_meta.load_manifest held ON held.asset = source.asset AND held.partition_key = source.partition_key
WHERE source.content_hash IS DISTINCT FROM held.content_hash
GROUP BY m.asset, source.asset
ORDER BY sessions DESC, 1, 2
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 4. Sources that were republished: sessions loaded again with other rows (none is usual) =='
SELECT asset, partition_key AS session, details->>'rows_added' AS added, details->>'rows_changed' AS changed,
       details->>'rows_removed' AS removed,
       to_char(loaded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') AS loaded_at
FROM kapman_meta.load_manifest
WHERE (details->>'rows_changed')::bigint > 0 OR (details->>'rows_removed')::bigint > 0
ORDER BY load_manifest.loaded_at DESC, 2 DESC
LIMIT :'SYMBOL_LIMIT'::int;

-- The views of schema analytics are generated from the catalogue of metrics. A column is named by the keys that lead
-- to it (technical indicators by the last); lists have views of their own; null stands for all keys below it.
\echo '== 5. Keys of the newest metrics against the catalogue (columns of analytics) =='
WITH RECURSIVE document (name, views, lists) AS (
    VALUES ('technical_indicators', '{technical_indicators,candlestick_patterns}'::text[], '{}'::text[]),
           ('price_metrics', '{price_metrics}', '{}'),
           ('dealer_metrics', '{dealer_metrics}', '{call_walls,put_walls,profile}'),
           ('volatility_metrics', '{volatility_metrics}', '{}')
), newest AS (
    SELECT d.name, m.json
    FROM (SELECT max(time) AS time FROM public.daily_snapshots WHERE technical_indicators_json IS NOT NULL) AS last
    JOIN public.daily_snapshots s USING (time)
    CROSS JOIN LATERAL (VALUES ('technical_indicators', s.technical_indicators_json),
                               ('price_metrics', s.price_metrics_json), ('dealer_metrics', s.dealer_metrics_json),
                               ('volatility_metrics', s.volatility_metrics_json)) AS m (name, json)
    JOIN document d USING (name)
    WHERE m.json IS NOT NULL
), key (name, path, value) AS (
    SELECT newest.name, ARRAY[k.key], k.value
    FROM newest CROSS JOIN LATERAL jsonb_each(newest.json) AS k
    UNION ALL
    SELECT key.name, key.path || k.key, k.value
    FROM key CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(key.value) WHEN 'object' THEN key.value ELSE '{}' END) AS k
), leaf AS (
    SELECT DISTINCT key.name, key.value = 'null' AS is_null,
           CASE key.name WHEN 'technical_indicators' THEN key.path[cardinality(key.path)]
                         ELSE array_to_string(key.path, '_') END AS column_name
    FROM key JOIN document d USING (name)
    WHERE jsonb_typeof(key.value) <> 'object' AND key.path[1] <> ALL (d.lists)
), declared AS (
    SELECT d.name, a.attname::text AS column_name
    FROM document d JOIN pg_class c ON c.relname = ANY (d.views) AND c.relnamespace = 'analytics'::regnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE a.attnum > 0 AND a.attname NOT IN ('symbol', 'session', 'time', 'ticker_id')
), unknown AS (
    SELECT DISTINCT name, column_name FROM leaf
    WHERE NOT EXISTS (SELECT FROM declared d WHERE d.name = leaf.name AND (d.column_name = leaf.column_name
                          OR leaf.is_null AND starts_with(d.column_name, leaf.column_name || '_')))
), missing AS (
    SELECT name, column_name FROM declared d
    WHERE EXISTS (SELECT FROM newest WHERE newest.name = d.name)
      AND NOT EXISTS (SELECT FROM leaf WHERE leaf.name = d.name AND (leaf.column_name = d.column_name
                          OR leaf.is_null AND starts_with(d.column_name, leaf.column_name || '_')))
)
SELECT d.name AS document, (SELECT count(*) FROM newest WHERE newest.name = d.name) AS rows,
       (SELECT count(*) FROM declared WHERE declared.name = d.name) AS columns,
       (SELECT left(string_agg(column_name, ' ' ORDER BY column_name), 36) FROM missing WHERE missing.name = d.name)
           AS missing,
       (SELECT left(string_agg(column_name, ' ' ORDER BY column_name), 36) FROM unknown WHERE unknown.name = d.name)
           AS unknown
FROM document d
ORDER BY array_position(ARRAY['technical_indicators', 'price_metrics', 'dealer_metrics', 'volatility_metrics'], d.name);

\echo '== 6. Versions of the definitions that made what is loaded (two of a step: job refresh) =='
SELECT asset, code_version, count(*) AS sessions, min(partition_key) AS oldest, max(partition_key) AS newest
FROM kapman_meta.load_manifest
WHERE code_version <> ''
GROUP BY asset, code_version
ORDER BY asset, newest DESC
LIMIT 2 * :'SYMBOL_LIMIT'::int;

COMMIT;
\pset null ''
\pset footer on
\pset pager on
\set QUIET :quiet_before
