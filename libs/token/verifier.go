package token

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/principal"
)

// KeysKey is the key of the JWK Set in the bucket identity_keys.
const KeysKey = "jwks"

// Verifier verifies tokens with the keys that identity publishes. It is safe for concurrent use.
type Verifier struct {
	keys  atomic.Pointer[Keys]
	clock func() time.Time
}

// NewVerifier returns a verifier that knows no key yet: Follow or Set brings them.
func NewVerifier(clock func() time.Time) *Verifier {
	v := &Verifier{clock: clock}
	v.keys.Store(&Keys{})
	return v
}

// Set replaces the keys.
func (v *Verifier) Set(k Keys) { v.keys.Store(&k) }

// Verify returns who the signed token stands for now.
func (v *Verifier) Verify(signed string) (principal.Principal, error) {
	return v.keys.Load().Verify(signed, v.clock())
}

// Follow keeps the keys as identity publishes them, until ctx ends. A bucket that is not there, empty or unreadable
// leaves the keys as they are.
func (v *Verifier) Follow(ctx context.Context, b *bus.Bus) error {
	for ctx.Err() == nil {
		v.watch(ctx, b)
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil
}

func (v *Verifier) watch(ctx context.Context, b *bus.Bus) {
	kv, err := b.Bucket(ctx, bus.KeysBucket)
	if err != nil {
		return
	}
	watcher, err := kv.Watch(ctx, KeysKey, jetstream.IgnoreDeletes())
	if err != nil {
		return
	}
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case entry, ok := <-watcher.Updates():
			if !ok {
				return
			}
			if entry == nil {
				continue // the end of what was there at the start
			}
			if keys, err := ParseKeys(entry.Value()); err == nil {
				v.Set(keys)
			}
		}
	}
}
