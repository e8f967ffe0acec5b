-- OHLCV dashboard: is the base layer complete, sane and current?
--
--   kapman db psql -v DAYS_BACK=90 -v SYMBOL_LIMIT=10 -f dashboards/ohlcv_dashboard.sql
--   inside psql:  \set DAYS_BACK 90   and   \i dashboards/ohlcv_dashboard.sql
--
-- DAYS_BACK     calendar days that the panels look back from the newest bar   (30)
-- SYMBOL_LIMIT  rows of each list                                             (5)
-- DETAIL        1: thinnest tickers, widest days, volumes, a symbol's bars    (not shown)
-- SYMBOL        ticker of that last panel                                     (an active one)
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

-- One pass over the table gives the newest bar too; later panels name it, so that chunks are excluded.
SELECT count(*) AS bars,
       coalesce(min(date)::text, '-') AS first_bar,
       coalesce(max(date)::text, '-') AS last_bar,
       coalesce(max(date), current_date) AS newest,
       coalesce(max(date), current_date) - :'DAYS_BACK'::int AS before_window
FROM public.ohlcv
\gset
\if :{?SYMBOL} \else
SELECT coalesce((
    SELECT w.symbol FROM public.watchlists w JOIN public.tickers t USING (symbol)
    WHERE w.active AND EXISTS (SELECT FROM public.ohlcv o WHERE o.ticker_id = t.id AND o.date = :'newest'::date)
    ORDER BY w.symbol LIMIT 1), '-') AS "SYMBOL"
\gset
\endif


\echo '== 1. Totals =='
SELECT :'bars'::bigint AS bars, :'first_bar' AS first_bar, :'last_bar' AS last_bar,
       (SELECT count(*) FROM public.tickers) AS tickers,
       (SELECT count(*) FROM public.tickers t
        WHERE EXISTS (SELECT FROM public.ohlcv o WHERE o.ticker_id = t.id)) AS tickers_with_bars,
       (SELECT count(*) FROM kapman_meta.load_manifest WHERE asset = 'ohlcv' AND partition_key <> '')
           AS sessions_published;

\echo '== 2. The newest sessions: bars and volume (last' :SYMBOL_LIMIT 'of the last' :DAYS_BACK 'days) =='
SELECT date AS session, count(*) AS bars,
       count(*) - lag(count(*)) OVER (ORDER BY date) AS change,
       round(sum(volume)::numeric / 1e6, 1) AS volume_millions,
       count(*) FILTER (WHERE volume = 0) AS without_volume
FROM public.ohlcv
WHERE date > :'before_window'::date
GROUP BY date
ORDER BY date DESC
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 3. Bars per ticker, whole history (50 and 200 bars are what the longest averages need) =='
SELECT count(*) AS tickers, min(bars) AS fewest, max(bars) AS most, round(avg(bars), 1) AS average,
       count(*) FILTER (WHERE bars < 50) AS under_50,
       count(*) FILTER (WHERE bars < 100) AS under_100,
       count(*) FILTER (WHERE bars < 250) AS under_250
FROM (SELECT count(*) AS bars FROM public.ohlcv GROUP BY ticker_id) AS counted;

\echo '== 4. Sanity of the last' :DAYS_BACK 'days (impossible prices must be 0) =='
SELECT count(*) AS bars,
       count(*) FILTER (WHERE NOT (low > 0 AND low <= least(open, close) AND high >= greatest(open, close)))
           AS impossible_prices,
       count(*) FILTER (WHERE volume = 0) AS without_volume,
       count(*) FILTER (WHERE high = low) AS without_range,
       count(*) FILTER (WHERE high - low > 0.25 * close) AS range_over_25_percent,
       count(*) FILTER (WHERE transactions IS NULL) AS without_transactions
FROM public.ohlcv
WHERE date > :'before_window'::date;

\echo '== 5. Gaps of over 7 days between bars (none is good; longest' :SYMBOL_LIMIT 'of the last' :DAYS_BACK 'days) =='
SELECT t.symbol, g.previous AS last_before, g.date AS first_after, g.date - g.previous AS days
FROM (SELECT ticker_id, date, lag(date) OVER (PARTITION BY ticker_id ORDER BY date) AS previous
      FROM public.ohlcv WHERE date > :'before_window'::date) AS g
JOIN public.tickers t ON t.id = g.ticker_id
WHERE g.date - g.previous > 7
ORDER BY days DESC, t.symbol, g.date
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 6. Watchlists: active symbols with a ticker, with bars, with the newest bar =='
SELECT w.watchlist_id, count(*) AS active, count(t.id) AS with_ticker, count(b.last_bar) AS with_bars,
       count(*) FILTER (WHERE b.last_bar = :'newest'::date) AS with_newest_bar,
       string_agg(w.symbol, ' ' ORDER BY w.symbol) FILTER (WHERE b.last_bar IS DISTINCT FROM :'newest'::date)
           AS without_newest_bar
FROM public.watchlists w
LEFT JOIN public.tickers t USING (symbol)
LEFT JOIN LATERAL (SELECT max(date) AS last_bar FROM public.ohlcv o
                   WHERE o.ticker_id = t.id AND o.date > :'before_window'::date) AS b ON true
WHERE w.active
GROUP BY w.watchlist_id
ORDER BY w.watchlist_id;

\if :{?DETAIL}
\echo '== 7. The thinnest tickers, whole history (first' :SYMBOL_LIMIT') =='
SELECT t.symbol, t.type, c.bars, c.first_bar, c.last_bar
FROM (SELECT ticker_id, count(*) AS bars, min(date) AS first_bar, max(date) AS last_bar
      FROM public.ohlcv GROUP BY ticker_id) AS c
JOIN public.tickers t ON t.id = c.ticker_id
ORDER BY c.bars, t.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 8. The widest days: (high - low) / close over 25 % (none is usual; first' :SYMBOL_LIMIT') =='
SELECT t.symbol, o.date AS session, o.open, o.high, o.low, o.close,
       round((100 * (o.high - o.low) / o.close)::numeric, 1) AS range_percent
FROM public.ohlcv o JOIN public.tickers t ON t.id = o.ticker_id
WHERE o.date > :'before_window'::date AND o.high - o.low > 0.25 * o.close
ORDER BY (o.high - o.low) / o.close DESC, t.symbol, o.date
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 9. The largest volumes of' :last_bar '(first' :SYMBOL_LIMIT') =='
SELECT t.symbol, round(o.volume::numeric) AS volume, o.close,
       round((o.close * o.volume)::numeric / 1e6, 1) AS dollars_millions, o.transactions
FROM public.ohlcv o JOIN public.tickers t ON t.id = o.ticker_id
WHERE o.date = :'newest'::date
ORDER BY o.volume DESC, t.symbol
LIMIT :'SYMBOL_LIMIT'::int;

\echo '== 10. The newest bars of' :SYMBOL '(at most' :SYMBOL_LIMIT 'of the last' :DAYS_BACK 'days) =='
SELECT o.date AS session, o.open, o.high, o.low, o.close, round(o.volume::numeric) AS volume, o.transactions,
       round((100 * (o.close / lag(o.close) OVER (ORDER BY o.date) - 1))::numeric, 2) AS change_percent
FROM public.ohlcv o JOIN public.tickers t ON t.id = o.ticker_id
WHERE t.symbol = :'SYMBOL' AND o.date > :'before_window'::date
ORDER BY o.date DESC
LIMIT :'SYMBOL_LIMIT'::int;
\endif

COMMIT;
\pset null ''
\pset footer on
\pset pager on
\set QUIET :quiet_before
