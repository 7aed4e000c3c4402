-- +goose Up

CREATE TABLE tenants (
    tenant_id  text        PRIMARY KEY,
    name       text        NOT NULL UNIQUE,
    title      text        NOT NULL,
    created_at timestamptz NOT NULL
);
SELECT tollgate_isolate('tenants');

-- Names and addresses of people are here and in no event.
CREATE TABLE members (
    id           text        PRIMARY KEY,
    tenant_id    text        NOT NULL,
    display_name text        NOT NULL,
    email        text        NOT NULL,
    roles        text[]      NOT NULL,
    removed      boolean     NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL
);
CREATE UNIQUE INDEX members_email ON members (tenant_id, lower(email)) WHERE NOT removed AND email <> '';
CREATE INDEX members_tenant ON members (tenant_id, id);
SELECT tollgate_isolate('members');

CREATE TABLE tokens (
    id           text        PRIMARY KEY,
    tenant_id    text        NOT NULL,
    member_id    text        NOT NULL REFERENCES members (id),
    title        text        NOT NULL,
    token_sha256 bytea       NOT NULL UNIQUE,
    scopes       text[]      NOT NULL,
    expires_at   timestamptz,
    revoked      boolean     NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL
);
CREATE INDEX tokens_member ON tokens (tenant_id, member_id, id);
SELECT tollgate_isolate('tokens');

-- The private half is sealed with a key that is not in the database.
CREATE TABLE signing_keys (
    kid        text        PRIMARY KEY,
    sealed     bytea       NOT NULL,
    public_jwk text        NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE accounts (
    id            text        PRIMARY KEY,
    tenant_id     text        NOT NULL,
    name          text        NOT NULL,
    title         text        NOT NULL,
    billing_email text        NOT NULL,
    country       text        NOT NULL,
    currency      text        NOT NULL,
    closed        boolean     NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL,
    UNIQUE (tenant_id, name)
);
SELECT tollgate_isolate('accounts');

CREATE TABLE applications (
    id          text        PRIMARY KEY,
    tenant_id   text        NOT NULL,
    account_id  text        NOT NULL REFERENCES accounts (id),
    name        text        NOT NULL,
    title       text        NOT NULL,
    description text        NOT NULL,
    deleted     boolean     NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX applications_account ON applications (tenant_id, account_id, name);
SELECT tollgate_isolate('applications');

CREATE TABLE credentials (
    id             text        PRIMARY KEY,
    tenant_id      text        NOT NULL,
    account_id     text        NOT NULL,
    application_id text        NOT NULL REFERENCES applications (id),
    kind           text        NOT NULL,
    title          text        NOT NULL,
    prefix         text        NOT NULL,
    key_sha256     bytea       NOT NULL UNIQUE,
    expires_at     timestamptz,
    revoked        boolean     NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL
);
CREATE INDEX credentials_application ON credentials (tenant_id, application_id, id);
CREATE INDEX credentials_account ON credentials (tenant_id, account_id);
SELECT tollgate_isolate('credentials');
