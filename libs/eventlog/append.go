package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// ErrConflict says that the stream has grown since it was loaded: load it again and decide again.
var ErrConflict = errors.New("the stream has grown since it was loaded")

// maxStreamID bounds the id of a stream, in bytes.
const maxStreamID = 255

// Tx is the transaction of one command: that of the service's database, with the log's part. The service's tables are
// written through it directly; do not end it. It belongs to one goroutine and ends with the function it is given to.
type Tx struct {
	pgx.Tx
	log       *Log
	actor     principal.Principal
	command   principal.Command
	causation string
	now       time.Time

	buffered []Event
	after    []int64 // for each buffered event, the version that must be in the table before it; 0 when none
	size     int
	err      error // the first wrong Append
}

func (l *Log) newTx(tx pgx.Tx, actor principal.Principal, command principal.Command, causation string) *Tx {
	now := l.clock().UTC().Truncate(time.Microsecond) // as precise as PostgreSQL
	return &Tx{Tx: tx, log: l, actor: actor, command: command, causation: causation, now: now}
}

// Now is the time at which the command's events are recorded, in UTC to the microsecond: tables that are written with it
// can be made again from the log.
func (tx *Tx) Now() time.Time { return tx.now }

// Append adds events to a stream of the acting principal's tenant. expectedVersion is that of the stream's last event, 0
// for a new stream: if the stream has grown meanwhile, the command starts again (see ErrConflict). Events are written by
// the transaction's last statement; an Append that cannot be right makes the command fail then.
func (tx *Tx) Append(streamType, streamID string, expectedVersion uint64, events ...proto.Message) {
	tx.AppendFor(tx.actor.Tenant, streamType, streamID, expectedVersion, events...)
}

// AppendFor is Append for a stream of another tenant. Only a principal of principal.AllTenants may, and a follower.
func (tx *Tx) AppendFor(tenant, streamType, streamID string, expectedVersion uint64, events ...proto.Message) {
	for i, payload := range events {
		if err := tx.add(tenant, streamType, streamID, expectedVersion+uint64(i)+1, payload); err != nil {
			if tx.err == nil {
				tx.err = fmt.Errorf("append to stream %s/%s: %w", streamType, streamID, err)
			}
			return
		}
	}
}

func (tx *Tx) add(tenant, streamType, streamID string, version uint64, payload proto.Message) error {
	switch {
	case tenant == "":
		return postgres.ErrNoTenant
	case !nameForm.MatchString(streamType):
		return fmt.Errorf("the stream type is not a name; use lower case letters, digits and hyphens, as in api-version")
	case streamID == "" || len(streamID) > maxStreamID || strings.ContainsAny(streamID, "\x00\r\n") || !utf8.ValidString(streamID):
		return fmt.Errorf("the stream id is not usable; use 1 to %d bytes without line breaks", maxStreamID)
	case payload == nil || !payload.ProtoReflect().IsValid():
		return errors.New("an event is nil; give a message")
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(payload)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	kind := string(payload.ProtoReflect().Descriptor().FullName())
	if len(raw) > MaxPayload {
		return problem.NewTooLarge("event-too-large", "The event %s is %d bytes long; the most is %d.", kind, len(raw), MaxPayload)
	}
	if tx.size += len(raw); tx.size > maxCommand {
		return problem.NewTooLarge("command-too-large",
			"The events of one command are longer than %d bytes; split it into several commands.", maxCommand)
	}
	after := int64(version - 1)
	if pending := tx.pending(tenant, streamType, streamID); len(pending) > 0 {
		last := pending[len(pending)-1].Version
		if version != last+1 {
			return fmt.Errorf("expected version %d, but this command has already appended up to version %d", version-1, last)
		}
		after = 0
	}
	tx.buffered = append(tx.buffered, Event{
		ID: tx.log.newID(), Log: tx.log.name, StreamType: streamType, StreamID: streamID, Version: version,
		Type: kind, Payload: payload, Raw: raw, Tenant: tenant, Actor: tx.actor.Subject, Reason: tx.command.Reason,
		CorrelationID: tx.command.CorrelationID, CausationID: tx.causation, TraceParent: tx.command.TraceParent,
		RecordedAt: tx.now,
	})
	tx.after = append(tx.after, after)
	return nil
}

// maxCommand bounds the events of one command together, in bytes: they travel in one statement.
const maxCommand = 64 << 20

// pending are the buffered events of a stream. tenant may be principal.AllTenants for that of any.
func (tx *Tx) pending(tenant, streamType, streamID string) []Event {
	var pending []Event
	for _, e := range tx.buffered {
		if e.StreamType == streamType && e.StreamID == streamID && (e.Tenant == tenant || tenant == principal.AllTenants) {
			pending = append(pending, e)
		}
	}
	return pending
}

// appendSQL raises the head and inserts the events, whose positions follow from the head. A transaction that runs at the
// same time waits here until this one has ended. The commit is sent along, so that the statement must fail by itself: the
// version of an event whose predecessor is missing becomes null, which the column refuses (a stream has no gaps), and so
// does the position where there is no log. With an idempotency key the outcome is stored too.
const appendSQL = `
WITH head AS (
	UPDATE log_head SET position = position + cardinality($2::text[]) WHERE log = $1
	RETURNING epoch, position - cardinality($2::text[]) AS base, position
), appended AS (
	INSERT INTO events (position, epoch, id, tenant_id, stream_type, stream_id, version, type, payload, meta, recorded_at)
	SELECT head.base + e.n, head.epoch, e.id, e.tenant_id, e.stream_type, e.stream_id,
		CASE WHEN e.after = 0 OR EXISTS (
			SELECT FROM events p WHERE p.stream_type = e.stream_type AND p.stream_id = e.stream_id
				AND p.version = e.after AND p.tenant_id = e.tenant_id) THEN e.version END,
		e.type, e.payload, $10::jsonb, $11::timestamptz
	FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::bytea[])
		WITH ORDINALITY AS e(id, tenant_id, stream_type, stream_id, version, after, type, payload, n) LEFT JOIN head ON true
), remembered AS (
	INSERT INTO commands (tenant_id, key, subject, request_hash, response, position, recorded_at)
	SELECT $12::text, $13::text, $16::text, $14::bytea, $15::json, head.position, $11::timestamptz FROM head WHERE $13::text <> ''
)
SELECT position FROM head`

// meta is the part of an event that nothing selects by.
type meta struct {
	Actor       string `json:"actor,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Correlation string `json:"correlation,omitempty"`
	Causation   string `json:"causation,omitempty"`
	Trace       string `json:"trace,omitempty"`
}

// queueAppend queues the append of what is buffered, with the response to store when the command has a key.
func (tx *Tx) queueAppend(batch *pgx.Batch, response []byte, position *uint64) {
	n := len(tx.buffered)
	ids, tenants, types := make([]string, n), make([]string, n), make([]string, n)
	streamTypes, streamIDs := make([]string, n), make([]string, n)
	versions, payloads := make([]int64, n), make([][]byte, n)
	for i, e := range tx.buffered {
		ids[i], tenants[i], types[i] = e.ID, e.Tenant, e.Type
		streamTypes[i], streamIDs[i] = e.StreamType, e.StreamID
		versions[i], payloads[i] = int64(e.Version), e.Raw
	}
	batch.Queue(appendSQL, tx.log.name, ids, tenants, streamTypes, streamIDs, versions, tx.after, types, payloads,
		meta{tx.actor.Subject, tx.command.Reason, tx.command.CorrelationID, tx.causation, tx.command.TraceParent}, tx.now,
		tx.actor.Tenant, tx.command.Key, tx.command.Hash[:], response, tx.actor.Subject,
	).QueryRow(func(row pgx.Row) error { return explain(tx.log.scanPosition(row, position)) })
}

func (l *Log) scanPosition(row pgx.Row, position *uint64) error {
	err := row.Scan(position)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("the database does not hold the log %s: call Migrate first", l.name)
	}
	return err
}

// flush appends what is buffered inside a transaction that somebody else commits.
func (tx *Tx) flush(ctx context.Context) (uint64, error) {
	if tx.err != nil {
		return 0, tx.err
	}
	if len(tx.buffered) == 0 {
		return tx.log.head(ctx, tx)
	}
	var position uint64
	var batch pgx.Batch
	tx.queueAppend(&batch, []byte("null"), &position)
	if err := tx.Tx.SendBatch(ctx, &batch).Close(); err != nil {
		return 0, err
	}
	tx.buffered, tx.after, tx.size = nil, nil, 0
	return position, nil
}

// head is the last position that the transaction can see.
func (l *Log) head(ctx context.Context, tx interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) (uint64, error) {
	var position uint64
	err := l.scanPosition(tx.QueryRow(ctx, `SELECT position FROM log_head WHERE log = $1`, l.name), &position)
	if err != nil {
		return 0, fmt.Errorf("read the head of log %s: %w", l.name, err)
	}
	return position, nil
}

// Codes of PostgreSQL's documentation, appendix A.
const (
	pgNotNullViolation      = "23502"
	pgInsufficientPrivilege = "42501"
)

// explain tells the refusals of an append apart.
func explain(err error) error {
	var failure *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case postgres.Violates(err, "events_stream"):
		return fmt.Errorf("append events: %w: %w", ErrConflict, err)
	case !errors.As(err, &failure):
	case failure.Code == pgNotNullViolation && failure.TableName == "events" && failure.ColumnName == "version":
		return fmt.Errorf("append events: the stream has no event of the expected version: %w", err)
	case failure.Code == pgNotNullViolation && failure.TableName == "events" && failure.ColumnName == "position":
		return fmt.Errorf("append events: the database does not hold the log: call Migrate first: %w", err)
	case failure.Code == pgInsufficientPrivilege:
		return problem.NewDenied("other-tenant", "The command belongs to one tenant and cannot append to another one's stream.").Wrap(err)
	}
	return fmt.Errorf("append events: %w", err)
}
