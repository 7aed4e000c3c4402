-- +goose Up

CREATE INDEX landings_sequence ON landings (partition, generation, last_sequence);

-- How each tenant's calls are kept. Without a row the defaults hold.
CREATE TABLE settings (
    tenant_id        text     PRIMARY KEY,
    retention_days   integer  NOT NULL DEFAULT 400,
    client_addresses text     NOT NULL DEFAULT 'full',
    webhook_secret   bytea,   -- sealed with a key that is not in the database
    longest_period   integer  NOT NULL DEFAULT 0, -- days of the longest billing period that a plan of the tenant has had
    applied_days     integer  NOT NULL DEFAULT 400 -- the retention of the calls that were there when it was changed
);
SELECT tollgate_isolate('settings');
