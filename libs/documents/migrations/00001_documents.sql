-- +goose Up

-- What the gateways are to be told, one row a key. Rows are never deleted: a document that is void says so itself.
CREATE TABLE documents (
    bucket      text   NOT NULL,
    key         text   NOT NULL,
    -- Position of the log at which the value was made; the value carries it too.
    revision    bigint NOT NULL,
    value       bytea  NOT NULL,
    -- Sequence of the key in the bucket when it was last published; 0 for never.
    kv_revision bigint NOT NULL DEFAULT 0,
    published   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (bucket, key)
);

CREATE INDEX documents_unpublished ON documents (bucket, revision) WHERE NOT published;
