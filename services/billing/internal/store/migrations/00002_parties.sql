-- +goose Up

-- Who sends invoices, and where who gets them is at home.
CREATE TABLE tenants (
    id        text PRIMARY KEY,
    tenant_id text NOT NULL,
    name      text NOT NULL,
    title     text NOT NULL
);
SELECT tollgate_isolate('tenants');
ALTER TABLE accounts ADD COLUMN country text NOT NULL DEFAULT '';

-- identity's log is read again from its beginning: its events say it all, and applying them twice changes nothing.
-- +goose StatementBegin
DO $$
BEGIN
    IF to_regclass('follow_offset') IS NOT NULL THEN
        UPDATE follow_offset SET position = 0, epoch = 0, event_id = '' WHERE log = 'identity';
    END IF;
END
$$;
-- +goose StatementEnd
