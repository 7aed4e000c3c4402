-- +goose Up

-- What belongs to which tenant of the paths that the gateways serve, for good: it follows from the events RoutesBound. Routes from
-- before there was this get theirs when the service starts, by such events (see internal/app/binding.go).
CREATE TABLE route_bindings (
    host      text        NOT NULL, -- as in routes
    segment   text        NOT NULL, -- first segment of the prefix; empty for all of the host
    tenant_id text        NOT NULL,
    bound_at  timestamptz NOT NULL,
    PRIMARY KEY (host, segment)
);
CREATE INDEX route_bindings_segment ON route_bindings (segment);
SELECT tollgate_isolate('route_bindings');
-- A tenant must not get what overlaps with another one's. What the service tells of that is that it is taken.
CREATE POLICY route_bindings_shared ON route_bindings FOR SELECT USING (true);
