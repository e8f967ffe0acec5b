-- The platform's own bookkeeping: what was loaded from where, and what was set aside.
-- depends: 0001.extensions
CREATE TABLE kapman_meta.load_manifest (
    asset            text        NOT NULL,
    partition_key    text        NOT NULL DEFAULT '',
    sources          jsonb       NOT NULL,
    rows_read        bigint,
    rows_written     bigint,
    rows_ignored     jsonb       NOT NULL DEFAULT '{}',
    rows_quarantined bigint      NOT NULL DEFAULT 0,
    details          jsonb       NOT NULL DEFAULT '{}',
    content_hash     text,
    code_version     text,
    run_id           text,
    loaded_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT load_manifest_pkey PRIMARY KEY (asset, partition_key)
);
COMMENT ON TABLE kapman_meta.load_manifest IS
    'One row per loaded partition: its sources, what became of their rows, and the hash of the result.';
COMMENT ON COLUMN kapman_meta.load_manifest.partition_key IS 'Session (YYYY-MM-DD); empty for an asset without partitions.';
COMMENT ON COLUMN kapman_meta.load_manifest.sources IS 'Source objects with ETag and size.';
COMMENT ON COLUMN kapman_meta.load_manifest.rows_ignored IS 'Reason to number of rows.';
COMMENT ON COLUMN kapman_meta.load_manifest.details IS 'Names behind the numbers, e.g. unknown symbols.';

-- raw is bytea: a broken line may hold any bytes, NUL included.
CREATE TABLE kapman_meta.quarantine (
    id             bigint      GENERATED ALWAYS AS IDENTITY,
    asset          text        NOT NULL,
    partition_key  text        NOT NULL DEFAULT '',
    source         text        NOT NULL,
    line           bigint,
    reason         text        NOT NULL,
    raw            bytea       NOT NULL,
    run_id         text,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT quarantine_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE kapman_meta.quarantine IS 'Source rows that could not be used, as they came.';
CREATE INDEX quarantine_asset_partition_key_idx ON kapman_meta.quarantine (asset, partition_key);
