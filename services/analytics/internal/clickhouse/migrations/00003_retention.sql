-- How long a call is kept after its completion: what its tenant asked for when it was landed, changed where the tenant changes it.
ALTER TABLE calls{{.OnCluster}} ADD COLUMN IF NOT EXISTS retention_days UInt16 DEFAULT 400 CODEC(ZSTD(1));

ALTER TABLE calls{{.OnCluster}} MODIFY TTL toDateTime(completed_at) + toIntervalDay(retention_days) SETTINGS materialize_ttl_after_modify = 0;
