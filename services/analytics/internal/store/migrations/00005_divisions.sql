-- +goose Up

-- Instants at which the counts of stored calls of a subscription are divided, besides full hours: where a billing period of it
-- begins or ends. A column stored.hour is the beginning of such a part of an hour, or of the whole.
CREATE TABLE divisions (
    subscription text    NOT NULL,
    at           bigint  NOT NULL,
    tenant_id    text    NOT NULL,
    hourly       boolean NOT NULL, -- every hour is divided at the minute and second of the instant
    PRIMARY KEY (subscription, at)
);
SELECT tollgate_isolate('divisions');
