-- +goose Up

ALTER TABLE members ADD COLUMN account_id text NOT NULL DEFAULT ''; -- of a member of an account
CREATE INDEX members_account ON members (tenant_id, account_id, id);

-- With what members sign in. A row is deleted with the member.
CREATE TABLE authenticators (
    member_id      text    PRIMARY KEY REFERENCES members (id),
    tenant_id      text    NOT NULL,
    password       text    NOT NULL DEFAULT '', -- argon2id, in the PHC string format
    totp           bytea,                       -- sealed
    totp_confirmed boolean NOT NULL DEFAULT false,
    totp_step      bigint  NOT NULL DEFAULT 0,  -- the last one that was used: none is used twice
    sso_issuer     text    NOT NULL DEFAULT '',
    sso_subject    text    NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX authenticators_sso ON authenticators (tenant_id, sso_issuer, sso_subject) WHERE sso_subject <> '';
SELECT tollgate_isolate('authenticators');

CREATE TABLE recovery_codes (
    code_sha256 bytea PRIMARY KEY,
    tenant_id   text  NOT NULL,
    member_id   text  NOT NULL REFERENCES members (id)
);
CREATE INDEX recovery_codes_member ON recovery_codes (member_id);
SELECT tollgate_isolate('recovery_codes');

-- Sessions that go on. Address and user agent are personal data: the row is deleted at the session's end.
CREATE TABLE sessions (
    id           text        PRIMARY KEY,
    tenant_id    text        NOT NULL,
    member_id    text        NOT NULL REFERENCES members (id),
    token_sha256 bytea       NOT NULL UNIQUE,
    method       text        NOT NULL,
    address      text        NOT NULL,
    user_agent   text        NOT NULL,
    created_at   timestamptz NOT NULL,
    used_at      timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sessions_member ON sessions (tenant_id, member_id, id);
SELECT tollgate_isolate('sessions');

-- Invitations that are open. The row, with its address, is deleted when it is accepted, revoked or long expired.
CREATE TABLE invitations (
    id           text        PRIMARY KEY,
    tenant_id    text        NOT NULL,
    account_id   text        NOT NULL,
    email        text        NOT NULL,
    roles        text[]      NOT NULL,
    token_sha256 bytea       NOT NULL UNIQUE,
    expires_at   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE INDEX invitations_tenant ON invitations (tenant_id, account_id, id);
SELECT tollgate_isolate('invitations');

-- Requests that are answered by a worker, so that the answer to a known address takes as long as that to an unknown one.
CREATE TABLE password_reset_requests (
    id          text  PRIMARY KEY,
    tenant_name text  NOT NULL,
    email       bytea NOT NULL -- sealed
);

CREATE TABLE password_resets (
    token_sha256 bytea       PRIMARY KEY,
    tenant_id    text        NOT NULL,
    member_id    text        NOT NULL REFERENCES members (id),
    expires_at   timestamptz NOT NULL
);
CREATE INDEX password_resets_member ON password_resets (member_id);
SELECT tollgate_isolate('password_resets');

-- Roles of tenants' own making.
CREATE TABLE roles (
    tenant_id text   NOT NULL,
    name      text   NOT NULL,
    title     text   NOT NULL,
    scopes    text[] NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
SELECT tollgate_isolate('roles');
