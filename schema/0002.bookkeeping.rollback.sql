DROP TABLE kapman_meta.quarantine;
DROP TABLE kapman_meta.load_manifest;
