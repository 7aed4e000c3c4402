-- +goose Up

ALTER TABLE api_versions
    ADD COLUMN original      text NOT NULL DEFAULT '', -- the document as it was given, where the one in document was made of it
    ADD COLUMN deprecated_at timestamptz,              -- since when, while the stage is deprecated
    ADD COLUMN sunset_at     timestamptz;              -- spec.sunset

CREATE INDEX api_versions_sunset ON api_versions (sunset_at) WHERE stage = 'deprecated' AND sunset_at IS NOT NULL;

ALTER TABLE operations
    ADD COLUMN security jsonb NOT NULL DEFAULT '[]'; -- list of catalog.v1.Security
