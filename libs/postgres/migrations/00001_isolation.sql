-- +goose Up

-- Puts a table under row-level security by its column tenant_id. A transaction sees and writes the rows of the tenant in the
-- setting tollgate.tenant, all rows for '*', and none without it. FORCE binds the owner too.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION tollgate_isolate(isolated regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = isolated AND attname = 'tenant_id' AND atttypid = 'text'::regtype AND attnotnull AND NOT attisdropped
    ) THEN
        RAISE EXCEPTION 'cannot isolate the tenants of table %: it needs a column "tenant_id text NOT NULL"', isolated
            USING ERRCODE = 'undefined_column';
    END IF;
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', isolated);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', isolated);
    EXECUTE format('DROP POLICY IF EXISTS tollgate_tenant ON %s', isolated);
    -- After a transaction the setting is '' rather than NULL in that session.
    EXECUTE format($policy$
        CREATE POLICY tollgate_tenant ON %s
            USING (tenant_id = NULLIF(current_setting('tollgate.tenant', true), '')
                   OR current_setting('tollgate.tenant', true) = '*')
            WITH CHECK (tenant_id = NULLIF(current_setting('tollgate.tenant', true), '')
                        OR current_setting('tollgate.tenant', true) = '*')
    $policy$, isolated);
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION tollgate_isolate(regclass);
