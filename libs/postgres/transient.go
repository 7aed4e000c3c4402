package postgres

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Codes and classes of PostgreSQL's documentation, appendix A.
const (
	pgClassConnection            = "08"
	pgClassInsufficientResources = "53"
	pgClassOperatorIntervention  = "57"
	pgClassSystemError           = "58"
	pgSerializationFailure       = "40001"
	pgDeadlockDetected           = "40P01"
	pgReadOnlyTransaction        = "25006" // a standby, during a fail-over
	pgUniqueViolation            = "23505"
	pgForeignKeyViolation        = "23503"
	pgCheckViolation             = "23514"
)

// Transient says that err has its cause in the moment (a broken connection, a server that restarts or is full, a
// deadlock) and that the same transaction may succeed later.
func Transient(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		switch class(failure) {
		case pgClassConnection, pgClassInsufficientResources, pgClassOperatorIntervention, pgClassSystemError:
			return true
		}
		switch failure.Code {
		case pgSerializationFailure, pgDeadlockDetected, pgReadOnlyTransaction:
			return true
		}
		return false
	}
	return broken(err)
}

// class is the first two characters of the error's code.
func class(failure *pgconn.PgError) string {
	return failure.Code[:min(2, len(failure.Code))]
}

// broken says that err is one of the connection's, not of the server's.
func broken(err error) bool {
	return errors.As(err, new(*pgconn.ConnectError)) ||
		errors.As(err, new(net.Error)) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, ErrOutcomeUnknown) || pgconn.SafeToRetry(err)
}

// Violates says that err is the refusal of a row by the constraint (unique, foreign key or check) of that name.
func Violates(err error, constraint string) bool {
	var failure *pgconn.PgError
	if !errors.As(err, &failure) || failure.ConstraintName != constraint {
		return false
	}
	switch failure.Code {
	case pgUniqueViolation, pgForeignKeyViolation, pgCheckViolation:
		return true
	}
	return false
}

const (
	retryAttempts = 6
	retryFirst    = 20 * time.Millisecond
	retryMax      = time.Second
)

// Retry runs fn until it succeeds or fails for a reason that is not Transient, at most six times within about two
// seconds, and returns the last error. fn must be safe to run again: after ErrOutcomeUnknown too.
func Retry(ctx context.Context, fn func(context.Context) error) error {
	pause := retryFirst
	for attempt := 1; ; attempt++ {
		err := fn(ctx)
		if !Transient(err) || attempt == retryAttempts {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		pause = min(2*pause, retryMax)
	}
}
