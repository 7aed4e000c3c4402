package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Entry is one event, with from where it came and what it changed.
type Entry struct {
	Position uint64    `json:"position"`
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	// Actor is a subject such as "member:<id>"; names are in identity, until they are erased.
	Actor  string `json:"actor"`
	Action string `json:"action" description:"The event's type, for example identity.v1.AccountClosed."`
	// StreamType and StreamID name what was changed, Version counts its changes.
	StreamType  string `json:"streamType"`
	StreamID    string `json:"streamId"`
	Version     uint64 `json:"version"`
	Reason      string `json:"reason,omitempty"`
	Correlation string `json:"correlation,omitempty" description:"The same for all that one request led to."`
	Address     string `json:"address,omitempty" description:"From where the request came; kept for a time, and shown with the scope identity.admin alone."`
	UserAgent   string `json:"userAgent,omitempty" description:"As the address."`
	// Data is the event itself, without hashes.
	Data json.RawMessage `json:"data,omitempty"`
	// Before and After are what was changed, when they are asked for.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Filter selects events; what is empty selects all.
type Filter struct {
	Actor, StreamType, StreamID, Action string
	// Since is included, Until is not.
	Since, Until time.Time
	// Below and Above are positions, not included.
	Below, Above uint64
	// Ascending begins with the oldest.
	Ascending bool
	// Changes asks for before and after.
	Changes bool
	Limit   int
}

// pageBytes bounds the payloads of one page, apart from one that is longer than it alone.
const pageBytes = 2 << 20

const pageSQL = `
WITH page AS (
	SELECT position, sum(octet_length(payload)) OVER (ORDER BY position %[1]s) - octet_length(payload) AS before
	FROM events
	WHERE tenant_id = $1 AND ($2 = '' OR meta ->> 'actor' = $2) AND ($3 = '' OR stream_type = $3) AND ($4 = '' OR stream_id = $4)
		AND ($5 = '' OR type = $5 OR type LIKE '%%.' || $5) AND ($6::timestamptz IS NULL OR recorded_at >= $6)
		AND ($7::timestamptz IS NULL OR recorded_at < $7) AND ($8 = 0 OR position < $8) AND position > $9
	ORDER BY position %[1]s LIMIT $10
)
SELECT e.position, e.id, e.recorded_at, coalesce(e.meta ->> 'actor', ''), e.type, e.stream_type, e.stream_id, e.version,
	coalesce(e.meta ->> 'reason', ''), coalesce(e.meta ->> 'correlation', ''), coalesce(r.address, ''), coalesce(r.user_agent, ''),
	e.payload, (SELECT count(*) FROM page) AS matched
FROM page JOIN events e ON e.position = page.position LEFT JOIN audit_requests r ON r.correlation_id = e.meta ->> 'correlation'
WHERE page.before < $11 ORDER BY e.position %[1]s`

// query returns a page of entries of a tenant, and whether there are more. The transaction sees the tenant.
func query(ctx context.Context, tx pgx.Tx, tenant string, f Filter, states map[string]State) (entries []Entry, more bool, err error) {
	direction := "DESC"
	if f.Ascending {
		direction = "ASC"
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(pageSQL, direction), tenant, f.Actor, f.StreamType, f.StreamID, f.Action,
		orNull(f.Since), orNull(f.Until), int64(f.Below), int64(f.Above), f.Limit+1, pageBytes)
	if err != nil {
		return nil, false, fmt.Errorf("query audit: %w", err)
	}
	matched := 0
	entries, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Entry, error) {
		var e Entry
		var payload []byte
		err := row.Scan(&e.Position, &e.ID, &e.At, &e.Actor, &e.Action, &e.StreamType, &e.StreamID, &e.Version,
			&e.Reason, &e.Correlation, &e.Address, &e.UserAgent, &payload, &matched)
		e.At = e.At.UTC()
		if err == nil {
			e.Data = message(decode(e.Action, payload))
		}
		return e, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("query audit: %w", err)
	}
	if len(entries) > f.Limit {
		entries = entries[:f.Limit]
	}
	if f.Changes {
		err = addChanges(ctx, tx, tenant, entries, states)
	}
	return entries, matched > len(entries), err
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// decode returns an event's payload; nil for a type that this build does not know, or that cannot be read.
func decode(kind string, payload []byte) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(kind))
	if err != nil {
		return nil
	}
	m := t.New().Interface()
	if proto.Unmarshal(payload, m) != nil {
		return nil
	}
	return m
}

// addChanges sets what was before and after each entry, for aggregates whose state is known.
func addChanges(ctx context.Context, tx pgx.Tx, tenant string, entries []Entry, states map[string]State) error {
	type stream struct{ kind, id string }
	histories := map[stream][]proto.Message{}
	for i := range entries {
		e := &entries[i]
		fold, ok := states[e.StreamType]
		if !ok {
			continue
		}
		key := stream{e.StreamType, e.StreamID}
		history, ok := histories[key]
		if !ok {
			var err error
			if history, err = load(ctx, tx, tenant, e.StreamType, e.StreamID); err != nil {
				return err
			}
			histories[key] = history
		}
		version := min(int(e.Version), len(history))
		var err error
		if e.Before, err = encodeState(fold(history[:version-1])); err == nil {
			e.After, err = encodeState(fold(history[:version]))
		}
		if err != nil {
			return fmt.Errorf("show what event %d changed: %w", e.Position, err)
		}
	}
	return nil
}

func load(ctx context.Context, tx pgx.Tx, tenant, streamType, streamID string) ([]proto.Message, error) {
	rows, err := tx.Query(ctx, `SELECT type, payload FROM events WHERE stream_type = $1 AND stream_id = $2 AND tenant_id = $3
		ORDER BY version`, streamType, streamID, tenant)
	if err != nil {
		return nil, fmt.Errorf("load stream %s/%s: %w", streamType, streamID, err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (proto.Message, error) {
		var kind string
		var payload []byte
		err := row.Scan(&kind, &payload)
		return decode(kind, payload), err
	})
	if err != nil {
		return nil, fmt.Errorf("load stream %s/%s: %w", streamType, streamID, err)
	}
	return events, nil
}
