-- Daily-snapshot dashboard: does every symbol have its metrics, and may they be trusted?
--
--   kapman db psql -v SNAPSHOT_N=2 -f dashboards/daily_snapshots_dashboard.sql
--   inside psql:  \set SYMBOL AAPL   and   \i dashboards/daily_snapshots_dashboard.sql
--
-- SNAPSHOT_N    1 is the newest snapshot, 2 the one before, ...            (1)
-- SYMBOL_LIMIT  rows of each list                                          (5)
-- DETAIL        1: a symbol's newest snapshots too                         (not shown)
-- SYMBOL        ticker of that last panel                                  (an active one)
--
-- Formulas and reasons for nulls: docs/metrics.md.
-- Safe: one read-only transaction, so that all panels show the same moment.
\if :{?SNAPSHOT_N} \else \set SNAPSHOT_N 1 \endif
\if :{?SYMBOL_LIMIT} \else \set SYMBOL_LIMIT 5 \endif
\set quiet_before :QUIET
\set QUIET on
\pset null '-'
\pset footer off
\pset pager off
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

SELECT coalesce(max(time), 'epoch') AS snapshot,
       coalesce(to_char(max(time) AT TIME ZONE 'America/New_York', 'YYYY-MM-DD HH24:MI "New York"'), 'none')
           AS snapshot_shown
FROM (SELECT DISTINCT time FROM public.daily_snapshots ORDER BY time DESC OFFSET :'SNAPSHOT_N'::int - 1 LIMIT 1) AS nth
\gset
\if :{?SYMBOL} \else
SELECT coalesce((
    SELECT w.symbol FROM public.watchlists w JOIN public.tickers t USING (symbol)
    WHERE w.active AND EXISTS (SELECT FROM public.daily_snapshots s WHERE s.ticker_id = t.id AND s.time = :'snapshot')
    ORDER BY w.symbol LIMIT 1), '-') AS "SYMBOL"
\gset
\endif

\echo
\echo '== 1. Totals =='
SELECT count(*) AS rows, count(DISTINCT time) AS sessions, count(DISTINCT ticker_id) AS tickers,
       min(time AT TIME ZONE 'America/New_York')::date AS first,
       max(time AT TIME ZONE 'America/New_York')::date AS last,
       (SELECT string_agg(DISTINCT model_version, ', ') FROM public.daily_snapshots) AS model_versions,
       pg_size_pretty(pg_total_relation_size('public.daily_snapshots')) AS size
FROM public.daily_snapshots;

\echo '== 2. The newest sessions: rows with each document (first' :SYMBOL_LIMIT') =='
SELECT (time AT TIME ZONE 'America/New_York')::date AS session, count(*) AS rows,
       count(technical_indicators_json) AS technical, count(price_metrics_json) AS price,
       count(dealer_metrics_json) AS dealer, count(volatility_metrics_json) AS volatility,
       count(*) FILTER (WHERE num_nulls(technical_indicators_json, price_metrics_json, dealer_metrics_json,
                                        volatility_metrics_json) = 0) AS complete
FROM public.daily_snapshots
GROUP BY time
ORDER BY time DESC
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 3. Snapshot' :SNAPSHOT_N 'of' :snapshot_shown': active symbols without a document (none is good) =='
SELECT w.symbol, t.id IS NOT NULL AS ticker,
       EXISTS (SELECT FROM public.ohlcv o WHERE o.ticker_id = t.id
               AND o.date = (:'snapshot'::timestamptz AT TIME ZONE 'America/New_York')::date) AS bar,
       s.technical_indicators_json IS NOT NULL AS technical, s.price_metrics_json IS NOT NULL AS price,
       s.dealer_metrics_json IS NOT NULL AS dealer, s.volatility_metrics_json IS NOT NULL AS volatility
FROM (SELECT DISTINCT symbol FROM public.watchlists WHERE active) AS w
LEFT JOIN public.tickers t USING (symbol)
LEFT JOIN public.daily_snapshots s ON s.ticker_id = t.id AND s.time = :'snapshot'
WHERE num_nulls(s.technical_indicators_json, s.price_metrics_json, s.dealer_metrics_json, s.volatility_metrics_json) > 0
ORDER BY w.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 4. Quality flags in it (none is good) =='
SELECT flagged.document, flag.name AS flag, count(*) AS symbols,
       left(string_agg(t.symbol, ' ' ORDER BY t.symbol), 60) AS names
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL (VALUES ('price', s.price_metrics_json), ('dealer', s.dealer_metrics_json),
                           ('volatility', s.volatility_metrics_json)) AS flagged (document, metrics)
CROSS JOIN LATERAL jsonb_array_elements_text(flagged.metrics->'quality'->'flags') AS flag (name)
WHERE s.time = :'snapshot'
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 5. Indicators without a value in it (PSAR is either up or down; others had too few bars) =='
SELECT metric.group_name AS "group", coalesce(inner_metric.name, metric.name) AS indicator,
       count(*) AS rows_without, count(DISTINCT s.ticker_id) AS symbols
FROM public.daily_snapshots s
CROSS JOIN LATERAL (
    SELECT g.key AS group_name, m.key AS name, m.value
    FROM jsonb_each(s.technical_indicators_json) AS g
    CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(g.value) WHEN 'object' THEN g.value ELSE '{}' END) AS m
) AS metric
LEFT JOIN LATERAL jsonb_each(CASE jsonb_typeof(metric.value) WHEN 'object' THEN metric.value ELSE '{}' END)
       AS inner_metric (name, value) ON true
WHERE s.time = :'snapshot' AND coalesce(inner_metric.value, metric.value) = 'null'
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 6. Sessions per symbol =='
SELECT count(*) AS symbols, min(sessions) AS fewest, max(sessions) AS most, round(avg(sessions), 1) AS average,
       count(*) FILTER (WHERE sessions < 20) AS under_20, count(*) FILTER (WHERE sessions < 252) AS under_252
FROM (SELECT count(*) AS sessions FROM public.daily_snapshots GROUP BY ticker_id) AS counted;

\if :{?DETAIL}
\echo '== 7. The newest snapshots of' :SYMBOL '(first' :SYMBOL_LIMIT') =='
SELECT (s.time AT TIME ZONE 'America/New_York')::date AS session, (s.price_metrics_json->>'close')::float8 AS close,
       round((s.price_metrics_json->>'change_pct')::numeric, 2) AS change_pct,
       round((s.price_metrics_json->>'rvol')::numeric, 2) AS rvol,
       round((s.price_metrics_json->>'hv_20')::numeric, 4) AS hv_20,
       s.dealer_metrics_json->>'status' AS dealer, round((s.dealer_metrics_json->>'dgpi')::numeric, 1) AS dgpi,
       s.volatility_metrics_json->>'status' AS volatility,
       round((s.volatility_metrics_json->>'iv_rank')::numeric, 1) AS iv_rank, s.model_version
FROM public.daily_snapshots s JOIN public.tickers t ON t.id = s.ticker_id
WHERE t.symbol = :'SYMBOL'
ORDER BY s.time DESC
LIMIT :'SYMBOL_LIMIT'::int;
\endif

COMMIT;
\pset null ''
\pset footer on
\pset pager on
\set QUIET :quiet_before
