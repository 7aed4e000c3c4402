package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// maxRestarts is how often a command starts again after a conflict or a transient failure.
const maxRestarts = 3

// Result is the outcome of a command.
type Result[R any] struct {
	Value R
	// Position of the command's last event; the head of the log when it appended none; 0 for a dry run. A reader that waits
	// for it (Follower.WaitFor) sees the command's effect.
	Position uint64
	// Replayed says that the command had been executed before, with the same idempotency key: Value and Position are of
	// then, and nothing was done now.
	Replayed bool
}

var errDryRun = errors.New("a dry run is rolled back")

// Execute runs one command in one transaction of the acting principal's tenant, see libs/principal. What fn appends and
// what it writes through tx are committed together, with the response when the command has an idempotency key
// (draft-ietf-httpapi-idempotency-key-header): the value encoded as JSON, of a proto.Message as ProtoJSON. A key is the
// principal's own: another one may use the same.
//
// fn runs again, at most three times, when a stream it appends to has grown meanwhile or the database fails
// transiently: it must have no effect besides tx. An error of fn's is returned as it is and nothing remains. Errors of
// Execute's own:
//   - problem.Conflict "idempotency-key-reused": the key came with another request before;
//   - problem.Conflict "concurrent-change", which is ErrConflict too: other commands were faster each time;
//   - problem.Unavailable "outcome-unknown": the database broke off during the commit of a command without a key. With a
//     key Execute finds out.
func Execute[R any](ctx context.Context, l *Log, fn func(ctx context.Context, tx *Tx) (R, error)) (Result[R], error) {
	actor, known := principal.From(ctx)
	if !known {
		return Result[R]{}, problem.NewUnauthenticated("unauthenticated", "Nobody is known to act here.")
	}
	command := principal.CommandFrom(ctx)
	if err := validate(command); err != nil {
		return Result[R]{}, err
	}
	for restarts := 0; ; restarts++ {
		result, err := execute(ctx, l, actor, command, fn)
		if err == nil || ctx.Err() != nil || restarts == maxRestarts || !mayRestart(err, command) {
			return result, outcome(err)
		}
		if !pause(ctx, time.Duration(restarts+1)*rand.N(10*time.Millisecond)) {
			return Result[R]{}, outcome(err)
		}
	}
}

// maxKey bounds an idempotency key, in bytes.
const maxKey = 255

func validate(command principal.Command) error {
	var wrong problem.Fields
	if len(command.Key) > maxKey || strings.ContainsRune(command.Key, 0) {
		wrong.Add("Idempotency-Key", "is not usable; give up to %d characters, as in a UUID", maxKey)
	}
	if strings.ContainsRune(command.Reason, 0) {
		wrong.Add("reason", "contains the character U+0000; leave it out")
	}
	return wrong.Err("command-invalid", "The command is not valid.")
}

func mayRestart(err error, command principal.Command) bool {
	if errors.Is(err, postgres.ErrOutcomeUnknown) {
		return command.Key != "" // the look-up tells
	}
	return errors.Is(err, ErrConflict) || postgres.Transient(err)
}

// outcome gives the errors of Execute's own their kinds.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrConflict):
		return problem.NewConflict("concurrent-change", "Others changed the same thing at the same time. Try again.").Wrap(err)
	case errors.Is(err, postgres.ErrOutcomeUnknown):
		return problem.NewUnavailable("outcome-unknown",
			"The database broke off: the command may have been executed or not. Look before trying again, or send an Idempotency-Key.").Wrap(err)
	case postgres.Transient(err) && problem.KindOf(err) == problem.Internal:
		return problem.NewUnavailable("database-unavailable", "The database does not answer. Try again later.").Wrap(err)
	default:
		return err
	}
}

func execute[R any](ctx context.Context, l *Log, actor principal.Principal, command principal.Command,
	fn func(context.Context, *Tx) (R, error),
) (result Result[R], err error) {
	var appended bool
	err = l.db.InTenantPipelined(ctx, actor.Tenant, func(pgtx pgx.Tx) (*pgx.Batch, error) {
		stored, err := lookUp(ctx, pgtx, actor, command)
		if err != nil {
			return nil, err
		}
		if stored != nil {
			result.Position, result.Replayed = stored.position, true
			return nil, decodeResponse(stored.response, &result.Value)
		}
		tx := l.newTx(pgtx, actor, command, causationFrom(ctx))
		result.Value, err = fn(ctx, tx)
		switch {
		case err != nil:
			return nil, err
		case tx.err != nil:
			return nil, tx.err
		case command.DryRun:
			return nil, errDryRun
		}
		appended = len(tx.buffered) > 0
		return finish(ctx, tx, result.Value, &result.Position)
	})
	switch {
	case errors.Is(err, errDryRun):
		return result, nil
	case err != nil:
		return Result[R]{}, err
	case appended:
		l.announce()
	}
	return result, nil
}

// finish makes the transaction's last statement, to be sent with the commit.
func finish[R any](ctx context.Context, tx *Tx, value R, position *uint64) (*pgx.Batch, error) {
	response := []byte("null")
	if tx.command.Key != "" {
		var err error
		if response, err = encodeResponse(value); err != nil {
			return nil, err
		}
	}
	if len(tx.buffered) == 0 {
		return nil, tx.remember(ctx, response, position)
	}
	var batch pgx.Batch
	tx.queueAppend(&batch, response, position)
	return &batch, nil
}

// remember does for a command without events what the append does with its outcome.
func (tx *Tx) remember(ctx context.Context, response []byte, position *uint64) (err error) {
	if *position, err = tx.log.head(ctx, tx); err != nil || tx.command.Key == "" {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO commands (tenant_id, key, subject, request_hash, response, position, recorded_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, tx.actor.Tenant, tx.command.Key, tx.actor.Subject, tx.command.Hash[:], response, *position, tx.now)
	if err != nil {
		return fmt.Errorf("store the response: %w", err)
	}
	return nil
}

// stored is the outcome of a command with an idempotency key.
type stored struct {
	response []byte
	position uint64
}

// lookUp finds the outcome of a command that the actor executed before. Commands with the same key wait for each other: the
// second one finds what the first one stored. Of a few stored by an earlier version it is not known whose they are: they
// are for everybody who may see all of the tenant.
func lookUp(ctx context.Context, tx pgx.Tx, actor principal.Principal, command principal.Command) (*stored, error) {
	if command.Key == "" {
		return nil, nil
	}
	var hash []byte
	var found stored
	var batch pgx.Batch
	// Two statements: the second one must see what was committed while the first one waited.
	batch.Queue(`SELECT pg_advisory_xact_lock(hashtextextended($1::text || chr(10) || $2::text, 0))`, actor.Tenant, command.Key)
	batch.Queue(`SELECT request_hash, response, position FROM commands WHERE tenant_id = $1 AND key = $2 AND (subject = $3 OR (subject = '' AND $4))
		ORDER BY subject DESC LIMIT 1`, actor.Tenant, command.Key, actor.Subject, actor.Account == "").
		QueryRow(func(row pgx.Row) error { return row.Scan(&hash, &found.response, &found.position) })
	err := tx.SendBatch(ctx, &batch).Close()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up the idempotency key: %w", err)
	case string(hash) != string(command.Hash[:]):
		return nil, problem.NewConflict("idempotency-key-reused",
			"The Idempotency-Key %q came with another request before. Use a new key for each request.", command.Key)
	}
	return &found, nil
}

func encodeResponse(value any) ([]byte, error) {
	response, err := json.Marshal(value)
	if message, ok := value.(proto.Message); ok {
		response, err = protojson.Marshal(message)
	}
	if err != nil {
		return nil, fmt.Errorf("encode the response to store it: %w", err)
	}
	return response, nil
}

func decodeResponse[R any](response []byte, value *R) error {
	var err error
	if message, ok := any(*value).(proto.Message); ok {
		message = message.ProtoReflect().New().Interface()
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(response, message)
		*value, _ = message.(R)
	} else {
		err = json.Unmarshal(response, value)
	}
	if err != nil {
		return fmt.Errorf("decode the stored response: %w", err)
	}
	return nil
}

// ForgetCommands deletes outcomes stored before a time, of every tenant, and returns their number: their idempotency keys
// are then new again. Call it from a job.
func (l *Log) ForgetCommands(ctx context.Context, before time.Time) (int64, error) {
	const atOnce = 10_000
	var total int64
	for {
		var deleted int64
		err := l.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `DELETE FROM commands WHERE (tenant_id, key, subject) IN
				(SELECT tenant_id, key, subject FROM commands WHERE recorded_at < $1 ORDER BY recorded_at LIMIT $2)`, before, atOnce)
			deleted = tag.RowsAffected()
			return err
		})
		if err != nil {
			return total, fmt.Errorf("forget commands: %w", err)
		}
		if total += deleted; deleted < atOnce {
			return total, nil
		}
	}
}
