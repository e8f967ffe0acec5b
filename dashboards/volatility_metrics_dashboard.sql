-- Volatility-metrics dashboard: what is implied volatility, how does it stand in its history, and where is it unknown?
--
--   kapman db psql -v SNAPSHOT_N=2 -f dashboards/volatility_metrics_dashboard.sql
--   inside psql:  \set SYMBOL AAPL   and   \i dashboards/volatility_metrics_dashboard.sql
--
-- SNAPSHOT_N    1 is the newest snapshot that has volatility metrics, 2 the one before, ...   (1)
-- SYMBOL_LIMIT  rows of each list                                                             (5)
-- DETAIL        1: a symbol's history, and a whole document of each status too                (not shown)
-- SYMBOL        ticker of that history                                                        (an active one)
--
-- Volatilities and their differences are in percent a year; formulas: docs/metrics.md.
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
FROM (SELECT DISTINCT time FROM public.daily_snapshots WHERE volatility_metrics_json IS NOT NULL
      ORDER BY time DESC OFFSET :'SNAPSHOT_N'::int - 1 LIMIT 1) AS nth
\gset
\if :{?SYMBOL} \else
SELECT coalesce((
    SELECT w.symbol FROM public.watchlists w JOIN public.tickers t USING (symbol)
    WHERE w.active AND EXISTS (SELECT FROM public.daily_snapshots s WHERE s.ticker_id = t.id AND s.time = :'snapshot'
                               AND s.volatility_metrics_json->>'status' <> 'INVALID')
    ORDER BY w.symbol LIMIT 1), '-') AS "SYMBOL"
\gset
\endif

\echo
\echo '== 1. Snapshot' :SNAPSHOT_N '(1 is the newest):' :snapshot_shown '=='
SELECT (SELECT count(DISTINCT symbol) FROM public.watchlists WHERE active) AS active_symbols,
       count(volatility_metrics_json) AS with_metrics,
       count(*) FILTER (WHERE volatility_metrics_json->>'status' = 'FULL') AS full,
       count(*) FILTER (WHERE volatility_metrics_json->>'status' = 'LIMITED') AS limited,
       count(*) FILTER (WHERE volatility_metrics_json->>'status' = 'INVALID') AS invalid,
       count(*) FILTER (WHERE volatility_metrics_json->>'iv_rank_status' = 'known') AS with_iv_rank,
       round((100 * percentile_cont(0.5) WITHIN GROUP (
           ORDER BY (volatility_metrics_json->>'atm_iv_30d')::float8))::numeric, 1) AS median_iv_30d
FROM public.daily_snapshots
WHERE time = :'snapshot';

\echo '== 2. Active symbols without volatility metrics in it (none is good; first' :SYMBOL_LIMIT') =='
SELECT w.symbol, string_agg(w.watchlist_id, ', ' ORDER BY w.watchlist_id) AS watchlists,
       CASE WHEN t.id IS NULL THEN 'no ticker' ELSE 'not computed' END AS reason
FROM public.watchlists w LEFT JOIN public.tickers t USING (symbol)
WHERE w.active AND NOT EXISTS (
    SELECT FROM public.daily_snapshots s
    WHERE s.ticker_id = t.id AND s.time = :'snapshot' AND s.volatility_metrics_json IS NOT NULL)
GROUP BY w.symbol, t.id
ORDER BY w.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 3. Statuses, with their reasons =='
SELECT v->>'status' AS status, v->>'status_reason' AS reason, v->>'iv_rank_status' AS iv_rank, count(*) AS symbols,
       round(avg((v->>'iv_options_count')::numeric), 1) AS average_contracts,
       round(avg((v->>'iv_history_sessions')::numeric), 1) AS average_history
FROM public.daily_snapshots s
CROSS JOIN LATERAL (SELECT s.volatility_metrics_json AS v) AS document
WHERE s.time = :'snapshot' AND v IS NOT NULL
GROUP BY 1, 2, 3
ORDER BY symbols DESC, 1, 2, 3;

\echo '== 4. The highest IV ranks, then the highest 30-day IVs (first' :SYMBOL_LIMIT') =='
SELECT t.symbol, v->>'status' AS status, round(100 * (v->>'avg_iv')::numeric, 1) AS avg_iv,
       round(100 * (v->>'atm_iv_30d')::numeric, 1) AS iv_30d, round(100 * (v->>'atm_iv_90d')::numeric, 1) AS iv_90d,
       round((v->>'iv_hv_spread')::numeric, 1) AS iv_less_hv, round((v->>'iv_skew_25d')::numeric, 1) AS skew_25d,
       round((v->>'expected_move_30d')::numeric, 2) AS move_30d, round((v->>'iv_rank')::numeric, 1) AS iv_rank,
       round((v->>'iv_percentile')::numeric, 1) AS percentile,
       round((v->>'put_call_oi_ratio')::numeric, 2) AS put_call_oi
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL (SELECT s.volatility_metrics_json AS v) AS document
WHERE s.time = :'snapshot' AND v->>'status' <> 'INVALID'
ORDER BY (v->>'iv_rank')::float8 DESC NULLS LAST, (v->>'atm_iv_30d')::float8 DESC NULLS LAST, t.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 5. The newest sessions (first' :SYMBOL_LIMIT') =='
SELECT (time AT TIME ZONE 'America/New_York')::date AS session, count(*) AS symbols,
       count(*) FILTER (WHERE volatility_metrics_json->>'status' = 'FULL') AS full,
       count(*) FILTER (WHERE volatility_metrics_json->>'iv_rank_status' = 'known') AS with_iv_rank,
       round((100 * percentile_cont(0.5) WITHIN GROUP (
           ORDER BY (volatility_metrics_json->>'atm_iv_30d')::float8))::numeric, 1) AS median_iv_30d,
       round(percentile_cont(0.5) WITHIN GROUP (
           ORDER BY (volatility_metrics_json->>'iv_rank')::float8)::numeric, 1) AS median_iv_rank
FROM public.daily_snapshots
WHERE volatility_metrics_json IS NOT NULL
GROUP BY time
ORDER BY time DESC
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 6. Contracts that the filters removed from snapshot' :SNAPSHOT_N '=='
SELECT f.key AS filter, sum(f.value::bigint)::bigint AS contracts,
       count(*) FILTER (WHERE f.value::bigint > 0) AS symbols
FROM public.daily_snapshots s CROSS JOIN LATERAL jsonb_each_text(s.volatility_metrics_json->'filters') AS f
WHERE s.time = :'snapshot'
GROUP BY f.key
ORDER BY contracts DESC, f.key;

\if :{?DETAIL}
\echo '== 7. The newest metrics of' :SYMBOL '(first' :SYMBOL_LIMIT') =='
SELECT (s.time AT TIME ZONE 'America/New_York')::date AS session, v->>'status' AS status,
       (v->>'spot')::float8 AS spot, round(100 * (v->>'atm_iv_30d')::numeric, 1) AS iv_30d,
       round(100 * (v->>'atm_iv_90d')::numeric, 1) AS iv_90d, round((v->>'iv_skew_25d')::numeric, 1) AS skew_25d,
       round((v->>'iv_rank')::numeric, 1) AS iv_rank, v->>'iv_rank_status' AS iv_rank_status,
       (v->>'iv_history_sessions')::int AS history
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL (SELECT s.volatility_metrics_json AS v) AS document
WHERE t.symbol = :'SYMBOL' AND v IS NOT NULL
ORDER BY s.time DESC
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 8. A document of each status: the first FULL, LIMITED and INVALID symbol =='
SELECT DISTINCT ON (v->>'status') t.symbol, v->>'status' AS status,
       jsonb_pretty(v - '{inputs,filters}'::text[]) AS volatility_metrics_json
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL (SELECT s.volatility_metrics_json AS v) AS document
WHERE s.time = :'snapshot' AND v IS NOT NULL
ORDER BY v->>'status', t.symbol;
\endif

COMMIT;
\pset null ''
\pset footer on
\pset pager on
\set QUIET :quiet_before
