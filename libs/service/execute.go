package service

import (
	"context"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
)

// Execute runs a command in one transaction of the log (see eventlog.Execute), notes for the audit from where it came if a
// client gave it, and tells the caller of the operation which position it reached.
func Execute[R any](ctx context.Context, log *eventlog.Log, fn func(ctx context.Context, tx *eventlog.Tx) (R, error)) (R, error) {
	result, err := ExecuteResult(ctx, log, fn)
	return result.Value, err
}

// ExecuteResult is Execute for commands that must know whether they were replayed, such as those that make a secret:
// it is not kept and cannot be shown again.
func ExecuteResult[R any](ctx context.Context, log *eventlog.Log, fn func(ctx context.Context, tx *eventlog.Tx) (R, error)) (eventlog.Result[R], error) {
	result, err := eventlog.Execute(ctx, log, func(ctx context.Context, tx *eventlog.Tx) (R, error) {
		value, err := fn(ctx, tx)
		if err == nil {
			err = audit.Record(ctx, tx)
		}
		return value, err
	})
	if err == nil {
		operation.Committed(ctx, result.Position, result.Replayed)
	}
	return result, err
}
