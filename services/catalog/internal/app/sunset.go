package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// sunsetPoll is how often versions are looked for whose end has come.
const sunsetPoll = time.Second

// Sunset retires deprecated versions once their end has come, until ctx ends. Any number of replicas may run it: a version that is
// retired already stays as it is.
func (c *Catalog) Sunset(ctx context.Context, clock func() time.Time, log *slog.Logger) error {
	tick := time.NewTicker(sunsetPoll)
	defer tick.Stop()
	failing := false
	for {
		err := c.retireDue(ctx, clock())
		if err != nil && !failing && ctx.Err() == nil {
			log.Error("versions whose end has come are not being retired", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Catalog) retireDue(ctx context.Context, now time.Time) error {
	var due []store.Due
	err := c.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		due, err = store.DueVersions(ctx, tx, now)
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range due {
		acting := principal.With(ctx, principal.Service("catalog", d.Tenant))
		acting = principal.WithCommand(acting, principal.Command{Reason: "The version's sunset has come."})
		if _, err := c.ChangeStage(acting, d.ID, domain.Retired, domain.Ending{}); err != nil {
			return err
		}
	}
	return nil
}
