-- Option-chain dashboard: does the newest snapshot cover the watchlists, and what is in it?
--
--   kapman db psql -v SYMBOL_LIMIT=10 -f dashboards/options_chains_dashboard.sql
--   inside psql:  \i dashboards/options_chains_dashboard.sql
--
-- DAYS_BACK     calendar days of the coverage panel, back from the newest snapshot   (30)
-- SYMBOL_LIMIT  rows of each list                                                    (5)
-- DETAIL        1: contracts by expiration too                                       (not shown)
--
-- Safe: one read-only transaction, so that all panels show the same moment.
\if :{?DAYS_BACK} \else \set DAYS_BACK 30 \endif
\if :{?SYMBOL_LIMIT} \else \set SYMBOL_LIMIT 5 \endif
\set quiet_before :QUIET
\set QUIET on
\pset null '-'
\pset footer off
\pset pager off
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- The key leads with time: the newest snapshot costs one look at an index.
SELECT coalesce(max(time), 'epoch') AS newest,
       coalesce(to_char(max(time) AT TIME ZONE 'America/New_York', 'YYYY-MM-DD HH24:MI "New York"'), 'none')
           AS newest_shown,
       (SELECT count(DISTINCT symbol) FROM public.watchlists WHERE active) AS active_symbols
FROM public.options_chains
\gset


\echo '== 1. The newest snapshot:' :newest_shown '=='
SELECT :'active_symbols'::int AS active_symbols, count(DISTINCT ticker_id) AS symbols, count(*) AS contracts,
       count(*) FILTER (WHERE option_type = 'C') AS calls, count(*) FILTER (WHERE option_type = 'P') AS puts,
       count(DISTINCT expiration_date) AS expirations,
       count(*) FILTER (WHERE open_interest > 0) AS with_oi,
       count(*) FILTER (WHERE volume > 0) AS with_volume,
       count(gamma) AS with_gamma, count(implied_volatility) AS with_iv
FROM public.options_chains
WHERE time = :'newest';

\echo '== 2. Active symbols without contracts in it (none is good; first' :SYMBOL_LIMIT') =='
SELECT w.symbol, string_agg(w.watchlist_id, ', ' ORDER BY w.watchlist_id) AS watchlists,
       CASE WHEN t.id IS NULL THEN 'no ticker' ELSE 'no chain' END AS reason
FROM public.watchlists w LEFT JOIN public.tickers t USING (symbol)
WHERE w.active AND NOT EXISTS (
    SELECT FROM public.options_chains o WHERE o.ticker_id = t.id AND o.time = :'newest')
GROUP BY w.symbol, t.id
ORDER BY w.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 3. Snapshots of the last' :DAYS_BACK 'days against' :active_symbols 'active symbols =='
SELECT (time AT TIME ZONE 'America/New_York')::date AS session, count(*) AS symbols,
       round(100.0 * count(*) / nullif(:'active_symbols'::int, 0), 1) AS coverage_percent,
       sum(contracts)::bigint AS contracts, min(contracts) AS fewest, max(contracts) AS most
FROM (SELECT time, ticker_id, count(*) AS contracts
      FROM public.options_chains
      WHERE time > :'newest'::timestamptz - make_interval(days => :'DAYS_BACK'::int)
      GROUP BY time, ticker_id) AS chains
GROUP BY time
ORDER BY time DESC
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 4. Contracts without a value (symbols with the most missing gammas, first' :SYMBOL_LIMIT') =='
SELECT coalesce(t.symbol, 'ALL') AS symbol, count(*) AS contracts,
       count(*) - count(o.open_interest) AS no_open_interest, count(*) - count(o.gamma) AS no_gamma,
       count(*) - count(o.implied_volatility) AS no_iv,
       count(*) - count(o.bid) AS no_bid, count(*) - count(o.ask) AS no_ask,
       round(100.0 * count(o.gamma) / nullif(count(*), 0), 1) AS gamma_percent
FROM public.options_chains o JOIN public.tickers t ON t.id = o.ticker_id
WHERE o.time = :'newest'
GROUP BY ROLLUP (t.symbol)
ORDER BY grouping(t.symbol) DESC, no_gamma DESC, t.symbol
LIMIT :'SYMBOL_LIMIT'::int + 1;

\echo '== 5. The largest chains (first' :SYMBOL_LIMIT') =='
SELECT t.symbol, count(*) AS contracts, count(DISTINCT o.expiration_date) AS expirations,
       sum(o.open_interest) AS open_interest, sum(o.volume) AS volume,
       round(sum(o.open_interest) FILTER (WHERE o.option_type = 'P')
             / nullif(sum(o.open_interest) FILTER (WHERE o.option_type = 'C'), 0), 2) AS put_call_oi,
       round((100 * avg(o.implied_volatility))::numeric, 1) AS average_iv_percent
FROM public.options_chains o JOIN public.tickers t ON t.id = o.ticker_id
WHERE o.time = :'newest'
GROUP BY t.symbol
ORDER BY contracts DESC, t.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\if :{?DETAIL}
\echo '== 6. Contracts by expiration (first' :SYMBOL_LIMIT') =='
SELECT o.expiration_date,
       o.expiration_date - (o.time AT TIME ZONE 'America/New_York')::date AS days,
       count(DISTINCT o.ticker_id) AS symbols, count(*) AS contracts,
       count(*) FILTER (WHERE o.option_type = 'C') AS calls, count(*) FILTER (WHERE o.option_type = 'P') AS puts,
       sum(o.open_interest) AS open_interest, sum(o.volume) AS volume
FROM public.options_chains o
WHERE o.time = :'newest'
GROUP BY o.expiration_date, days
ORDER BY o.expiration_date
LIMIT :'SYMBOL_LIMIT'::int;
\endif

COMMIT;
\pset null ''
\pset footer on
\pset pager on
\set QUIET :quiet_before
