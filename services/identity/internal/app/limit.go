package app

import (
	"context"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// grant is a limit for somebody.
type grant struct {
	store.Limit
	whom string
}

// take takes one from each limit, or returns an error that says when to try again.
func (i *Identity) take(ctx context.Context, grants ...grant) error {
	return i.limited(ctx, store.Limit.Take, grants)
}

// mayTake is take without taking.
func (i *Identity) mayTake(ctx context.Context, grants ...grant) error {
	return i.limited(ctx, store.Limit.Wait, grants)
}

func (i *Identity) limited(ctx context.Context, ask func(store.Limit, context.Context, pgx.Tx, string, time.Time) (time.Duration, error), grants []grant) error {
	var wait time.Duration
	err := i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		for _, g := range grants {
			w, err := ask(g.Limit, ctx, tx, g.whom, i.now())
			if err != nil {
				return err
			}
			wait = max(wait, w)
		}
		return nil
	})
	if err != nil || wait == 0 {
		return err
	}
	return operation.RetryAfter(problem.NewExhausted("too-many-attempts",
		"Too many attempts. Try again in %s.", max(time.Second, wait.Round(time.Second))), wait)
}

// addressOf returns the network of the caller that limits are for: the address, of IPv6 the /64 that one customer has.
func addressOf(ctx context.Context) string {
	text := operation.CallerFrom(ctx).Address
	a, err := netip.ParseAddr(text)
	if err != nil {
		return text
	}
	if a = a.Unmap(); a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
