-- +goose Up

-- Addresses that are told are here and in no event.
CREATE TABLE alert_rules (
    id           text        PRIMARY KEY,
    tenant_id    text        NOT NULL,
    name         text        NOT NULL,
    spec         jsonb       NOT NULL,
    firing       boolean     NOT NULL DEFAULT false,
    since        timestamptz, -- of the last transition
    value        text        NOT NULL DEFAULT '', -- what was measured last
    evaluated_at timestamptz,
    cause        text        NOT NULL DEFAULT '', -- why it could not be evaluated
    next_at      timestamptz, -- null while it is paused
    created_at   timestamptz NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX alert_rules_next ON alert_rules (next_at) WHERE next_at IS NOT NULL;
SELECT tollgate_isolate('alert_rules');

CREATE TABLE reports (
    id         text        PRIMARY KEY,
    tenant_id  text        NOT NULL,
    name       text        NOT NULL,
    spec       jsonb       NOT NULL,
    sent_until timestamptz, -- the end of the last period that it was sent of
    cause      text        NOT NULL DEFAULT '',
    next_at    timestamptz,
    created_at timestamptz NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX reports_next ON reports (next_at) WHERE next_at IS NOT NULL;
SELECT tollgate_isolate('reports');
