package upstream

import (
	"sync/atomic"
)

// Balancer chooses targets by weight: in every run of as many calls as the weights add up to, each target gets exactly its
// weight. It is safe for concurrent use.
type Balancer struct {
	targets []*Target
	bounds  []uint64 // cumulated weights
	total   uint64
	stride  uint64
	calls   atomic.Uint64
}

// NewBalancer returns a balancer. All weights zero means equal shares; a target of weight zero beside others gets nothing.
func NewBalancer(targets []*Target, weights []uint32) *Balancer {
	b := &Balancer{targets: targets}
	var sum uint64
	for _, w := range weights {
		sum += uint64(w)
	}
	var bound uint64
	for i := range targets {
		w := uint64(1)
		if sum > 0 {
			w = uint64(weights[i])
		}
		bound += w
		b.bounds = append(b.bounds, bound)
	}
	b.total = bound
	// Steps of about the golden section, without a common divisor with the total, visit every slot once a round and spread a target's
	// slots over it.
	for b.stride = b.total*618/1000 + 1; gcd(b.stride, b.total) != 1; b.stride++ {
	}
	return b
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Next returns the target of the next call.
func (b *Balancer) Next() *Target {
	if len(b.targets) == 1 {
		return b.targets[0]
	}
	slot := (b.calls.Add(1) % b.total) * b.stride % b.total
	for i, bound := range b.bounds {
		if slot < bound {
			return b.targets[i]
		}
	}
	return b.targets[len(b.targets)-1]
}

// Other returns a target for another attempt: one that is not the given one, if there is one with a share of the traffic.
func (b *Balancer) Other(failed *Target) *Target {
	for range b.targets {
		if t := b.Next(); t != failed {
			return t
		}
	}
	return b.Next()
}

// Targets returns the targets. The slice is not to be changed.
func (b *Balancer) Targets() []*Target { return b.targets }
