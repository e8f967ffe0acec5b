-- Ticker and watchlist dashboard: do the lists name what the vendor lists?
--
--   kapman db psql -v SYMBOL_LIMIT=10 -f dashboards/tickers_watchlists_dashboard.sql
--   inside psql:  \i dashboards/tickers_watchlists_dashboard.sql
--
-- SYMBOL_LIMIT  rows of each list                                   (5)
-- DETAIL        1: the most traded tickers that are on no list too  (not shown)
--
-- Safe: one read-only transaction, so that all panels show the same moment.
\if :{?SYMBOL_LIMIT} \else \set SYMBOL_LIMIT 5 \endif
\set quiet_before :QUIET
\set QUIET on
\pset null '-'
\pset footer off
\pset pager off
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

\echo
\echo '== 1. Tickers =='
SELECT count(*) AS tickers, count(*) FILTER (WHERE active) AS active, count(*) FILTER (WHERE NOT active) AS inactive,
       count(DISTINCT type) AS types, count(DISTINCT primary_exchange) AS exchanges,
       count(*) - count(DISTINCT upper(symbol)) AS differ_in_case_only,
       (SELECT to_char(loaded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
        FROM kapman_meta.load_manifest WHERE asset = 'tickers') AS loaded_at
FROM public.tickers;

\echo '== 2. Active tickers by type (first' :SYMBOL_LIMIT') =='
SELECT coalesce(type, 'unknown') AS type, count(*) AS tickers, count(composite_figi) AS with_figi,
       count(cik) AS with_cik,
       round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent
FROM public.tickers
WHERE active
GROUP BY type
ORDER BY tickers DESC, 1
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 3. Watchlists =='
SELECT w.watchlist_id, count(*) FILTER (WHERE w.active) AS active, count(*) FILTER (WHERE NOT w.active) AS left_it,
       count(*) FILTER (WHERE w.active AND t.id IS NULL) AS without_ticker,
       count(*) FILTER (WHERE w.active AND NOT t.active) AS inactive_ticker,
       max(w.source) AS source, max(w.effective_date) AS last_change
FROM public.watchlists w LEFT JOIN public.tickers t USING (symbol)
GROUP BY w.watchlist_id
ORDER BY w.watchlist_id;

\echo '== 4. Active symbols that are no active ticker (none is good; first' :SYMBOL_LIMIT') =='
SELECT w.symbol, string_agg(w.watchlist_id, ', ' ORDER BY w.watchlist_id) AS watchlists,
       CASE WHEN t.id IS NULL THEN 'no ticker' ELSE 'inactive ticker' END AS reason,
       (SELECT min(o.symbol) FROM public.tickers o WHERE upper(o.symbol) = upper(w.symbol) AND o.symbol <> w.symbol)
           AS in_another_case
FROM public.watchlists w LEFT JOIN public.tickers t USING (symbol)
WHERE w.active AND (t.id IS NULL OR NOT t.active)
GROUP BY w.symbol, t.id
ORDER BY w.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 5. Symbols on several lists (none is fine; first' :SYMBOL_LIMIT') =='
SELECT symbol, count(*) AS lists, string_agg(watchlist_id, ', ' ORDER BY watchlist_id) AS watchlists
FROM public.watchlists
WHERE active
GROUP BY symbol
HAVING count(*) > 1
ORDER BY lists DESC, symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 6. The newest changes of the lists (first' :SYMBOL_LIMIT') =='
SELECT effective_date, watchlist_id, count(*) FILTER (WHERE active) AS joined,
       count(*) FILTER (WHERE NOT active) AS left_it,
       left(string_agg(CASE WHEN active THEN symbol ELSE '-' || symbol END, ' ' ORDER BY symbol), 60) AS symbols
FROM public.watchlists
GROUP BY effective_date, watchlist_id
ORDER BY effective_date DESC, watchlist_id
LIMIT :'SYMBOL_LIMIT'::int;

\if :{?DETAIL}
\echo '== 7. The most traded tickers on no list, newest session (first' :SYMBOL_LIMIT') =='
SELECT t.symbol, t.type, left(t.name, 40) AS name, o.close,
       round((o.close * o.volume)::numeric / 1e6, 1) AS dollars_millions
FROM public.ohlcv o JOIN public.tickers t ON t.id = o.ticker_id
WHERE o.date = (SELECT max(date) FROM public.ohlcv)
  AND NOT EXISTS (SELECT FROM public.watchlists w WHERE w.symbol = t.symbol AND w.active)
ORDER BY o.close * o.volume DESC, t.symbol
LIMIT :'SYMBOL_LIMIT'::int;
\endif

COMMIT;
\pset null ''
\pset footer on
\pset pager on
\set QUIET :quiet_before
