-- +goose Up

-- Whether a name is in ClickHouse as well.
ALTER TABLE names ADD COLUMN noted boolean NOT NULL DEFAULT true;
ALTER TABLE names ALTER COLUMN noted SET DEFAULT false;
CREATE INDEX names_unnoted ON names (tenant_id, kind, id) WHERE NOT noted;
