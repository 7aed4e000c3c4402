-- +goose Up

-- Drafts of invoices, until they are final: their lines are then noted in ClickHouse.
CREATE TABLE invoice_drafts (
    tenant_id text  NOT NULL,
    invoice   text  NOT NULL,
    draft     bytea NOT NULL, -- a billing.v1.InvoiceDrafted
    PRIMARY KEY (tenant_id, invoice)
);
SELECT tollgate_isolate('invoice_drafts');
