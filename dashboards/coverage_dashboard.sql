-- Coverage dashboard: which sessions does every step have, and is every row of every source accounted for?
--
--   kapman db psql -v SESSIONS=10 -f dashboards/coverage_dashboard.sql
--   inside psql:  \set SESSIONS 10   and   \i dashboards/coverage_dashboard.sql
--
-- SESSIONS      newest sessions that panel 2 shows   (5)
-- SYMBOL_LIMIT  rows of each other list              (5)
--
-- It reads the load manifest, which is written in the transactions that publish; what the tables hold now is
-- compared with it by the drift dashboard.
-- Safe: one read-only transaction, so that all panels show the same moment.
\if :{?SESSIONS} \else \set SESSIONS 5 \endif
\if :{?SYMBOL_LIMIT} \else \set SYMBOL_LIMIT 5 \endif
\set quiet_before :QUIET
\set QUIET on
\pset null '-'
\pset footer off
\pset pager off
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

\echo
\echo '== 1. What is loaded (behind: sessions that another step has after the last) =='
SELECT h.asset, h.sessions, h.first_session AS first, h.last_session AS last,
       (SELECT count(DISTINCT l.session) FROM analytics.loads l WHERE l.session > h.last_session) AS behind,
       h.rows_written AS written, h.rows_ignored AS ignored, h.rows_quarantined AS quarantined,
       to_char(h.last_loaded_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI "UTC"') AS loaded
FROM analytics.asset_health h
ORDER BY array_position(ARRAY['schema', 'tickers', 'watchlists', 'ohlcv', 'options_chains', 'daily_snapshots',
                              'dealer_metrics', 'volatility_metrics'], h.asset), h.asset;

\echo '== 2. Rows of the newest' :SESSIONS 'sessions; - where a step has not published =='
SELECT session,
       max(rows_written) FILTER (WHERE asset = 'ohlcv') AS bars,
       max(rows_written) FILTER (WHERE asset = 'options_chains') AS contracts,
       max(rows_written) FILTER (WHERE asset = 'daily_snapshots') AS snapshots,
       max(rows_written) FILTER (WHERE asset = 'dealer_metrics') AS dealer,
       max(rows_written) FILTER (WHERE asset = 'volatility_metrics') AS volatility,
       sum(rows_ignored) AS ignored, sum(rows_quarantined) AS quarantined
FROM analytics.loads
WHERE session IS NOT NULL
GROUP BY session
ORDER BY session DESC
LIMIT :'SESSIONS'::int;

\echo '== 3. Sessions with bars that a later step has not published (past chains are there only if archived) =='
SELECT step.asset, count(*) AS sessions, min(o.session) AS oldest, max(o.session) AS newest
FROM analytics.loads o
CROSS JOIN unnest(ARRAY['options_chains', 'daily_snapshots', 'dealer_metrics', 'volatility_metrics'])
           WITH ORDINALITY AS step (asset, position)
WHERE o.asset = 'ohlcv' AND o.session IS NOT NULL AND NOT EXISTS (
    SELECT FROM analytics.loads l WHERE l.asset = step.asset AND l.session = o.session)
GROUP BY step.asset, step.position
ORDER BY step.position;

\echo '== 4. Loads whose rows do not add up: read = written + ignored + quarantined (none is good) =='
SELECT asset, session, rows_read, rows_written, rows_ignored, rows_quarantined,
       rows_read - rows_written - rows_ignored - rows_quarantined AS difference
FROM analytics.loads
WHERE rows_read <> rows_written + rows_ignored + rows_quarantined
ORDER BY session DESC NULLS LAST, asset
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 5. Quarantined rows, by reason (none is good; kapman quarantine list) =='
SELECT asset, reason, sum(rows)::bigint AS rows, count(DISTINCT session) AS sessions, max(session) AS last
FROM analytics.quarantined
GROUP BY asset, reason
ORDER BY 3 DESC, 1, 2
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 6. Ignored rows, by reason (first' :SYMBOL_LIMIT') =='
SELECT l.asset, ignored.reason, sum(ignored.rows::bigint)::bigint AS rows, count(DISTINCT l.session) AS sessions,
       max(l.session) AS last
FROM analytics.loads l CROSS JOIN LATERAL jsonb_each_text(l.ignored_by_reason) AS ignored (reason, rows)
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2
LIMIT :'SYMBOL_LIMIT'::int;

COMMIT;
\pset null ''
\pset footer on
\pset pager on
\set QUIET :quiet_before
