-- Schema of the flattened, read-only views for people and Grafana.
-- depends: 0008.recommendations
CREATE SCHEMA analytics;
COMMENT ON SCHEMA analytics IS 'Flattened read-only views for people and Grafana.';
