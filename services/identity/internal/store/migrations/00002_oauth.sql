-- +goose Up

ALTER TABLE applications ADD COLUMN roles text[] NOT NULL DEFAULT '{}';

ALTER TABLE credentials
    ALTER COLUMN key_sha256 DROP NOT NULL, -- none for the kind jwt
    ADD COLUMN scopes    text[] NOT NULL DEFAULT '{}',
    ADD COLUMN client_id text   NOT NULL DEFAULT '',
    ADD COLUMN issuer    text   NOT NULL DEFAULT '';
-- Gateways find a client of another issuer by the three alone.
CREATE UNIQUE INDEX credentials_client ON credentials (tenant_id, issuer, client_id) WHERE kind = 'jwt' AND NOT revoked;
CREATE INDEX credentials_client_id ON credentials (client_id) WHERE client_id <> '';

-- Credentials of what was closed or deleted are void.
SELECT set_config('tollgate.tenant', '*', true);
UPDATE credentials c SET revoked = true FROM applications p JOIN accounts a ON a.id = p.account_id
    WHERE p.id = c.application_id AND (p.deleted OR a.closed);

-- Access tokens that were revoked, until their end.
CREATE TABLE revoked_tokens (
    id         text        PRIMARY KEY,
    tenant_id  text        NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX revoked_tokens_end ON revoked_tokens (expires_at);
SELECT tollgate_isolate('revoked_tokens');

-- Rates, by the hash of what is limited and for whom. They are no tenant's.
CREATE TABLE rate_limits (
    key     bytea       PRIMARY KEY,
    full_at timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX rate_limits_full ON rate_limits (full_at);
