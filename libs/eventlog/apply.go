package eventlog

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// errSuperseded says that what comes does not continue the offset in the database: start again from there.
var errSuperseded = errors.New("the offset was moved by another copy, or an event did not arrive: reading again")

// apply applies a batch: in one transaction if it can, else event by event, so that the failure is told from the events
// around it. It returns when all are applied, parked or skipped, or this session must end.
func (f *Follower) apply(ctx context.Context, batch []received) error {
	var wait backoff
	for len(batch) > 0 {
		failure := f.commit(ctx, batch, nil)
		var event *eventError
		switch {
		case failure == nil:
			f.fail(nil)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(failure, errSuperseded) || errors.Is(failure, ErrEpoch):
			return failure
		case transient(failure):
			f.fail(failure)
			if !pause(ctx, wait.pause()) {
				return ctx.Err()
			}
		case len(batch) > 1:
			// Up to the event that failed, then that event alone, then the rest. A failure at the commit names no event.
			cut := len(batch) / 2
			if errors.As(failure, &event) {
				cut = max(event.index, 1)
			}
			if err := f.apply(ctx, batch[:cut]); err != nil {
				return err
			}
			batch = batch[cut:]
		case f.config.OnFailure == Park:
			return f.park(ctx, batch[0], failure)
		default:
			f.fail(fmt.Errorf("halted: %w", failure))
			if !pause(ctx, f.config.HaltRetry) {
				return ctx.Err()
			}
		}
	}
	return nil
}

// transient says that the same transaction may succeed later.
func transient(err error) bool {
	kind := problem.KindOf(err)
	return postgres.Transient(err) || errors.Is(err, ErrConflict) || kind == problem.Unavailable || kind == problem.Timeout ||
		errors.Is(err, context.DeadlineExceeded)
}

// eventError is the failure of one event of a batch.
type eventError struct {
	index    int
	position uint64
	kind     string
	cause    error
}

func (e *eventError) Error() string {
	return fmt.Sprintf("apply event %d (%s): %v", e.position, e.kind, e.cause)
}

func (e *eventError) Unwrap() error { return e.cause }

// commit applies a batch and moves the offset behind it, in one transaction. parked, if any, is why the batch's only event
// is set aside instead.
func (f *Follower) commit(ctx context.Context, batch []received, parked error) error {
	var skipped uint64
	var hooks commitHooks
	last := batch[len(batch)-1]
	reached := last.Position
	err := f.config.DB.InTenantPipelined(ctx, principal.AllTenants, func(tx pgx.Tx) (*pgx.Batch, error) {
		var at offset
		// Another copy of this follower waits here.
		if err := at.scan(tx.QueryRow(ctx, selectOffset+` FOR UPDATE`, f.config.Name, f.config.Follow)); err != nil {
			return nil, fmt.Errorf("read the offset of follower %s: %w", f.config.Name, err)
		}
		if last.Position <= at.position { // the other copy was faster
			reached = at.position
			return nil, nil
		}
		for i := range batch {
			e := &batch[i]
			if e.Position <= at.position {
				continue
			}
			unknown, err := f.applyOne(ctx, tx, &hooks, e, &at, parked)
			if err != nil {
				return nil, f.blame(err, i, e)
			}
			if unknown {
				skipped++
			}
		}
		var final pgx.Batch
		final.Queue(`UPDATE follow_offset SET position = $3, epoch = $4, event_id = $5, updated_at = now() WHERE name = $1 AND log = $2`,
			f.config.Name, f.config.Follow, at.position, at.epoch, at.eventID)
		return &final, nil
	})
	if err != nil {
		return err
	}
	for _, hook := range hooks.hooks {
		hook()
	}
	var parkedNow uint64
	if parked != nil && reached == last.Position {
		parkedNow = 1
	}
	f.status.advance(reached, skipped, parkedNow)
	return nil
}

// blame marks the event that an error comes from. What concerns the sequence concerns no single event.
func (f *Follower) blame(err error, index int, e *received) error {
	if errors.Is(err, errSuperseded) || errors.Is(err, ErrEpoch) {
		return err
	}
	return &eventError{index: index, position: e.Position, kind: e.Type, cause: err}
}

// applyOne applies the event after the offset and moves the offset.
func (f *Follower) applyOne(ctx context.Context, tx pgx.Tx, hooks *commitHooks, e *received, at *offset, parked error) (unknown bool, err error) {
	if e.Position != at.position+1 {
		return false, fmt.Errorf("position %d follows %d: %w", e.Position, at.position, errSuperseded)
	}
	epoch := max(e.Epoch, at.epoch)
	switch {
	case e.Epoch < at.epoch && e.Epoch != 0: // 0: the envelope cannot be decoded
		return false, fmt.Errorf("event %d is of epoch %d, after one of epoch %d: %w", e.Position, e.Epoch, at.epoch, ErrEpoch)
	case parked != nil:
		err = f.insertParked(ctx, tx, e, parked)
	case errors.Is(e.poison, ErrUnknownType):
		unknown = true
		f.config.Logger.Debug("an event of an unknown type is skipped", "position", e.Position, "type", e.Type)
	case e.poison != nil:
		err = e.poison
	default:
		err = f.handle(ctx, tx, hooks, e.Event)
	}
	if err == nil {
		*at = offset{position: e.Position, epoch: epoch, eventID: e.ID}
	}
	return unknown, err
}

// handle calls the handler in the context of the event. A panic in it is a failure of the event, not of the process.
func (f *Follower) handle(ctx context.Context, tx pgx.Tx, hooks *commitHooks, e Event) (err error) {
	ctx = principal.With(ctx, principal.Service(f.config.Name, e.Tenant))
	ctx = principal.WithCommand(ctx, principal.Command{CorrelationID: e.CorrelationID, TraceParent: e.TraceParent})
	ctx = context.WithValue(ctx, causationKey{}, e.ID)
	ctx = context.WithValue(ctx, afterCommitKey{}, hooks)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f.config.Handle(ctx, tx, e)
}
