-- +goose Up

-- Everything here follows from the events of catalog's log (see project.go) and can be made again from them.

CREATE TABLE apis (
    id         text        PRIMARY KEY,
    tenant_id  text        NOT NULL,
    name       text        NOT NULL,
    spec       jsonb       NOT NULL, -- catalog.v1.APISpec
    deleted    boolean     NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX apis_name ON apis (tenant_id, name) WHERE NOT deleted;
SELECT tollgate_isolate('apis');

CREATE TABLE api_versions (
    id               text        PRIMARY KEY,
    tenant_id        text        NOT NULL,
    api_id           text        NOT NULL REFERENCES apis (id),
    name             text        NOT NULL,
    stage            text        NOT NULL,
    spec             jsonb       NOT NULL, -- catalog.v1.APIVersionSpec without openapi
    document         text        NOT NULL, -- the OpenAPI document as it was given
    document_sha256  text        NOT NULL,
    document_version text        NOT NULL,
    created_at       timestamptz NOT NULL,
    CONSTRAINT api_versions_name UNIQUE (tenant_id, name)
);
CREATE INDEX api_versions_api ON api_versions (tenant_id, api_id, name);
SELECT tollgate_isolate('api_versions');

CREATE TABLE operations (
    api_version_id text    NOT NULL REFERENCES api_versions (id),
    number         integer NOT NULL, -- from 1, in the order of path and method
    tenant_id      text    NOT NULL,
    id             text    NOT NULL,
    method         text    NOT NULL,
    path           text    NOT NULL,
    summary        text    NOT NULL,
    deprecated     boolean NOT NULL,
    PRIMARY KEY (api_version_id, number)
);
SELECT tollgate_isolate('operations');

-- What live versions answer to. Tenants share the gateways: the key spans all of them, though each sees its own rows alone.
CREATE TABLE routes (
    host           text NOT NULL,
    prefix         text NOT NULL,
    tenant_id      text NOT NULL,
    api_version_id text NOT NULL REFERENCES api_versions (id),
    PRIMARY KEY (host, prefix)
);
CREATE INDEX routes_api_version ON routes (api_version_id);
SELECT tollgate_isolate('routes');

CREATE TABLE products (
    id         text        PRIMARY KEY,
    tenant_id  text        NOT NULL,
    name       text        NOT NULL,
    spec       jsonb       NOT NULL, -- catalog.v1.ProductSpec
    created_at timestamptz NOT NULL,
    CONSTRAINT products_name UNIQUE (tenant_id, name)
);
SELECT tollgate_isolate('products');

-- Versions that a product includes or has included: the gateways are told when one is taken out.
CREATE TABLE product_versions (
    product_id     text    NOT NULL REFERENCES products (id),
    api_version_id text    NOT NULL REFERENCES api_versions (id),
    tenant_id      text    NOT NULL,
    included       boolean NOT NULL,
    PRIMARY KEY (product_id, api_version_id)
);
CREATE INDEX product_versions_version ON product_versions (api_version_id);
SELECT tollgate_isolate('product_versions');

CREATE TABLE plans (
    id         text        PRIMARY KEY,
    tenant_id  text        NOT NULL,
    product_id text        NOT NULL REFERENCES products (id),
    name       text        NOT NULL,
    version    integer     NOT NULL, -- the newest
    retired    boolean     NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    CONSTRAINT plans_name UNIQUE (tenant_id, product_id, name)
);
SELECT tollgate_isolate('plans');

CREATE TABLE plan_versions (
    plan_id      text        NOT NULL REFERENCES plans (id),
    version      integer     NOT NULL,
    tenant_id    text        NOT NULL,
    spec         jsonb       NOT NULL, -- catalog.v1.PlanSpec
    published_at timestamptz NOT NULL,
    PRIMARY KEY (plan_id, version)
);
SELECT tollgate_isolate('plan_versions');
