#!/usr/bin/env bash
# Run once by the image, when the volume is empty: a role and a database for the platform, another pair for
# Dagster's records. Neither role is a superuser and neither can enter the other's database.
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv kapman_password KAPMAN_DB_PASSWORD
\getenv dagster_password DAGSTER_DB_PASSWORD

-- CREATEDB: a repave drops and recreates the database. Its tablespace is named when it does.
CREATE ROLE kapman LOGIN CREATEDB PASSWORD :'kapman_password';
GRANT CREATE ON TABLESPACE pg_default TO kapman;
-- Loads hold their tickers once instead of asking a trigger for every row (docs/decisions.md).
GRANT SET ON PARAMETER session_replication_role TO kapman;
CREATE DATABASE kapman OWNER kapman TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE kapman FROM PUBLIC;

CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
-- Every event of a run is a commit. A crash of the server loses at most the last moments of a run's log,
-- which run monitoring then fails; the market data's own commits wait for the disk.
ALTER ROLE dagster SET synchronous_commit = off;
CREATE DATABASE dagster OWNER dagster TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE dagster FROM PUBLIC;
SQL
