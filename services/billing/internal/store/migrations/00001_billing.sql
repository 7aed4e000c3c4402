-- +goose Up

-- All instants are nanoseconds since the Unix epoch; 0 stands for none.

-- What billing knows of other services, from their logs.
CREATE TABLE accounts (
    id        text    PRIMARY KEY,
    tenant_id text    NOT NULL,
    name      text    NOT NULL,
    title     text    NOT NULL,
    currency  text    NOT NULL,
    closed    boolean NOT NULL DEFAULT false
);
CREATE INDEX accounts_name ON accounts (tenant_id, name);
SELECT tollgate_isolate('accounts');

CREATE TABLE products (
    id        text PRIMARY KEY,
    tenant_id text NOT NULL,
    name      text NOT NULL
);
CREATE INDEX products_name ON products (tenant_id, name);
SELECT tollgate_isolate('products');

CREATE TABLE plans (
    id         text    NOT NULL,
    version    integer NOT NULL,
    tenant_id  text    NOT NULL,
    product_id text    NOT NULL,
    name       text    NOT NULL,
    spec       bytea   NOT NULL, -- catalog.v1.PlanSpec
    PRIMARY KEY (id, version)
);
CREATE INDEX plans_name ON plans (tenant_id, name, version);
SELECT tollgate_isolate('plans');

CREATE TABLE subscriptions (
    id            text    PRIMARY KEY,
    tenant_id     text    NOT NULL,
    name          text    NOT NULL,
    account_id    text    NOT NULL,
    product_id    text    NOT NULL,
    -- Asked for; from the activation on the phases tell.
    plan_id       text    NOT NULL,
    plan_version  integer NOT NULL,
    state         text    NOT NULL,
    started_at    bigint  NOT NULL DEFAULT 0,
    ended_at      bigint  NOT NULL DEFAULT 0,
    time_zone     text    NOT NULL DEFAULT '',
    -- Position of the last event that changed it: what was rated before is rated again.
    revision      bigint  NOT NULL,
    -- Up to where its periods are stored and settled.
    periods_until bigint  NOT NULL DEFAULT 0
);
CREATE INDEX subscriptions_name ON subscriptions (tenant_id, name, id);
CREATE INDEX subscriptions_periods ON subscriptions (periods_until, id) WHERE started_at > 0;
SELECT tollgate_isolate('subscriptions');

CREATE TABLE phases (
    subscription_id text    NOT NULL REFERENCES subscriptions (id),
    starts_at       bigint  NOT NULL,
    tenant_id       text    NOT NULL,
    plan_id         text    NOT NULL,
    plan_version    integer NOT NULL,
    PRIMARY KEY (subscription_id, starts_at)
);
SELECT tollgate_isolate('phases');

-- Periods are stored once and not computed again: an update of the time zone database must not move them.
CREATE TABLE periods (
    subscription_id text    NOT NULL REFERENCES subscriptions (id),
    number          integer NOT NULL CHECK (number > 0),
    tenant_id       text    NOT NULL,
    starts_at       bigint  NOT NULL,
    ends_at         bigint  NOT NULL CHECK (ends_at > starts_at),
    whole_start     bigint  NOT NULL CHECK (whole_start <= starts_at),
    whole_end       bigint  NOT NULL CHECK (whole_end >= ends_at),
    state           text    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'held', 'skipped', 'invoiced')),
    cause           text    NOT NULL DEFAULT '',
    detail          text    NOT NULL DEFAULT '',
    PRIMARY KEY (subscription_id, number),
    UNIQUE (subscription_id, starts_at)
);
CREATE INDEX periods_due ON periods (ends_at, subscription_id) WHERE state IN ('open', 'held');
CREATE INDEX periods_tenant ON periods (tenant_id, ends_at, subscription_id);
SELECT tollgate_isolate('periods');

-- The last number that was given. A number is given in the transaction that finalizes: none is lost, none is used twice.
CREATE TABLE invoice_numbers (
    tenant_id text   NOT NULL,
    series    text   NOT NULL,
    last      bigint NOT NULL,
    PRIMARY KEY (tenant_id, series)
);
SELECT tollgate_isolate('invoice_numbers');

-- invoices and invoice_lines follow from billing's own log and from nothing else.
CREATE TABLE invoices (
    id              text        PRIMARY KEY,
    tenant_id       text        NOT NULL,
    account_id      text        NOT NULL,
    subscription_id text        NOT NULL,
    starts_at       bigint      NOT NULL,
    ends_at         bigint      NOT NULL,
    currency        text        NOT NULL,
    total           numeric     NOT NULL,
    state           text        NOT NULL CHECK (state IN ('draft', 'held', 'final')),
    cause           text        NOT NULL DEFAULT '',
    detail          text        NOT NULL DEFAULT '',
    series          text,
    number          bigint,
    drafted_at      timestamptz NOT NULL,
    finalized_at    bigint,
    evidence        json,
    CONSTRAINT invoices_period UNIQUE (tenant_id, subscription_id, starts_at),
    CONSTRAINT invoices_number UNIQUE (tenant_id, series, number),
    CHECK ((state = 'final') = (number IS NOT NULL) AND (number IS NULL) = (evidence IS NULL)),
    CHECK (state <> 'final' OR total >= 0)
);
CREATE INDEX invoices_list ON invoices (tenant_id, ends_at, id);
CREATE INDEX invoices_account ON invoices (tenant_id, account_id, ends_at, id);
SELECT tollgate_isolate('invoices');

CREATE TABLE invoice_lines (
    identity     text    NOT NULL,
    tenant_id    text    NOT NULL,
    invoice_id   text    NOT NULL,
    number       integer NOT NULL,
    price        text    NOT NULL,
    meter        text    NOT NULL,
    quantity     numeric NOT NULL,
    amount       numeric NOT NULL,
    detail       json    NOT NULL, -- as it was written, byte by byte
    starts_at    bigint  NOT NULL,
    ends_at      bigint  NOT NULL,
    plan         text    NOT NULL,
    plan_version integer NOT NULL,
    calls        bigint  NOT NULL,
    digest       text    NOT NULL,
    -- subscription/version/phase/price/period
    CONSTRAINT invoice_lines_identity PRIMARY KEY (tenant_id, identity),
    UNIQUE (invoice_id, number)
);
SELECT tollgate_isolate('invoice_lines');

-- A final invoice does not change: a correction is a credit note.
-- +goose StatementBegin
CREATE FUNCTION invoices_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'final' THEN
        RAISE EXCEPTION 'the invoice % is final and is never changed or deleted', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE FUNCTION invoice_lines_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched text[] := ARRAY[]::text[];
BEGIN
    IF TG_OP <> 'INSERT' THEN touched := touched || OLD.invoice_id; END IF;
    IF TG_OP <> 'DELETE' THEN touched := touched || NEW.invoice_id; END IF;
    IF EXISTS (SELECT FROM invoices WHERE id = ANY (touched) AND state = 'final') THEN
        RAISE EXCEPTION 'the lines of a final invoice are never changed, added or deleted' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER invoices_are_final BEFORE UPDATE OR DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION invoices_are_final();
CREATE TRIGGER invoice_lines_are_final BEFORE INSERT OR UPDATE OR DELETE ON invoice_lines FOR EACH ROW EXECUTE FUNCTION invoice_lines_are_final();

CREATE TABLE runs (
    id           text        PRIMARY KEY,
    tenant_id    text        NOT NULL,
    month        text        NOT NULL,
    subscription text        NOT NULL DEFAULT '',
    before       integer     NOT NULL, -- periods of the month that had been billed before
    waiting      text        NOT NULL DEFAULT '',
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz
);
CREATE INDEX runs_tenant ON runs (tenant_id, id);
CREATE INDEX runs_unfinished ON runs (id) WHERE finished_at IS NULL;
SELECT tollgate_isolate('runs');

CREATE TABLE run_items (
    run_id          text    NOT NULL REFERENCES runs (id),
    tenant_id       text    NOT NULL,
    subscription_id text    NOT NULL,
    number          integer NOT NULL,
    ends_at         bigint  NOT NULL,
    state           text    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'finalized', 'held', 'skipped')),
    cause           text    NOT NULL DEFAULT '',
    detail          text    NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, subscription_id, number)
);
CREATE INDEX run_items_pending ON run_items (run_id, ends_at, subscription_id) WHERE state = 'pending';
SELECT tollgate_isolate('run_items');
