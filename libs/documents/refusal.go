package documents

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A document that cannot be published is tried again after these.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// refusal is why a revision of a document cannot be published, and when it is tried again.
type refusal struct {
	revision int64
	cause    error
	pause    time.Duration
	again    time.Time
}

// general says that what a document met would be met by any other one too: NATS or the stream behind the bucket does not answer.
func general(err error) bool {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrInvalidKey), errors.Is(err, errContended):
		return false
	case errors.As(err, &api):
		return api.Code != 400 // 400: the server does not take this message
	}
	return true
}

// refuse notes why a document cannot be published, or that it is.
func (p *Publisher) refuse(r row, cause error) {
	before := p.refusals[r.key]
	delete(p.refusals, r.key)
	if cause == nil {
		return
	}
	pause := firstPause
	if before.revision == r.revision {
		pause = min(2*before.pause, lastPause)
	}
	p.refusals[r.key] = refusal{revision: r.revision, cause: cause, pause: pause, again: time.Now().Add(pause)}
}

// waiting returns the documents that are not tried at the moment: keys, and the revision of each.
func (p *Publisher) waiting(now time.Time) (keys []string, revisions []int64) {
	keys, revisions = []string{}, []int64{}
	for key, r := range p.refusals {
		if now.Before(r.again) {
			keys, revisions = append(keys, key), append(revisions, r.revision)
		}
	}
	return keys, revisions
}

// forget drops what was refused and is not to be published any more: another publisher has, once it could be.
func (p *Publisher) forget(now time.Time, due []row) {
	maps.DeleteFunc(p.refusals, func(key string, r refusal) bool {
		return !now.Before(r.again) && !slices.ContainsFunc(due, func(d row) bool { return d.key == key })
	})
}

// refused returns one error of all documents that cannot be published, which names one of them.
func (p *Publisher) refused() error {
	if len(p.refusals) == 0 {
		return nil
	}
	key := slices.Min(slices.Collect(maps.Keys(p.refusals)))
	return fmt.Errorf("documents that cannot be published: %d, the first %s/%s: %w", len(p.refusals), p.bucket, key, p.refusals[key].cause)
}
