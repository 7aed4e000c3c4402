-- +goose Up

-- From where requests came that led to events. Addresses are personal data and in no event: rows are deleted after a time.
CREATE TABLE audit_requests (
    correlation_id text        PRIMARY KEY,
    tenant_id      text        NOT NULL,
    actor          text        NOT NULL,
    address        text        NOT NULL,
    user_agent     text        NOT NULL,
    recorded_at    timestamptz NOT NULL
);
CREATE INDEX audit_requests_recorded_at ON audit_requests (recorded_at);
CREATE INDEX audit_requests_actor ON audit_requests (actor);
SELECT tollgate_isolate('audit_requests');

-- A tenant's history, and an actor's in it, by position.
CREATE INDEX events_of_tenant ON events (tenant_id, position);
CREATE INDEX events_of_actor ON events (tenant_id, (meta ->> 'actor'), position);

-- +goose Down
DROP INDEX events_of_actor;
DROP INDEX events_of_tenant;
DROP TABLE audit_requests;
