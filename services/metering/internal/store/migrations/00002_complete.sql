-- +goose Up

-- More dimensions of the ledger. Rows of before have none of them.
ALTER TABLE usage
    ADD COLUMN operation   text NOT NULL DEFAULT '', -- operationId; empty when none matched
    ADD COLUMN application text NOT NULL DEFAULT '',
    ADD COLUMN account     text NOT NULL DEFAULT '',
    DROP CONSTRAINT usage_pkey,
    ADD PRIMARY KEY (tenant_id, subscription, bucket, partition, meter, reason, plan, plan_version, api, api_version, operation, application, account);

-- Limits of a subscription's own, in place of its plan's: subscription.v1.SubscriptionLimitsSet; NULL for those of the plan.
ALTER TABLE subscriptions ADD COLUMN limits bytea;
ALTER TABLE phases ADD COLUMN limits bytea;

-- Evidence of what gateways said, and of waivers.
ALTER TABLE gateways
    ADD COLUMN first_seen_at timestamptz,
    ADD COLUMN waived_at     timestamptz,
    ADD COLUMN waived_by     text NOT NULL DEFAULT '',
    ADD COLUMN waived_reason text NOT NULL DEFAULT '';
UPDATE gateways SET first_seen_at = seen_at;
ALTER TABLE gateways ALTER COLUMN first_seen_at SET NOT NULL;
ALTER TABLE boots
    ADD COLUMN first_seen_at timestamptz, -- NULL for boots of before this column
    ADD COLUMN sealed_at     timestamptz; -- when the seal came
