-- +goose Up

-- A tenant's OpenID provider.
CREATE TABLE single_sign_on (
    tenant_id     text   PRIMARY KEY,
    issuer        text   NOT NULL,
    client_id     text   NOT NULL,
    client_secret bytea  NOT NULL, -- sealed
    domain        text   NOT NULL,
    roles_claim   text   NOT NULL,
    mappings      jsonb  NOT NULL,
    default_roles text[] NOT NULL
);
SELECT tollgate_isolate('single_sign_on');

-- Sign-ins that are under way at a provider, or have come back and wait for the session to be started.
CREATE TABLE sso_sign_ins (
    key_sha256    bytea       PRIMARY KEY, -- of the state, then of the code that a session is started with
    tenant_id     text        NOT NULL,
    browser       bytea       NOT NULL,    -- SHA-256 of the cookie
    nonce         text        NOT NULL,
    verifier      text        NOT NULL,    -- of PKCE
    member_id     text        NOT NULL,    -- once the provider has answered
    expires_at    timestamptz NOT NULL
);
CREATE INDEX sso_sign_ins_end ON sso_sign_ins (expires_at);
SELECT tollgate_isolate('sso_sign_ins');
