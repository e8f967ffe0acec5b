-- What traders and whoever is on call look at first. Written by hand, apart from the generated views and not
-- built on them, so that those can be dropped and made anew without these.
-- depends: 0010.analytics_views

DROP VIEW IF EXISTS analytics.asset_health, analytics.loads, analytics.watchlist;

-- One symbol's history and its newest row: without it both search the primary key, which leads with time, from
-- end to end. Of 70,000 rows that is 1.5 s for the watchlist while no row has volatility metrics, and 0.1 s with it.
CREATE INDEX IF NOT EXISTS daily_snapshots_ticker_id_time_idx ON public.daily_snapshots (ticker_id, time);

CREATE VIEW analytics.watchlist AS
SELECT w.symbol,
       (p.time AT TIME ZONE 'America/New_York')::date AS session,
       p.time,
       t.id AS ticker_id,
       w.watchlists,
       p.close,
       p.change_pct,
       p.rvol,
       (d.time AT TIME ZONE 'America/New_York')::date AS dealer_session,
       d.status AS dealer_status,
       d.status_reason AS dealer_status_reason,
       d.position,
       d.spot,
       d.gamma_flip,
       100 * (d.gamma_flip / d.spot - 1) AS distance_to_flip_pct,
       d.gex_net,
       d.gex_total,
       d.dgpi,
       (d.call_wall->>'strike')::double precision AS call_wall,
       (d.put_wall->>'strike')::double precision AS put_wall,
       d.max_pain,
       (v.time AT TIME ZONE 'America/New_York')::date AS volatility_session,
       v.status AS volatility_status,
       v.atm_iv_30d,
       v.expected_move_30d,
       v.iv_rank,
       v.iv_rank_status,
       v.iv_percentile,
       v.iv_skew_25d
FROM (
    SELECT symbol, string_agg(watchlist_id, ', ' ORDER BY watchlist_id) AS watchlists
    FROM public.watchlists WHERE active GROUP BY symbol
) AS w
LEFT JOIN public.tickers t ON t.symbol = w.symbol
LEFT JOIN LATERAL (
    SELECT s.time, m.*
    FROM public.daily_snapshots s
    CROSS JOIN LATERAL jsonb_to_record(s.price_metrics_json) AS m (
        close double precision, change_pct double precision, rvol double precision
    )
    WHERE s.ticker_id = t.id AND s.price_metrics_json IS NOT NULL
    ORDER BY s.time DESC LIMIT 1
) AS p ON true
LEFT JOIN LATERAL (
    SELECT s.time, m.*
    FROM public.daily_snapshots s
    CROSS JOIN LATERAL jsonb_to_record(s.dealer_metrics_json) AS m (
        status text, status_reason text, position text, spot double precision, gamma_flip double precision,
        gex_net double precision, gex_total double precision, dgpi double precision, call_wall jsonb,
        put_wall jsonb, max_pain double precision
    )
    WHERE s.ticker_id = t.id AND s.dealer_metrics_json IS NOT NULL
    ORDER BY s.time DESC LIMIT 1
) AS d ON true
LEFT JOIN LATERAL (
    SELECT s.time, m.*
    FROM public.daily_snapshots s
    CROSS JOIN LATERAL jsonb_to_record(s.volatility_metrics_json) AS m (
        status text, atm_iv_30d double precision, expected_move_30d double precision, iv_rank double precision,
        iv_rank_status text, iv_percentile double precision, iv_skew_25d double precision
    )
    WHERE s.ticker_id = t.id AND s.volatility_metrics_json IS NOT NULL
    ORDER BY s.time DESC LIMIT 1
) AS v ON true;

DO $comments$ BEGIN
    COMMENT ON VIEW analytics.watchlist IS
        'Every active symbol with its newest metrics: a row for each, also for one without any.';
    COMMENT ON COLUMN analytics.watchlist.symbol IS 'Symbol as written in the watchlist.';
    COMMENT ON COLUMN analytics.watchlist.session IS 'Session of the newest price metrics.';
    COMMENT ON COLUMN analytics.watchlist.time IS 'Close of that session.';
    COMMENT ON COLUMN analytics.watchlist.ticker_id IS 'Ticker (public.tickers.id); null for a symbol that the vendor does not list.';
    COMMENT ON COLUMN analytics.watchlist.watchlists IS 'The lists that the symbol is on.';
    COMMENT ON COLUMN analytics.watchlist.close IS 'Close of the session [price]';
    COMMENT ON COLUMN analytics.watchlist.change_pct IS 'Change since the close before [%]';
    COMMENT ON COLUMN analytics.watchlist.rvol IS 'Volume over the mean of the 20 volumes before [ratio]';
    COMMENT ON COLUMN analytics.watchlist.dealer_session IS 'Session of the newest dealer metrics, those of the next columns; older than session where chains are missing.';
    COMMENT ON COLUMN analytics.watchlist.dealer_status IS 'FULL, LIMITED or INVALID.';
    COMMENT ON COLUMN analytics.watchlist.dealer_status_reason IS 'Why the dealer metrics are INVALID.';
    COMMENT ON COLUMN analytics.watchlist.position IS 'long_gamma, short_gamma, neutral or unknown.';
    COMMENT ON COLUMN analytics.watchlist.spot IS 'Price that the dealer metrics rest on [dollars]';
    COMMENT ON COLUMN analytics.watchlist.gamma_flip IS 'Spot at which net gamma exposure changes sign [dollars]';
    COMMENT ON COLUMN analytics.watchlist.distance_to_flip_pct IS '100·(gamma_flip / spot − 1): the move that leads to the flip, negative where it is below spot [%]';
    COMMENT ON COLUMN analytics.watchlist.gex_net IS 'Net gamma exposure [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.watchlist.gex_total IS 'Total gamma exposure [dollars per 1 % of spot]';
    COMMENT ON COLUMN analytics.watchlist.dgpi IS 'Dealer gamma pressure index [−100 to 100]';
    COMMENT ON COLUMN analytics.watchlist.call_wall IS 'Strike of the first call wall [dollars]';
    COMMENT ON COLUMN analytics.watchlist.put_wall IS 'Strike of the first put wall [dollars]';
    COMMENT ON COLUMN analytics.watchlist.max_pain IS 'Strike at which options are worth least at expiry [dollars]';
    COMMENT ON COLUMN analytics.watchlist.volatility_session IS 'Session of the newest volatility metrics, those of the next columns.';
    COMMENT ON COLUMN analytics.watchlist.volatility_status IS 'FULL, LIMITED or INVALID.';
    COMMENT ON COLUMN analytics.watchlist.atm_iv_30d IS 'IV at spot in 30 calendar days [per year, 0.2 = 20 %]';
    COMMENT ON COLUMN analytics.watchlist.expected_move_30d IS 'One standard deviation over 30 calendar days [dollars]';
    COMMENT ON COLUMN analytics.watchlist.iv_rank IS 'Today''s average IV between the least and the greatest of up to 252 sessions before [0 to 100]';
    COMMENT ON COLUMN analytics.watchlist.iv_rank_status IS 'Why iv_rank is null, else known.';
    COMMENT ON COLUMN analytics.watchlist.iv_percentile IS 'Share of those sessions at or below today''s average IV [%]';
    COMMENT ON COLUMN analytics.watchlist.iv_skew_25d IS 'IV of the 25-delta put minus that of the call [vol points, 1.5 = 0.015]';
END $comments$;

CREATE VIEW analytics.loads AS
SELECT m.asset,
       nullif(m.partition_key, '')::date AS session,
       m.loaded_at,
       m.rows_read,
       m.rows_written,
       (SELECT coalesce(sum(reason.rows::bigint), 0)::bigint
        FROM jsonb_each_text(m.rows_ignored) AS reason (name, rows)) AS rows_ignored,
       m.rows_quarantined,
       m.rows_ignored AS ignored_by_reason,
       m.code_version,
       m.content_hash,
       m.run_id
FROM kapman_meta.load_manifest m;

DO $comments$ BEGIN
    COMMENT ON VIEW analytics.loads IS 'The load manifest: a row for each asset and session that is published.';
    COMMENT ON COLUMN analytics.loads.asset IS 'Asset of the graph.';
    COMMENT ON COLUMN analytics.loads.session IS 'Trading session; null for an asset without partitions.';
    COMMENT ON COLUMN analytics.loads.loaded_at IS 'When it was published.';
    COMMENT ON COLUMN analytics.loads.rows_read IS 'Rows of the sources.';
    COMMENT ON COLUMN analytics.loads.rows_written IS 'Rows that are in the table.';
    COMMENT ON COLUMN analytics.loads.rows_ignored IS 'Rows that are not meant for the table.';
    COMMENT ON COLUMN analytics.loads.rows_quarantined IS 'Rows that could not be used (kapman quarantine).';
    COMMENT ON COLUMN analytics.loads.ignored_by_reason IS 'Reason to number of ignored rows.';
    COMMENT ON COLUMN analytics.loads.code_version IS 'Version of the definitions that made it.';
    COMMENT ON COLUMN analytics.loads.content_hash IS 'Hash of what was written.';
    COMMENT ON COLUMN analytics.loads.run_id IS 'Dagster run that published it.';
END $comments$;

CREATE VIEW analytics.asset_health AS
SELECT asset,
       count(session) AS sessions,
       min(session) AS first_session,
       max(session) AS last_session,
       sum(rows_read)::bigint AS rows_read,
       sum(rows_written)::bigint AS rows_written,
       sum(rows_ignored)::bigint AS rows_ignored,
       sum(rows_quarantined)::bigint AS rows_quarantined,
       max(loaded_at) AS last_loaded_at
FROM analytics.loads
GROUP BY asset;

DO $comments$ BEGIN
    COMMENT ON VIEW analytics.asset_health IS 'What is loaded: a row for each asset, summed over its sessions.';
    COMMENT ON COLUMN analytics.asset_health.asset IS 'Asset of the graph.';
    COMMENT ON COLUMN analytics.asset_health.sessions IS 'Number of published sessions; 0 for an asset without partitions.';
    COMMENT ON COLUMN analytics.asset_health.first_session IS 'Oldest published session.';
    COMMENT ON COLUMN analytics.asset_health.last_session IS 'Newest published session.';
    COMMENT ON COLUMN analytics.asset_health.rows_read IS 'Rows of the sources.';
    COMMENT ON COLUMN analytics.asset_health.rows_written IS 'Rows that are in the table.';
    COMMENT ON COLUMN analytics.asset_health.rows_ignored IS 'Rows that are not meant for the table.';
    COMMENT ON COLUMN analytics.asset_health.rows_quarantined IS 'Rows that could not be used (kapman quarantine).';
    COMMENT ON COLUMN analytics.asset_health.last_loaded_at IS 'When the asset was last published.';
END $comments$;
