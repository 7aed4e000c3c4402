package eventlog

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

type (
	causationKey   struct{}
	afterCommitKey struct{}
)

// causationFrom returns the id of the event that is being handled in ctx.
func causationFrom(ctx context.Context) string {
	id, _ := ctx.Value(causationKey{}).(string)
	return id
}

// Within appends to the log inside a transaction that somebody else commits, as in a follower's Handle: the reaction to
// an event is then appended exactly once. Who acts is taken from ctx; in Handle that is the follower's service in the
// event's tenant, and the event becomes the cause of what is appended. Call flush last: it holds the head of the log,
// for which other commands wait, until the commit. It returns the position of the last event, or the head when nothing
// was appended, and ErrConflict when a stream has grown: the transaction is then lost, and a follower starts it again.
func (l *Log) Within(ctx context.Context, pgtx pgx.Tx) (tx *Tx, flush func(context.Context) (uint64, error), err error) {
	actor, known := principal.From(ctx)
	if !known {
		return nil, nil, problem.NewUnauthenticated("unauthenticated", "Nobody is known to act here.")
	}
	command := principal.CommandFrom(ctx)
	command.Key = "" // belongs to Execute
	tx = l.newTx(pgtx, actor, command, causationFrom(ctx))
	return tx, func(ctx context.Context) (uint64, error) {
		position, err := tx.flush(ctx)
		if err == nil {
			afterCommit(ctx, l.announce)
		}
		return position, err
	}, nil
}

// commitHooks are what a follower does after its commit.
type commitHooks struct{ hooks []func() }

// afterCommit runs the hook after the commit of the follower whose transaction ctx belongs to, or at once.
func afterCommit(ctx context.Context, hook func()) {
	if pending, ok := ctx.Value(afterCommitKey{}).(*commitHooks); ok {
		pending.hooks = append(pending.hooks, hook)
		return
	}
	hook()
}
