package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/principal"
)

const selectEvents = `SELECT position, epoch, id, tenant_id, stream_type, stream_id, version, type, payload, meta, recorded_at FROM events `

// Load returns the events of a stream, with those that this command has appended to it. The stream's version is their
// number; a stream that does not exist has none. A principal of principal.AllTenants finds the stream of any tenant, and
// an error if several have one of that name: see LoadFor.
func (tx *Tx) Load(ctx context.Context, streamType, streamID string) ([]Event, error) {
	return tx.LoadFor(ctx, tx.actor.Tenant, streamType, streamID)
}

// LoadFor is Load for a stream of the given tenant. Streams of a tenant that the principal does not act in look empty.
func (tx *Tx) LoadFor(ctx context.Context, tenant, streamType, streamID string) ([]Event, error) {
	rows, err := tx.Query(ctx, selectEvents+
		`WHERE stream_type = $1 AND stream_id = $2 AND (tenant_id = $3 OR $3 = '*') ORDER BY version, tenant_id`,
		streamType, streamID, tenant)
	if err != nil {
		return nil, fmt.Errorf("load stream %s/%s: %w", streamType, streamID, err)
	}
	events, err := tx.log.collect(rows)
	if err != nil {
		return nil, fmt.Errorf("load stream %s/%s: %w", streamType, streamID, err)
	}
	events = append(events, tx.pending(tenant, streamType, streamID)...)
	for i := range events {
		if events[i].Tenant != events[0].Tenant {
			return nil, fmt.Errorf("load stream %s/%s: several tenants have one; use LoadFor with a tenant", streamType, streamID)
		}
		if events[i].Version != uint64(i)+1 {
			return nil, fmt.Errorf("load stream %s/%s: version %d is missing", streamType, streamID, i+1)
		}
		if events[i].Payload != nil { // not yet appended
			continue
		}
		if err := events[i].decode(); err != nil {
			return nil, fmt.Errorf("load stream %s/%s: %w", streamType, streamID, err)
		}
	}
	return events, nil
}

// Read returns up to limit events with positions above after, of every tenant, in order. There is no event that it
// passes over: when it returns position n, all up to n were there. The payload of a type that this build does not know is
// nil.
func (l *Log) Read(ctx context.Context, after uint64, limit int) ([]Event, error) {
	events, err := l.read(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	return events, decodeKnown(events)
}

// decodeKnown leaves types that are unknown here to the caller; a known one must decode.
func decodeKnown(events []Event) error {
	for i := range events {
		if err := events[i].decode(); err != nil && !errors.Is(err, ErrUnknownType) {
			return err
		}
	}
	return nil
}

// pageBytes bounds the payloads read at once, apart from one that is longer than it alone.
const pageBytes = MaxPayload

// pageSQL adds up the lengths first, which does not read the payloads.
const pageSQL = `
WITH page AS (
	SELECT position, sum(octet_length(payload)) OVER (ORDER BY position) - octet_length(payload) AS before
	FROM events WHERE position > $1 ORDER BY position LIMIT $2
)
` + selectEvents + `WHERE position > $1 AND position <= (SELECT max(position) FROM page WHERE before < $3) ORDER BY position`

// read is Read without decoding.
func (l *Log) read(ctx context.Context, after uint64, limit int) ([]Event, error) {
	var events []Event
	err := l.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		events, err = l.readIn(ctx, tx, after, limit)
		return err
	})
	return events, err
}

// readIn is read within a transaction of all tenants.
func (l *Log) readIn(ctx context.Context, tx pgx.Tx, after uint64, limit int) ([]Event, error) {
	rows, err := tx.Query(ctx, pageSQL, after, limit, pageBytes)
	if err != nil {
		return nil, fmt.Errorf("read log %s after position %d: %w", l.name, after, err)
	}
	events, err := l.collect(rows)
	if err != nil {
		return nil, fmt.Errorf("read log %s after position %d: %w", l.name, after, err)
	}
	return events, nil
}

// Head returns the last position of the log, 0 when it is empty.
func (l *Log) Head(ctx context.Context) (uint64, error) {
	return l.head(ctx, l.db.Pool())
}

func (l *Log) collect(rows pgx.Rows) ([]Event, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Event, error) {
		e := Event{Log: l.name}
		var m meta
		var recordedAt time.Time
		err := row.Scan(&e.Position, &e.Epoch, &e.ID, &e.Tenant, &e.StreamType, &e.StreamID, &e.Version, &e.Type, &e.Raw, &m, &recordedAt)
		e.Actor, e.Reason, e.CorrelationID, e.CausationID, e.TraceParent = m.Actor, m.Reason, m.Correlation, m.Causation, m.Trace
		e.RecordedAt = recordedAt.UTC()
		return e, err
	})
}
