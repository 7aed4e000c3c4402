-- +goose Up

-- Actors whose origins are not kept any more, since they are erased. Their ids name nobody by then.
CREATE TABLE audit_forgotten (
    tenant_id text NOT NULL,
    actor     text NOT NULL,
    PRIMARY KEY (tenant_id, actor)
);
SELECT tollgate_isolate('audit_forgotten');

-- +goose Down
DROP TABLE audit_forgotten;
