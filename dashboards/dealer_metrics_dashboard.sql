-- Dealer-metrics dashboard: which symbols can be trusted, and where their gamma sits.
--
--   kapman db psql -v SNAPSHOT_N=2 -f dashboards/dealer_metrics_dashboard.sql
--   inside psql:  \set SNAPSHOT_N 2   and   \i dashboards/dealer_metrics_dashboard.sql
--
-- SNAPSHOT_N    1 is the newest snapshot that has dealer metrics, 2 the one before, ...   (1)
-- SYMBOL_LIMIT  rows of each list                                                         (5)
-- DETAIL        1: all walls and three whole documents too                               (not shown)
--
-- Exposures are in millions of dollars per 1 % move of spot; formulas: docs/metrics.md.
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
FROM (SELECT DISTINCT time FROM public.daily_snapshots WHERE dealer_metrics_json IS NOT NULL
      ORDER BY time DESC OFFSET :'SNAPSHOT_N'::int - 1 LIMIT 1) AS nth
\gset


\echo '== 1. Snapshot' :SNAPSHOT_N '(1 is the newest):' :snapshot_shown '=='
SELECT (SELECT count(DISTINCT symbol) FROM public.watchlists WHERE active) AS active_symbols,
       count(*) AS rows,
       count(dealer_metrics_json) AS with_dealer_metrics,
       count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'FULL') AS full,
       count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'LIMITED') AS limited,
       count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'INVALID') AS invalid,
       round(100.0 * count(*) FILTER (WHERE dealer_metrics_json->>'status' = 'FULL')
             / nullif(count(dealer_metrics_json), 0), 1) AS full_percent
FROM public.daily_snapshots
WHERE time = :'snapshot';

\echo '== 2. Active symbols without dealer metrics in it (none is good; first' :SYMBOL_LIMIT') =='
SELECT w.symbol, string_agg(w.watchlist_id, ', ' ORDER BY w.watchlist_id) AS watchlists,
       CASE WHEN t.id IS NULL THEN 'no ticker' ELSE 'not computed' END AS reason
FROM public.watchlists w LEFT JOIN public.tickers t USING (symbol)
WHERE w.active AND NOT EXISTS (
    SELECT FROM public.daily_snapshots s
    WHERE s.ticker_id = t.id AND s.time = :'snapshot' AND s.dealer_metrics_json IS NOT NULL)
GROUP BY w.symbol, t.id
ORDER BY w.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 3. Statuses, with their reasons =='
SELECT dealer_metrics_json->>'status' AS status, dealer_metrics_json->>'status_reason' AS reason,
       dealer_metrics_json->>'confidence' AS confidence, dealer_metrics_json->>'position' AS position,
       count(*) AS symbols,
       round(avg((dealer_metrics_json->>'eligible_options_count')::numeric), 1) AS average_eligible
FROM public.daily_snapshots
WHERE time = :'snapshot' AND dealer_metrics_json IS NOT NULL
GROUP BY 1, 2, 3, 4
ORDER BY symbols DESC, 1, 2, 3, 4;

\echo '== 4. Contracts that the filters removed =='
SELECT f.key AS filter, sum(f.value::bigint)::bigint AS contracts,
       count(*) FILTER (WHERE f.value::bigint > 0) AS symbols
FROM public.daily_snapshots s CROSS JOIN LATERAL jsonb_each_text(s.dealer_metrics_json->'filters') AS f
WHERE s.time = :'snapshot'
GROUP BY f.key
ORDER BY contracts DESC, f.key;

\echo '== 5. Spot, gamma flip and first walls (largest total exposure, first' :SYMBOL_LIMIT') =='
SELECT t.symbol, d->>'status' AS status, (d->>'spot')::float8 AS spot,
       round((d->>'gamma_flip')::numeric, 2) AS gamma_flip,
       (d->'call_wall'->>'strike')::float8 AS call_wall, (d->'put_wall'->>'strike')::float8 AS put_wall,
       round((d->>'gex_net')::numeric / 1e6, 2) AS gex_net, round((d->>'gex_total')::numeric / 1e6, 2) AS gex_total,
       round((d->>'dgpi')::numeric, 1) AS dgpi, d->>'position' AS position,
       (d->>'eligible_options_count')::int AS eligible
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL (SELECT s.dealer_metrics_json AS d) AS document
WHERE s.time = :'snapshot' AND d IS NOT NULL
ORDER BY (d->>'gex_total')::float8 DESC NULLS LAST, t.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\if :{?DETAIL}
\echo '== 6. All walls of the' :SYMBOL_LIMIT 'symbols with the largest total exposure (at most 50 rows) =='
SELECT m.symbol, m.spot, side.name AS side, w.rank, (w.wall->>'strike')::float8 AS strike,
       round((w.wall->>'gex')::numeric / 1e6, 2) AS gex,
       round((w.wall->>'open_interest')::numeric) AS open_interest, (w.wall->>'contracts')::int AS contracts,
       round(100 * (w.wall->>'moneyness')::numeric, 2) AS moneyness_percent,
       round((w.wall->>'distance_from_spot')::numeric, 2) AS distance_from_spot
FROM (SELECT t.symbol, s.dealer_metrics_json AS d, (s.dealer_metrics_json->>'spot')::float8 AS spot,
             row_number() OVER (ORDER BY (s.dealer_metrics_json->>'gex_total')::float8 DESC NULLS LAST, t.symbol)
                 AS place
      FROM public.daily_snapshots s JOIN public.tickers t ON t.id = s.ticker_id
      WHERE s.time = :'snapshot' AND s.dealer_metrics_json IS NOT NULL) AS m
CROSS JOIN (VALUES (1, 'call', 'call_walls'), (2, 'put', 'put_walls')) AS side (position, name, key)
CROSS JOIN LATERAL jsonb_array_elements(m.d->side.key) WITH ORDINALITY AS w (wall, rank)
WHERE m.place <= :'SYMBOL_LIMIT'::int
ORDER BY m.place, side.position, w.rank
LIMIT 50;

\echo '== 7. Three documents without their lists: the first FULL, LIMITED and INVALID symbol =='
SELECT DISTINCT ON (d->>'status') t.symbol, d->>'status' AS status,
       jsonb_pretty(d - '{profile,call_walls,put_walls,call_wall,put_wall,wall_definition,inputs,filters}'::text[])
           AS dealer_metrics_json
FROM public.daily_snapshots s
JOIN public.tickers t ON t.id = s.ticker_id
CROSS JOIN LATERAL (SELECT s.dealer_metrics_json AS d) AS document
WHERE s.time = :'snapshot' AND d IS NOT NULL
ORDER BY d->>'status', t.symbol;
\endif

COMMIT;
\pset null ''
\pset footer on
\pset pager on
\set QUIET :quiet_before
