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

// take takes one from each limit in turn, up to the first that has none: then it returns an error that says when to try
// again, and takes from no other.
func (i *Identity) take(ctx context.Context, grants ...grant) error {
	var wait time.Duration
	err := i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		wait, err = i.takeIn(ctx, tx, grants...) // what the limits before gave stays taken
		return err
	})
	if err != nil || wait == 0 {
		return err
	}
	return tooMany("attempts", wait)
}

// takeIn is take within a transaction, with which what was taken comes back if it is rolled back. It returns how long to wait, 0
// for not at all.
func (i *Identity) takeIn(ctx context.Context, tx pgx.Tx, grants ...grant) (time.Duration, error) {
	for _, g := range grants {
		if wait, err := g.Take(ctx, tx, g.whom, i.now()); err != nil || wait > 0 {
			return wait, err
		}
	}
	return 0, nil
}

func tooMany(what string, wait time.Duration) error {
	return operation.RetryAfter(problem.NewExhausted("too-many-"+what,
		"Too many %s. Try again in %s.", what, max(time.Second, wait.Round(time.Second))), wait)
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
