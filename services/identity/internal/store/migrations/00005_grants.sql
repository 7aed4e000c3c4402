-- +goose Up

-- What a token may do is said, not left to whether a list is empty: before, no scopes meant all that the member may, acting on
-- the installation included. Tokens that were restricted do not act on it any more.
ALTER TABLE tokens
    ADD COLUMN unlimited boolean NOT NULL DEFAULT false,
    ADD COLUMN operator  boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT tokens_unlimited CHECK (NOT unlimited OR scopes = '{}');
SELECT set_config('tollgate.tenant', '*', true);
UPDATE tokens SET unlimited = true, operator = true WHERE scopes = '{}';

-- What whoever set single sign-on may do; of those from before it is not known.
ALTER TABLE single_sign_on
    ADD COLUMN scopes   text[]  NOT NULL DEFAULT '{}',
    ADD COLUMN operator boolean NOT NULL DEFAULT false;
