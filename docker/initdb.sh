#!/usr/bin/env bash
# Run once by the image, when the volume is empty: a role and a database for the platform, another pair for
# Dagster's records. Neither role is a superuser and neither can enter the other's database. A third role can
# only read the platform's: Grafana's.
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv kapman_password KAPMAN_DB_PASSWORD
\getenv dagster_password DAGSTER_DB_PASSWORD
\getenv reader_password KAPMAN_READER_PASSWORD
\set loader_password ''
\getenv loader_password KAPMAN_LOADER_PASSWORD

-- CREATEDB: a repave drops and recreates the database. Its tablespace is named when it does.
CREATE ROLE kapman LOGIN CREATEDB PASSWORD :'kapman_password';
GRANT CREATE ON TABLESPACE pg_default TO kapman;
-- Loads hold their tickers once instead of asking a trigger for every row (docs/decisions.md).
GRANT SET ON PARAMETER session_replication_role TO kapman;
CREATE DATABASE kapman OWNER kapman TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE kapman FROM PUBLIC;

-- What it may read is granted by every pave and migration (kapman_resources/structure/roles.py).
CREATE ROLE kapman_reader LOGIN PASSWORD :'reader_password';
GRANT CONNECT ON DATABASE kapman TO kapman_reader;
-- And the one that loads rows and owns nothing, for who sets KAPMAN_LOADER_URL; without a password nobody enters.
CREATE ROLE kapman_loader LOGIN PASSWORD :'loader_password';
GRANT CONNECT, TEMPORARY ON DATABASE kapman TO kapman_loader;

CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
-- Every event of a run is a commit. A crash of the server loses at most the last moments of a run's log,
-- which run monitoring then fails; the market data's own commits wait for the disk.
ALTER ROLE dagster SET synchronous_commit = off;
CREATE DATABASE dagster OWNER dagster TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE dagster FROM PUBLIC;
SQL
