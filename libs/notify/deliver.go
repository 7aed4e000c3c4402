package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/libs/principal"
)

const (
	// pollInterval is how late a message of another process, or one whose time has come, may be noticed.
	pollInterval = time.Second
	// claimFor is how long a replica has for a message that it took; then another may try it.
	claimFor = time.Minute
	// sendTimeout bounds one attempt.
	sendTimeout = 20 * time.Second
	batch       = 16
	parallel    = 4
	// giveUpAfter is how long a message is tried.
	giveUpAfter = 72 * time.Hour
	firstPause  = 5 * time.Second
	maxPause    = 6 * time.Hour
	maxError    = 300
)

// errPermanent says that trying again is no use.
var errPermanent = errors.New("given up")

// Run delivers until ctx ends and then returns nil. Any number of replicas may run.
func (o *Outbox) Run(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	failing := false
	for {
		n, err := o.deliverDue(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			o.Log.Error("messages are not delivered", "error", err)
		case err == nil && failing:
			o.Log.Info("messages are delivered again")
		}
		failing = err != nil
		if err == nil && n == batch {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-o.wake:
		}
	}
}

// message is one that was taken for delivery.
type message struct {
	ID, Kind  string
	Content   []byte
	Attempts  int
	CreatedAt time.Time
}

// deliverDue takes messages whose time has come and tries each once.
func (o *Outbox) deliverDue(ctx context.Context) (int, error) {
	due, err := o.take(ctx)
	if err != nil {
		return 0, err
	}
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, m := range due {
		group.Go(func() error { return o.finish(ctx, m, o.try(ctx, m)) })
	}
	return len(due), group.Wait()
}

// take claims messages for this replica. The claim is their next time: a replica that dies leaves them to be tried then.
func (o *Outbox) take(ctx context.Context) (due []message, err error) {
	now := o.Clock().UTC()
	err = o.DB.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			UPDATE notify_outbox SET next_at = $2, attempts = attempts + 1 WHERE id IN (
				SELECT id FROM notify_outbox WHERE status = 'pending' AND next_at <= $1 ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED)
			RETURNING id::text, kind, content, attempts, created_at`, now, now.Add(claimFor), batch)
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
		reason = failure.Error()
		reason = reason[:min(len(reason), maxError)]
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
