-- +goose Up
CREATE TABLE notify_outbox (
    id           uuid        PRIMARY KEY,
    tenant_id    text        NOT NULL,
    key          text        NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('mail', 'webhook')),
    type         text        NOT NULL,
    destination  text        NOT NULL, -- a host or a number of recipients, no personal data
    content      bytea,                -- sealed; NULL once it is delivered or given up
    status       text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts     int         NOT NULL DEFAULT 0,
    last_error   text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    next_at      timestamptz NOT NULL,
    finished_at  timestamptz,
    UNIQUE (tenant_id, key)
);
CREATE INDEX notify_outbox_due ON notify_outbox (next_at) WHERE status = 'pending';
CREATE INDEX notify_outbox_list ON notify_outbox (tenant_id, id DESC);
SELECT tollgate_isolate('notify_outbox');
