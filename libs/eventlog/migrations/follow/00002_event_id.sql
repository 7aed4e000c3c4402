-- +goose Up

-- The id of the event at the offset tells whether the log still is the one that was applied, even where a restored log
-- has gone on without a new epoch.
ALTER TABLE follow_offset ADD COLUMN event_id text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE follow_offset DROP COLUMN event_id;
