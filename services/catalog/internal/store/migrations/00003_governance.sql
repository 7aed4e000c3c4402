-- +goose Up

ALTER TABLE api_versions
    ADD COLUMN lint jsonb; -- numbers of results by severity when the version was registered; null where it was not checked

-- A tenant has at most one.
CREATE TABLE rulesets (
    id         text        PRIMARY KEY,
    tenant_id  text        NOT NULL,
    name       text        NOT NULL,
    spec       jsonb       NOT NULL, -- catalog.v1.RulesetSpec
    deleted    boolean     NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX rulesets_tenant ON rulesets (tenant_id) WHERE NOT deleted;
SELECT tollgate_isolate('rulesets');

-- The stages that versions went through.
CREATE TABLE changelog (
    api_version_id text        NOT NULL REFERENCES api_versions (id),
    number         integer     NOT NULL, -- from 1 within the version
    tenant_id      text        NOT NULL,
    api_id         text        NOT NULL REFERENCES apis (id),
    from_stage     text        NOT NULL, -- empty when the version was registered
    to_stage       text        NOT NULL,
    at             timestamptz NOT NULL,
    actor          text        NOT NULL,
    reason         text        NOT NULL,
    PRIMARY KEY (api_version_id, number)
);
CREATE INDEX changelog_api ON changelog (tenant_id, api_id, at, api_version_id, number);
SELECT tollgate_isolate('changelog');

-- What differs between two versions, kept because documents never change and comparing takes long. It can be made again.
CREATE TABLE comparisons (
    base_id     text  NOT NULL REFERENCES api_versions (id),
    revision_id text  NOT NULL REFERENCES api_versions (id),
    tenant_id   text  NOT NULL,
    made_by     text  NOT NULL, -- what compared them
    result      jsonb NOT NULL,
    PRIMARY KEY (base_id, revision_id)
);
SELECT tollgate_isolate('comparisons');
