package app

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// maxFailures is how many attempts in a row may fail before what comes after them is left for another time. Each may take as long as
// an internal call.
const maxFailures = 5

// attempts decides what a failure that may pass means for what comes after it: nothing, unless nobody answers, or several fail in a row.
type attempts struct {
	row int
	// failed is the first failure that was passed over.
	failed error
}

// note takes in the outcome of an attempt. It returns an error when no other is to be made.
func (a *attempts) note(ctx context.Context, err error) error {
	if err == nil {
		a.row = 0
		return nil
	}
	if a.failed == nil {
		a.failed = err
	}
	a.row++
	if ctx.Err() != nil || a.row >= maxFailures || nobody(err) {
		return err
	}
	return nil
}

// nobody says that others will fail like this one: the database or the bus is gone, or nobody is there to answer.
func nobody(err error) bool {
	return postgres.Transient(err) || errors.Is(err, postgres.ErrOutcomeUnknown) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrDisconnected)
}

// inTurn calls fn for everything that next returns page by page, from a place on. Where fn returns an error it breaks off, and from is
// the place after that, so that what fails each time does not keep back what comes after it; else from is the beginning. What was
// passed over is an error in the end.
func inTurn[T interface{ Place() store.Place }](from *store.Place, next func(after store.Place) ([]T, error), a *attempts, fn func(T) error) error {
	started := *from
	for after := started; ; {
		page, err := next(after)
		if err != nil {
			return err
		}
		for _, one := range page {
			after = one.Place()
			if err := fn(one); err != nil {
				*from = after
				return err
			}
		}
		if len(page) == 0 {
			break
		}
	}
	*from = store.Place{}
	if a.failed == nil && started != (store.Place{}) {
		return inTurn(from, next, a, fn) // what comes before the place
	}
	return a.failed
}
