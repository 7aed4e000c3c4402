-- +goose Up

ALTER TABLE comparisons
    ADD COLUMN retry_at timestamptz; -- when a comparison that took too much is tried again; null for one that was made
