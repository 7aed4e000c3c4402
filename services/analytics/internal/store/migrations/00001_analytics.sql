-- +goose Up

-- Up to where each partition of the stream CALLS has been landed. sequence is that of the last message that a landing was
-- begun for, landed that of the last one whose calls are in ClickHouse.
CREATE TABLE partitions (
    partition      integer PRIMARY KEY,
    stream_created timestamptz,
    generation     integer NOT NULL DEFAULT 0, -- raised when the stream was made anew
    sequence       bigint  NOT NULL DEFAULT 0,
    landed         bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

CREATE TABLE boots (
    gateway   text     NOT NULL,
    boot      bigint   NOT NULL,
    floor     bigint   NOT NULL DEFAULT 0,
    above     bigint[] NOT NULL DEFAULT '{}', -- first, last, first, last, …
    closed_at bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (gateway, boot)
) WITH (fillfactor = 50);

-- The manifest: what an insert into ClickHouse has, written before it is made. A pending one is made again, with exactly these
-- messages, without exactly these calls, under this token.
CREATE TABLE landings (
    partition       integer     NOT NULL,
    generation      integer     NOT NULL,
    first_sequence  bigint      NOT NULL,
    last_sequence   bigint      NOT NULL,
    token           text        PRIMARY KEY,
    dropped         jsonb       NOT NULL, -- [{gateway, boot, first, last}] of the messages, that had been received before
    calls           bigint      NOT NULL,
    first_completed bigint      NOT NULL,
    last_completed  bigint      NOT NULL,
    begun_at        timestamptz NOT NULL,
    done_at         timestamptz
);
CREATE UNIQUE INDEX landings_pending ON landings (partition) WHERE done_at IS NULL;
CREATE INDEX landings_done ON landings (done_at);

-- How many distinct calls are in the stream, by the hour of their completion (UTC), as its messages were read.
CREATE TABLE stored (
    tenant_id       text    NOT NULL, -- empty for calls that belong to no tenant
    subscription    text    NOT NULL, -- empty for calls without one
    hour            bigint  NOT NULL,
    partition       integer NOT NULL,
    generation      integer NOT NULL,
    calls           bigint  NOT NULL,
    digest          bigint  NOT NULL,
    first_completed bigint  NOT NULL,
    last_completed  bigint  NOT NULL,
    first_sequence  bigint  NOT NULL, -- of the first and the last message that has one of the calls
    last_sequence   bigint  NOT NULL,
    PRIMARY KEY (tenant_id, subscription, hour, partition, generation)
) WITH (fillfactor = 70);
CREATE INDEX stored_hour ON stored (hour, tenant_id);
SELECT tollgate_isolate('stored');

CREATE TABLE refused_messages (
    partition  integer     NOT NULL,
    generation integer     NOT NULL,
    sequence   bigint      NOT NULL,
    cause      text        NOT NULL,
    refused_at timestamptz NOT NULL,
    PRIMARY KEY (partition, generation, sequence)
);

-- The sum of two digests modulo 2^64, kept as a bigint in two's complement.
-- +goose StatementBegin
CREATE FUNCTION digest_sum(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (CASE WHEN s >= 9223372036854775808 THEN s - 18446744073709551616
                 WHEN s < -9223372036854775808 THEN s + 18446744073709551616 ELSE s END)::bigint
    FROM (SELECT a::numeric + b::numeric AS s) AS sum
$$;
-- +goose StatementEnd

-- Names of what calls refer to by id, as other services' logs tell them.
CREATE TABLE names (
    tenant_id text NOT NULL,
    kind      text NOT NULL, -- account, application, api, api-version, subscription
    id        text NOT NULL,
    name      text NOT NULL,
    PRIMARY KEY (tenant_id, kind, id)
);
CREATE INDEX names_name ON names (tenant_id, kind, name);
SELECT tollgate_isolate('names');

-- Gateways whose missing calls an operator has accepted as lost, from metering's log.
CREATE TABLE waivers (
    gateway text   PRIMARY KEY,
    until   bigint NOT NULL
);
