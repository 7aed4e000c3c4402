package rating

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/libs/money"
)

// Grant is credit in a wallet.
type Grant struct {
	ID string
	// What is left of it, not negative.
	Balance money.Decimal
	// Lower numbers are burned first.
	Priority int
	// First instant at which the grant is worth nothing; the zero time stands for never.
	Expires time.Time
	Created time.Time
}

// Burned is what a charge took from one grant.
type Burned struct {
	Grant  string
	Amount money.Decimal
}

// Burn pays charge from the grants that are valid at an instant and returns what it took from each, in the order of
// burning, and the rest that the grants do not cover, which is invoiced. The order is priority, then expiry, then
// creation, then ID, so that it is always the same. It fails when the charge or a balance is negative.
func Burn(grants []Grant, charge money.Decimal, at time.Time) (burned []Burned, rest money.Decimal, err error) {
	if charge.Sign() < 0 {
		return nil, money.Decimal{}, errors.New("burn: the charge is negative; a credit is a grant of its own")
	}
	ordered := slices.Clone(grants)
	slices.SortFunc(ordered, compareGrants)
	rest = charge
	for _, g := range ordered {
		if g.Balance.Sign() < 0 {
			return nil, money.Decimal{}, fmt.Errorf("burn: the balance of grant %s is negative", g.ID)
		}
		if g.expiredAt(at) {
			continue
		}
		taken := rest.Min(g.Balance)
		if taken.Sign() <= 0 {
			continue
		}
		burned = append(burned, Burned{Grant: g.ID, Amount: taken})
		rest = rest.Sub(taken)
	}
	return burned, rest, nil
}

func (g Grant) expiredAt(t time.Time) bool { return !g.Expires.IsZero() && !t.Before(g.Expires) }

func compareGrants(a, b Grant) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), compareExpiry(a, b), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// compareExpiry sorts a grant that never expires after those that do.
func compareExpiry(a, b Grant) int {
	switch {
	case a.Expires.IsZero() && b.Expires.IsZero():
		return 0
	case a.Expires.IsZero():
		return 1
	case b.Expires.IsZero():
		return -1
	default:
		return a.Expires.Compare(b.Expires)
	}
}
