-- +goose Up

-- When the retention of a tenant's calls was changed last in ClickHouse.
ALTER TABLE settings ADD COLUMN applied_at timestamptz;
