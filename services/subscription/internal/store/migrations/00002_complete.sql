-- +goose Up

ALTER TABLE subscriptions
    ADD COLUMN waiting        bigint,                      -- number on the plan's waiting list; NULL when not on it
    ADD COLUMN expires_at     timestamptz,
    ADD COLUMN accepted_terms text        NOT NULL DEFAULT '', -- version
    ADD COLUMN terms_url      text        NOT NULL DEFAULT '',
    ADD COLUMN terms_at       timestamptz,
    ADD COLUMN terms_by       text        NOT NULL DEFAULT '',
    ADD COLUMN decided_by     text        NOT NULL DEFAULT '',
    ADD COLUMN decided_at     timestamptz,
    ADD COLUMN reason         text        NOT NULL DEFAULT '', -- why it was rejected or suspended; "expired"
    ADD COLUMN limits         bytea;                       -- subscription.v1.SubscriptionLimitsSet; NULL for those of the plan
CREATE INDEX subscriptions_waiting ON subscriptions (plan_id, waiting) WHERE waiting IS NOT NULL;
CREATE INDEX subscriptions_places ON subscriptions (plan_id) WHERE waiting IS NULL AND state IN ('requested', 'active', 'suspended');
CREATE INDEX subscriptions_expiry ON subscriptions (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE subscription_comments (
    subscription_id text        NOT NULL,
    number          bigint      NOT NULL, -- of the event in the subscription's stream
    tenant_id       text        NOT NULL,
    at              timestamptz NOT NULL,
    author          text        NOT NULL,
    comment         text        NOT NULL,
    PRIMARY KEY (subscription_id, number)
);
SELECT tollgate_isolate('subscription_comments');

ALTER TABLE products
    ADD COLUMN private  boolean NOT NULL DEFAULT false,
    ADD COLUMN accounts text[]  NOT NULL DEFAULT '{}'; -- names of those that see a private product

ALTER TABLE plans ADD COLUMN capacity bigint NOT NULL DEFAULT 0; -- of the newest version; 0: no bound
