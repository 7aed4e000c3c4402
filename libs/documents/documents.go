// Package documents publishes what a service tells the gateways: documents in the key-value buckets of NATS.
//
// A follower of the service's own log puts a document in the transaction of its offset; a Publisher brings it to the bucket
// after the commit. So a document is neither lost nor published before its event is. A document carries the position it
// was made at in its field number 1, and neither a second publisher nor one that was held up replaces a newer document by
// an older one. A bucket that is lost or emptied is filled again from the table.
//
// Used by identity, catalog and subscription.
package documents

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate makes the table, or brings it up to date.
func Migrate(ctx context.Context, db *postgres.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return db.Migrate(ctx, files, "tollgate_documents_versions")
}

// Put stores a document, to be published after the commit of tx. A document of an older revision than the one held is
// left out.
func Put(ctx context.Context, tx pgx.Tx, bucket, key string, revision uint64, m proto.Message) error {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("put document %s/%s: %w", bucket, key, err)
	}
	return PutBytes(ctx, tx, bucket, key, revision, value)
}

// PutBytes is Put for a value that is no message, such as a key set.
func PutBytes(ctx context.Context, tx pgx.Tx, bucket, key string, revision uint64, value []byte) error {
	if len(value) > MaxSize {
		return problem.NewTooLarge("document-too-large", "The document %s/%s is %d bytes long; the most is %d.", bucket, key, len(value), MaxSize)
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO documents (bucket, key, revision, value) VALUES ($1, $2, $3, $4)
		ON CONFLICT (bucket, key) DO UPDATE SET revision = excluded.revision, value = excluded.value, published = false
		WHERE documents.revision <= excluded.revision`, bucket, key, int64(revision), value)
	if err != nil {
		return fmt.Errorf("put document %s/%s: %w", bucket, key, err)
	}
	return nil
}

// MaxSize is the size of the largest document, in bytes: what a message holds beside its header.
const MaxSize = bus.MaxPayload - 64<<10

const (
	// poll is how long a document that another process stored may wait.
	poll = 100 * time.Millisecond
	// verify is how often a bucket is looked after.
	verify = 5 * time.Second
	// sample is how many keys are looked for each time.
	sample = 50
	// batch is the most documents published in one transaction.
	batch = 500
)

// Publisher brings the documents of one bucket to NATS. Any number may run at once; they take turns.
type Publisher struct {
	db     *postgres.DB
	bus    *bus.Bus
	bucket string
	log    *slog.Logger
	wake   chan struct{}
	// looked is the key up to which verify has looked; "" before the first.
	looked string
	// refusals are the documents that cannot be published, by key.
	refusals map[string]refusal
	mu       sync.Mutex
	err      error
}

// NewPublisher returns a publisher of a bucket; Run starts it.
func NewPublisher(db *postgres.DB, b *bus.Bus, bucket string, log *slog.Logger) *Publisher {
	return &Publisher{db: db, bus: b, bucket: bucket, log: log.With("bucket", bucket), wake: make(chan struct{}, 1), refusals: map[string]refusal{}}
}

// Wake tells the publisher that there is something new; without it, it looks every 100 ms.
func (p *Publisher) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Err returns why the publisher does not get on at the moment, or with one document, or nil.
func (p *Publisher) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Run publishes until ctx ends and then returns nil. It outlives failures of the database and of NATS.
func (p *Publisher) Run(ctx context.Context) error {
	var verified time.Time
	for ctx.Err() == nil {
		var err error
		if time.Since(verified) > verify {
			err = p.verify(ctx)
			if err == nil {
				verified = time.Now()
			}
		}
		more := false
		if err == nil {
			more, err = p.publish(ctx)
		}
		p.note(ctx, errors.Join(err, p.refused()))
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-time.After(poll):
		}
	}
	return nil
}

func (p *Publisher) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	before := p.err
	p.err = err
	p.mu.Unlock()
	switch {
	case err != nil && before == nil:
		p.log.Error("documents are not being published", "error", err)
	case err == nil && before != nil:
		p.log.Info("documents are being published again")
	}
}

// Empty takes every document out of the bucket, to be published again by Run: for a database that was restored from a backup,
// after which the bucket holds documents of things that never were.
func (p *Publisher) Empty(ctx context.Context) error {
	if err := p.bus.JS.DeleteKeyValue(ctx, p.bucket); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
		return fmt.Errorf("empty bucket %s: %w", p.bucket, err)
	}
	err := p.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error { return unpublish(ctx, tx, p.bucket) })
	if err != nil {
		return fmt.Errorf("empty bucket %s: %w", p.bucket, err)
	}
	return nil
}

// unpublish marks every document of a bucket for publication.
func unpublish(ctx context.Context, tx pgx.Tx, bucket string) error {
	_, err := tx.Exec(ctx, `UPDATE documents SET published = false, kv_revision = 0 WHERE bucket = $1`, bucket)
	return err
}

// verify looks whether the bucket still has what was published to it, a sample of keys at a time in turn, and marks everything
// for publication when one is missing. An emptied bucket is noticed at once, a single key once its turn comes.
func (p *Publisher) verify(ctx context.Context) error {
	kv, err := p.bus.Bucket(ctx, p.bucket)
	if err != nil {
		return err
	}
	return p.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT key FROM documents WHERE bucket = $1 AND published AND key > $2 ORDER BY key LIMIT $3`, p.bucket, p.looked, sample)
		if err != nil {
			return fmt.Errorf("read documents: %w", err)
		}
		keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("read documents: %w", err)
		}
		p.looked = ""
		if len(keys) == sample {
			p.looked = keys[sample-1]
		}
		missing, err := firstMissing(ctx, kv, keys)
		if err != nil || missing == "" {
			return err
		}
		p.log.Warn("the bucket has lost documents and is filled again", "missing", missing)
		return unpublish(ctx, tx, p.bucket)
	})
}

// firstMissing returns a key that the bucket does not have; "" when it has all.
func firstMissing(ctx context.Context, kv jetstream.KeyValue, keys []string) (string, error) {
	for _, key := range keys {
		_, err := kv.Get(ctx, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			return key, nil
		case err != nil:
			return "", fmt.Errorf("look for a document: %w", err)
		}
	}
	return "", nil
}

type row struct {
	key        string
	revision   int64
	value      []byte
	kvRevision int64
}

// publish brings up to a batch of documents to the bucket, under a lock that other publishers of it respect.
func (p *Publisher) publish(ctx context.Context) (more bool, err error) {
	now := time.Now()
	keys, revisions := p.waiting(now)
	var pending bool
	err = p.db.Pool().QueryRow(ctx, `SELECT EXISTS (SELECT FROM documents`+due+`)`, p.bucket, keys, revisions).Scan(&pending)
	if err != nil {
		return false, err
	}
	if !pending {
		p.forget(now, nil)
		return false, nil
	}
	kv, err := p.bus.Bucket(ctx, p.bucket)
	if err != nil {
		return false, err
	}
	var stopped error // what was published before stays so
	err = p.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('documents ' || $1))`, p.bucket); err != nil {
			return fmt.Errorf("lock bucket %s: %w", p.bucket, err)
		}
		rows, err := unpublished(ctx, tx, p.bucket, keys, revisions)
		if err != nil {
			return err
		}
		if more = len(rows) == batch; !more {
			p.forget(now, rows)
		}
		for _, r := range rows {
			kvRevision, err := p.bring(ctx, kv, r)
			if err != nil && general(err) {
				stopped = fmt.Errorf("publish document %s/%s: %w", p.bucket, r.key, err)
				return nil
			}
			if p.refuse(r, err); err != nil {
				continue
			}
			_, err = tx.Exec(ctx, `UPDATE documents SET published = true, kv_revision = $3 WHERE bucket = $1 AND key = $2 AND revision = $4`,
				p.bucket, r.key, int64(kvRevision), r.revision)
			if err != nil {
				return fmt.Errorf("mark document %s/%s: %w", p.bucket, r.key, err)
			}
		}
		return nil
	})
	return more, errors.Join(err, stopped)
}

// due selects the documents of a bucket ($1) that are to be published, without those revisions ($3) of keys ($2) that wait.
const due = ` WHERE bucket = $1 AND NOT published
	AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::bigint[]) AS w(key, revision) WHERE w.key = documents.key AND w.revision = documents.revision) `

func unpublished(ctx context.Context, tx pgx.Tx, bucket string, waiting []string, revisions []int64) ([]row, error) {
	rows, err := tx.Query(ctx, `SELECT key, revision, value, kv_revision FROM documents`+due+`ORDER BY revision LIMIT $4`, bucket, waiting, revisions, batch)
	if err != nil {
		return nil, fmt.Errorf("read documents: %w", err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) {
		var d row
		err := r.Scan(&d.key, &d.revision, &d.value, &d.kvRevision)
		return d, err
	})
}

// bring puts one document over the one that was put before, and over any older one; a newer one stays.
func (p *Publisher) bring(ctx context.Context, kv jetstream.KeyValue, r row) (uint64, error) {
	last := uint64(r.kvRevision)
	for range 5 {
		revision, err := kv.Update(ctx, r.key, r.value, last)
		if err == nil {
			return revision, nil
		}
		if !isWrongLast(err) {
			return 0, err
		}
		entry, err := kv.Get(ctx, r.key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			// Never put, or deleted by hand: Create takes the place of a delete marker.
			if revision, err = kv.Create(ctx, r.key, r.value); err == nil {
				return revision, nil
			}
			continue
		case err != nil:
			return 0, err
		case documentRevision(entry.Value()) > uint64(r.revision):
			return entry.Revision(), nil
		}
		last = entry.Revision()
	}
	return 0, errContended
}

var errContended = errors.New("the key changes all the time")

func isWrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) ||
		(errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == 10164))
}

// documentRevision reads field 1 of a document; 0 when the value is something else.
func documentRevision(value []byte) uint64 {
	number, kind, n := protowire.ConsumeTag(value)
	if n < 0 || number != 1 || kind != protowire.VarintType {
		return 0
	}
	revision, n := protowire.ConsumeVarint(value[n:])
	if n < 0 {
		return 0
	}
	return revision
}
