-- +goose Up

-- Up to where each follower has applied a log. Written in the transaction of the effect.
CREATE TABLE follow_offset (
    name       text        NOT NULL,
    log        text        NOT NULL,
    epoch      integer     NOT NULL DEFAULT 0, -- of the event at position
    position   bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, log)
) WITH (fillfactor = 10);

-- Events that a follower could not apply and passed over, until they are replayed.
CREATE TABLE parked_events (
    name      text        NOT NULL,
    log       text        NOT NULL,
    position  bigint      NOT NULL,
    tenant_id text        NOT NULL,
    type      text        NOT NULL,
    error     text        NOT NULL,
    envelope  bytea       NOT NULL, -- envelope.v1.Envelope
    attempts  integer     NOT NULL DEFAULT 1,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, log, position)
);
SELECT tollgate_isolate('parked_events');

-- +goose Down
DROP TABLE parked_events;
DROP TABLE follow_offset;
