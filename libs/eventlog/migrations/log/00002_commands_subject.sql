-- +goose Up

-- A key belongs to who chose it. The outcome of a command with events was stored in their transaction: they tell who gave it.
-- For others, and for what a replica writes that is not of this version yet, it is not known: ''.
SELECT set_config('tollgate.tenant', '*', true);
ALTER TABLE commands ADD COLUMN subject text NOT NULL DEFAULT '';
UPDATE commands c SET subject = coalesce(e.meta ->> 'actor', '') FROM events e
    WHERE e.position = c.position AND e.recorded_at = c.recorded_at;
ALTER TABLE commands DROP CONSTRAINT commands_pkey;
ALTER TABLE commands ADD PRIMARY KEY (tenant_id, key, subject);

-- +goose Down
SELECT set_config('tollgate.tenant', '*', true);
DELETE FROM commands c USING commands other WHERE other.tenant_id = c.tenant_id AND other.key = c.key AND other.subject < c.subject;
ALTER TABLE commands DROP CONSTRAINT commands_pkey;
ALTER TABLE commands ADD PRIMARY KEY (tenant_id, key);
ALTER TABLE commands DROP COLUMN subject;
