-- Which message of the stream a call came with: what was landed after a place in the stream is found by it.
ALTER TABLE calls{{.OnCluster}} ADD COLUMN IF NOT EXISTS stream_partition UInt8 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS stream_sequence UInt64 CODEC(Delta, ZSTD(1)),
    -- The words of what a search looks into, by 8192 calls: what has none of a word is not read. About 5 bytes a call.
    ADD INDEX IF NOT EXISTS by_text lower(concat(path, ' ', error_reason)) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 1;

ALTER TABLE calls{{.OnCluster}} MATERIALIZE INDEX by_text;
