-- +goose Up

-- When the call at the floor began, and the last call of each range above: what is missing behind it completed later. Empty
-- where it is not known.
ALTER TABLE boots ADD COLUMN started bigint[] NOT NULL DEFAULT '{}';
