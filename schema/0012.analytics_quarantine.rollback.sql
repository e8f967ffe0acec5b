DROP VIEW analytics.quarantined;
