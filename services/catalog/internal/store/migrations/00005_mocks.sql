-- +goose Up

-- The mock answers of a document, kept because documents never change and making them takes long. They can be made again.
CREATE TABLE mocks (
    api_version_id text  PRIMARY KEY REFERENCES api_versions (id),
    tenant_id      text  NOT NULL,
    answers        bytea NOT NULL -- gateway.v1.APIDocument with mocks alone
);
SELECT tollgate_isolate('mocks');
