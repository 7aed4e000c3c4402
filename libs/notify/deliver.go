package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
)

const (
	// pollInterval is how late a message of another process, or one whose time has come, may be noticed.
	pollInterval = time.Second
	// claimFor is how long a replica has for a message that it took; then another may try it. An attempt begins at once.
	claimFor = time.Minute
	// sendTimeout bounds one attempt.
	sendTimeout = 20 * time.Second
	// parallel bounds the attempts of one replica at once, perTenant those for one tenant: endpoints that do not answer hold up
	// nobody else's messages.
	parallel  = 16
	perTenant = 4
	// giveUpAfter is how long a message is tried.
	giveUpAfter = 72 * time.Hour
	firstPause  = 5 * time.Second
	maxPause    = 6 * time.Hour
	maxError    = 300
	// keepFinished is how long it is shown what became of a message, cleanEvery how often older ones are deleted.
	keepFinished = 30 * 24 * time.Hour
	cleanEvery   = 10 * time.Minute
)

// errPermanent says that trying again is no use.
var errPermanent = errors.New("given up")

// Run delivers until ctx ends and then returns nil. Any number of replicas may run.
func (o *Outbox) Run(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	a := attempts{ended: make(chan attempt), of: map[string]int{}}
	failing, cleaned := false, time.Time{}
	for ctx.Err() == nil {
		started, err := o.start(ctx, &a)
		if now := o.Clock(); err == nil && now.Sub(cleaned) >= cleanEvery {
			err, cleaned = o.deleteFinished(ctx, now.Add(-keepFinished)), now
		}
		if started == 0 || err != nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
			case <-o.wake:
			case ended := <-a.ended:
				a.end(ended)
				err = errors.Join(err, ended.err)
			}
		}
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			o.Log.Error("messages are not delivered", "error", err)
		case err == nil && failing:
			o.Log.Info("messages are delivered again")
		}
		failing = err != nil
	}
	for a.running > 0 {
		a.end(<-a.ended)
	}
	return nil
}

// attempts are those that run, of them so many of each tenant. They belong to the goroutine of Run.
type attempts struct {
	running int
	of      map[string]int
	ended   chan attempt
}

// attempt is one that has ended; err says that its outcome could not be noted.
type attempt struct {
	tenant string
	err    error
}

func (a *attempts) begin(tenant string) {
	a.running++
	a.of[tenant]++
}

func (a *attempts) end(ended attempt) {
	a.running--
	if a.of[ended.tenant]--; a.of[ended.tenant] == 0 {
		delete(a.of, ended.tenant)
	}
}

// full are the tenants that have their share.
func (a *attempts) full() []string {
	tenants := []string{}
	for tenant, n := range a.of {
		if n >= perTenant {
			tenants = append(tenants, tenant)
		}
	}
	return tenants
}

// message is one that was taken for delivery.
type message struct {
	ID, Tenant, Kind string
	Content          []byte
	Attempts         int
	CreatedAt        time.Time
}

// start begins an attempt for messages whose time has come, one of each tenant at most, and returns how many it began.
func (o *Outbox) start(ctx context.Context, a *attempts) (int, error) {
	if a.running == parallel {
		return 0, nil
	}
	due, err := o.take(ctx, a.full(), parallel-a.running)
	for _, m := range due {
		a.begin(m.Tenant)
		go func() { a.ended <- attempt{m.Tenant, o.finish(ctx, m, o.try(ctx, m))} }()
	}
	return len(due), err
}

// take claims for this replica the message of each tenant that is due for longest, but none of the tenants that are full. The
// claim is their next time: a replica that dies leaves them to be tried then.
func (o *Outbox) take(ctx context.Context, full []string, limit int) (due []message, err error) {
	now := o.Clock().UTC()
	err = o.DB.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH RECURSIVE tenants AS (
				(SELECT tenant_id FROM notify_outbox WHERE status = 'pending' ORDER BY tenant_id LIMIT 1)
				UNION ALL
				SELECT (SELECT n.tenant_id FROM notify_outbox n WHERE n.status = 'pending' AND n.tenant_id > t.tenant_id ORDER BY n.tenant_id LIMIT 1)
				FROM tenants t WHERE t.tenant_id IS NOT NULL
			), due AS MATERIALIZED (
				SELECT first.id FROM tenants t CROSS JOIN LATERAL (
					SELECT m.id, m.next_at FROM notify_outbox m WHERE m.tenant_id = t.tenant_id AND m.status = 'pending' AND m.next_at <= $1
					ORDER BY m.next_at LIMIT 1 FOR UPDATE SKIP LOCKED
				) first WHERE NOT t.tenant_id = ANY ($3) ORDER BY first.next_at LIMIT $4
			)
			UPDATE notify_outbox o SET next_at = $2, attempts = attempts + 1 FROM due WHERE o.id = due.id
			RETURNING o.id::text, o.tenant_id, o.kind, o.content, o.attempts, o.created_at`, now, now.Add(claimFor), full, limit)
		if err != nil {
			return err
		}
		due, err = pgx.CollectRows(rows, pgx.RowToStructByPos[message])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take messages: %w", err)
	}
	return due, nil
}

func (o *Outbox) deleteFinished(ctx context.Context, before time.Time) error {
	err := o.DB.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM notify_outbox WHERE status <> 'pending' AND finished_at < $1`, before)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete finished messages: %w", err)
	}
	return nil
}

func (o *Outbox) try(ctx context.Context, m message) error {
	content, err := o.Seal.Open(m.ID, m.Content)
	if err != nil {
		return err // another seal key: it may come back
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return o.senders[m.Kind].send(ctx, m.ID, content)
}

// finish notes the outcome of an attempt.
func (o *Outbox) finish(ctx context.Context, m message, failure error) error {
	if failure != nil && ctx.Err() != nil {
		return nil // the service stops: the attempt tells nothing
	}
	now := o.Clock().UTC()
	status, next, reason := "delivered", now, ""
	if failure != nil {
		reason = postgres.Text(failure.Error(), maxError)
		status, next = "pending", now.Add(pauseAfter(m.Attempts))
		if errors.Is(failure, errPermanent) || now.Sub(m.CreatedAt) > giveUpAfter {
			status = "failed"
		}
	}
	o.delivered.WithLabelValues(m.Kind, status).Inc()
	err := o.DB.InTenant(context.WithoutCancel(ctx), principal.AllTenants, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE notify_outbox SET status = $2, next_at = $3, last_error = $4,
			       content = CASE WHEN $2 = 'pending' THEN content END, finished_at = CASE WHEN $2 <> 'pending' THEN $5::timestamptz END
			WHERE id = $1 AND status = 'pending'`, m.ID, status, next, reason, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the delivery of message %s: %w", m.ID, err)
	}
	return nil
}

// pauseAfter is the time until the next attempt.
func pauseAfter(attempts int) time.Duration {
	pause := firstPause
	for range attempts - 1 {
		if pause *= 3; pause >= maxPause {
			return maxPause
		}
	}
	return pause
}
