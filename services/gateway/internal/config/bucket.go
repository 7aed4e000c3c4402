package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/bus"
)

const (
	retryBucket = 300 * time.Millisecond
	checkBucket = 2 * time.Second
	checkFor    = 2 * time.Second
)

// Bucket follows a key-value bucket for as long as it is asked to: over lost connections, and over buckets that are missing,
// emptied or made anew. Keys that vanish are not reported.
type Bucket struct {
	Bus  *bus.Bus
	Name string
	// UpdatesOnly leaves out what is there at the beginning.
	UpdatesOnly bool
	// Apply takes a value in.
	Apply func(key string, value []byte)
	// Began is called whenever following begins (again): what changed before may have gone unseen if UpdatesOnly.
	Began func(ctx context.Context)
	// Ended is called when Run ends; it may be nil, like the others below.
	Ended func()
	// Idle is called when nothing is waiting to be applied.
	Idle func()
	// Synced is called when everything that was there at the beginning is applied.
	Synced func()
	Log    *slog.Logger
}

// Run follows until ctx ends.
func (b *Bucket) Run(ctx context.Context) error {
	if b.Ended != nil {
		defer b.Ended()
	}
	reported := false
	for {
		err := b.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !reported && err != nil {
			b.Log.Warn("the configuration is not followed; it stays as it is until it can be", "bucket", b.Name, "error", err)
		}
		reported = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryBucket):
		}
	}
}

// follow follows one incarnation of the bucket.
func (b *Bucket) follow(ctx context.Context) error {
	created, kv, err := b.open(ctx)
	if err != nil {
		return err
	}
	var options []jetstream.WatchOpt
	if b.UpdatesOnly {
		options = append(options, jetstream.UpdatesOnly())
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := kv.WatchAll(watching, options...)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", b.Name, err)
	}
	defer func() { _ = w.Stop() }()
	b.Log.Info("following the configuration", "bucket", b.Name)
	if b.Began != nil {
		b.Began(ctx)
	}
	check := time.NewTicker(checkBucket)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-w.Updates():
			if !ok {
				return fmt.Errorf("watch bucket %s: it ended", b.Name)
			}
			b.take(entry)
			if len(w.Updates()) == 0 && b.Idle != nil {
				b.Idle()
			}
		case <-check.C:
			// A watch on a bucket that was made anew would wait for a sequence number that is far away.
			now, _, err := b.open(ctx)
			if errors.Is(err, jetstream.ErrBucketNotFound) || err == nil && !now.Equal(created) {
				return fmt.Errorf("watch bucket %s: it was removed or made anew", b.Name)
			}
		}
	}
}

func (b *Bucket) take(entry jetstream.KeyValueEntry) {
	switch {
	case entry == nil:
		if b.Idle != nil {
			b.Idle()
		}
		if b.Synced != nil {
			b.Synced()
		}
	case entry.Operation() == jetstream.KeyValuePut:
		b.Apply(entry.Key(), entry.Value())
	}
}

// open returns the bucket with the time it was made.
func (b *Bucket) open(ctx context.Context) (time.Time, jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	kv, err := b.Bus.JS.KeyValue(ctx, b.Name)
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("open bucket %s: %w", b.Name, err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("open bucket %s: %w", b.Name, err)
	}
	if s, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		return s.StreamInfo().Created, kv, nil
	}
	return time.Time{}, kv, nil
}
