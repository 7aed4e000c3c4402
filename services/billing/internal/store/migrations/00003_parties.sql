-- +goose Up

ALTER TABLE invoices ADD COLUMN parties json; -- seller and buyer when it became final; null in invoices from before they were kept
