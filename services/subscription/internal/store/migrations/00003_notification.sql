-- +goose Up

-- Follow from the events of subscription's log (see project.go).
CREATE TABLE webhooks (
    id        text    PRIMARY KEY,
    tenant_id text    NOT NULL,
    name      text    NOT NULL,
    url       text    NOT NULL,
    events    text[]  NOT NULL, -- none: all
    disabled  boolean NOT NULL,
    UNIQUE (tenant_id, name)
);
SELECT tollgate_isolate('webhooks');

CREATE TABLE mail_recipients (
    id         text    PRIMARY KEY,
    tenant_id  text    NOT NULL,
    name       text    NOT NULL,
    account_id text    NOT NULL, -- empty: told of every account's subscriptions
    events     text[]  NOT NULL, -- none: all
    disabled   boolean NOT NULL,
    UNIQUE (tenant_id, name)
);
SELECT tollgate_isolate('mail_recipients');

-- In no event: secrets, sealed, and personal data, which goes when its recipient does.
CREATE TABLE webhook_secrets (
    webhook_id text  PRIMARY KEY,
    tenant_id  text  NOT NULL,
    secret     bytea NOT NULL
);
SELECT tollgate_isolate('webhook_secrets');

CREATE TABLE mail_addresses (
    recipient_id text PRIMARY KEY,
    tenant_id    text NOT NULL,
    address      text NOT NULL
);
SELECT tollgate_isolate('mail_addresses');
