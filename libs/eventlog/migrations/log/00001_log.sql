-- +goose Up

-- The head of the one log of this database. Every append updates it: a low fill factor leaves room for many versions of
-- the row on its page, which are pruned without a vacuum (HOT).
CREATE TABLE log_head (
    log      text PRIMARY KEY,
    epoch    integer NOT NULL DEFAULT 1 CHECK (epoch > 0),
    position bigint  NOT NULL DEFAULT 0 CHECK (position >= 0)
) WITH (fillfactor = 10);
CREATE UNIQUE INDEX log_head_single ON log_head ((true));

CREATE TABLE events (
    position    bigint PRIMARY KEY CHECK (position > 0),
    epoch       integer     NOT NULL,
    id          text        NOT NULL,
    tenant_id   text        NOT NULL CHECK (tenant_id <> ''),
    stream_type text        NOT NULL,
    stream_id   text        NOT NULL,
    version     bigint      NOT NULL CHECK (version > 0),
    type        text        NOT NULL,
    payload     bytea       NOT NULL,
    meta        jsonb       NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- The tenant is part of it so that no tenant can block or probe the streams of another one.
    CONSTRAINT events_stream UNIQUE (stream_type, stream_id, version, tenant_id)
);
SELECT tollgate_isolate('events');

-- +goose StatementBegin
CREATE FUNCTION events_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed or deleted: append another one that corrects it';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER events_are_final BEFORE UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION events_are_final();

-- The outcome of each command that came with an idempotency key. json, not jsonb: it is replayed as it was.
CREATE TABLE commands (
    tenant_id    text        NOT NULL,
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    response     json        NOT NULL,
    position     bigint      NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX commands_recorded_at ON commands (recorded_at);
SELECT tollgate_isolate('commands');

-- +goose Down
DROP TABLE commands;
DROP TABLE events;
DROP FUNCTION events_are_final();
DROP TABLE log_head;
