package app

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/principal"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// recordEvents records what was decided about a version and, where gateways serve it then, binds what it answers to.
func (ch *change) recordEvents(ctx context.Context, v domain.APIVersion, version uint64, events []proto.Message) error {
	if len(events) == 0 {
		return nil
	}
	for _, e := range events {
		v = v.Evolve(e)
	}
	bound, err := ch.bind(ctx, v)
	if err != nil {
		return err
	}
	return ch.record(ctx, "api-version", v.ID, version, append(events, bound...))
}

// bind returns the event that binds what a version answers to, if it is not bound to the tenant yet. Gateways are shared: a more
// specific host or path takes calls away from a less specific one, with the credentials in them. Paths therefore belong, by host and
// first segment, to the tenant that serves them first. What a live version answers to already is left alone.
func (ch *change) bind(ctx context.Context, v domain.APIVersion) ([]proto.Message, error) {
	free, taken, err := ch.unbound(ctx, v, v.ID)
	if err != nil {
		return nil, err
	}
	if len(taken) > 0 {
		return nil, refusal(&store.RouteTaken{Host: taken[0], Prefix: v.Spec.GetRoute().GetPrefix()})
	}
	return boundTo(v, free), nil
}

func boundTo(v domain.APIVersion, hosts []string) []proto.Message {
	if len(hosts) == 0 {
		return nil
	}
	return []proto.Message{&catalogv1.RoutesBound{ApiVersion: v.ID, Hosts: hosts, Segment: domain.FirstSegment(v.Spec.GetRoute().GetPrefix())}}
}

// unbound returns the hosts of a version that can be bound, and those that overlap with what belongs to another tenant. except is a
// version whose routes are left out.
func (ch *change) unbound(ctx context.Context, v domain.APIVersion, except string) (free, taken []string, err error) {
	if !domain.Live(v.Stage) {
		return nil, nil, nil
	}
	segment := domain.FirstSegment(v.Spec.GetRoute().GetPrefix())
	hosts, err := store.Unbound(ctx, ch, ch.tenant, except, v.Spec.GetRoute().GetHosts(), segment)
	if err != nil || len(hosts) == 0 {
		return nil, nil, err
	}
	if err := store.LockBindings(ctx, ch); err != nil {
		return nil, nil, err
	}
	others, err := store.BoundToOthers(ctx, ch, ch.tenant, segment)
	if err != nil {
		return nil, nil, err
	}
	for _, host := range hosts {
		if slices.ContainsFunc(others, func(other string) bool { return domain.HostsOverlap(host, other) }) {
			taken = append(taken, host)
			continue
		}
		free = append(free, host)
	}
	return free, taken, nil
}

// BindRoutes binds the routes of live versions from before routes were bound. Where those of two tenants overlap, the older version's
// are; the other version goes on as it is. It is to be run before the service answers.
func (c *Catalog) BindRoutes(ctx context.Context) error {
	var versions []store.UnboundVersion
	err := c.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		versions, err = store.UnboundVersions(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	for _, found := range versions {
		acting := principal.With(ctx, principal.Service("catalog", found.Tenant))
		acting = principal.WithCommand(acting, principal.Command{Reason: "The version was there before routes were bound."})
		_, err := execute(acting, c, nil, func(ctx context.Context, ch *change) (struct{}, error) {
			v, version, err := loadVersion(ctx, ch, found.ID)
			if err != nil {
				return struct{}{}, err
			}
			free, _, err := ch.unbound(ctx, v, "")
			if err != nil {
				return struct{}{}, err
			}
			return struct{}{}, ch.record(ctx, "api-version", v.ID, version, boundTo(v, free))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
