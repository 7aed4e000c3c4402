-- +goose Up

-- Answers that stream: their numbers are given and their calls go on, so that they are not missing.
ALTER TABLE boots ADD COLUMN open_at bigint NOT NULL DEFAULT 0; -- seal of the batch that last listed them
ALTER TABLE gaps ADD COLUMN streaming boolean NOT NULL DEFAULT false; -- every number of it that is not here was in that list

-- What the calls of a row count for on a quota: the sum of their quantities, each rounded up to whole units. NULL for rows of
-- before this column that no call was added to: the quantity rounded up.
ALTER TABLE usage ADD COLUMN units numeric(38,0);
