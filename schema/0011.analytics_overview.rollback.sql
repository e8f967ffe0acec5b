DROP VIEW analytics.asset_health, analytics.loads, analytics.watchlist;
DROP INDEX public.daily_snapshots_ticker_id_time_idx;
