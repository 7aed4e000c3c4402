package domain

import (
	"math"
	"time"
)

// Boot is one run of a gateway, as far as its batches tell.
type Boot struct {
	Gateway string
	Boot    uint64
	// SealedUntil: every call of it that completed before is here.
	SealedUntil int64
	// ClosedAt is when the batch that closed it came; 0 while it is open.
	ClosedAt int64
}

// Gateway is a gateway with its boots.
type Gateway struct {
	Name string
	// WaivedUntil: periods that end before close without its seal; 0 when nobody has waived it.
	WaivedUntil int64
	Boots       []Boot
}

// Forever is the seal of a gateway that has closed all its boots: nothing more can come of it.
const Forever = math.MaxInt64

// SealedUntil is the time before which every call of the gateway is here: the earliest seal of its open boots. It is 0 when
// nothing is known, and Forever when all its boots are closed.
func (g Gateway) SealedUntil() int64 {
	if len(g.Boots) == 0 {
		return 0
	}
	sealed := int64(Forever)
	for _, b := range g.Boots {
		if b.ClosedAt == 0 {
			sealed = min(sealed, b.SealedUntil)
		}
	}
	return sealed
}

// Sealed says whether the gateway holds up no period that ends at the given time.
func (g Gateway) Sealed(end int64) bool { return g.SealedUntil() >= end || g.WaivedUntil >= end }

// Unsealed is why a gateway has not sealed far enough.
type Unsealed string

// The reasons.
const (
	NeverSealed Unsealed = "neverSealed" // a boot of it was heard of and never sealed anything
	Silent      Unsealed = "silent"      // nothing has come of it for longer than a minute
	Behind      Unsealed = "behind"      // it is there and its seal goes on
)

// silence is how long nothing may come of a gateway, which says something every second, until it counts as silent.
const silence = time.Minute

// UnsealedBecause tells why a gateway that sealed until a time, and was last heard of at another, has not sealed further.
func UnsealedBecause(sealedUntil int64, seenAt, now time.Time) Unsealed {
	switch {
	case sealedUntil == 0:
		return NeverSealed
	case now.Sub(seenAt) > silence:
		return Silent
	}
	return Behind
}
