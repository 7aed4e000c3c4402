-- +goose Up

-- Follows from the events of subscription's log (see project.go) and can be made again from them.
CREATE TABLE subscriptions (
    id             text        PRIMARY KEY,
    tenant_id      text        NOT NULL,
    name           text        NOT NULL,
    account_id     text        NOT NULL,
    application_id text        NOT NULL,
    product_id     text        NOT NULL,
    plan_id        text        NOT NULL,
    plan_version   integer     NOT NULL,
    state          text        NOT NULL,
    requested_at   timestamptz NOT NULL,
    started_at     timestamptz,
    ended_at       timestamptz
);
-- An ended subscription gives up its name and its place.
CREATE UNIQUE INDEX subscriptions_name ON subscriptions (tenant_id, name) WHERE state IN ('requested', 'active', 'suspended');
CREATE UNIQUE INDEX subscriptions_product ON subscriptions (tenant_id, application_id, product_id) WHERE state IN ('requested', 'active', 'suspended');
CREATE INDEX subscriptions_tenant ON subscriptions (tenant_id, id);
CREATE INDEX subscriptions_names ON subscriptions (tenant_id, name, id);
CREATE INDEX subscriptions_application ON subscriptions (application_id, product_id, id);
CREATE INDEX subscriptions_account ON subscriptions (account_id);
SELECT tollgate_isolate('subscriptions');

-- What identity's log says.

CREATE TABLE accounts (
    id        text    PRIMARY KEY,
    tenant_id text    NOT NULL,
    name      text    NOT NULL,
    closed    boolean NOT NULL DEFAULT false
);
SELECT tollgate_isolate('accounts');

CREATE TABLE applications (
    id         text    PRIMARY KEY,
    tenant_id  text    NOT NULL,
    account_id text    NOT NULL REFERENCES accounts (id),
    name       text    NOT NULL,
    deleted    boolean NOT NULL DEFAULT false
);
CREATE INDEX applications_name ON applications (tenant_id, name);
SELECT tollgate_isolate('applications');

-- What catalog's log says. Plan versions are kept for good: subscriptions are under them.

CREATE TABLE products (
    id        text PRIMARY KEY,
    tenant_id text NOT NULL,
    name      text NOT NULL
);
SELECT tollgate_isolate('products');

CREATE TABLE plans (
    id         text    PRIMARY KEY,
    tenant_id  text    NOT NULL,
    product_id text    NOT NULL REFERENCES products (id),
    name       text    NOT NULL,
    version    integer NOT NULL, -- the newest
    retired    boolean NOT NULL DEFAULT false
);
CREATE INDEX plans_name ON plans (tenant_id, name);
SELECT tollgate_isolate('plans');

CREATE TABLE plan_versions (
    plan_id   text    NOT NULL REFERENCES plans (id),
    version   integer NOT NULL,
    tenant_id text    NOT NULL,
    spec      bytea   NOT NULL, -- catalog.v1.PlanSpec, as in the event
    PRIMARY KEY (plan_id, version)
);
SELECT tollgate_isolate('plan_versions');
