package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/principal"
	envelopev1 "github.com/tollgate/tollgate/proto/envelope/v1"
)

// extent is what there is of a log.
type extent struct {
	epoch       uint32
	first, last uint64 // positions; first is last+1 for an empty log
}

func (l *Log) extent(ctx context.Context) (extent, error) {
	var x extent
	err := l.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT epoch, position, coalesce((SELECT min(e.position) FROM events e), position + 1)
			FROM log_head WHERE log = $1`, l.name).Scan(&x.epoch, &x.last, &x.first)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = errors.New("the database does not hold it: call Migrate first")
	}
	if err != nil {
		return extent{}, fmt.Errorf("read the head of log %s: %w", l.name, err)
	}
	return x, nil
}

// replicaEnd is where a replica is to be continued.
type replicaEnd struct {
	next  uint64 // the first position that it lacks
	epoch uint32 // of the log, when the replica was made
}

// synchronize makes sure that the replica exists, is whole and holds this log's events, and returns its end. A replica that has lost messages or is of an older epoch is replaced: the log is the truth.
func (r *Relay) synchronize(ctx context.Context) (replicaEnd, error) {
	name := ReplicaName(r.log.name)
	// The replica first: what is in it was in the table before.
	stream, err := r.js.Stream(ctx, name)
	missing := errors.Is(err, jetstream.ErrStreamNotFound)
	if err != nil && !missing {
		return replicaEnd{}, fmt.Errorf("look at stream %s: %w", name, err)
	}
	log, err := r.log.extent(ctx)
	if err != nil {
		return replicaEnd{}, err
	}
	if missing {
		return r.create(ctx, log)
	}
	info := stream.CachedInfo()
	epoch, err := replicaEpoch(info)
	if err != nil {
		return replicaEnd{}, err
	}
	state := info.State
	switch {
	case epoch < log.epoch:
		return r.replace(ctx, log, "it is of an older epoch")
	case epoch > log.epoch:
		return replicaEnd{}, fmt.Errorf("log %s is of epoch %d, its replica of epoch %d: the database is a copy from before a restoration; "+
			"connect the right one: %w", r.log.name, log.epoch, epoch, ErrDiverged)
	case state.LastSeq > log.last:
		return replicaEnd{}, fmt.Errorf("log %s ends at position %d, its replica at %d: after restoring a backup begin a new epoch: %w",
			r.log.name, log.last, state.LastSeq, ErrDiverged)
	}
	if state.LastSeq >= log.first {
		if state.NumDeleted > 0 || state.FirstSeq > log.first {
			return r.replace(ctx, log, "it has lost messages")
		}
		if err := r.compareLast(ctx, stream, state.LastSeq); err != nil {
			return replicaEnd{}, err
		}
	}
	if want := max(r.config.Replicas, 1); info.Config.Replicas != want {
		config := info.Config
		config.Replicas = want
		if _, err := r.js.UpdateStream(ctx, config); err != nil {
			return replicaEnd{}, fmt.Errorf("change the replicas of stream %s from %d to %d: %w", name, info.Config.Replicas, want, err)
		}
	}
	return replicaEnd{next: max(state.LastSeq+1, log.first), epoch: epoch}, nil
}

func (r *Relay) create(ctx context.Context, log extent) (replicaEnd, error) {
	config := replicaConfig(r.log.name, log.epoch, log.first, r.config.Replicas)
	if _, err := r.js.CreateStream(ctx, config); err != nil {
		return replicaEnd{}, fmt.Errorf("create stream %s: %w", config.Name, err)
	}
	return replicaEnd{next: log.first, epoch: log.epoch}, nil
}

// replace deletes the replica and makes an empty one, which is then filled from the log.
func (r *Relay) replace(ctx context.Context, log extent, reason string) (replicaEnd, error) {
	name := ReplicaName(r.log.name)
	r.config.Logger.Warn("the replica of the event log is replaced and filled again", "stream", name, "reason", reason)
	if err := r.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return replicaEnd{}, fmt.Errorf("delete stream %s: %w", name, err)
	}
	r.replaced.Add(1)
	return r.create(ctx, log)
}

// compareLast compares the replica's last message with the log.
func (r *Relay) compareLast(ctx context.Context, stream jetstream.Stream, position uint64) error {
	_, data, err := replicated(ctx, stream, position)
	if err != nil {
		return err
	}
	events, err := r.log.read(ctx, position-1, 1)
	if err != nil {
		return err
	}
	if len(events) == 0 || events[0].Position != position {
		return fmt.Errorf("log %s: the event at position %d is missing in the table: %w", r.log.name, position, ErrDiverged)
	}
	same, err := equal(&events[0], data)
	if err == nil && !same {
		err = fmt.Errorf("log %s: the event at position %d is %s in the table and another one in the replica: %w",
			r.log.name, position, events[0].ID, ErrDiverged)
	}
	return err
}

// equal says whether data is the event's envelope. Another build may have encoded the same envelope to other bytes.
func equal(e *Event, data []byte) (bool, error) {
	encoded, err := e.marshal()
	if err != nil || bytes.Equal(encoded, data) {
		return err == nil, err
	}
	var of, is envelopev1.Envelope
	if err := errors.Join(proto.Unmarshal(encoded, &of), proto.Unmarshal(data, &is)); err != nil {
		return false, nil //nolint:nilerr // what is no envelope is not this event's
	}
	return proto.Equal(&of, &is), nil
}

// BeginEpoch is for operators, after the database was restored from a backup: positions after the backup come again with
// other events. It raises the log's epoch above that of its replica and returns it; running relays then replace the
// replica, and followers that have applied events that are gone refuse to go on until they are reset. Stop the service's
// commands before.
func (r *Relay) BeginEpoch(ctx context.Context) (uint32, error) {
	var replica uint32
	stream, err := r.js.Stream(ctx, ReplicaName(r.log.name))
	switch {
	case err == nil:
		if replica, err = replicaEpoch(stream.CachedInfo()); err != nil {
			return 0, fmt.Errorf("begin epoch: %w", err)
		}
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return 0, fmt.Errorf("begin epoch: look at the replica: %w", err)
	}
	var epoch uint32
	err = r.log.db.Pool().QueryRow(ctx, `UPDATE log_head SET epoch = greatest(epoch, $2) + 1 WHERE log = $1 RETURNING epoch`,
		r.log.name, replica).Scan(&epoch)
	if err != nil {
		return 0, fmt.Errorf("begin epoch of log %s: %w", r.log.name, err)
	}
	return epoch, nil
}
