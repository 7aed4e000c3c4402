-- +goose Up

-- The sum of two digests modulo 2^64, kept as a bigint in two's complement.
-- +goose StatementBegin
CREATE FUNCTION digest_sum(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (CASE WHEN s >= 9223372036854775808 THEN s - 18446744073709551616
                 WHEN s < -9223372036854775808 THEN s + 18446744073709551616 ELSE s END)::bigint
    FROM (SELECT a::numeric + b::numeric AS s) AS sum
$$;
-- +goose StatementEnd

-- Up to where each partition of the stream CALLS has been applied. The row is the lock of its partition: it is held by the
-- transaction that applies messages.
CREATE TABLE partitions (
    partition      integer     PRIMARY KEY,
    stream_created timestamptz,                 -- of the stream that sequence belongs to
    generation     integer     NOT NULL DEFAULT 0, -- raised when the stream was made anew
    sequence       bigint      NOT NULL DEFAULT 0,
    split_to       bigint      NOT NULL DEFAULT 0  -- position in subscription's log up to which splits are done
) WITH (fillfactor = 10);

-- Gateways belong to the installation, not to a tenant.
CREATE TABLE gateways (
    gateway      text        PRIMARY KEY,
    partition    integer     NOT NULL,
    seen_at      timestamptz NOT NULL,
    waived_until bigint      NOT NULL DEFAULT 0,
    version      bigint      NOT NULL DEFAULT 0  -- of its stream in the log
);

CREATE TABLE boots (
    gateway         text     NOT NULL REFERENCES gateways (gateway),
    boot            bigint   NOT NULL,
    floor           bigint   NOT NULL DEFAULT 0,
    above           bigint[] NOT NULL DEFAULT '{}', -- first, last, first, last, …
    highest_started bigint   NOT NULL DEFAULT 0,    -- when the call with the highest number began
    sealed_until    bigint   NOT NULL DEFAULT 0,
    closed_at       bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (gateway, boot)
) WITH (fillfactor = 50);

-- Numbers that are missing while later ones are here. One becomes a gap, with an event, when it stays for a minute.
CREATE TABLE gaps (
    gateway    text        NOT NULL,
    boot       bigint      NOT NULL,
    first_seq  bigint      NOT NULL,
    last_seq   bigint      NOT NULL,
    after      bigint      NOT NULL,
    noticed_at timestamptz NOT NULL,
    opened_at  timestamptz,
    closed_at  timestamptz,
    PRIMARY KEY (gateway, boot, first_seq)
);
CREATE INDEX gaps_open ON gaps (gateway, boot) WHERE closed_at IS NULL;

-- Messages that contradict themselves. They stay in the stream, their calls stay missing; each start tries them again.
CREATE TABLE refused_messages (
    partition  integer     NOT NULL,
    generation integer     NOT NULL,
    sequence   bigint      NOT NULL,
    cause      text        NOT NULL,
    refused_at timestamptz NOT NULL,
    PRIMARY KEY (partition, generation, sequence)
);

-- The usage ledger. first_completed and last_completed say exactly which time a row covers.
CREATE TABLE usage (
    tenant_id       text           NOT NULL, -- empty for calls that belong to no tenant
    subscription    text           NOT NULL, -- empty for calls without one
    bucket          bigint         NOT NULL,
    partition       integer        NOT NULL,
    meter           text           NOT NULL,
    reason          text           NOT NULL, -- empty for billable calls
    plan            text           NOT NULL,
    plan_version    integer        NOT NULL,
    api             text           NOT NULL,
    api_version     text           NOT NULL,
    quantity        numeric(38,12) NOT NULL,
    calls           bigint         NOT NULL CHECK (calls > 0),
    digest          bigint         NOT NULL,
    first_completed bigint         NOT NULL,
    last_completed  bigint         NOT NULL CHECK (first_completed <= last_completed),
    generation      integer        NOT NULL,
    sequence        bigint         NOT NULL,
    PRIMARY KEY (tenant_id, subscription, bucket, partition, meter, reason, plan, plan_version, api, api_version)
) WITH (fillfactor = 70);
CREATE INDEX usage_bucket ON usage (bucket, tenant_id);
SELECT tollgate_isolate('usage');

CREATE TABLE plans (
    plan      text    NOT NULL,
    version   integer NOT NULL,
    tenant_id text    NOT NULL,
    spec      bytea   NOT NULL, -- catalog.v1.PlanSpec
    PRIMARY KEY (plan, version)
);
SELECT tollgate_isolate('plans');

CREATE TABLE subscriptions (
    id           text    PRIMARY KEY,
    tenant_id    text    NOT NULL,
    name         text    NOT NULL,
    state        text    NOT NULL,
    plan         text    NOT NULL, -- as requested
    plan_version integer NOT NULL,
    time_zone    text    NOT NULL DEFAULT 'UTC',
    started_at   bigint  NOT NULL DEFAULT 0,
    ended_at     bigint  NOT NULL DEFAULT 0,
    revision     bigint  NOT NULL -- position in subscription's log of the last change
);
CREATE INDEX subscriptions_name ON subscriptions (tenant_id, name);
SELECT tollgate_isolate('subscriptions');

CREATE TABLE phases (
    subscription text    NOT NULL REFERENCES subscriptions (id),
    starts_at    bigint  NOT NULL,
    tenant_id    text    NOT NULL,
    plan         text    NOT NULL,
    plan_version integer NOT NULL,
    PRIMARY KEY (subscription, starts_at)
);
SELECT tollgate_isolate('phases');

-- Instants that became known and may divide buckets that are already filled, by position in subscription's log.
CREATE TABLE splits (
    position     bigint PRIMARY KEY,
    tenant_id    text   NOT NULL,
    subscription text   NOT NULL,
    since        bigint NOT NULL -- earlier buckets are not concerned
);
CREATE INDEX splits_subscription ON splits (subscription, position);
SELECT tollgate_isolate('splits');

CREATE TABLE balances (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    text    NOT NULL,
    subscription text    NOT NULL,
    meter        text    NOT NULL,
    per          text    NOT NULL,
    window_start bigint  NOT NULL,
    window_end   bigint  NOT NULL,
    hard         boolean NOT NULL,
    quota        bigint  NOT NULL CHECK (quota >= 0),
    ceiling      bigint  NOT NULL,
    spent        bigint  NOT NULL DEFAULT 0 CHECK (spent >= 0),
    leased       bigint  NOT NULL DEFAULT 0 CHECK (leased >= 0),
    unleased     bigint  NOT NULL DEFAULT 0 CHECK (unleased >= 0),
    exhausted    boolean NOT NULL DEFAULT false, -- QuotaExhausted was emitted
    UNIQUE (subscription, meter, per, window_start),
    CONSTRAINT balances_never_overshoot CHECK (spent + leased <= ceiling)
) WITH (fillfactor = 50);
CREATE INDEX balances_window ON balances (window_end);
SELECT tollgate_isolate('balances');

CREATE TABLE leases (
    id         text    PRIMARY KEY,
    tenant_id  text    NOT NULL,
    balance_id bigint  NOT NULL REFERENCES balances (id),
    gateway    text    NOT NULL,
    boot       bigint  NOT NULL,
    granted    bigint  NOT NULL CHECK (granted > 0),
    spent      bigint  NOT NULL DEFAULT 0 CHECK (spent BETWEEN 0 AND granted),
    returned   boolean NOT NULL DEFAULT false,
    promised   bigint  NOT NULL DEFAULT 0,
    expires_at bigint  NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX leases_expiry ON leases (expires_at);
CREATE INDEX leases_balance ON leases (balance_id);
SELECT tollgate_isolate('leases');
