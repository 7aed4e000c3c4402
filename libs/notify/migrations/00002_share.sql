-- +goose Up
-- Messages are taken in turn of the tenants, and those that are finished deleted after a time.
CREATE INDEX notify_outbox_pending ON notify_outbox (tenant_id, next_at) WHERE status = 'pending';
CREATE INDEX notify_outbox_finished ON notify_outbox (finished_at) WHERE status <> 'pending';
DROP INDEX notify_outbox_due;

-- +goose Down
CREATE INDEX notify_outbox_due ON notify_outbox (next_at) WHERE status = 'pending';
DROP INDEX notify_outbox_finished;
DROP INDEX notify_outbox_pending;
