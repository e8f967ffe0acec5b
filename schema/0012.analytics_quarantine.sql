-- What was set aside, counted. The text of the rows stays in kapman_meta: it may hold anything a vendor sends.
-- depends: 0011.analytics_overview

DROP VIEW IF EXISTS analytics.quarantined;

CREATE VIEW analytics.quarantined AS
SELECT q.asset,
       nullif(q.partition_key, '')::date AS session,
       q.reason,
       count(*) AS rows,
       count(DISTINCT q.source) AS sources,
       max(q.quarantined_at) AS last_quarantined_at
FROM kapman_meta.quarantine q
GROUP BY q.asset, q.partition_key, q.reason;

DO $comments$ BEGIN
    COMMENT ON VIEW analytics.quarantined IS
        'Source rows that could not be used, counted by asset, session and reason; their text: kapman quarantine.';
    COMMENT ON COLUMN analytics.quarantined.asset IS 'Asset of the graph.';
    COMMENT ON COLUMN analytics.quarantined.session IS 'Trading session; null for an asset without partitions.';
    COMMENT ON COLUMN analytics.quarantined.reason IS 'Why the rows could not be used.';
    COMMENT ON COLUMN analytics.quarantined.rows IS 'Number of rows.';
    COMMENT ON COLUMN analytics.quarantined.sources IS 'Number of files or archives that they came from.';
    COMMENT ON COLUMN analytics.quarantined.last_quarantined_at IS 'When the newest of them was set aside.';
END $comments$;
